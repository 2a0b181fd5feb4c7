"""List a tree once: files, links, modes and empty folders; links are never followed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.digest.statcache import Fingerprint, fingerprint
from runbook.errors import UsageError
from runbook.model.code import Link, Shape
from runbook.model.path import text_defect

Skip = Callable[[str, bool], bool]
"""(relative POSIX path, is a folder) → leave it out; a folder that is left out is not entered."""


@dataclass(frozen=True)
class Listing:
    """A tree as it lies on the disk. Paths are relative, POSIX, sorted by their UTF-8 bytes."""

    files: list[str]
    fingerprints: list[Fingerprint]
    """`fingerprints[i]` is of `files[i]`."""
    links: tuple[Link, ...]
    executables: tuple[str, ...]
    empty_directories: tuple[str, ...]
    others: tuple[str, ...]
    """Sockets, FIFOs and devices: nothing that can be kept."""

    @property
    def shape(self) -> Shape:
        """What a bag cannot hold of this tree."""
        return Shape(links=self.links, executables=self.executables, empty_directories=self.empty_directories)


def walk(root: Path, *, skip: Skip | None = None) -> Listing:
    """List a tree.

    Raises UsageError for a name that no manifest can hold, NotADirectoryError or FileNotFoundError for the root.
    A folder whose every entry was skipped is not an empty folder.
    """
    found: list[tuple[str, Fingerprint]] = []
    links: list[Link] = []
    executables: list[str] = []
    empty: list[str] = []
    others: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        seen = False
        # By descriptor: the kernel then looks up names in one folder instead of whole paths.
        with _folder(root, prefix) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                seen = True
                name = entry.name
                path = prefix + name
                if not (name.isascii() and name.isprintable() and "\\" not in name):
                    _refuse(path)
                file = entry.is_file(follow_symlinks=False)
                folder = not file and entry.is_dir(follow_symlinks=False)
                if skip is not None and skip(path, folder):
                    continue
                if file:
                    status = entry.stat(follow_symlinks=False)
                    found.append((path, fingerprint(status)))
                    if status.st_mode & 0o100:
                        executables.append(path)
                elif folder:
                    pending.append(path + "/")
                elif entry.is_symlink():
                    links.append(Link(path=path, target=_target(name, descriptor)))
                else:
                    others.append(path)
        if not seen and prefix:
            empty.append(prefix[:-1])
    found.sort()  # Strings sort by code point, which is how their UTF-8 bytes sort.
    return Listing(
        files=[path for path, _ in found],
        fingerprints=[mark for _, mark in found],
        links=tuple(sorted(links, key=lambda link: link.path)),
        executables=tuple(sorted(executables)),
        empty_directories=tuple(sorted(empty)),
        others=tuple(sorted(others)),
    )


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
