"""Two facts side by side: what counts as a difference between what is known and what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runbook.compare.rank import Risk
from runbook.model.fact import Fact
from runbook.model.verdict import Difference

ABSENT = "(none)"
"""How a side is shown that does not have the thing at all."""


def differ(family: str, what: str, original: str, replay: str, judged: tuple[Risk, str]) -> Difference:
    """One difference with its risk and why."""
    risk, why = judged
    return Difference(family=family, what=what, original=original, replay=replay, risk=risk, why=why)  # type: ignore[arg-type]


def differ_facts(
    family: str,
    what: str,
    original: Fact[Any],
    replay: Fact[Any],
    judged: tuple[Risk, str],
    *,
    show: Callable[[Any], str] = str,
) -> list[Difference]:
    """At most one difference. What only one side knows is low: it is a lack of evidence, not a change.

    show: the value for a person.
    """
    if original.value == replay.value:
        return []
    if original.known != replay.known:
        judged = ("low", "known on one side only")
    left, right = (show(f.value) if f.known else f.text() for f in (original, replay))
    return [differ(family, what, left, right, judged)]
