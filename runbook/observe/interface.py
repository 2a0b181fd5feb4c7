"""What a collector is: it turns a part of the world into a value of the record.

A new collector is one new file beside this one with a module-level `MEMBER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from runbook.model.fact import Fact
from runbook.observe.probing import Probe


@dataclass(frozen=True)
class Context:
    """What a collector may look at."""

    argv: tuple[str, ...]
    """The job's command."""
    root: Path
    """The project's root, absolute."""
    cwd: Path
    """The job's working folder, absolute."""
    env: Mapping[str, str]
    """The job's whole environment; only allow-listed parts may enter a record."""
    interpreter: Fact[str]
    """Absolute path of the job's own Python."""
    probe: Probe | None
    """What the probe saw inside that Python (see runbook.observe.probing), or None where it could not run."""
    probe_failure: str = ""
    """Why there is no probe."""


class Collector(Protocol):
    """One family of facts."""

    @property
    def name(self) -> str:
        """The field of Record that it fills (`host`, `accelerators` …), else the key under `extra`."""

    def collect(self, context: Context) -> Any:
        """The value: a `runbook.model` value for a field, plain JSON for `extra`.

        What cannot be observed is a `missing` fact with its reason, never an exception.
        """
