"""`calibrate`: replay several times → keep what each metric gave → a new bundle that says so.

A bundle never changes, and its id names every byte of it: what is fixed beforehand must be inside. So a calibrated
bundle is another bundle with another id, whose record names the one that it was made from.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from runbook import __version__
from runbook.bundle.read import open_bundle
from runbook.bundle.write import check_target
from runbook.errors import NotComparable
from runbook.flow import repeat
from runbook.flow.replay import Choices, verified
from runbook.flow.reseal import reseal
from runbook.flow.seeding import Plan
from runbook.model.calibration import Calibration, Repeat
from runbook.model.fact import observed
from runbook.model.record import Record
from runbook.progress import SILENT, Progress

if TYPE_CHECKING:
    from runbook.catalog.store import RunFolder
    from runbook.flow import capture

_LEAST = 2
"""Repeats that must complete: one shows no spread."""


@dataclass(frozen=True)
class Calibrated:
    """A new bundle with a calibration."""

    path: Path
    id: str
    record: Record
    calibration: Calibration


def calibrate(
    path: Path,
    choices: Choices,
    plan: Plan,
    target: Path,
    *,
    archive: bool = False,
    force: bool = False,
    named: bool = True,
    progress: Progress = SILENT,
) -> Calibrated:
    """Replay a bundle as the plan says and write it anew with what came of it.

    named: whether the record names the bundle that was replayed, which is pointless for one that nobody keeps.
    A job that fails in some repeats is part of the truth and recorded; JobFailed where fewer than two completed.
    """
    check_target(target, form="zip" if archive else "directory", replace=force)
    with open_bundle(path) as bundle:
        repeat.check(plan, bundle)
        verified(bundle, progress)
        done, machine, failure = list[Repeat](), "", None
        for one in _measured(repeat.replays(bundle, choices, plan, progress)):
            done.append(one.repeat)
            failure = one.failure or failure
            if one.done is not None and one.done.report.replay is not None:
                machine = machine or one.done.report.replay.host.cpu_model.value or ""
        if failure is not None and sum(one.status == "completed" for one in done) < _LEAST:
            raise failure
        calibration = Calibration(
            seeding=plan.seeding,
            repeats=tuple(done),
            of=bundle.id if named else "",
            machine=machine,
            runbook=__version__,
        )
        record = msgspec.structs.replace(bundle.record, runbook=__version__, calibration=observed(calibration))
        progress.say("sealing the calibrated bundle")
        return Calibrated(
            target, reseal(bundle, record, target, archive=archive, replace=force), record, calibration
        )


def _measured(replays: Iterator[repeat.Once]) -> Iterator[repeat.Once]:
    """The same; NotComparable where a repeat was of something else than the bundle, which would spoil its band."""
    for one in replays:
        if one.done is not None and (broken := one.done.comparison.broken_preconditions):
            hint = f"{one.done.folder / 'report.html'} lists what differs"
            raise NotComparable("a repeat is not of this bundle", broken[0], hint=hint, id="repeat-differs")
        yield one


def freeze_calibrated(
    folder: RunFolder, how: capture.Choices, plan: Plan, choices: Choices, progress: Progress = SILENT
) -> capture.Captured:
    """Freeze a recorded run, replay it as the plan says, and seal both into one bundle. Raises as both do."""
    from runbook.flow.capture import freeze, place

    target = place(folder.read().name, how)
    with tempfile.TemporaryDirectory(prefix="runbook-calibrate-") as scratch:
        first = Path(scratch) / "first.runbook"
        captured = freeze(folder, replace(how, target=first, archive=False, force=False), progress)
        done = calibrate(
            first,
            choices,
            plan,
            target,
            archive=how.archive,
            force=how.force,
            named=False,
            progress=progress,
        )
    return replace(captured, path=target, id=done.id, record=done.record)
