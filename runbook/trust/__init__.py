"""Secrets, and later signatures and policies."""
