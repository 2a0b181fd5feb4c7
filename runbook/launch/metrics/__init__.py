"""A run's metrics: final values and series, read from what the job wrote. A format is one file in this package."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from runbook import registry
from runbook.digest.beneath import open_beneath
from runbook.errors import UsageError
from runbook.launch import logged
from runbook.launch.metrics.discover import discover
from runbook.launch.metrics.found import read_found
from runbook.launch.metrics.interface import (
    PRINTED,
    Discovered,
    MetricReader,
    Reading,
    Readings,
    Source,
    parse_source,
    whole_lines,
)
from runbook.model.metric import Choice, Metric, Series
from runbook.model.record import Finding

__all__ = [
    "Choice",
    "Discovered",
    "check_source",
    "decode_series",
    "discover",
    "encode_series",
    "file_source",
    "grows",
    "pattern_source",
    "read_metrics",
]

_DOCUMENTS = ("json", "yaml", "trainer-state")
"""Readers of what is written anew as a whole, often at the end only."""


def file_source(typed: str, root: Path, cwd: Path) -> str:
    """The source `file:PATH` for a path as typed in `cwd`; raises UsageError outside of the root."""
    path = os.path.relpath(cwd / typed, root)
    return check_source("file:" + Path(path).as_posix()).text


def pattern_source(name: str, pattern: str) -> str:
    """The source `stdout:NAME=REGEX`; raises UsageError when the pattern cannot work."""
    return check_source(f"stdout:{name}={pattern}").text


def check_source(text: str) -> Source:
    """The source, when some reader reads it; raises UsageError. Called before the job runs."""
    source = parse_source(text)
    reader_of(source).check(source)
    return source


def grows(source: str) -> str:
    """The label of a source that a job appends to while it runs; empty for a document written as a whole."""
    parsed = parse_source(source)
    return "" if parsed.kind in ("file", "found") and reader_of(parsed).name in _DOCUMENTS else parsed.label


def read_metrics(
    sources: Sequence[str], root: Path, stdout: Path, *, since: float | None = None, growing: bool = False
) -> Readings:
    """The metrics of a run, from its declared and found sources.

    root: the project's folder, where files are found; stdout: the log of the job's standard output, with what it
    logged itself beside it (see launch.logged).
    since: when the job started, seconds since the epoch: a file that nobody touched after it is another run's.
    growing: the job still runs, or was stopped: what it was about to write is not read.
    A source that gives nothing is a finding and named in `missing`. A name that two sources give is prefixed with
    its source in both, so that what it means does not depend on which of them a replay still has.
    Raises UsageError for a source that no reader reads.
    """
    findings: list[Finding] = []
    absent: list[str] = []
    read: list[tuple[Source, str, Series]] = []
    for source in [replace(check_source(text), growing=growing) for text in dict.fromkeys(sources)]:
        reading = _read(source, root, stdout, since, findings)
        if reading is not None and source.kind == "found":
            reading = _pinned(source, reading, findings)
        if reading is None or not reading.series:
            absent.append(source.text)
            if reading is not None and source.kind != "found":
                what = "the pattern matched nothing" if source.kind == "stdout" else "holds no number"
                findings.append(_warn("metric-absent", f"{source.label}: {what}"))
            continue
        findings += [_warn("metric-left-out", f"{source.label}: {text}") for text in reading.left_out]
        read += [(source, name, series) for name, series in reading.series.items()]
    named = _name(read, findings)
    metrics = tuple(
        Metric(
            name=name,
            final=series.values[-1],
            points=len(series.values),
            source=source.label,
            evidence="observed",
        )
        for name, (source, series) in named.items()
    )
    curves = {name: series for name, (_, series) in named.items() if len(series.values) > 1}
    return Readings(metrics=metrics, series=curves, findings=tuple(findings), missing=tuple(absent))


def encode_series(series: Mapping[str, Series]) -> bytes:
    """The text of series.json: name → steps and values, names sorted."""
    return msgspec.json.format(msgspec.json.encode(dict(series), order="sorted"), indent=0) + b"\n"


def decode_series(text: bytes) -> dict[str, Series]:
    """The series of a series.json; raises msgspec.ValidationError, also where lengths differ."""
    series = msgspec.json.decode(text, type=dict[str, Series])
    for name, curve in series.items():
        if len(curve.steps) != len(curve.values) or not curve.values:
            raise msgspec.ValidationError(
                f"the series {name} has {len(curve.steps)} steps, {len(curve.values)} values"
            )
    return series


def _read(
    source: Source, root: Path, stdout: Path, since: float | None, findings: list[Finding]
) -> Reading | None:
    """What one source holds; None, and a finding, where it cannot be read."""
    reader = reader_of(source)
    try:
        if source.kind == "found" and source.reader != PRINTED:
            return read_found(reader, replace(source, since=since), root)
        with _open(source, root, stdout) as stream:
            state = os.fstat(stream.fileno())
            if state.st_size > reader.cap:
                raise ValueError(f"is larger than {reader.cap} bytes")
            # The time of the last change of state: unlike the content's, no copy can carry an old one along.
            if since is not None and state.st_ctime < int(since):
                findings.append(_warn("metric-stale", f"{source.label}: not written by this run, but before it"))
                return None
            return reader.read(source, whole_lines(stream, source))
    except FileNotFoundError:
        findings.append(_warn("metric-absent", f"{source.label}: the job left no such file"))
    except OSError as error:
        link = error.errno in (errno.ELOOP, errno.ENOTDIR)
        reason = "is or lies behind a link; links are not followed" if link else error.strerror
        findings.append(_warn("metric-unreadable", f"{source.label}: {reason}"))
    except RecursionError:
        findings.append(_warn("metric-unreadable", f"{source.label}: is nested too deeply"))
    except ValueError as error:
        findings.append(_warn("metric-unreadable", f"{source.label}: {error}"))
    return None


def _open(source: Source, root: Path, stdout: Path) -> BinaryIO:
    if source.kind == "api":
        return stdout.with_name(logged.FILE).open("rb")
    if source.kind != "file":
        return stdout.open("rb")
    return io.BufferedReader(cast("io.FileIO", open_beneath(root, source.path)))


def _pinned(source: Source, reading: Reading, findings: list[Finding]) -> Reading:
    """Of what a found source holds now, the metrics that were taken from it."""
    gone = [name for name in source.names if name not in reading.series]
    if gone:
        more = f" and {len(gone) - 5} more" if len(gone) > 5 else ""
        findings.append(_warn("metric-absent", f"{source.label}: holds no {', '.join(gone[:5])}{more}"))
    return Reading(
        {name: reading.series[name] for name in source.names if name in reading.series}, reading.left_out
    )


def _name(read: Iterable[tuple[Source, str, Series]], findings: list[Finding]) -> dict[str, tuple[Source, Series]]:
    """Every series under a name of its own."""
    by_name: dict[str, list[tuple[Source, Series]]] = {}
    for source, name, series in read:
        by_name.setdefault(name, []).append((source, series))
    named: dict[str, tuple[Source, Series]] = {}
    for name, holders in by_name.items():
        if len(holders) == 1:
            named.setdefault(name, holders[0])
            continue
        labels = ", ".join(source.label for source, _ in holders)
        findings.append(
            _warn("metric-name-conflict", f"{name} comes from {labels}; each is named after its source")
        )
        for source, series in holders:
            prefixed = f"{source.path or 'stdout'}:{name}"
            number = 2
            while prefixed in named or prefixed in by_name:
                prefixed, number = f"{source.path or 'stdout'}:{name}#{number}", number + 1
            named[prefixed] = (source, series)
    return named


def reader_of(source: Source) -> MetricReader:
    """The reader of a source; raises UsageError where there is none."""
    readers: list[MetricReader] = list(registry.members("launch.metrics").values())
    for reader in readers:
        if reader.recognises(source):
            return reader
    raise UsageError(
        "no reader for this metrics file",
        source.path or source.text,
        hint="write metrics as .json, .yaml, .csv, .tsv or .jsonl, or give --metric NAME=REGEX for the output",
        id="metrics-format-unknown",
    )


def _warn(id: str, text: str) -> Finding:
    return Finding(id=id, level="warning", text=text)
