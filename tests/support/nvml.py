"""A stand-in for the NVIDIA driver's libnvidia-ml.so.1: built from C, loaded as the real one would be."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

_SOURCE = Path(__file__).parents[1] / "observe" / "nvml.c"


def stand_in(folder: Path) -> Path:
    """Build it into the folder, which then goes into LD_LIBRARY_PATH; skips where there is no compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc builds the stand-in for NVML")
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-o", folder / "libnvidia-ml.so.1", _SOURCE], check=True)
    return folder
