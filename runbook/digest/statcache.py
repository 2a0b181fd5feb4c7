"""What a file's stat says about its content: fingerprint → sha256, so that unchanged files are not read again.

Used at capture, never at verify.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Final

from runbook.digest.atomic import write_atomic

_FINGERPRINT: Final = struct.Struct("<QQQqq")
_RECORD: Final = struct.Struct(f"<{_FINGERPRINT.size}s32s")
_MAGIC: Final = b"runbook statcache 1\n"
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


def settled(mark: Fingerprint, hashed_ns: int) -> bool:
    """Whether a file was last changed well before it was hashed (Unix time in ns).

    A file changed in the clock's last tick can change again without its stat telling ("racy git"). Two seconds
    cover the coarsest file system (FAT) and the kernel's coarse clock. A stat that is taken *after* reading and
    is settled also shows that nobody wrote while it was read.
    """
    _, _, _, mtime, ctime = _FINGERPRINT.unpack(mark)
    return bool(max(mtime, ctime) < hashed_ns - _MARGIN_NS)


class StatCache:
    """A file of fingerprints, loaded at once and written atomically; a corrupt one is ignored.

    Concurrent writers each leave a whole file that holds their own and the earlier entries; the last one wins.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _load(path)
        self._used: dict[Fingerprint, bytes] = {}
        self._grown = False

    def get(self, mark: Fingerprint) -> str | None:
        """sha256, hex, of the file with this fingerprint, if it was hashed before."""
        digest = self._known.get(mark)
        if digest is None:
            return None
        self._used[mark] = digest
        return digest.hex()

    def put(self, mark: Fingerprint, sha256: bytes, hashed_ns: int) -> None:
        """Remember a digest, unless the file was too young when it was hashed to be trusted later.

        mark: of a stat taken after reading; hashed_ns: Unix time before reading.
        """
        if settled(mark, hashed_ns):
            self._used[mark] = self._known[mark] = sha256
            self._grown = True

    def save(self) -> None:
        """Write the cache when it learnt something; what this run used is kept first, up to a million files."""
        if not self._grown:
            return
        kept = dict(self._used)
        for entries in (self._known, _load(self._path)):
            for mark, digest in entries.items():
                if len(kept) >= _CAPACITY:
                    break
                kept.setdefault(mark, digest)
        body = b"".join([mark + digest for mark, digest in kept.items()])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, _MAGIC + hashlib.sha256(body).digest() + body, mode=0o600)
        self._grown = False


def _load(path: Path) -> dict[Fingerprint, bytes]:
    try:
        data = path.read_bytes()
    except OSError:
        return {}
    start = len(_MAGIC) + 32
    body = memoryview(data)[start:]
    if not data.startswith(_MAGIC) or len(body) % _RECORD.size:
        return {}
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
        return {}
    return dict(_RECORD.iter_unpack(body))
