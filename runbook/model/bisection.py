"""A bisection: which of the things in which two runs differ moves a metric from one's value to the other's."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value
from runbook.model.metric import Number
from runbook.model.verdict import Difference

Outcome = Literal["A", "B", "other", "unresolved"]
"""Whose value a replay gave; `other`: neither's; `unresolved`: the job did not run to its end: it says nothing."""


class Part(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One thing in which two runs differ and that can be swapped alone."""

    id: str
    """Unique: `package:numpy`, `code:train.py`, `variable:OMP_NUM_THREADS`, `argv:2`, `input:train.csv` …"""
    difference: Difference
    touched: bool = True
    """Whether the job used it, as far as either run was watched."""


class Factor(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Parts that are swapped together first, and one by one only when they matter together."""

    what: str
    parts: tuple[Part, ...]
    why: str = ""
    """Why they go together, one phrase."""


class Trial(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One replay: A with some parts of B."""

    taken: tuple[str, ...]
    """Ids of the parts that are B's, sorted; none for A itself, all for B itself."""
    end: Literal["", "A", "B"] = ""
    """A or B as it is; empty for a mixture."""
    outcome: Outcome
    value: Number | None = None
    """The metric's final value; None where there is none."""
    share: float | None = None
    """(value - A's) / (B's - A's); None where that is no number."""
    bundle: str = ""
    """Id of the bundle that was replayed."""
    run: str = ""
    """Run id of the replay, in the run store."""
    reason: str = ""
    """Why it is unresolved."""
    seconds: float = 0.0
    earlier: bool = False
    """Whether it was replayed by an earlier call."""


class Cause(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A smallest set of parts that, taken from B, moves A's value: without any one of them it does not."""

    parts: tuple[Part, ...]
    outcome: Outcome
    """Where it moves the metric: `B`, or `other` where it does so only while another cause is left at A's."""
    value: Number | None = None
    alone: tuple[tuple[str, Number | None, float | None], ...] = ()
    """Of several parts, where it was tried: id, the value that the part gives alone, and how far that moves."""


class Proof(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A bundle that anybody can replay, and the recorded run that did."""

    says: str
    """What its replay shows, one sentence."""
    path: str
    bundle: str
    run: str


class Bisection(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What was found by swapping and replaying."""

    a: str
    b: str
    """As they were named."""
    a_id: str
    b_id: str
    """Bundle ids."""
    metric: str
    tolerance: str
    """In words; A's, or what was given."""
    value_a: Number
    value_b: Number
    """Final values of the replays of A and B as they are."""
    status: Literal["found", "narrowed"]
    """`narrowed`: the budget ended before the search did."""
    sentence: str
    causes: tuple[Cause, ...] = ()
    sure: tuple[Part, ...] = ()
    """What was known to be part of it when the budget ended."""
    candidates: tuple[Part, ...] = ()
    """Where the search had come to when the budget ended: what moves the metric is among these."""
    rest: Literal["", "A", "B", "other", "unresolved"] = ""
    """What everything of B but the causes gives; empty where the budget did not reach for it."""
    factors: tuple[Factor, ...] = ()
    """All that differs and can be swapped, in the order in which it is suspected."""
    fixed: tuple[Difference, ...] = ()
    """What differs and cannot be swapped here."""
    trials: tuple[Trial, ...] = ()
    """In the order in which they were asked for."""
    proof: tuple[Proof, ...] = ()
    replays: int = 0
    """Replays that were made for it, those of earlier calls included."""


class Hybrid(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Of a record that bisect made: A's run with parts of B. It never ran so; what was observed is A's run."""

    a: str
    b: str
    """Bundle ids."""
    taken: tuple[str, ...]
    """Ids of the parts that are B's, sorted."""
