"""What a metric reader is: it turns one format of file, or the job's output, into numbers.

A new format is one new file beside this one with a module-level `MEMBER`. What it reads was written by a job
that nobody trusts: a reader gets bytes of bounded size and raises ValueError with a reason that a person can
read.

A source is declared by a person (`file:PATH`, `stdout:NAME=REGEX`), or found (`found:READER:PATH?NAME&NAME`):
then it names what stays the same from run to run, the folder above all time stamps, and the metrics that were
taken from it, so that a replay, also one by a later runbook with other rules, reads those and no others.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import BinaryIO, Literal, Protocol
from urllib.parse import quote, unquote

from runbook.errors import UsageError
from runbook.model.metric import Choice, Metric, Series
from runbook.model.record import Finding

PRINTED = "printed"
"""The reader that finds metrics in the job's output without a pattern."""
_LINES = (".csv", ".tsv", ".jsonl", ".ndjson")
_SAFE = " /.,:()[]@+*'#=-_"
"""Left as they are in a found source; `?`, `&` and `%` are quoted."""


@dataclass(frozen=True)
class Source:
    """Where metrics come from: `file:PATH`, `stdout:NAME=REGEX`, `found:READER:PATH?NAME&NAME` or `api:`."""

    text: str
    """The source as written, kept in Record.sources so that a replay reads with the same code."""
    kind: Literal["file", "stdout", "found", "api"]
    path: str = ""
    """Relative to the project's root, POSIX. Of a found source: file or folder; empty: the root, or the output.
    Of what the job logged itself: `api`."""
    name: str = ""
    """The metric that a pattern names."""
    pattern: str = ""
    reader: str = ""
    """Of a found source: the name of its reader."""
    names: tuple[str, ...] = ()
    """Of a found source: the metrics taken from it; none: every one, which is how discovery looks."""
    since: float | None = None
    """Points logged before, seconds since the epoch, are another run's, in a store that several share."""
    growing: bool = False
    """The job still writes, or was stopped in the middle of it: a last line without its end is not read."""

    @property
    def suffix(self) -> str:
        """The file's ending, lower case, with its dot."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def label(self) -> str:
        """How a record names it: `metrics.json`, `stdout: REGEX`, `mlruns`, `stdout`."""
        if self.kind == "stdout":
            return f"stdout: {self.pattern}"
        return self.path or ("stdout" if self.reader == PRINTED else ".")


@dataclass(frozen=True)
class Claim:
    """A file that a reader knows by its name, and what it is part of. Paths are relative to the project's root."""

    store: str
    """What the source names: the folder of all runs, or the file itself."""
    run: str
    """The folder of the run that it belongs to; files of one run are put together."""
    named: bool = True
    """Whether the names of the folders between store and run mean something; ids do not."""


@dataclass(frozen=True)
class Reading:
    """What one source holds: series by metric name, each with at least one point, in the order of the source."""

    series: dict[str, Series] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """What looked like a metric and could not be kept, one sentence each."""
    noise: dict[str, str] = field(default_factory=dict)
    """Name → why it is no metric, where more than its name tells: the unit behind it, the brackets around it."""


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


@dataclass(frozen=True)
class Discovered:
    """The metrics of a run that nobody declared."""

    sources: tuple[str, ...]
    """In the form that `read_metrics` takes, behind the declared ones."""
    choices: tuple[Choice, ...]
    """Everything that was met, what was kept and what was left out, in a stable order."""


class MetricReader(Protocol):
    """One format."""

    @property
    def name(self) -> str:
        """`json`, `csv` …"""

    @property
    def cap(self) -> int:
        """Bytes that it reads at most; a larger source is refused."""

    @property
    def rank(self) -> int:
        """How exactly it holds numbers: 0 as the job had them, 1 as 32-bit floats, 2 as printed."""

    def claims(self, path: str) -> Claim | None:
        """Whether a file that the job wrote is of this format, judged by its path alone; called for every file."""

    def recognises(self, source: Source) -> bool:
        """Whether it reads this source."""

    def check(self, source: Source) -> None:
        """Raise UsageError when the declaration itself cannot work, before the job is run."""

    def read(self, source: Source, data: BinaryIO) -> Reading:
        """The numbers of one file; for a found folder, `source.path` is that file's own. Raises ValueError."""


def whole_lines(stream: BinaryIO, source: Source) -> BinaryIO:
    """The stream without a last line that has no end, where such a line may still be written."""
    lines = source.kind in ("stdout", "api") or source.reader == PRINTED or source.suffix in _LINES
    if not source.growing or not (lines or source.reader == "mlflow"):
        return stream
    end = stream.seek(0, io.SEEK_END)
    tail = 0
    while tail < end:
        tail = min(end, tail + 65536)
        stream.seek(end - tail)
        at = stream.read(tail).rfind(b"\n")
        if at >= 0:
            tail -= at + 1
            break
    stream.seek(0)
    return stream if not tail else io.BytesIO(stream.read(end - tail))


def found_source(reader: str, path: str, names: tuple[str, ...] = ()) -> str:
    """The text of a found source."""
    return f"found:{reader}:{quote(path, safe=_SAFE)}?" + "&".join(quote(name, safe=_SAFE) for name in names)


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
    if kind == "found":
        reader, colon, where = rest.partition(":")
        quoted, mark, names = where.partition("?")
        path = PurePosixPath(unquote(quoted))
        outside = path.is_absolute() or ".." in path.parts or "\0" in str(path)
        if reader and colon and mark and not outside:
            taken = tuple(unquote(name) for name in names.split("&") if name)
            place = "" if str(path) == "." else str(path)
            return Source(text=text, kind="found", path=place, reader=reader, names=taken)
    raise UsageError(
        "not a metric source",
        text,
        hint="file:PATH or stdout:NAME=REGEX, such as file:metrics.json",
        id="metric-source",
    )
