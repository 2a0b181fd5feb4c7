"""Several replays of one bundle, one after another: to judge it by them, or to learn how far it spreads.

The environment is built by the first and found built by the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from runbook.bundle.read import Bundle, open_bundle
from runbook.compare.determinism import Ran, changes, determinism
from runbook.compare.metrics import compare_metrics
from runbook.compare.statistics import LEAST, available
from runbook.compare.verdict import Rerun, compare_repeats
from runbook.errors import JobFailed
from runbook.flow.conclude import write_reports
from runbook.flow.replay import Choices, Replayed, rerun, verified
from runbook.flow.seeding import Asked, Plan, plan, seeded
from runbook.flow.vary import tried
from runbook.model.calibration import Repeat
from runbook.model.determinism import Change
from runbook.model.verdict import EXIT
from runbook.progress import SILENT, Progress


@dataclass(frozen=True)
class Once:
    """One of the replays; `done` is None where the job failed, and `failure` says how."""

    asked: Asked
    repeat: Repeat
    done: Replayed | None
    failure: JobFailed | None = None


def check(plan: Plan, bundle: Bundle) -> None:
    """Raise before anything is spent: scipy is missing, or the job has no seed that could be set."""
    if len(plan.values) >= LEAST and (missing := available()) is not None:
        raise missing
    seeded(bundle.record, plan.values[0])


def replays(bundle: Bundle, choices: Choices, plan: Plan, progress: Progress = SILENT) -> Iterator[Once]:
    """Replay a verified bundle once for each seed of the plan. Raises as `rerun`, but for a job that fails."""
    for number, seed in enumerate(plan.values, 1):
        with_seed = "" if seed is None else f", seed {seed}"
        progress.say(f"replay {number} of {len(plan.values)}{with_seed}")
        asked = seeded(bundle.record, seed)
        target = choices.target / f"replay-{number}" if choices.target else None
        try:
            done = rerun(bundle, replace(choices, seed=seed, target=target), progress)
        except JobFailed as failure:
            yield Once(
                asked, Repeat(run="", engine=choices.engine, status="failed", seeds=asked.seeds), None, failure
            )
            continue
        yield Once(asked, _repeat(asked, done), done)


def _repeat(asked: Asked, done: Replayed) -> Repeat:
    record = done.report.replay
    assert record is not None
    return Repeat(
        run=record.run,
        engine=record.engine,
        status=record.outcome.status,
        seeds=asked.seeds,
        values={m.name: m.final for m in record.metrics},
        substitutions=done.comparison.substitutions,
    )


@dataclass(frozen=True)
class Wanted:
    """How often to replay, and with which seeds."""

    number: int
    chosen: tuple[int, ...] = ()
    draw: bool = False
    own: bool = False
    """Whether the bundle's own seeds are kept in any case, for the question is whether the job repeats itself."""
    vary: tuple[str, ...] = ()
    """What to change about the job afterwards, one thing at a time."""


def replay_repeatedly(path: Path, choices: Choices, wanted: Wanted, progress: Progress = SILENT) -> Replayed:
    """Replay several times and judge all together; one report over them.

    With the bundle's own seeds it says too whether the job gives the same twice. Where nothing is said of seeds
    and the bundle was calibrated with other seeds than its own, they are drawn.
    Raises JobFailed for the first replay whose job fails, and else as `replay`.
    """
    with open_bundle(path) as bundle:
        original, known = bundle.record, bundle.record.calibration.value
        others = not wanted.own and not wanted.chosen and known is not None and known.seeding != "frozen"
        seeds = plan(wanted.number, wanted.chosen, wanted.draw or others)
        check(seeds, bundle)
        verified(bundle, progress)
        reruns, last, first = list[Rerun](), None, None
        unlike = list[tuple[Change, ...]]()
        for once in replays(bundle, choices, seeds, progress):
            if once.done is None:
                assert once.failure is not None
                raise once.failure
            report, last = once.done.report, last or once.done
            assert report.replay is not None
            metrics = compare_metrics(
                original.metrics,
                report.replay.metrics,
                bundle.series,
                report.replay_series,
                tolerances=original.tolerances,
                overrides=choices.tolerances,
            )
            reruns.append(Rerun(once.asked.record, report.replay, metrics, once.repeat))
            one = Ran(report.replay, report.replay_series)
            if first is None:
                first = one
            else:
                unlike.append(changes(first, one))
            end = once.done
        assert last is not None
        assert first is not None
        found = determinism(first, unlike) if unlike and seeds.seeding == "frozen" else None
        if found is not None and wanted.vary:
            made = tried(bundle, choices, wanted.vary, found, first, progress)
            found = msgspec.structs.replace(found, sensitivities=made)
    comparison = compare_repeats(
        original, reruns, seeding=seeds.seeding, overrides=choices.tolerances, determinism=found
    )
    joint = replace(last.report, comparison=comparison)
    folder = choices.target or end.folder / "repeats"
    write_reports(joint, folder)
    return Replayed(folder, joint, EXIT[comparison.verdict])
