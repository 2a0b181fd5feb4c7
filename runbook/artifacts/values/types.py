"""Types of numbers by their common names, with those that numpy has not of itself."""

from __future__ import annotations

from typing import Any

import numpy as np


def dtype_of(name: str) -> np.dtype[Any]:
    """The type called so, in native byte order; `bfloat16` and `float8_…` come from ml_dtypes."""
    if name == "bfloat16" or name.startswith("float8_"):
        import ml_dtypes

        small: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return small
    return np.dtype(name)
