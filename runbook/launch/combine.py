"""One account of a job from what the hook saw and what a system-level tracer saw."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import msgspec

from runbook.launch.watched import FILES
from runbook.model.watch import FileUse, FolderUse, Process, Watched

LIMIT = (
    "files that native code reads (Arrow, HDF5, LightGBM's own loader, other programs) are not seen: "
    "--trace native"
)
"""What is said of every run that only the hook watched."""
NATIVE_READERS = frozenset(
    {
        *("cv2", "duckdb", "faiss", "h5py", "lightgbm", "netCDF4", "polars", "pyarrow", "rasterio", "tables"),
        *("tensorflow", "torchaudio", "torchvision", "xgboost"),
    }
)
"""Modules with readers of their own, which Python does not see."""
_HARMLESS = frozenset({"ldconfig", "lscpu", "nvidia-smi", "uname"})
"""What libraries start to ask about the machine; no data is read."""
_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_NAMED = 5


def combine(inside: Watched, native: Watched | None = None) -> Watched:
    """What both saw, by the hook's numbers of processes; without a tracer, what the hook cannot have seen.

    native: as `native.read_native` tells it; None when it did not run.
    """
    if native is None:
        lost = (LIMIT, *_suspects(inside), *inside.lost)
        return msgspec.structs.replace(inside, lost=tuple(dict.fromkeys(lost)))
    numbers, added = _match(inside, native)
    files, folders = _files(inside, native, numbers)
    connections = [msgspec.structs.replace(one, process=numbers[one.process]) for one in native.connections]
    told = {(one.process, one.host, one.port) for one in inside.connections}
    subprocesses = [msgspec.structs.replace(one, process=numbers[one.process]) for one in native.subprocesses]
    started = {one.argv for one in inside.subprocesses}
    return msgspec.structs.replace(
        inside,
        tracers=tuple(dict.fromkeys((*inside.tracers, *native.tracers))),
        processes=_ordered((*inside.processes, *added), native, numbers),
        files=files,
        folders=folders,
        connections=(
            *inside.connections,
            *(one for one in connections if (one.process, one.host, one.port) not in told),
        ),
        subprocesses=(*inside.subprocesses, *(one for one in subprocesses if one.argv not in started)),
        lost=tuple(dict.fromkeys((*inside.lost, *native.lost))),
    )


def _suspects(inside: Watched) -> Iterable[str]:
    """What makes it likely that native code read files of this very job."""
    readers = sorted(NATIVE_READERS.intersection(inside.imports))
    if readers:
        yield f"the job imported {_several(readers)}: what native code there reads is not seen: --trace native"
    entered = {PurePosixPath(one).name for process in inside.processes for one in process.argv[:2]}
    names = (PurePosixPath(one.executable or one.argv[0]).name for one in inside.subprocesses if one.argv)
    others = {name for name in names if name and not _PYTHON.fullmatch(name)}
    programs = sorted(others - entered - _HARMLESS)
    if programs:
        yield f"the job started {_several(programs)}, not in Python: what that reads is not seen: --trace native"


def _several(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _match(inside: Watched, native: Watched) -> tuple[dict[int, int], list[Process]]:
    """The number that each process of the tracer has from now on, and those that the hook did not enter."""
    waiting: dict[int, list[Process]] = {}
    for process in inside.processes:
        waiting.setdefault(process.pid, []).append(process)
    numbers: dict[int, int] = {}
    left: dict[int, list[Process]] = {}
    # The same arguments make it sure; a script's first line changes them, and strace cuts long ones.
    for process in native.processes:
        same = [one for one in waiting.get(process.pid, ()) if one.argv == process.argv]
        if same:
            waiting[process.pid].remove(same[0])
            numbers[process.number] = same[0].number
        else:
            left.setdefault(process.pid, []).append(process)
    for pid, processes in left.items():
        entered = waiting.get(pid, [])
        for process, one in zip(reversed(processes), reversed(entered), strict=False):
            numbers[process.number] = one.number
    following = len(inside.processes)
    others = [process for process in native.processes if process.number not in numbers]
    for process in others:
        numbers[process.number] = following
        following += 1
    added = [
        msgspec.structs.replace(
            process,
            number=numbers[process.number],
            parent=None if process.parent is None else numbers[process.parent],
        )
        for process in others
    ]
    return numbers, added


def _ordered(processes: Iterable[Process], native: Watched, numbers: dict[int, int]) -> tuple[Process, ...]:
    """By start, as only the tracer saw it of all; below the program that started each, also one not in Python."""
    left = {one.number: one for one in processes}
    ordered = []
    for told in native.processes:
        process = left.pop(numbers[told.number], None)
        if process is not None:
            parent = numbers[told.parent] if told.parent is not None else None
            if process.parent is None and parent != process.number:
                process = msgspec.structs.replace(process, parent=parent)
            ordered.append(process)
    return (*ordered, *left.values())


def _files(
    inside: Watched, native: Watched, numbers: dict[int, int]
) -> tuple[tuple[FileUse, ...], tuple[FolderUse, ...]]:
    files = {use.path: use for use in inside.files}
    counted = {use.path: use for use in inside.folders}
    for many in native.folders:
        same = counted.get(many.path, many)
        counted[many.path] = FolderUse(
            path=many.path, read=max(many.read, same.read), written=max(many.written, same.written)
        )
    for use in native.files:
        readers = tuple(numbers[one] for one in use.readers)
        writers = tuple(numbers[one] for one in use.writers)
        known = files.get(use.path)
        if known is not None:
            files[use.path] = _both(known, use, readers, writers)
        elif len(files) < FILES:
            files[use.path] = msgspec.structs.replace(
                use, readers=readers, writers=writers, seen_by=("native",), order=-1
            )
        else:
            folder = use.path.rpartition("/")[0] or "/"
            before = counted.get(folder, FolderUse(path=folder))
            counted[folder] = FolderUse(
                path=folder, read=before.read + use.read, written=before.written + use.written
            )
    return (
        tuple(sorted(files.values(), key=lambda use: use.path)),
        tuple(sorted(counted.values(), key=lambda use: use.path)),
    )


def _both(python: FileUse, native: FileUse, readers: tuple[int, ...], writers: tuple[int, ...]) -> FileUse:
    # The tracer alone knows the order among all programs; the hook also tells of attempts, and of more than files.
    return msgspec.structs.replace(
        python,
        read=python.read or native.read,
        written=python.written or native.written,
        first=native.first,
        readers=_united(python.readers, readers),
        writers=_united(python.writers, writers),
        removed=native.removed,
        renamed_from=python.renamed_from or native.renamed_from,
        library=python.library or native.library,
        seen_by=("python", "native"),
    )


def _united(some: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*some, *others}))[:8]
