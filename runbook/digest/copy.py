"""Copy a file and learn its sha256 in one pass; a clone where the file system can."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
import zlib
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from runbook.digest.hashing import CHUNK

_FICLONE: Final = 0x40049409
"""ioctl(2) that shares a file's blocks (btrfs, XFS); from linux/fs.h."""


class Copied(NamedTuple):
    """What was copied: size in bytes, sha256 in hex, CRC-32."""

    size: int
    sha256: str
    crc32: int = 0
    """Zero where it was not asked for."""


def copy_hashed(
    source: BinaryIO, target: Path, *, folder: int | None = None, cap: int | None = None, crc: bool = False
) -> Copied:
    """Copy an open file from its position into a new file (mode 0644, links never followed).

    folder: descriptor that `target` is relative to. cap: most bytes; OSError(EFBIG) when there are more.
    crc: learn the CRC-32 too, which a zip file wants and which takes half as long again.
    Raises FileExistsError when the target exists.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(target, flags, 0o644, dir_fd=folder)
    with os.fdopen(descriptor, "wb", buffering=0) as sink:
        # A clone shares the blocks, so that only the reading is left.
        cloned = cap is None and _clone(source, sink)
        return _pump(source, None if cloned else sink, cap, crc=crc)


def _pump(source: BinaryIO, sink: BinaryIO | None, cap: int | None, *, crc: bool) -> Copied:
    digest, crc32, size = hashlib.sha256(), 0, 0
    # A fresh megabyte for every one of many small files would cost more than copying them.
    buffer = memoryview(bytearray(min(CHUNK, max(_length(source) + 1, 4096))))
    while read := source.readinto(buffer):  # type: ignore[attr-defined]
        chunk = buffer[:read]
        size += read
        if cap is not None and size > cap:
            raise OSError(errno.EFBIG, "larger than announced")
        digest.update(chunk)
        if crc:
            crc32 = zlib.crc32(chunk, crc32)
        while sink is not None and chunk:
            chunk = chunk[sink.write(chunk) :]
    return Copied(size, digest.hexdigest(), crc32)


def _length(source: BinaryIO) -> int:
    if isinstance(source, io.BytesIO):
        return source.getbuffer().nbytes
    try:
        return os.fstat(source.fileno()).st_size
    except io.UnsupportedOperation:
        return CHUNK


def _clone(source: BinaryIO, sink: BinaryIO) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        if source.tell() != 0 or os.fstat(source.fileno()).st_size < CHUNK:
            return False
        fcntl.ioctl(sink.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True
