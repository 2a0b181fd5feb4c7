"""Arithmetic over two records. Pure: never hears of Docker."""
