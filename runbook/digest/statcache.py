"""What a file's stat says about its content: fingerprint → sha256, so that unchanged files are not read again.

Used at capture, never at verify. Every tree has a cache of its own, so that a small project does not wait for what
was learnt of a large one. Files are kept in groups, as they were looked at: an unchanged folder is
then found by one look-up, and only a changed one is looked up file by file.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from runbook.digest import worker
from runbook.digest.atomic import write_atomic

_MARK: Final = worker.MARK.size
_DIGEST: Final = worker.DIGEST_SIZE
_TIMES: Final = struct.Struct("=24xqq")
_COUNT: Final = struct.Struct("<I")
_MAGIC: Final = b"runbook statcache 2\n"
_BODY: Final = len(_MAGIC) + 32
_MARGIN_NS: Final = 2_000_000_000
"""Two seconds cover the coarsest file system (FAT) and the kernel's coarse clock."""
_CAPACITY: Final = 1_000_000
"""Files of one tree."""
_ALL: Final = 256 << 20
"""Bytes of all trees' caches together; the last one written stays in any case."""

Fingerprint = bytes
"""Device, inode, size, mtime_ns and ctime_ns of a regular file, packed: compact, and hashable as it is."""


def fingerprint(stat: os.stat_result) -> Fingerprint:
    """The fingerprint of a stat."""
    return worker.MARK.pack(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def sizes_of(marks: bytes) -> list[int]:
    """The sizes in bytes that fingerprints hold, of one or of many put together."""
    return memoryview(marks).cast("Q")[2 :: _MARK // 8].tolist()


class StatCache:
    """A file of fingerprints, loaded at once and written atomically; a corrupt one is ignored.

    Concurrent writers each leave a whole file that holds their own and the earlier entries; the last one wins.
    """

    @classmethod
    def of_tree(cls, folder: Path, root: Path) -> StatCache:
        """The cache of the tree at `root`, among those in `folder`."""
        return cls(folder / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32])

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _version(path)
        self._groups = dict(_load(path))
        self._single: dict[Fingerprint, bytes] | None = None
        self._grown = False

    def find(self, marks: bytes) -> bytes | None:
        """The sha256 of each file of a group, put together, if it was looked at as a whole before."""
        return self._groups.get(marks)

    def get(self, mark: Fingerprint) -> bytes | None:
        """The sha256 of the file with this fingerprint, if it was hashed before in whatever group."""
        if self._single is None:
            self._single = {}
            for marks, digests in self._groups.items():
                self._single.update(zip(_cut(marks, _MARK), _cut(digests, _DIGEST), strict=True))
        return self._single.get(mark)

    def put(self, marks: bytes, digests: bytes, moment_ns: int) -> None:
        """Remember a group's digests, but for the files that were then too young to be trusted later.

        marks: of stats taken before reading; moment_ns: Unix time at or before reading began. Whoever writes later
        than that leaves another ctime, so that what was read meanwhile is never found by this mark. A file changed
        in the clock's last tick can change again without its stat telling ("racy git").
        """
        limit = moment_ns - _MARGIN_NS
        old = [max(times) < limit for times in _TIMES.iter_unpack(marks)]
        if not all(old):
            marks = b"".join(m for m, kept in zip(_cut(marks, _MARK), old, strict=True) if kept)
            digests = b"".join(d for d, kept in zip(_cut(digests, _DIGEST), old, strict=True) if kept)
        if marks:
            self._groups[marks] = digests
            self._grown = True
            if self._single is not None:
                self._single.update(zip(_cut(marks, _MARK), _cut(digests, _DIGEST), strict=True))

    def save(self) -> bool:
        """Write the cache when it learnt something; whether it was written.

        Beyond a million files, what was learnt first is forgotten.
        """
        if not self._grown:
            return False
        if _version(self._path) != self._seen:
            self._groups = dict(_load(self._path)) | self._groups
        parts = [_MAGIC, bytes(32)]
        digest = hashlib.sha256()
        for marks, digests in self._worth_keeping():
            for part in (_COUNT.pack(len(digests) // _DIGEST), marks, digests):
                digest.update(part)
                parts.append(part)
        parts[1] = digest.digest()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, b"".join(parts), mode=0o600)
        self._grown = False
        return True

    def forget_others(self) -> None:
        """Remove the caches beside this one that were written longest ago, when together they are large."""
        found = []
        for path in self._path.parent.iterdir():
            with suppress(FileNotFoundError):  # Another runbook forgets, or its unfinished file got its name.
                found.append((path.stat(), path))
        left = _ALL
        for stat, path in sorted(found, key=lambda one: -one[0].st_mtime_ns):
            left -= stat.st_size
            if left < 0 and path != self._path:
                path.unlink(missing_ok=True)

    def _worth_keeping(self) -> list[tuple[bytes, bytes]]:
        """The groups, the oldest first, without those that later ones make superfluous."""
        kept, known, left = [], set[Fingerprint](), _CAPACITY
        for marks, digests in reversed(self._groups.items()):
            if left <= 0:
                break
            one_by_one = list(_cut(marks, _MARK))
            if known.issuperset(one_by_one):
                continue
            known.update(one_by_one)
            left -= len(one_by_one)
            kept.append((marks, digests))
        return kept[::-1]


def _cut(text: bytes, size: int) -> Iterator[bytes]:
    return (text[start : start + size] for start in range(0, len(text), size))


def _version(path: Path) -> Fingerprint | None:
    try:
        return fingerprint(path.stat())
    except OSError:
        return None


def _load(path: Path) -> Iterator[tuple[bytes, bytes]]:
    try:
        data = path.read_bytes()
    except OSError:
        return
    if (
        not data.startswith(_MAGIC)
        or hashlib.sha256(memoryview(data)[_BODY:]).digest() != data[_BODY - 32 : _BODY]
    ):
        return
    position = _BODY
    while position < len(data):
        (count,) = _COUNT.unpack_from(data, position)
        marks = position + _COUNT.size
        digests = marks + count * _MARK
        position = digests + count * _DIGEST
        yield data[marks:digests], data[digests:position]
