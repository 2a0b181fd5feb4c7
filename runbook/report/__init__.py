"""What a person reads: one file per format."""
