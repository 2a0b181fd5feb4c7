"""List a tree once: files, links and empty folders; links are never followed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from runbook.errors import UsageError
from runbook.model.code import Link
from runbook.model.path import text_defect


class Walk:
    """A tree as it lies on the disk. Paths are relative and POSIX.

    Raises UsageError for a name that no manifest can hold, NotADirectoryError or FileNotFoundError for the root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._links: list[Link] = []
        self._empty: list[str] = []
        self._others: list[str] = []

    def folders(self) -> Iterator[list[str]]:
        """The regular files of each folder that has any, sorted; what else there is is known when this ends."""
        pending = [""]
        while pending:
            prefix = pending.pop()
            files, folders, seen = [], [], False
            # By descriptor: the kernel then looks up names in one folder instead of whole paths.
            with _folder(self._root, prefix) as descriptor, os.scandir(descriptor) as entries:
                for entry in entries:
                    seen = True
                    name = entry.name
                    path = prefix + name
                    if not (name.isascii() and name.isprintable() and "\\" not in name):
                        _refuse(path)
                    if entry.is_file(follow_symlinks=False):
                        files.append(path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path + "/")
                    elif entry.is_symlink():
                        self._links.append(Link(path=path, target=_target(name, descriptor)))
                    else:
                        self._others.append(path)
            if not seen and prefix:
                self._empty.append(prefix[:-1])
            pending += sorted(folders, reverse=True)
            if files:
                files.sort()
                yield files

    @property
    def links(self) -> tuple[Link, ...]:
        """Symbolic links, by path."""
        return tuple(sorted(self._links, key=lambda link: link.path))

    @property
    def empty_directories(self) -> tuple[str, ...]:
        """Folders that hold nothing, sorted."""
        return tuple(sorted(self._empty))

    @property
    def others(self) -> tuple[str, ...]:
        """Sockets, FIFOs and devices, sorted: nothing that can be kept."""
        return tuple(sorted(self._others))


@contextlib.contextmanager
def _folder(root: Path, prefix: str) -> Iterator[int]:
    descriptor = os.open(root / prefix, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _target(name: str, folder: int) -> str:
    target = os.readlink(name, dir_fd=folder)
    if text_defect(target):
        _refuse(target)
    return target


def _refuse(path: str) -> None:
    if wrong := text_defect(path):
        raise UsageError(
            f"a file name that no manifest can hold (it {wrong.text})",
            path.encode("utf-8", "backslashreplace").decode(),
            hint="rename the file, or leave it out",
            id="unstorable-name",
        )
