"""Files that come from elsewhere in several attempts, into a place where others may want the same file.

What has come lies in one partial file, which every process that wants it locks: the second waits, then finds it
done. A broken transfer is continued where the server can, begun anew where it cannot.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Protocol

_BLOCK = 1 << 20


class Opens(Protocol):
    """Where the bytes come from."""

    def __call__(self, offset: int, /) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """The bytes from `offset` on: `(offset that the server agreed to, blocks)`. Raises OSError."""


@contextmanager
def holding(part: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[IO[bytes]]:
    """The partial file, open for appending and locked. waiting: called once when another process holds it.

    Whoever finishes renames or removes it before letting go: the next one gets a new file of that name.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with part.open("a+b") as sink:
            try:
                fcntl.flock(sink, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(sink, fcntl.LOCK_EX)
            if _still(sink, part):
                yield sink
                return


def append(
    sink: IO[bytes], opens: Opens, count: Callable[[int], None], *, known: str = "", cap: int | None = None
) -> str:
    """Append what is missing of a file; sha256, hex, of the whole.

    known: the digest that ends it at once when what is there has it. cap: bytes beyond which nothing is written
    (OSError with EFBIG).
    """
    size, digest = sink.seek(0, os.SEEK_END), hashlib.sha256()
    if size:
        digest = _hash(sink)
        if digest.hexdigest() == known:
            return known
    with opens(size) as (offset, blocks):
        if offset != size:
            sink.truncate(offset)
            digest = _hash(sink) if offset else hashlib.sha256()
        sink.seek(0, os.SEEK_END)
        for block in blocks:
            offset += len(block)
            if cap is not None and offset > cap:
                raise OSError(errno.EFBIG, f"more than the {cap} bytes that it should have")
            sink.write(block)
            digest.update(block)
            count(len(block))
    sink.flush()
    return digest.hexdigest()


def settle(sink: IO[bytes], part: Path, place: Path) -> None:
    """Give the finished partial file its place, read-only."""
    place.parent.mkdir(parents=True, exist_ok=True)
    sink.flush()
    os.fsync(sink.fileno())
    part.chmod(0o444)
    part.replace(place)


def link(source: Path, target: Path) -> None:
    """Hard link, or copy where the file system cannot."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sha256(path: Path) -> str:
    """The sha256, hex, of a file's bytes now."""
    with path.open("rb") as file:
        return _hash(file).hexdigest()


def _hash(file: IO[bytes]) -> hashlib._Hash:
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest


def _still(sink: IO[bytes], part: Path) -> bool:
    """Whether the open file is still the one of that name: another process may have finished and renamed it."""
    try:
        return os.fstat(sink.fileno()).st_ino == part.stat().st_ino
    except FileNotFoundError:
        return False
