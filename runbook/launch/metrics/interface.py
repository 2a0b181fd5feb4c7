"""What a metric reader is: it turns one format of file, or the job's output, into numbers.

A new format is one new file beside this one with a module-level `MEMBER`. What it reads was written by a job that
nobody trusts: a reader gets bytes of bounded size and raises ValueError with a reason that a person can read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, Protocol

from runbook.errors import UsageError
from runbook.model.metric import Metric, Series
from runbook.model.record import Finding


@dataclass(frozen=True)
class Source:
    """Where metrics come from, as declared: `file:PATH`, `stdout:NAME=REGEX`, or `api:`, what the job logged."""

    text: str
    """The declaration, kept in Record.sources so that a replay reads with the same code."""
    kind: Literal["file", "stdout", "api"]
    path: str = ""
    """Relative to the project's root, POSIX."""
    name: str = ""
    """The metric that a pattern names."""
    pattern: str = ""

    @property
    def suffix(self) -> str:
        """The file's ending, lower case, with its dot."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def label(self) -> str:
        """How a record names it: `metrics.json`, `stdout: REGEX`."""
        return f"stdout: {self.pattern}" if self.kind == "stdout" else self.path


@dataclass(frozen=True)
class Reading:
    """What one source holds: series by metric name, each with at least one point, in the order of the source."""

    series: dict[str, Series] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """What looked like a metric and could not be kept, one sentence each."""


@dataclass(frozen=True)
class Readings:
    """What all sources hold together."""

    metrics: tuple[Metric, ...]
    """One for every name, final value last seen."""
    series: dict[str, Series]
    """Curves, of the metrics that have more than one point."""
    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = ()
    """Sources, as declared, that gave nothing: no file, not readable, no match."""


class MetricReader(Protocol):
    """One format."""

    @property
    def name(self) -> str:
        """`json`, `csv` …"""

    @property
    def cap(self) -> int:
        """Bytes that it reads at most; a larger source is refused."""

    def recognises(self, source: Source) -> bool:
        """Whether it reads this source."""

    def check(self, source: Source) -> None:
        """Raise UsageError when the declaration itself cannot work, before the job is run."""

    def read(self, source: Source, data: BinaryIO) -> Reading:
        """The numbers. Raises ValueError."""


def parse_source(text: str) -> Source:
    """A declared source. Raises UsageError."""
    kind, _, rest = text.partition(":")
    if kind == "file" and rest:
        path = PurePosixPath(rest)
        if path.is_absolute() or ".." in path.parts or "\0" in rest or str(path) == ".":
            hint = "a metrics file lies inside the project's folder"
            raise UsageError("metrics file outside the project", rest, hint=hint, id="metrics-outside")
        return Source(text=text, kind="file", path=str(path))
    if kind == "stdout":
        name, equals, pattern = rest.partition("=")
        if name.strip() and equals and pattern:
            return Source(text=text, kind="stdout", name=name.strip(), pattern=pattern)
    if text == "api:":
        return Source(text=text, kind="api", path="api")
    raise UsageError(
        "not a metric source",
        text,
        hint="file:PATH or stdout:NAME=REGEX, such as file:metrics.json",
        id="metric-source",
    )
