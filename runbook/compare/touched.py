"""What a job touched, as far as its record shows: packages, files, names that its code looks up.

Every answer is one of three: it did, it did not, or the record cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from runbook.compare import program
from runbook.compare.contents import Manifests
from runbook.model.record import Record

if TYPE_CHECKING:
    import ast

_LOADED_UNSEEN = ("nvidia-", "intel-", "mkl", "tbb", "cuda-", "torch-", "jax-", "triton")
"""Beginnings of packages whose libraries others load without importing them."""
_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_PROGRAMS_CAP = 200
"""Source files of the job that are parsed."""


class Touched:
    """One side."""

    def __init__(self, record: Record, manifests: Manifests) -> None:
        self._record, self._manifests = record, manifests
        self._watch = record.watch.value
        self._files = {one.path: one for one in record.files if one.kind != "package"}

    @cached_property
    def programs(self) -> Mapping[str, ast.Module]:
        """The Python files of the code that the job read, parsed; without a watch, all of them."""
        entries = [e for e in self._manifests.code or () if e.path.endswith(".py")]
        used = [e for e in entries if self.opened(e.path) is not False][:_PROGRAMS_CAP]
        read = ((e.path, program.parsed(e.path, self._manifests.read("", e))) for e in used)
        return {path: tree for path, tree in read if tree is not None}

    def imported(self, name: str) -> bool | None:
        """Whether the job imported a package, by its normalised name, or read any file of it."""
        package = next((one for one in self._record.environment.packages if one.name == name), None)
        if package is None:
            return False
        if self._watch is None or not self._watch.processes or not package.imports:
            return None
        tops = {one.partition(".")[0].partition("/")[0] for one in package.imports}
        if not tops.isdisjoint(self._watch.imports) or any(
            one.kind == "package" and one.path in (name, *tops) and one.why == "imported"
            for one in self._record.files
        ):
            return True
        return None if name.startswith(_LOADED_UNSEEN) or not self._record.files else False

    def opened(self, path: str) -> bool | None:
        """Whether the job opened a file of the project, by its path relative to the root."""
        if path in self._files or any(
            path == i.path or path.startswith(f"{i.path}/") for i in self._record.inputs
        ):
            return True
        if self._watch is None or not self._watch.processes or not self._record.files:
            return None
        source = PurePosixPath(path)
        compiled = f"{source.parent / '__pycache__' / source.stem}.".removeprefix("./")
        if source.suffix == ".py" and any(one.startswith(compiled) for one in self._files):
            return True
        if any(one.files > 1 for one in self._files.values()) or self._watch.folders:
            return None  # Too many to be listed one by one.
        if any(one.startswith("a Python process was started") for one in self._watch.lost):
            return None
        if source.suffix != ".py" and "native" not in self._watch.tracers and self._others_may_read():
            return None
        return False

    def _others_may_read(self) -> bool:
        """Whether there is a reason to believe that files of this very job were read unseen."""
        first = PurePosixPath(self._record.job.argv[0]).name if self._record.job.argv else ""
        lost = self._watch.lost if self._watch else ()
        unseen = any(one.startswith(("the job imported", "the job started")) for one in lost)
        return unseen or not _PYTHON.fullmatch(first)

    def looks_up(self, name: str) -> tuple[str, ...] | None:
        """Where the code names this variable, `train.py:14`; None where no code could be read."""
        return program.naming(self.programs, name) if self.programs else None
