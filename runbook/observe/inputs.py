"""Which datasets a job read, from the files that it read: single files, and folders where it read many. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

MANY = 32
"""Files read of one folder, from which on the folder is one input."""
_SIBLINGS = 4
"""Folders of one parent, from which on the parent is one input: a folder a class, a folder a day."""


def datasets(paths: Iterable[str], foreign: Iterable[str], never: Iterable[str]) -> list[tuple[str, bool]]:
    """Absolute paths of inputs → (path, whether it is a folder), sorted.

    foreign: paths of code and outputs, which no folder that is an input may hold. never: folders that are too much
    to be one input, such as the project's root and the home.
    """
    files = sorted(set(paths))
    closed = {folder for path in (*foreign, *never) for folder in (path, *_above(path))}
    counts = Counter(_parent(path) for path in files)
    folders = {folder for folder, count in counts.items() if count >= MANY and folder not in closed}
    while True:
        parents = Counter(_parent(folder) for folder in folders)
        merged = {p for p, count in parents.items() if count >= _SIBLINGS and p not in closed and p not in folders}
        if not merged:
            break
        folders |= merged
    tops = {folder for folder in folders if not any(above in folders for above in _above(folder))}
    single = [path for path in files if not any(above in tops for above in _above(path))]
    return sorted([*((folder, True) for folder in tops), *((path, False) for path in single)])


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _above(path: str) -> list[str]:
    return [str(folder) for folder in PurePosixPath(path).parents]
