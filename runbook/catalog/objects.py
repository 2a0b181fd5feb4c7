"""Content kept beside the runs, stored once however many runs share it: `.runbook/objects/ab/cdef…`."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runbook.model.manifest import Entry


@dataclass(frozen=True)
class ObjectStore:
    """Files by their sha256. `path` is the store's folder; it is made when it is first written to."""

    path: Path

    def at(self, sha256: str) -> Path:
        """Where the content of this hash lies, whether or not it is there."""
        return self.path / sha256[:2] / sha256[2:]

    def keep(self, root: Path, entries: Iterable[Entry]) -> list[str]:
        """Copy what is not held yet. A path whose content changed since it was hashed is returned, not kept."""
        changed = []
        for entry in entries:
            target = self.at(entry.sha256)
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
            try:
                shutil.copyfile(root / entry.path, partial)
                with partial.open("rb") as stream:
                    same = hashlib.file_digest(stream, "sha256").hexdigest() == entry.sha256
                if same:
                    partial.rename(target)
                else:
                    changed.append(entry.path)
            except OSError:
                changed.append(entry.path)
            finally:
                partial.unlink(missing_ok=True)
        return changed
