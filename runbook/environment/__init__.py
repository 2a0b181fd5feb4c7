"""The environment rebuilt: index, lock, wheels, base, closure; plan and Dockerfile (pure)."""
