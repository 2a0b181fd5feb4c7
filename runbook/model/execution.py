"""What one execution of a job leaves behind, wherever it ran."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runbook.model.job import Outcome, Resources


@dataclass(frozen=True)
class Execution:
    """The end of a job: how, at what cost, and where its output is."""

    outcome: Outcome
    resources: Resources
    stdout: Path
    stderr: Path
