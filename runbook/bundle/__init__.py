"""The bundle: layout (pure), write, read, verify."""
