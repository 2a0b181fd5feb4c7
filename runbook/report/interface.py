"""What a reporter is: one format of what a person reads.

A new format is one new file beside this one with a module-level `MEMBER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runbook.model.bisection import Bisection
from runbook.model.metric import Series
from runbook.model.record import Record
from runbook.model.verdict import Comparison


@dataclass(frozen=True)
class Report:
    """Everything a report may show. Without a comparison it is the run book of one record."""

    original: Record
    bundle_id: str = ""
    bundle_name: str = ""
    replay: Record | None = None
    comparison: Comparison | None = None
    series: Mapping[str, Series] = field(default_factory=dict)
    replay_series: Mapping[str, Series] = field(default_factory=dict)
    engine: str = ""
    """The engine's description."""
    isolation: str = ""
    cached: bool | None = None
    """Whether the environment was found built."""
    title: str = ""
    notes: tuple[str, ...] = ()
    bisection: Bisection | None = None
    """Which of the differences moves a metric, where that was tried out."""


class Reporter(Protocol):
    """One format."""

    @property
    def name(self) -> str:
        """`html`, `markdown`, `json`, `terminal`."""

    @property
    def suffix(self) -> str:
        """File name ending, `.html`; empty for a terminal."""

    def render(self, report: Report) -> bytes:
        """The document, UTF-8 unless the format is binary."""
