"""`replay --vary`: after the unchanged runs, one more for each change, held against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runbook.bundle.read import Bundle
from runbook.compare.determinism import Ran, sensitivity
from runbook.errors import JobFailed
from runbook.flow.own import is_own
from runbook.flow.preflight import find_engine
from runbook.flow.replay import Choices, rerun
from runbook.flow.variations import Impossible, Setting, Variation, variations
from runbook.model.determinism import Determinism, Sensitivity
from runbook.progress import Progress


def tried(
    bundle: Bundle, choices: Choices, names: Sequence[str], control: Determinism, first: Ran, progress: Progress
) -> tuple[Sensitivity, ...]:
    """Replay under each change. Raises as `rerun`, but for a job that fails: that is an answer.

    control, first: what the unchanged runs gave, and the first of them. Where their metrics vary, each change is
    made twice: do they still vary, once this is fixed?
    """
    setting = Setting(bundle.record, find_engine(choices.engine, own=is_own(bundle.id)).name, choices.limits.cpus)
    found = []
    for one in variations(names, setting):
        if isinstance(one, Impossible):
            found.append(Sensitivity(name=one.name, how="", verdict="not tried", words=one.why))
            continue
        times = 2 if control.verdict == "not deterministic" else 1
        found.append(_tried(bundle, choices, one, control, first, times, progress))
    return tuple(found)


def _tried(
    bundle: Bundle,
    choices: Choices,
    change: Variation,
    control: Determinism,
    first: Ran,
    times: int,
    progress: Progress,
) -> Sensitivity:
    runs, met = list[Ran](), None
    for number in range(1, times + 1):
        name = change.name if times == 1 else f"{change.name}-{number}"
        progress.say(f"replay with other {name}: {change.how}")
        target = choices.target / f"vary-{name}" if choices.target else None
        try:
            done = rerun(bundle, replace(choices, variation=change, target=target), progress)
        except JobFailed as failure:
            words = f"{failure}" + (f"; {failure.hint}" if failure.hint else "")
            return Sensitivity(name=change.name, how=change.how, verdict="fails", words=words)
        record = done.report.replay
        assert record is not None
        runs.append(Ran(record, done.report.replay_series))
        if change.inside:
            watched = record.watch.value
            met = watched.varied.get(change.inside, 0) if watched is not None else 0
    return sensitivity(change.name, change.how, control, first, runs, met)
