"""Open a file beneath a root without following a single link on the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO without a writer would block an open for reading for ever: O_NONBLOCK makes it return.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_folder_beneath(root: Path, relative: str) -> int:
    """File descriptor of the folder `relative` (`` for the root itself); every component is opened O_NOFOLLOW.

    Raises OSError (ELOOP or ENOTDIR for a link), ValueError for a path that is not plain and relative.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in relative.split("/") if relative else ():
            _check(part, relative)
            deeper = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_beneath(root: Path, relative: str) -> BinaryIO:
    """The regular file `relative` beneath `root`, open for reading.

    Raises OSError (ELOOP for a link, ENOENT …), ValueError for what is no regular file or no plain relative path.
    """
    folder, _, name = relative.rpartition("/")
    _check(name, relative)
    parent = open_folder_beneath(root, folder)
    try:
        descriptor = os.open(name, _FILE, dir_fd=parent)
    finally:
        os.close(parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"not a regular file: {relative}")
    return os.fdopen(descriptor, "rb", buffering=0)


def _check(part: str, relative: str) -> None:
    if part in ("", ".", "..") or "\0" in part:
        raise ValueError(f"not a plain relative path: {relative}")
