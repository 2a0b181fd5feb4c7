"""Why two runs differ, for a person: the change in one sentence, then what changed, the likeliest cause first.

The ranking is the comparison's own; here risks become words, and what is said twice is said once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal

from runbook.model.metric import brief
from runbook.model.verdict import REPRODUCED, Comparison, Difference, MetricComparison
from runbook.report.figures import count, signed
from runbook.report.interface import Report

SCHEMA: Final = "runbook/explanation/1"
Weight = Literal["likely", "possible", "unlikely", "cannot matter"]
_WEIGHTS: dict[str, Weight] = {
    "high": "likely",
    "medium": "possible",
    "low": "unlikely",
    "none": "cannot matter",
}
_SIDES = ("A", "B")
_KINDS = {"lock": "package", "argv": "command", "order": "order of reading", "cpu": "CPU"}
"""Families whose names say little to a person."""


@dataclass(frozen=True)
class Cause:
    """One thing that changed, and whether the change of the metrics may come from it."""

    weight: Weight
    family: str
    what: str
    original: str
    replay: str
    why: str
    evidence: tuple[str, ...]
    places: tuple[str, ...]
    """JSON pointers into record.json, `A /seeds/0`."""


def moved(comparison: Comparison) -> bool:
    """Whether there is something to explain."""
    return any(m.verdict not in REPRODUCED for m in comparison.metrics)


def causes(comparison: Comparison) -> tuple[Cause, ...]:
    """What changed, the likeliest first. Where the metrics agree, nothing of it is likely."""
    something = moved(comparison)
    named = {d.what for d in comparison.differences if d.family == "data"}
    return tuple(_cause(d, something) for d in comparison.differences if not _said(d, comparison, named))


def _cause(difference: Difference, something: bool) -> Cause:
    weight = _WEIGHTS[difference.risk]
    return Cause(
        weight=weight if something or weight == "cannot matter" else "unlikely",
        family=difference.family,
        what=difference.what,
        original=difference.original,
        replay=difference.replay,
        why=difference.why,
        evidence=difference.evidence,
        places=tuple(f"{side} {place}" for side, place in zip(_SIDES, difference.pointers, strict=True) if place),
    )


def _said(difference: Difference, comparison: Comparison, data: set[str]) -> bool:
    """Whether others say it better: the files of a tree, the tree of files, the packages of a lock."""
    family, what = difference.family, difference.what
    if family == "code" and what == "source tree":
        return "file by file" in difference.why
    if family == "data":
        return any(what.startswith(f"{folder}/") for folder in data)
    if family == "lock" and what == "requirements file":
        return any(d.family == "lock" and d.what != what for d in comparison.differences)
    if family == "argv" and what == "command":
        return any(d.family in ("argv", "seed") and d.what != what for d in comparison.differences)
    return False


def sentence(comparison: Comparison) -> str:
    """What became of the metrics, and where their curves part."""
    metrics = comparison.metrics
    different = [m for m in metrics if m.verdict not in REPRODUCED]
    if not metrics:
        return "There is no metric on either side, so there is nothing to explain."
    if not different:
        return f"The metrics agree ({comparison.verdict}): there is no difference to explain."
    lead = next((m for m in different if m.points == 1 and m.difference), different[0])
    rest = f"; {count(len(different) - 1, 'other metric')} of {len(metrics)} too" if len(different) > 1 else ""
    return f"{_changed(lead)}{rest}.{_parting(different)}"


def _changed(metric: MetricComparison) -> str:
    if metric.original is None or metric.replay is None:
        return f"{metric.name} is on one side only"
    if metric.original == metric.replay:
        return f"{metric.name} ends at the same value, {brief(metric.original)}, by another way"
    return f"{metric.name} is another: {metric.original} → {metric.replay} ({signed(metric)})"


def _parting(metrics: list[MetricComparison]) -> str:
    found = [m for m in metrics if m.parting is not None]
    if not found:
        return ""
    first = min(found, key=lambda m: m.parting.index if m.parting else 0)
    assert first.parting is not None
    return f" The curve of {first.name}: {first.parting.reading}."


def as_json(report: Report, sides: tuple[str, str]) -> bytes:
    """The explanation as one JSON object, in ASCII."""
    comparison = report.comparison
    assert comparison is not None
    whole = {
        "schema": SCHEMA,
        "a": sides[0],
        "b": sides[1],
        "moved": moved(comparison),
        "verdict": comparison.verdict,
        "sentence": sentence(comparison),
        "causes": [asdict(one) for one in causes(comparison)],
        "advice": list(comparison.advice),
        "metrics": [
            {"name": m.name, "a": m.original, "b": m.replay, "verdict": m.verdict, "parts_at": m.first_parting}
            for m in comparison.metrics
        ],
    }
    return json.dumps(whole, indent=2, allow_nan=False).replace("\x7f", "\\u007f").encode() + b"\n"


def lines(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """The explanation line by line, each with its kind: sentence, heading, cause, why, evidence, place, advice."""
    yield "sentence", sentence(comparison)
    found = causes(comparison)
    weight = ""
    for number, one in enumerate(found, 1):
        if one.weight != weight:
            weight = one.weight
            yield "heading", weight.capitalize()
        kind = _KINDS.get(one.family, one.family)
        what = one.what if kind in one.what or one.family in one.what else f"{kind}: {one.what}"
        change = f": {one.original} → {one.replay}" if _tells(one) else ""
        yield "cause", f"{number}. {what}{change}"
        if one.why:
            yield "why", one.why
        for text in one.evidence:
            yield "evidence", text
        if one.places and one.weight in ("likely", "possible"):
            yield "place", f"in record.json: {', '.join(one.places)}"
    if not found:
        yield "heading", "Nothing that is recorded differs."
    for text in comparison.advice:
        yield "advice", f"- {text}"


def _tells(cause: Cause) -> bool:
    """Whether the two values say something to a person: digests of files do not, where lines are shown."""
    return cause.family not in ("code", "data") or "(none)" in (cause.original, cause.replay)
