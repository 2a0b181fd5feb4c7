"""In which order a job read the inputs of a folder: what a listing that nobody sorted decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from runbook.model.files import ReadOrder, SeenFile
from runbook.model.watch import FileUse

_FOLDERS, _FIRST = 200, 5
"""Folders that a record tells of, and names of each."""


def read_orders(files: Iterable[tuple[SeenFile, FileUse]]) -> tuple[ReadOrder, ...]:
    """The orders of those folders whose inputs one and the same process read; nothing where several took turns."""
    folders: dict[str, list[FileUse]] = {}
    for one, use in files:
        if one.kind == "input":
            folders.setdefault(one.path.rpartition("/")[0] or ".", []).append(use)
    found = [
        (path, _order(path, files)) for path, files in folders.items() if len(files) > 1 and _one_reader(files)
    ]
    return tuple(order for _, order in sorted(found)[:_FOLDERS])


def _one_reader(files: Sequence[FileUse]) -> bool:
    return all(one.order >= 0 and len(one.readers) == 1 and one.readers == files[0].readers for one in files)


def _order(path: str, files: Iterable[FileUse]) -> ReadOrder:
    names = [one.path.rpartition("/")[2] for one in sorted(files, key=lambda one: one.order)]
    return ReadOrder(
        path=path,
        files=len(names),
        digest=_digest(names),
        members=_digest(sorted(names)),
        first=tuple(names[:_FIRST]),
    )


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")).hexdigest()
