"""Output files compared by what they are. A format is one file in this package."""
