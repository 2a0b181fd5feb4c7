"""Whether runs of one job on one machine are the same, bit for bit, and what a change of one thing does to it.

Nothing is allowed here: the question is not how close two numbers are, but whether chance has a hand in them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from runbook.compare.metrics import compare_metrics
from runbook.model.determinism import Change, Determinism, Sensitivity
from runbook.model.metric import Number, Series
from runbook.model.record import Record

_NAMED = 3
"""How many changes a sentence names."""
_DIGITS = 12


@dataclass(frozen=True)
class Ran:
    """One run: its record, and the curves of its metrics."""

    record: Record
    series: Mapping[str, Series]


def changes(first: Ran, other: Ran) -> tuple[Change, ...]:
    """Metrics, with their whole series, and outputs that are not the same in two runs."""
    metrics = compare_metrics(first.record.metrics, other.record.metrics, first.series, other.series)
    found = [
        Change(
            kind="metric",
            name=m.name,
            first=_value(m.original),
            other=_value(m.replay),
            difference=m.difference,
            step=m.first_parting,
        )
        for m in metrics
        if m.verdict != "identical"
    ]
    a, b = ({o.path: o.digest for o in one.record.outputs} for one in (first, other))
    for path in dict.fromkeys([*a, *b]):
        if a.get(path) != b.get(path):
            sides = ((side[path][:_DIGITS] if path in side else "absent") for side in (a, b))
            found.append(Change(kind="output", name=path, first=next(sides), other=next(sides)))
    return tuple(found)


def determinism(first: Ran, others: Sequence[Sequence[Change]]) -> Determinism:
    """What several runs in one environment say of the job; others: each further run against the first."""
    varying: dict[tuple[str, str], Change] = {}
    for found in others:
        for change in found:
            known = varying.get((change.kind, change.name))
            varying[change.kind, change.name] = replace(known, runs=known.runs + 1) if known else change
    runs, all_changes = len(others) + 1, tuple(varying.values())
    metrics, outputs = len(first.record.metrics), len(first.record.outputs)
    compared = " and ".join(_count(n, word) for n, word in ((metrics, "metric"), (outputs, "output")) if n)
    here = f"{'two' if runs == 2 else runs} runs in the same environment on this machine"
    moved = [c for c in all_changes if c.kind == "metric"]
    if not compared and not all_changes:
        verdict, words = "cannot tell", "the job leaves no metric and no output that could be compared"
    elif not all_changes:
        verdict, words = (
            "deterministic",
            f"the job is deterministic here: {here} gave the same {compared}, bit for bit",
        )
    elif not moved:
        same = (
            f"gave the same {_count(metrics, 'metric')}, but not the same" if metrics else "did not give the same"
        )
        verdict, words = "outputs vary", f"the outputs of the job vary here: {here} {same} {_names(all_changes)}"
    else:
        verdict, words = (
            "not deterministic",
            f"the job is not deterministic here: {here} differ in {_names(moved)}",
        )
    return Determinism(
        verdict=verdict,  # type: ignore[arg-type]
        words=words,
        runs=runs,
        metrics=metrics,
        outputs=outputs,
        changes=all_changes,
    )


def sensitivity(
    name: str, how: str, control: Determinism, first: Ran, varied: Sequence[Ran], met: int | None = None
) -> Sensitivity:
    """What one change did. varied: one run; where the metrics of the control vary, two of the same change.

    Only what was the same in all runs of the control can be said to have changed. What varied there is asked
    another question: whether it still does, once this one thing is fixed.
    met: how often the job asked for what was changed, at least; None where that is not known.
    """
    noisy = {(c.kind, c.name) for c in control.changes}
    found = [c for c in changes(first, varied[0]) if (c.kind, c.name) not in noisy]
    made = Sensitivity(
        name=name,
        how=how,
        verdict="insensitive",
        words="",
        changes=tuple(found),
        runs=tuple(one.record.run for one in varied),
    )
    if met == 0:
        words = "the job never asked for it in Python, so nothing was changed"
        return replace(made, verdict="not tried", words=words, changes=())
    moved = [c for c in control.changes if c.kind == "metric"]
    if moved and len(varied) > 1:
        still = {(c.kind, c.name) for c in changes(varied[0], varied[1])}
        settled = [c for c in moved if (c.kind, c.name) not in still]
        if settled:
            agree, rest = ([c.name for c in moved if (c in settled) == yes] for yes in (True, False))
            words = f"with this fixed, two runs agree in {_list(agree)}: this is what makes it vary"
            words += f"; of the rest, {_list(rest)} still varies" if rest else ""
            return replace(made, verdict="cause", words=words)
    if found:
        return replace(made, verdict="sensitive", words=f"it changes {_names(found)}")
    if moved or control.verdict == "cannot tell":
        words = "the job varies by itself, also with this fixed" if moved else control.words
        return replace(made, verdict="cannot tell", words=words)
    aside = _list([c.name for c in control.changes])
    words = "the same bit for bit" + (f", though the job asked for it {_count(met, 'time')}" if met else "")
    words += f", apart from what varies by itself: {aside}" if aside else ""
    return replace(made, words=words)


def _names(found: Sequence[Change]) -> str:
    """`loss (0.31 and 0.32, from step 3) and model.pt`, the first few."""
    named = [_name(c) for c in found[:_NAMED]]
    more = len(found) - len(named)
    return _list([*named, *([f"{more} more"] if more else [])])


def _name(change: Change) -> str:
    if change.kind == "output":
        return f"{change.name} ({'absent once' if 'absent' in (change.first, change.other) else 'other content'})"
    step = f"from step {change.step}" if change.step is not None else ""
    if change.first == change.other:  # Only its series is another.
        return f"{change.name} ({step}, {change.first} in the end)"
    return f"{change.name} ({change.first} and {change.other}{', ' if step else ''}{step})"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _value(number: Number | None) -> str:
    return "absent" if number is None else number if isinstance(number, str) else repr(number)
