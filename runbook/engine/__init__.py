"""Engines: where a rebuilt environment runs."""
