"""The verdict over two records: metrics, preconditions, substitutions, and what else differs.

`replaying` asks whether the second record reproduces the first: other code, data, command or packages make the two
not comparable, and a metric that differs on a substituted machine is not comparable rather than different.
Otherwise any two records are laid side by side and only their metrics decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from runbook.compare import repeats
from runbook.compare.contents import Manifests
from runbook.compare.data import compare_code, compare_inputs, compare_jobs, compare_orders, compare_seeds
from runbook.compare.environment import breaks_lock, compare_environments
from runbook.compare.facts import differ
from runbook.compare.host import compare_accelerators, compare_hosts
from runbook.compare.metrics import compare_metrics
from runbook.compare.prefix import Prefixes, Stop, as_partial, prefixes
from runbook.compare.tolerances import describe_overrides
from runbook.compare.weigh import Weigher
from runbook.compare.wording import sentence
from runbook.model.calibration import Repeat, Seeding
from runbook.model.determinism import Determinism
from runbook.model.job import Outcome
from runbook.model.metric import Series, Tolerance
from runbook.model.record import Record
from runbook.model.verdict import STRENGTH, Comparison, Difference, MetricComparison, Verdict

_PATH = re.compile(r"/\S+")
_BAD_ENDS = frozenset(("failed", "killed", "timeout", "interrupted"))


def compare(
    original: Record,
    replay: Record,
    series_a: Mapping[str, Series],
    series_b: Mapping[str, Series],
    *,
    replaying: bool,
    overrides: Sequence[Tolerance] = (),
    substitutions: Sequence[str] = (),
    manifests: tuple[Manifests, Manifests] | None = None,
    stop: Stop | None = None,
) -> Comparison:
    """Compare two records. Tolerances are the original's; `overrides` are looked at before them and named.

    substitutions: what the flow knows it replaced, one sentence each; those that the records show are added.
    manifests: the files of both sides, so that differences in code and data are named file by file.
    stop: why the replay was stopped before its end: only what it reached is compared.
    """
    cut = None
    if stop is not None:
        cut = prefixes(original.metrics, replay.metrics, series_a, series_b, stop)
    found = differences_of(original, replay, manifests)
    weigher = Weigher(original, replay, manifests)
    metrics = compare_metrics(
        cut.original if cut else original.metrics,
        cut.replay if cut else replay.metrics,
        cut.series_a if cut else series_a,
        cut.series_b if cut else series_b,
        tolerances=original.tolerances,
        overrides=overrides,
    )
    if not replaying:
        return _conclude(original, metrics, found, weigher, overrides)
    calibration = original.calibration.value
    if cut and calibration is not None:  # The band is that of final values.
        metrics = tuple(_varies(m) for m in metrics)
    return _conclude(
        original,
        metrics if cut else repeats.across(original, [metrics], calibration, overrides),
        found,
        weigher,
        overrides,
        broken=_broken(original, replay, found),
        replaced=(*substitutions, *_substituted(found)),
        replaying=True,
        remarks=() if cut else tuple(repeats.remarks(calibration, True, "frozen")),
        cut=cut,
    )


def _varies(metric: MetricComparison) -> MetricComparison:
    """A series that parted, of a job that is known to vary and has no band for its points."""
    if metric.verdict != "different":
        return metric
    return _weaken(
        metric, "inconclusive", f"{metric.reason}; the job varies, and only its final values have a band"
    )


@dataclass(frozen=True)
class Rerun:
    """One of several replays."""

    asked: Record
    """The bundle's record; with other seeds in its job, where the replay was asked for these."""
    record: Record
    metrics: tuple[MetricComparison, ...]
    """Against the original's, by tolerance alone: no curve has to be kept for longer."""
    repeat: Repeat


def compare_repeats(
    original: Record,
    reruns: Sequence[Rerun],
    *,
    seeding: Seeding,
    overrides: Sequence[Tolerance] = (),
    determinism: Determinism | None = None,
) -> Comparison:
    """Compare at least one replay with the original and with the repeats that the bundle was calibrated by.

    seeding: which seeds the replays had. A precondition that one of them breaks is broken for all.
    determinism: what the replays say of the job when they are held against each other.
    """
    found = [differences_of(one.asked, one.record) for one in reruns]
    differences = {(d.family, d.what, d.original): d for one in reversed(found) for d in one}.values()
    calibration = original.calibration.value
    used = repeats.comparable(calibration, seeding)
    broken = [b for one, d in zip(reruns, found, strict=True) for b in _broken(one.asked, one.record, d)]
    replaced = [
        r for one, d in zip(reruns, found, strict=True) for r in (*one.repeat.substitutions, *_substituted(d))
    ]
    return _conclude(
        original,
        repeats.across(original, [one.metrics for one in reruns], calibration if used else None, overrides),
        list(differences),
        Weigher(original, reruns[0].record, None),
        overrides,
        broken=tuple(dict.fromkeys(broken)),
        # Scratch folders differ from replay to replay; what was replaced does not.
        replaced=tuple({_PATH.sub("/", text): text for text in reversed(replaced)}.values())[::-1],
        replaying=True,
        replays=tuple(one.repeat for one in reruns),
        determinism=determinism,
        remarks=tuple(repeats.remarks(calibration, used, seeding)),
    )


def _conclude(
    original: Record,
    metrics: tuple[MetricComparison, ...],
    found: Sequence[Difference],
    weigher: Weigher,
    overrides: Sequence[Tolerance],
    *,
    broken: tuple[str, ...] = (),
    replaced: tuple[str, ...] = (),
    replaying: bool = False,
    replays: tuple[Repeat, ...] = (),
    determinism: Determinism | None = None,
    remarks: tuple[str, ...] = (),
    cut: Prefixes | None = None,
) -> Comparison:
    """The verdict over all metrics, in the light of what the replays were and of what else differs."""
    differences = weigher.weighed(found, metrics)
    advice = weigher.advice(differences, metrics)
    replaced = tuple(dict.fromkeys(replaced))
    seeded = bool(original.seeds)
    if replaying:
        metrics = tuple(_under_replay(m, bool(broken), bool(replaced), seeded) for m in metrics)
    if cut:
        metrics = tuple(as_partial(m, cut.whole[m.name]) for m in metrics)
    verdict = _overall(metrics, broken) if metrics or broken or not cut else "inconclusive"
    return Comparison(
        verdict=verdict,
        reason=sentence(
            verdict,
            metrics,
            differences,
            broken=broken,
            replaced=replaced,
            seeded=seeded,
            determinism=determinism,
            partial=cut.partial if cut else None,
        ),
        metrics=metrics,
        differences=differences,
        advice=advice,
        broken_preconditions=broken,
        substitutions=replaced,
        overrides=describe_overrides(overrides, [m.name for m in metrics]),
        repeats=replays,
        determinism=determinism,
        remarks=remarks,
        partial=cut.partial if cut else None,
    )


def differences_of(
    original: Record, replay: Record, manifests: tuple[Manifests, Manifests] | None = None
) -> list[Difference]:
    """Everything other than a metric that is not the same on both sides, with what is known of it in general."""
    files = (manifests[0].code, manifests[1].code) if manifests else (None, None)
    found = [
        *_outcome(original.outcome, replay.outcome),
        *compare_seeds(original, replay),
        *compare_code(original.code, replay.code, *files),
        *compare_inputs(original.inputs, replay.inputs, manifests),
        *compare_orders(original.orders, replay.orders),
        *compare_jobs(original, replay),
        *compare_environments(original.environment, replay.environment),
        *compare_hosts(original.host, replay.host),
        *compare_accelerators(original.accelerators, replay.accelerators),
    ]
    if original.engine != replay.engine:
        found.append(differ("engine", "where it ran", original.engine, replay.engine, ("low", "")))
    return found


def weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """The overall verdict of several; with none, nothing was compared."""
    return max(verdicts, key=STRENGTH.index, default="not comparable")


def _overall(metrics: Sequence[MetricComparison], broken: Sequence[str]) -> Verdict:
    return weakest([m.verdict for m in metrics] + (["not comparable"] if broken else []))


def _under_replay(metric: MetricComparison, broken: bool, replaced: bool, seeded: bool) -> MetricComparison:
    """What the arithmetic found, in the light of what the replay was."""
    if broken:
        found = "the numbers agree" if metric.verdict in ("identical", "within tolerance") else metric.reason
        return _weaken(metric, "not comparable", f"{found}, but a precondition does not hold")
    if metric.verdict == "different" and replaced:
        return _weaken(metric, "not comparable", f"{metric.reason}, under a substitution")
    if metric.verdict in ("within tolerance", "equivalent") and not seeded:
        luck = "so it may be luck" if metric.verdict == "within tolerance" else "which is never called reproduced"
        return _weaken(metric, "inconclusive", f"{metric.reason}; no seed was seen, {luck}")
    return metric


def _weaken(metric: MetricComparison, verdict: Verdict, reason: str) -> MetricComparison:
    return msgspec.structs.replace(metric, verdict=verdict, reason=reason)


def _broken(original: Record, replay: Record, differences: Sequence[Difference]) -> tuple[str, ...]:
    """What makes the second record no replay of the first."""
    broken = []
    ends = _end(original.outcome), _end(replay.outcome)
    if replay.outcome.status in _BAD_ENDS and ends[0] != ends[1]:
        broken.append(f"outcome: the original {ends[0]}, the replay {ends[1]}")
    for d in differences:
        if (d.family == "code" and d.what == "source tree") or d.family in ("data", "argv"):
            broken.append(f"{d.family}: {d.what}: {d.original} → {d.replay}")
        elif d.family == "lock" and (d.what == "requirements file" or breaks_lock(d, original.environment)):
            broken.append(f"lock: {d.what}: {d.original} → {d.replay}")
    if original.environment.interpreter.known and not replay.environment.interpreter.known:
        broken.append(f"lock: the replay's packages are not known: {replay.environment.interpreter.reason}")
    return tuple(broken)


def _substituted(differences: Sequence[Difference]) -> list[str]:
    """What a replay had to replace, as the records show it; what is merely unknown on a side is not replaced."""
    return [
        f"{d.family}: {d.what}: {d.original} → {d.replay}"
        for d in differences
        if d.why != "known on one side only"
        and (d.family in ("base", "interpreter") or (d.family in ("cpu", "accelerator") and d.risk != "low"))
    ]


def _outcome(original: Outcome, replay: Outcome) -> list[Difference]:
    a, b = _end(original), _end(replay)
    declared = {original.status, replay.status} == {"unobserved", "completed"}
    if a == b or declared or replay.status == "stopped":
        return []
    return [differ("outcome", "the job", a, b, ("high", "what it reports after another end means something else"))]


def _end(outcome: Outcome) -> str:
    """How the job ended, in words."""
    if outcome.status == "failed" and outcome.exit_code.known:
        return f"failed with exit code {outcome.exit_code.value}"
    words = {
        "completed": "completed",
        "failed": "failed",
        "killed": f"was killed{f' by {outcome.signal}' if outcome.signal else ''}",
        "timeout": "ran out of time",
        "interrupted": "was interrupted",
        "stopped": "was stopped",
        "unobserved": "was not observed",
    }
    return words[outcome.status]
