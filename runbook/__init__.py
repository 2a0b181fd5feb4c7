"""runbook: freeze a training run into a bundle, replay it elsewhere, and say whether it was reproduced."""

__version__ = "0.1.0"
