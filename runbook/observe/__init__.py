"""Collectors: one file per family of facts."""
