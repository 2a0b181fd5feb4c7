"""Watches a folder that a job may fill, so that it cannot fill the disk."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

_ENTRY = 4096
"""Bytes that one file or folder counts at least: empty files fill a disk too."""
_PERIOD_S = 10.0
_CALM = 20
"""A full look is taken at most 1/20 of the time."""


def weigh(folder: Path) -> int:
    """Bytes below a folder, never following a link; a sparse file counts with its full length."""
    total, waiting = 0, [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    total += max(status.st_size, status.st_blocks * 512, _ENTRY)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return total


class Growth:
    """How much folders have grown together. Free space, where the first lies, says cheaply when a look is due."""

    def __init__(self, folders: Sequence[Path], allowed: int) -> None:
        self._folders, self._allowed = folders, allowed
        self._before = sum(map(weigh, folders))
        self._free = self._free_bytes()
        self._next = time.monotonic() + _PERIOD_S
        self._earliest = 0.0

    def broken(self) -> str:
        """A sentence when the folder has grown by more than is allowed, else empty."""
        now = time.monotonic()
        eaten = self._free - self._free_bytes()
        if now < self._earliest or (now < self._next and eaten < self._allowed // 4):
            return ""
        grown = sum(map(weigh, self._folders)) - self._before
        took = time.monotonic() - now
        # The next look is due when a quarter of what is left has been eaten.
        self._earliest, self._next = now + _CALM * took, now + max(_PERIOD_S, _CALM * took)
        if grown > self._allowed:
            return f"the working folder grew by more than the {self._allowed} bytes that it may"
        return ""

    def _free_bytes(self) -> int:
        try:
            status = os.statvfs(self._folders[0])
        except OSError:
            return 0
        return status.f_bavail * status.f_frsize
