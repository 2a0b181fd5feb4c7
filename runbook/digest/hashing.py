"""sha256 of files, on all cores: small files in worker processes, large ones in threads.

First every file is stat-ed and looked up in the stat cache, then what is not known is read. Memory stays flat: a
buffer a core, and what the list of files itself takes.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from runbook.digest import worker
from runbook.digest.lanes import Job, Lane, lanes
from runbook.digest.statcache import StatCache, sizes_of
from runbook.model.manifest import Entry
from runbook.progress import SILENT, Progress

CHUNK: Final = 1 << 20
"""Bytes read at once from a large file."""

_LARGE: Final = 8 << 20
"""From here on a file is hashed in a thread: hashlib lets go of the interpreter's lock, and progress shows."""

_BATCH_BYTES: Final = 16 << 20
_BATCH_FILES: Final = 1024
_WORTH_A_PROCESS: Final = 32
"""With fewer files, starting a process takes longer than hashing them."""

_ENTRY: Final = partial(tuple.__new__, Entry)
"""`Entry._make`, three times as fast."""
_MARK: Final = worker.MARK.size
_DIGEST: Final = worker.DIGEST_SIZE


class Hashed(NamedTuple):
    """A file's size in bytes and sha256 in hex."""

    size: int
    sha256: str


class Tree(NamedTuple):
    """Hashed files, in the order in which they were named."""

    entries: list[Entry]
    executables: list[str]


def hash_stream(file: BinaryIO, advance: Callable[[int], None] = lambda _n: None) -> Hashed:
    """Hash what is left of an open file, in chunks of 1 MiB."""
    digest, size = hashlib.sha256(), 0
    buffer = memoryview(bytearray(CHUNK))
    while read := file.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(buffer[:read])
        size += read
        advance(read)
    return Hashed(size, digest.hexdigest())


def hash_file(path: Path, advance: Callable[[int], None] = lambda _n: None) -> Hashed:
    """Hash one regular file; a link is refused. Raises OSError."""
    with _open(path) as file:
        return hash_stream(file, advance)


def hash_tree(
    root: Path, paths: Iterable[str], *, cache: StatCache | None = None, progress: Progress = SILENT
) -> list[Entry]:
    """Hash regular files beneath a root, in the order given; paths are relative to it.

    Raises OSError for a file that is gone, unreadable, a link or not regular.
    """
    folders = (list(files) for _, files in groupby(paths, lambda path: path.rpartition("/")[0]))
    return hash_folders(root, folders, cache=cache, progress=progress).entries


def hash_folders(
    root: Path, folders: Iterable[list[str]], *, cache: StatCache | None = None, progress: Progress = SILENT
) -> Tree:
    """The same for the files of one folder after the other, which may be listed while the first are looked at."""
    begun = time.time_ns()
    with _without_gc():
        batches = _batches(folders)
        first = list(islice(batches, 2))
        alone = len(first) < 2 and sum(len(batch.paths) for batch in first) < _WORTH_A_PROCESS
        seen: list[_Batch] = []
        with lanes(root, alone=alone) as pool:
            pool.do(_stats(root, chain(first, batches), cache, seen))
            pending = [(batch, index) for batch in seen for index in batch.pending]
            if pending:
                sizes = [batch.sizes[index] for batch, index in pending]
                with progress.bar("hashing", sum(sizes)) as advance:
                    pool.do(_hashes(root, pending, sizes, advance))
                if cache is not None:
                    for batch in seen:
                        batch.remember(cache, begun)
        return Tree(
            [entry for batch in seen for entry in batch.entries()],
            [path for batch in seen for path in batch.executables()],
        )


class _Batch:
    """Files that are looked at together: one folder's, or those of several small folders."""

    def __init__(self, paths: list[str], ends: list[int]) -> None:
        self.paths = paths
        self.ends = ends
        """Where each folder's files end in `paths`; each is a group of the stat cache."""
        self.marks = b""
        self.sizes: list[int] = []
        self.executable = b""
        self.digests = bytearray()
        self.pending: list[int] = []
        """What the cache does not know."""
        self._changed: set[int] = set()

    def stat(self, root: Path, lane: Lane, cache: StatCache | None) -> None:
        """Look at every file, and find what is known."""
        count, answer = len(self.paths), lane.stat(self.paths)
        if any(failed := answer[:count]):
            raise _failure(failed, root, self.paths)
        self.executable, self.marks = answer[count : 2 * count], answer[2 * count :]
        self.sizes = sizes_of(self.marks)
        if cache is None:
            self.digests, self.pending = bytearray(count * _DIGEST), list(range(count))
            return
        begin = 0
        for end in self.ends:
            marks = self.marks[begin * _MARK : end * _MARK]
            known = cache.find(marks)
            self.digests += known if known is not None else self._one_by_one(begin, end, cache)
            begin = end

    def _one_by_one(self, begin: int, end: int, cache: StatCache) -> bytes:
        found = []
        for index in range(begin, end):
            known = cache.get(self.marks[index * _MARK : (index + 1) * _MARK])
            if known is None:
                self.pending.append(index)
            found.append(known or bytes(_DIGEST))
        return b"".join(found)

    def note(self, index: int, size: int, digest: bytes) -> None:
        """Keep a file's digest. Its mark is of before it was read: who writes later changes that for good."""
        self.digests[index * _DIGEST : (index + 1) * _DIGEST] = digest
        if size != self.sizes[index]:
            self.sizes[index] = size
            self._changed.add(index)

    def remember(self, cache: StatCache, begun: int) -> None:
        """Tell the cache what was learnt; begun: Unix time in ns before any stat was taken."""
        begin, learnt = 0, set(self.pending)
        for end in self.ends:
            if learnt.intersection(range(begin, end)) and not self._changed.intersection(range(begin, end)):
                digests = bytes(self.digests[begin * _DIGEST : end * _DIGEST])
                cache.put(self.marks[begin * _MARK : end * _MARK], digests, begun)
            begin = end

    def entries(self) -> Iterator[Entry]:
        """The files with sizes and digests."""
        text, width = self.digests.hex(), 2 * _DIGEST
        digests = [text[start : start + width] for start in range(0, len(text), width)]
        return map(_ENTRY, zip(self.paths, self.sizes, digests, strict=True))

    def executables(self) -> Iterator[str]:
        """The files that their owner may execute."""
        if not any(self.executable):
            return iter(())
        return (path for path, may in zip(self.paths, self.executable, strict=True) if may)


def _batches(folders: Iterable[list[str]]) -> Iterator[_Batch]:
    paths: list[str] = []
    ends: list[int] = []
    for folder in folders:
        for start in range(0, len(folder), _BATCH_FILES):
            if len(paths) >= _BATCH_FILES // 2:
                yield _Batch(paths, ends)
                paths, ends = [], []
            paths += folder[start : start + _BATCH_FILES]
            ends.append(len(paths))
    if paths:
        yield _Batch(paths, ends)


def _stats(root: Path, batches: Iterable[_Batch], cache: StatCache | None, seen: list[_Batch]) -> Iterator[Job]:
    for batch in batches:
        seen.append(batch)
        yield lambda lane, batch=batch: batch.stat(root, lane, cache)  # type: ignore[misc]


def _hashes(
    root: Path, pending: list[tuple[_Batch, int]], sizes: list[int], advance: Callable[[int], None]
) -> Iterator[Job]:
    """Large files first, so that no core ends alone with one; then the small ones, batch by batch."""
    large = sorted(((size, *one) for one, size in zip(pending, sizes, strict=True) if size >= _LARGE), key=_size)
    for _, batch, index in reversed(large):
        yield lambda lane, batch=batch, index=index: _hash_here(root, batch, index, advance, lane.stop)  # type: ignore[misc]
    for batch, indices in groupby(pending, itemgetter(0)):
        for some in _portions(batch, [index for _, index in indices]):
            yield lambda lane, batch=batch, some=some: _hash_there(root, batch, some, advance, lane)  # type: ignore[misc]


_size = itemgetter(0)


def _portions(batch: _Batch, indices: list[int]) -> Iterator[list[int]]:
    some: list[int] = []
    total = 0
    for index in indices:
        if batch.sizes[index] < _LARGE:
            some.append(index)
            total += batch.sizes[index]
            if total >= _BATCH_BYTES:
                yield some
                some, total = [], 0
    if some:
        yield some


def _hash_here(
    root: Path, batch: _Batch, index: int, advance: Callable[[int], None], stop: threading.Event
) -> None:
    digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK))
    with _open(root / batch.paths[index]) as file:
        while (read := file.readinto(buffer)) and not stop.is_set():  # type: ignore[attr-defined]
            digest.update(buffer[:read])
            size += read
            advance(read)
    batch.note(index, size, digest.digest())


def _hash_there(root: Path, batch: _Batch, indices: list[int], advance: Callable[[int], None], lane: Lane) -> None:
    paths, count = [batch.paths[index] for index in indices], len(indices)
    answer = lane.hash(paths)
    if any(failed := answer[:count]):
        raise _failure(failed, root, paths)
    digests = count * (1 + worker.SIZE.size)
    total = 0
    for place, (index, (size,)) in enumerate(
        zip(indices, worker.SIZE.iter_unpack(answer[count:digests]), strict=True)
    ):
        if size != batch.sizes[index]:
            # It changed since it was listed, maybe into something that is no file: look again, closely.
            _hash_here(root, batch, index, advance, lane.stop)
            continue
        total += size
        start = digests + place * _DIGEST
        batch.note(index, size, answer[start : start + _DIGEST])
    advance(total)


@contextlib.contextmanager
def _without_gc() -> Iterator[None]:
    """Looking for cycles among a million paths and entries takes longer than making them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _failure(failed: bytes, root: Path, paths: list[str]) -> OSError:
    """The first failure of an answer."""
    index = next(index for index, number in enumerate(failed) if number)
    number, path = failed[index], root / paths[index]
    if number == errno.EINVAL:
        if path.is_symlink():
            number = errno.ELOOP
        else:
            return OSError(number, "not a regular file", str(path))
    return OSError(number, os.strerror(number), str(path))


def _open(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb", buffering=0)
