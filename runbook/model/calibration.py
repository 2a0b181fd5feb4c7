"""Repeated runs: what each gave, and with which seeds."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value
from runbook.model.job import Status
from runbook.model.metric import Number

Seeding = Literal["frozen", "chosen", "drawn"]
"""Which seeds repeats had: those of the bundle, others that a person named, or others that runbook drew."""


class Repeat(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One of several replays of one bundle."""

    run: str
    """Run id."""
    engine: str
    status: Status
    seeds: dict[str, str] = {}
    """What was set in the place of the bundle's own seeds, `argv --seed` → value."""
    values: dict[str, Number] = {}
    """Metric → final value; empty when the job did not complete."""
    substitutions: tuple[str, ...] = ()


class Calibration(Value, frozen=True, kw_only=True, omit_defaults=True):
    """How each metric spreads over repeats of one job in one environment on one machine."""

    seeding: Seeding
    repeats: tuple[Repeat, ...]
    """In the order in which they ran, those that failed too."""
    of: str = ""
    """Id of the bundle that was replayed; empty where the repeats were made at capture."""
    machine: str = ""
    """The CPU's model."""
    runbook: str = ""
    """Version of runbook that made them."""

    def completed(self) -> tuple[Repeat, ...]:
        """Those that count."""
        return tuple(r for r in self.repeats if r.status == "completed")
