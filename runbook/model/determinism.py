"""Whether a job gives the same twice on one machine, and what it is sensitive to."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value
from runbook.model.metric import Number


class Change(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A metric or an output that is not the same, bit for bit, in two runs."""

    kind: Literal["metric", "output"]
    name: str
    first: str
    """The final value, or the beginning of the output's sha256; `absent` where a run has none."""
    other: str
    difference: Number | None = None
    """other - first, of a metric that both have."""
    step: int | None = None
    """The first step at which its series part."""
    runs: int = 1
    """In how many of the other runs it was not the same."""


class Sensitivity(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What came of changing one thing about the job, and nothing else."""

    name: str
    """`threads`, `hashseed`, `order`, `time` …"""
    how: str
    """What was changed, `PYTHONHASHSEED: 0 → 4242`."""
    verdict: Literal["insensitive", "sensitive", "cause", "fails", "cannot tell", "not tried"]
    """`cause`: the job does not repeat itself, and does so once this is fixed. `fails`: it ran only without."""
    words: str
    """One sentence that a person can read."""
    changes: tuple[Change, ...] = ()
    """Against the unchanged runs, of what was the same in all of those."""
    runs: tuple[str, ...] = ()
    """Ids of the runs that were changed."""


class Determinism(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Several runs of one job in one environment on one machine, held against each other."""

    verdict: Literal["deterministic", "outputs vary", "not deterministic", "cannot tell"]
    """`outputs vary`: the metrics are the same. `cannot tell`: the job leaves nothing to compare."""
    words: str
    """One sentence that a person can read."""
    runs: int
    metrics: int
    """How many were compared."""
    outputs: int
    changes: tuple[Change, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
