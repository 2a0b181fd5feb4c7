"""Counts what is right; the training does not import it."""


def accuracy(right, total):
    """The share of what is right."""
    return right / total
