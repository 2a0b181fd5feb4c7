"""Frozen values: what a run, a lock, a metric and a verdict is. Pure: no file, process or network."""
