"""Pictures of the result; the training does not import it."""


def colour():
    """The colour of the line."""
    return "blue"
