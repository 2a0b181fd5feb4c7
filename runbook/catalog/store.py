"""The run store: `.runbook/runs/ID/` in the project's root, a folder for every run that was observed.

The record appears, whole, when the run has ended: a folder without one is a run that goes on, or whose runbook was
killed.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from runbook.catalog.objects import ObjectStore
from runbook.digest.atomic import write_atomic
from runbook.errors import UsageError
from runbook.model.text import printable

if TYPE_CHECKING:
    from runbook.model.record import Record

FOLDER: Final = ".runbook"
_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")
_SHOWN = 10
"""Runs that an error names."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    id: str
    path: Path

    @property
    def draft(self) -> Path:
        """The record, as far as it is known."""
        return self.path / "draft.json"

    @property
    def stdout(self) -> Path:
        """Log of the job's standard output."""
        return self.path / "stdout.log"

    @property
    def stderr(self) -> Path:
        """Log of the job's standard error."""
        return self.path / "stderr.log"

    @property
    def watch(self) -> Path:
        """What watching the job sees, while it runs; gone when the record is written."""
        return self.path / "watch"

    @property
    def objects(self) -> ObjectStore:
        """The content that all runs of the project share."""
        return ObjectStore(self.path.parent.parent / "objects")

    @property
    def code(self) -> Path:
        """The code as it was when the job started."""
        return self.path / "code"

    def write(self, record: Record) -> None:
        """Replace the draft, at once and durably."""
        write_atomic(self.draft, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")

    def read(self) -> Record:
        """The draft; raises UsageError when it is absent or not a record of this version."""
        from runbook.model.record import Record

        try:
            return msgspec.json.decode(self.draft.read_bytes(), type=Record)
        except FileNotFoundError:
            hint = "wait for it, or run it again"
            raise UsageError("the run has not ended, or runbook was killed", self.id, hint=hint) from None
        except (OSError, ValueError) as error:
            raise UsageError(
                f"the run's record cannot be read ({error})", self.draft, hint="run it again"
            ) from None


@dataclass(frozen=True)
class RunStore:
    """All runs of one project. `root` is the project's root, absolute."""

    root: Path

    @property
    def path(self) -> Path:
        """The store's folder; git ignores it by a file of its own."""
        return self.root / FOLDER

    def new(self) -> RunFolder:
        """A fresh folder for a run that starts now. Two runbooks at once never get the same."""
        runs = self.path / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            write_atomic(ignore, b"*\n")
        while True:
            now = datetime.now(UTC)
            # The fraction of the second, in 65,536ths: ids sort by time also where two runs share a second.
            id = f"{now:%Y%m%d-%H%M%S}-{(now.microsecond << 16) // 1_000_000:04x}"
            folder = RunFolder(id, runs / id)
            try:
                folder.path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            folder.code.mkdir()
            return folder

    @contextmanager
    def recording(self) -> Iterator[RunFolder]:
        """A fresh folder that goes again when the block fails before there is a record."""
        folder = self.new()
        try:
            yield folder
        except BaseException:
            if not folder.draft.exists():
                shutil.rmtree(folder.path, ignore_errors=True)
            raise

    def list(self) -> list[RunFolder]:
        """Every run, oldest first."""
        runs = self.path / "runs"
        names = sorted(p.name for p in runs.iterdir() if _ID.fullmatch(p.name)) if runs.is_dir() else []
        return [RunFolder(name, runs / name) for name in names]

    def last_original(self) -> RunFolder:
        """The last run that has ended and is no replay; where there is none, the last. Raises as `load`."""
        for folder in reversed(self.list()):
            if folder.draft.is_file() and folder.read().kind == "original":
                return folder
        return self.load("last")

    def others_since(self, folder: RunFolder, moment_ns: int) -> bool:
        """Whether another run of the project goes on, or ended after this Unix time."""
        for other in self.list():
            if other.id != folder.id:
                try:
                    ended = other.draft.stat().st_mtime_ns
                except FileNotFoundError:
                    ended = None  # It goes on, unless its runbook was killed.
                    if not _alive(other):
                        continue
                if ended is None or ended > moment_ns:
                    return True
        return False

    def load(self, wanted: str = "last") -> RunFolder:
        """The run of this id or unique beginning of one, or the `last`. Raises UsageError naming what is there."""
        runs = self.list()
        if not runs:
            hint = "record one: runbook run -- python train.py"
            raise UsageError("no run is recorded here", self.root, hint=hint, id="no-runs")
        if wanted == "last":
            return runs[-1]
        found = [run for run in runs if run.id.startswith(wanted)] if wanted else []
        exact = [run for run in found if run.id == wanted]
        if len(exact or found) == 1:
            return (exact or found)[0]
        listed = "\n".join(f"  {describe(run)}" for run in (found or runs)[-_SHOWN:])
        what = f"{len(found)} runs begin like this" if found else "no such run"
        raise UsageError(what, wanted, hint=f"name one of these, or `last`:\n{listed}", id="no-such-run")


def _alive(run: RunFolder) -> bool:
    """Whether an unfinished run still writes: something of it is younger than an hour."""
    try:
        newest = max(path.stat().st_mtime for path in run.path.iterdir())
    except (OSError, ValueError):
        return False
    return newest > time.time() - 3600


def find_store(start: Path) -> RunStore:
    """The store of the nearest folder upwards that has one; else of `start` itself, empty."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / FOLDER / "runs").is_dir():
            return RunStore(folder)
    return RunStore(start)


def describe(run: RunFolder) -> str:
    """One line for a list: id, status, name."""
    try:
        record = run.read()
    except UsageError:
        return f"{run.id}  {'unreadable' if run.draft.exists() else 'unfinished'}"
    return f"{run.id}  {record.outcome.status}  {printable(record.name)}"
