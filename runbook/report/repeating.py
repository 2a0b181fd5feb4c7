"""Whether a job repeats itself, and what it is sensitive to, as rows that every format lays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook.model.determinism import Change, Determinism, Sensitivity
from runbook.model.metric import brief

_SAYS = {
    "cause": "it varies because of {}",
    "sensitive": "it is sensitive to {}",
    "fails": "it fails under another {}",
    "cannot tell": "nothing can be said of {}",
    "insensitive": "it is not sensitive to {}",
    "not tried": "not tried: {}",
}
"""Verdict → what is said of the changes that have it, those first that a reader must know."""
MEANING = {
    "cause": "the job does not repeat itself as it is, and two runs with this fixed agree",
    "sensitive": "what is the same in all unchanged runs is not the same with this changed",
    "fails": "the job failed with this changed",
    "cannot tell": "the job varies by itself, also with this fixed",
    "insensitive": "what is the same in all unchanged runs is the same with this changed",
    "not tried": "nothing was changed",
}


@dataclass(frozen=True)
class Row:
    """One metric or output that is not the same in the unchanged runs, as text."""

    what: str
    first: str
    other: str
    difference: str
    where: str


def rows(found: Determinism) -> list[Row]:
    """What varies between the unchanged runs."""
    return [_row(change, found.runs - 1) for change in found.changes]


def _row(change: Change, others: int) -> Row:
    where = "" if change.step is None else f"from step {change.step}"
    if others > 1:
        where += f"{', ' if where else ''}in {change.runs} of the other {others}"
    difference = "–" if change.difference in (None, 0) else brief(change.difference)
    return Row(f"{change.kind} {change.name}", change.first, change.other, difference, where)


def summary(found: Sequence[Sensitivity]) -> str:
    """What the job is sensitive to, in one sentence; empty where nothing was changed."""
    said = []
    for verdict, words in _SAYS.items():
        names = [one.name for one in found if one.verdict == verdict]
        if names:
            said.append(words.format(" and ".join(filter(None, (", ".join(names[:-1]), names[-1])))))
    return "; ".join(said)
