"""The visible lists of steps; the only place where steps meet."""
