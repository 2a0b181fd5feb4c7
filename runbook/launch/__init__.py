"""Runs the job once: streams, resources, and where its metrics are read."""
