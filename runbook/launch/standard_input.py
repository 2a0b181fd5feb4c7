"""The job's standard input, which no tracer sees opened: which file it is, and whether it was read."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_IN_ACCESS, _NONBLOCK = 0x1, 0x800
"""Of Linux's inotify: something was read; and asking whether it was does not wait."""
_EVENT = struct.calcsize("iIII")
Kind = Literal["file", "unnamed", "pipe", "other"]


@dataclass
class StandardInput:
    """Standard input as it was before the job. `other` is a terminal, /dev/null, or none at all."""

    kind: Kind
    path: str = ""
    """Of a file: where it lies."""
    offset: int = 0
    """Of a file: how far it had been read."""
    _watch: int | None = None

    @classmethod
    def before(cls) -> StandardInput:
        """Look at our own, which the job inherits."""
        try:
            told = os.fstat(0)
        except OSError:
            return cls("other")
        if stat.S_ISREG(told.st_mode):
            path = _path(told)
            return cls("file" if path else "unnamed", path, os.lseek(0, 0, os.SEEK_CUR))
        if stat.S_ISFIFO(told.st_mode) or stat.S_ISSOCK(told.st_mode):
            return cls("pipe", _watch=_watch_reads())
        return cls("other")

    def was_read(self) -> bool | None:
        """Whether anything was read of it since; None when that cannot be known. Ask once, after the job."""
        if self.kind in ("file", "unnamed"):
            # The job's descriptor is ours: they have one position.
            return os.lseek(0, 0, os.SEEK_CUR) != self.offset
        if self.kind == "pipe":
            if self._watch is None:
                return None
            try:
                return bool(os.read(self._watch, _EVENT))
            except BlockingIOError:
                return False
            finally:
                os.close(self._watch)
                self._watch = None
        return False


def _path(told: os.stat_result) -> str:
    """The path of the open file; empty when it has none any more."""
    try:
        path = Path("/proc/self/fd/0").readlink()
        return str(path) if os.path.samestat(told, path.stat()) else ""
    except OSError:
        return ""


def _watch_reads() -> int | None:
    """A descriptor of inotify that tells of a read of standard input; None where there is no such thing."""
    import ctypes

    try:
        library = ctypes.CDLL(None, use_errno=True)
        watch = int(library.inotify_init1(_NONBLOCK | os.O_CLOEXEC))
    except (AttributeError, OSError):
        return None
    if watch < 0:
        return None
    if library.inotify_add_watch(watch, b"/proc/self/fd/0", _IN_ACCESS) < 0:
        os.close(watch)
        return None
    return watch
