"""Watching a job from inside: the environment that lets the hook in, and what its logs tell.

The hook itself is `runbook/launch/inside`. What it sees, and what not: docs/watching.md.
"""

from __future__ import annotations

import heapq
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runbook.launch.watched import Fold
    from runbook.model.watch import Watched

VARIABLE = "RUNBOOK_WATCH"
"""Tells a process of the job that it is watched, and where the logs are."""
VARY = "RUNBOOK_VARY"
"""Tells it what to change on purpose, `order` or `time`; never set but by a replay that was asked to."""
_INSIDE = Path(__file__).parent / "inside"
_LOG_CAP = 512 << 20
_TOTAL_CAP = 8 << 30
_LOGS = 20_000
_CHUNK = 1 << 16
_RECORD_CAP = 1 << 20


def prepare(folder: Path, env: Mapping[str, str], *, seen_as: str = "", vary: str = "") -> dict[str, str]:
    """Make the watch folder and return the environment to start the job with.

    The hook is copied into it: one folder to mount, and its bytecode is cached there for any Python. What is
    compiled already comes along: compiling takes longer than all else that the hook does at a process's start.
    seen_as: the folder's path as the job sees it, when that is another (in a container).
    vary: what the hook changes on purpose, `order` or `time`; without it nothing, whatever `env` says.
    """
    (folder / "kept").mkdir(parents=True, exist_ok=True)
    for source in _INSIDE.glob("*.py"):
        if not Path(cache_from_source(str(source))).exists():
            import py_compile

            with suppress(OSError):  # Installed where this user cannot write.
                py_compile.compile(str(source), doraise=True)
    shutil.copytree(_INSIDE, folder / "inside", dirs_exist_ok=True)
    (folder / "started").touch()
    watch = seen_as or str(folder.absolute())
    path = [f"{watch}/inside", *([env["PYTHONPATH"]] if env.get("PYTHONPATH") else [])]
    made = {**env, "PYTHONPATH": os.pathsep.join(path), VARIABLE: watch, VARY: vary}
    if not vary:
        del made[VARY]
    return made


def logging(folder: Path, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a job that is not watched, but may log by itself (see runbook.api)."""
    folder.mkdir(parents=True, exist_ok=True)
    return {**env, VARIABLE: str(folder.absolute())}


def read_watch(folder: Path) -> Watched:
    """What the logs of a watch folder tell.

    They are read as hostile: a replay's job may have written them. Nothing in them makes this fail, or use memory
    without bound; what is not understood is said in `lost`.
    """
    from runbook.launch.watched import Fold  # Not what a job's start has to wait for.

    fold = Fold()
    for log, kind, fields in _merged(_logs(folder, fold), fold):
        fold.add(log, kind, fields)
    return fold.result()


def _logs(folder: Path, fold: Fold) -> list[tuple[int, Path, int]]:
    """Start, path and size of the logs, by start."""
    found: list[tuple[int, Path, int]] = []
    total = 0
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".log"))
    except OSError:
        names = []
    for name in names:
        path = folder / name
        try:
            status = path.lstat()
        except OSError:
            continue
        total += status.st_size
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LOG_CAP:
            fold.lose(f"a log is no regular file of at most {_LOG_CAP >> 20} MiB and was not read")
        elif len(found) >= _LOGS or total > _TOTAL_CAP:
            fold.lose(f"more than {_LOGS} processes, or {_TOTAL_CAP >> 30} GiB of logs: the rest was not read")
            break
        else:
            found.append((_number(name.removesuffix(".log").partition("-")[2].encode(), 16), path, status.st_size))
    return sorted(found)


def _merged(logs: list[tuple[int, Path, int]], fold: Fold) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """The records of all logs by time; only logs of processes that were alive at once are read side by side."""
    heap: list[tuple[int, int, bytes, list[bytes], Iterator[tuple[int, bytes, list[bytes]]]]] = []
    waiting = list(enumerate(logs))[::-1]
    while heap or waiting:
        while waiting and (not heap or waiting[-1][1][0] <= heap[0][0]):
            number, (start, path, size) = waiting.pop()
            records = _records(path, size, start, fold)
            _advance(heap, number, records)
        if heap:
            _, number, kind, fields, records = heapq.heappop(heap)
            yield number, kind, fields
            _advance(heap, number, records)


def _advance(
    heap: list[tuple[int, int, bytes, list[bytes], Iterator[tuple[int, bytes, list[bytes]]]]],
    number: int,
    records: Iterator[tuple[int, bytes, list[bytes]]],
) -> None:
    following = next(records, None)
    if following is not None:
        heapq.heappush(heap, (following[0], number, following[1], following[2], records))


def _records(path: Path, size: int, start: int, fold: Fold) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Time (monotonic, ns), kind and fields of each record of one log."""
    time, torn = start, False
    for record in _pieces(path, size, fold):
        if not record.endswith(b"\n"):
            torn = True
        elif record[:1] == b"t":
            time = max(time, _number(record[1:-1], 10))
        else:
            yield time, record[:1], record[1:-1].split(b"\x1f")
    if torn:
        fold.lose("a log has records that are torn or not ours: they were not read")


def _pieces(path: Path, size: int, fold: Fold) -> Iterator[bytes]:
    """What lies between the zero bytes. The file is opened for each chunk: thousands may be read side by side."""
    rest, offset = b"", 0
    while offset < size:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                chunk = os.pread(descriptor, min(_CHUNK, size - offset), offset)
            finally:
                os.close(descriptor)
        except OSError:
            fold.lose("a log could not be read to its end")
            return
        if not chunk:
            break
        offset += len(chunk)
        *whole, rest = (rest + chunk).split(b"\0")
        if len(rest) > _RECORD_CAP:
            fold.lose("a log holds what cannot be a record: the rest of it was not read")
            return
        yield from filter(None, whole)
    if rest:
        yield rest


def _number(text: bytes, base: int) -> int:
    """A number of a log; 0 when it is none, or none that a clock shows."""
    try:
        return max(0, int(text[:20], base))
    except ValueError:
        return 0
