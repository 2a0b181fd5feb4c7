"""What a bisection found, in words and rows: every format lays out the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runbook.model.bisection import Bisection, Cause, Factor, Part, Trial
from runbook.model.metric import Number, brief
from runbook.report.figures import count, seconds

_NAMED = 4
_SAID = {
    "A": "as A",
    "B": "as B",
    "other": "neither A's nor B's",
    "unresolved": "no result",
}


@dataclass(frozen=True)
class Row:
    """One replay."""

    number: int
    what: str
    value: str
    outcome: str
    run: str


def listed(names: Sequence[str], most: int = _NAMED) -> str:
    """`a, b and c`; what is too much is counted."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def change(part: Part) -> str:
    """A part and what it was changed from and to: `numpy 1.26.4 → 2.0.0`."""
    d = part.difference
    return f"{d.what} {d.original} → {d.replay}"


def sentence(found: Bisection) -> str:
    """The whole answer in one or two sentences."""
    moved = f"{found.metric} from {brief(found.value_a)} to {brief(found.value_b)}"
    if found.value_a == found.value_b:
        moved = f"the curve of {found.metric}, which ends in {brief(found.value_a)} on both sides,"
    if not found.causes:
        return _narrowed(found, moved)
    first = found.causes[0]
    said = f"{_subject(first)} {'move' if len(first.parts) > 1 else 'moves'} {moved}"
    said += ", and none of them can be spared." if len(first.parts) > 1 else ", alone."
    for more in found.causes[1:]:
        if more.outcome == "B":
            said += f" So {'do' if len(more.parts) > 1 else 'does'} {_subject(more)}, without the former."
        else:
            said += f" While that is left as in A, {_subject(more)} gives {_number(more.value)}."
    if found.status == "narrowed":
        return f"{said} The budget ended before it was tried whether anything else does too."
    if found.rest == "A":
        return f"{said} Everything else together leaves it as in A."
    if found.rest == "unresolved":
        return f"{said} Everything else without it does not run, so whether more matters could not be tried."
    return said


def _narrowed(found: Bisection, moved: str) -> str:
    sure, left = [p.difference.what for p in found.sure], [p.difference.what for p in found.candidates]
    if sure and left:
        return f"{listed(sure)} is part of what moves {moved}; the budget ended before it was tried what else is."
    if sure:
        return f"{listed(sure)} is part of what moves {moved}; the budget ended before that was tried alone."
    return f"What moves {moved} is among {'this' if len(left) == 1 else f'these {len(left)}'}: {listed(left, 12)}."


def _subject(cause: Cause) -> str:
    return listed([p.difference.what for p in cause.parts], 8)


def _number(value: Number | None) -> str:
    return "no value" if value is None else brief(value)


def named(cause: Cause) -> list[str]:
    """Each part of a cause with what it was changed to, and what it does alone where that is known."""
    alone = {id: (value, share) for id, value, share in cause.alone}
    lines = []
    for part in cause.parts:
        text = change(part)
        if part.id in alone:
            value, share = alone[part.id]
            far = f", {share:.0%} of the way" if share is not None else ""
            text += f" (alone: {_number(value)}{far})" if value is not None else " (alone it does not run)"
        lines.append(text)
    return lines


def rows(found: Bisection) -> list[Row]:
    """Every replay in its order."""
    names = {p.id: p.difference.what for f in found.factors for p in f.parts}
    return [
        Row(
            number,
            _mixture(trial, names),
            "–" if trial.value is None else brief(trial.value),
            _outcome(trial),
            trial.run or "–",
        )
        for number, trial in enumerate(found.trials, 1)
    ]


def _mixture(trial: Trial, names: dict[str, str]) -> str:
    if trial.end:
        return f"{trial.end} as it is"
    left = [what for id, what in names.items() if id not in trial.taken]
    if not left:
        return "A with all of B"
    if len(left) < len(trial.taken):
        return f"A with all of B but {listed(left)}"
    return f"A with B's {listed([names[id] for id in names if id in trial.taken])}"


def _outcome(trial: Trial) -> str:
    said = _SAID[trial.outcome]
    if trial.outcome == "other" and trial.share is not None:
        said += f" ({trial.share:.0%} of the way)"
    if trial.reason:
        said += f": {trial.reason}"
    return said


def suspects(found: Bisection) -> list[tuple[str, str]]:
    """Each factor, and why its parts go together."""
    return [(_factor(f), f.why) for f in found.factors]


def _factor(factor: Factor) -> str:
    return change(factor.parts[0]) if len(factor.parts) == 1 else factor.what


def cost(found: Bisection) -> str:
    """What it took."""
    spent = sum(t.seconds for t in found.trials)
    earlier = sum(t.earlier for t in found.trials)
    before = f", {earlier} of them by an earlier call" if earlier else ""
    return f"{count(found.replays, 'replay')} over {count(len(found.factors), 'factor')}, {seconds(spent)}{before}"
