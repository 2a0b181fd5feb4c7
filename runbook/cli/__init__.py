"""The command line: a file per verb; main holds the one except."""
