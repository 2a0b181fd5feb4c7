"""Files below the project that changed while the job ran, whoever wrote them: native writers go past the hook."""

from __future__ import annotations

import os
import time
from pathlib import Path

ENTRIES = 200_000
_SECONDS = 5.0
_SKIPPED = frozenset(
    (
        ".git",
        ".hg",
        ".svn",
        ".runbook",
        "__pycache__",
        "node_modules",
        ".mypy_cache",
        ".ruff_cache",
        ".pytest_cache",
    )
)


def changed_since(root: Path, began_ns: int) -> tuple[list[str], str]:
    """Absolute paths of regular files that were changed at or after this Unix time; and what was not looked at.

    Virtual environments, runbook's own folders and caches are passed over, links are not followed. It looks at so
    many entries and takes so many seconds at most.
    """
    found: list[str] = []
    pending, seen, until = [os.fspath(root)], 0, time.monotonic() + _SECONDS
    while pending:
        folder = pending.pop()
        inside: list[str] = []
        changed: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if entry.name == "pyvenv.cfg":
                        inside, changed = [], []
                        break
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in _SKIPPED and not entry.name.endswith((".runbook", ".partial")):
                            inside.append(entry.path)
                    elif entry.is_file(follow_symlinks=False) and _changed(entry, began_ns):
                        changed.append(entry.path)
        except OSError:
            continue
        pending += inside
        found += changed
        if seen > ENTRIES or time.monotonic() > until:
            return sorted(found), f"the project has more than {seen} files: not all were looked at for changes"
    return sorted(found), ""


def _changed(entry: os.DirEntry[str], began_ns: int) -> bool:
    return entry.stat(follow_symlinks=False).st_mtime_ns >= began_ns
