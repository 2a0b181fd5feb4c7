"""Towns as numbers."""


def numbered(towns):
    """Every town's number."""
    return {town: number for number, town in enumerate(set(towns))}
