"""What one execution of a job leaves behind, wherever it ran."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runbook.model.job import Outcome, Resources
from runbook.model.record import Finding


@dataclass(frozen=True)
class Execution:
    """The end of a job: how, at what cost, and where its output is."""

    outcome: Outcome
    resources: Resources
    stdout: Path
    stderr: Path
    substitutions: tuple[str, ...] = ()
    """What the engine had to replace to run it, one sentence each."""
    findings: tuple[Finding, ...] = ()
    """What a person should know about this execution: a log that was cut, a process left behind."""
