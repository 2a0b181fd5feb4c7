"""Standard documents for other tools: one file per format."""
