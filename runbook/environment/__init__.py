"""The environment: index, lock, wheels, base, and the plan that rebuilds it."""
