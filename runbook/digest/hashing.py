"""sha256 of files, on all cores: small files in worker processes, large ones in threads.

Memory stays flat: a buffer a core, and what the list of files itself takes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import BinaryIO, Final, NamedTuple

from runbook.digest import worker
from runbook.digest.statcache import Fingerprint, StatCache, fingerprint, size_of
from runbook.model.manifest import Entry
from runbook.progress import SILENT, Progress

CHUNK: Final = 1 << 20
"""Bytes read at once from a large file."""

_LARGE: Final = 8 << 20
"""From here on a file is hashed in a thread: hashlib lets go of the interpreter's lock, and progress shows."""

_NOT_REGULAR: Final = errno.EINVAL
_BATCH_BYTES: Final = 16 << 20
_BATCH_FILES: Final = 512
_WORTH_A_PROCESS: Final = 32
"""With fewer small files, starting a process takes longer than hashing them."""


class Hashed(NamedTuple):
    """A file's size in bytes and sha256 in hex."""

    size: int
    sha256: str


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
    root: Path,
    paths: Sequence[str],
    *,
    fingerprints: Sequence[Fingerprint] | None = None,
    cache: StatCache | None = None,
    progress: Progress = SILENT,
) -> list[Entry]:
    """Hash regular files beneath a root, in the order given; paths are relative to it.

    fingerprints: what `walk` saw; without it every file is stat-ed first.
    Raises OSError for a file that is gone, unreadable, a link or not regular.
    """
    begun = time.time_ns()
    if fingerprints is None:
        fingerprints = [_look(root / path) for path in paths]
    results: list[Entry | None] = [None] * len(paths)
    pending: list[int] = []
    for index, mark in enumerate(fingerprints):
        known = cache.get(mark) if cache is not None else None
        if known is None:
            pending.append(index)
        else:
            results[index] = Entry(paths[index], size_of(mark), known)
    if pending:
        total = sum(size_of(fingerprints[index]) for index in pending)
        with progress.bar("hashing", total) as advance:
            _hash_all(_Work(root, paths, fingerprints, results, cache, advance, begun), pending)
    return [entry for entry in results if entry is not None]


@dataclass(frozen=True)
class _Work:
    """What all lanes share. Each writes only its own places of `results`."""

    root: Path
    paths: Sequence[str]
    fingerprints: Sequence[Fingerprint]
    results: list[Entry | None]
    cache: StatCache | None
    advance: Callable[[int], None]
    begun: int
    """Unix time in ns before any stat was taken."""

    def keep(self, index: int, size: int, digest: bytes) -> None:
        """Note a digest. The fingerprint is of before the file was read: who writes later changes it for good."""
        self.results[index] = Entry(self.paths[index], size, digest.hex())
        if self.cache is not None and size == size_of(self.fingerprints[index]):
            self.cache.put(self.fingerprints[index], digest, self.begun)


def _hash_all(work: _Work, pending: list[int]) -> None:
    """Share the work between one lane a core; large files first, so that no core ends alone with one."""
    large = [i for i in pending if size_of(work.fingerprints[i]) >= _LARGE]
    small = [i for i in pending if size_of(work.fingerprints[i]) < _LARGE]
    jobs: SimpleQueue[list[int]] = SimpleQueue()
    for index in sorted(large, key=lambda i: -size_of(work.fingerprints[i])):
        jobs.put([index])
    batches = list(_batches(small, work.fingerprints))
    for batch in batches:
        jobs.put(batch)
    here = len(small) < _WORTH_A_PROCESS
    count = min(cores(), len(large) + len(batches))
    if count == 1 and here:
        _lane(work, jobs, here, threading.Event())
        return
    stop, failures = threading.Event(), SimpleQueue[BaseException]()

    def run() -> None:
        try:
            _lane(work, jobs, here, stop)
        except BaseException as error:
            stop.set()
            failures.put(error)

    lanes = [threading.Thread(target=run, name=f"hash-{n}") for n in range(count)]
    try:
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    finally:
        stop.set()
        for lane in lanes:
            if lane.ident is not None:
                lane.join()
    with contextlib.suppress(Empty):
        raise failures.get_nowait()


def _lane(work: _Work, jobs: SimpleQueue[list[int]], here: bool, stop: threading.Event) -> None:
    """Take jobs until none is left: large files in this thread, batches of small ones in this lane's process."""
    with contextlib.ExitStack() as stack:
        child: subprocess.Popen[bytes] | None = None
        while not stop.is_set():
            try:
                job = jobs.get_nowait()
            except Empty:
                return
            if here or size_of(work.fingerprints[job[0]]) >= _LARGE:
                for index in job:
                    _hash_here(work, index, stop)
            else:
                if child is None:
                    child = stack.enter_context(_worker(work.root))
                _hash_there(work, job, child, stop)


def _hash_here(work: _Work, index: int, stop: threading.Event) -> None:
    digest, size, buffer = hashlib.sha256(), 0, memoryview(bytearray(CHUNK))
    with _open(work.root / work.paths[index]) as file:
        while (read := file.readinto(buffer)) and not stop.is_set():  # type: ignore[attr-defined]
            digest.update(buffer[:read])
            size += read
            work.advance(read)
    work.keep(index, size, digest.digest())


def _hash_there(work: _Work, batch: list[int], child: subprocess.Popen[bytes], stop: threading.Event) -> None:
    request = b"\0".join([work.paths[index].encode() for index in batch])
    if child.stdin is None or child.stdout is None:
        raise AssertionError("a worker has pipes")
    child.stdin.write(worker.LENGTH.pack(len(request)) + request)
    child.stdin.flush()
    answer = child.stdout.read(len(batch) * worker.RECORD.size)
    if len(answer) != len(batch) * worker.RECORD.size:
        raise OSError(f"a hashing process ended with {child.wait()}")
    total = 0
    for index, (failed, size, digest) in zip(batch, worker.RECORD.iter_unpack(answer), strict=True):
        if failed:
            raise OSError(failed, os.strerror(failed), str(work.root / work.paths[index]))
        if size != size_of(work.fingerprints[index]):
            # It changed since it was listed, maybe into something that is no file: look again, closely.
            _hash_here(work, index, stop)
            continue
        total += size
        work.keep(index, size, digest)
    work.advance(total)


@contextlib.contextmanager
def _worker(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    # The worker's own group: Ctrl-C is for the parent, which then closes the pipes.
    command = [sys.executable, "-I", "-S", worker.__file__]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            yield child
        except BaseException:
            child.kill()
            raise


def _batches(indices: list[int], fingerprints: Sequence[Fingerprint]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for index in indices:
        batch.append(index)
        size += size_of(fingerprints[index])
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _look(path: Path) -> Fingerprint:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(_NOT_REGULAR, "not a regular file", str(path))
    return fingerprint(status)


def _open(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(_NOT_REGULAR, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb", buffering=0)
