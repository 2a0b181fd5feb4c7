"""What a file's stat says about its content: fingerprint → sha256, so that unchanged files are not read again.

Used at capture, never at verify.
"""

from __future__ import annotations

import hashlib
import os
import struct
from itertools import islice
from pathlib import Path
from typing import Final

from runbook.digest.atomic import write_atomic

_FINGERPRINT: Final = struct.Struct("<QQQqq")
_RECORD: Final = struct.Struct(f"<{_FINGERPRINT.size}s32s")
_MAGIC: Final = b"runbook statcache 1\n"
_BODY: Final = len(_MAGIC) + 32
_MARGIN_NS: Final = 2_000_000_000
_CAPACITY: Final = 1_000_000

Fingerprint = bytes
"""Device, inode, size, mtime_ns and ctime_ns of a regular file, packed: compact, and hashable as it is."""


def fingerprint(stat: os.stat_result) -> Fingerprint:
    """The fingerprint of a stat."""
    return _FINGERPRINT.pack(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def size_of(mark: Fingerprint) -> int:
    """The size in bytes that a fingerprint holds."""
    return int.from_bytes(mark[16:24], "little")


def settled(mark: Fingerprint, moment_ns: int) -> bool:
    """Whether a file was last changed well before this moment (Unix time in ns).

    A file changed in the clock's last tick can change again without its stat telling ("racy git"). Two seconds
    cover the coarsest file system (FAT) and the kernel's coarse clock.
    """
    _, _, _, mtime, ctime = _FINGERPRINT.unpack(mark)
    return bool(max(mtime, ctime) < moment_ns - _MARGIN_NS)


class StatCache:
    """A file of fingerprints, loaded at once and written atomically; a corrupt one is ignored.

    Concurrent writers each leave a whole file that holds their own and the earlier entries; the last one wins.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _version(path)
        self._known = _load(path)
        self._grown = False

    def get(self, mark: Fingerprint) -> str | None:
        """sha256, hex, of the file with this fingerprint, if it was hashed before."""
        digest = self._known.get(mark)
        return None if digest is None else digest.hex()

    def put(self, mark: Fingerprint, sha256: bytes, moment_ns: int) -> None:
        """Remember a digest, unless the file was then too young to be trusted later.

        mark: of a stat taken before reading; moment_ns: Unix time at or before reading began. Whoever writes later
        than that leaves another ctime, so that what was read meanwhile is never found by this mark.
        """
        if settled(mark, moment_ns):
            self._known[mark] = sha256
            self._grown = True

    def save(self) -> None:
        """Write the cache when it learnt something. Beyond a million files, what was learnt first is forgotten."""
        if not self._grown:
            return
        if _version(self._path) != self._seen:
            self._known = _load(self._path) | self._known
        forgotten = max(0, len(self._known) - _CAPACITY)
        data = bytearray(_BODY + (len(self._known) - forgotten) * _RECORD.size)
        for number, (mark, digest) in enumerate(islice(self._known.items(), forgotten, None)):
            _RECORD.pack_into(data, _BODY + number * _RECORD.size, mark, digest)
        data[:_BODY] = _MAGIC + hashlib.sha256(memoryview(data)[_BODY:]).digest()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, data, mode=0o600)
        self._grown = False


def _version(path: Path) -> Fingerprint | None:
    try:
        return fingerprint(path.stat())
    except OSError:
        return None


def _load(path: Path) -> dict[Fingerprint, bytes]:
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    body = memoryview(data)[_BODY:]
    if not data.startswith(_MAGIC) or len(body) % _RECORD.size:
        return {}
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : _BODY]:
        return {}
    return dict(_RECORD.iter_unpack(body))
