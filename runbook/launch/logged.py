"""What a job logged through `runbook.api`: metrics, parameters, artifacts. Read as hostile."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec
from msgspec import Meta

from runbook.api import LONGEST, LONGEST_VALUE, PREFIX
from runbook.model.metric import Number
from runbook.model.record import Finding

FILE = "logged.jsonl"
"""The metrics of all processes, put in order, beside the job's logs in the run's folder."""
SOURCE = "api:"
"""The metric source that reads it."""
_BYTES = 64 << 20
_LINE = 64 << 10
_FILES = 20_000
_ENTRIES = 1_000_000
_ARTIFACTS = 10_000

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST)]
Step = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Point(msgspec.Struct, frozen=True, omit_defaults=True):
    """One point of a metric, as a line of FILE holds it."""

    metric: Name
    value: Number
    step: Step | None = None
    """None: the next one of its name."""


class _Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of a process's file."""

    at: int = 0
    rank: Annotated[int, Meta(ge=0, le=10**9)] = 0
    metric: Annotated[str, Meta(max_length=LONGEST)] = ""
    value: Number = 0
    step: Step | None = None
    parameter: Annotated[str, Meta(max_length=LONGEST)] = ""
    text: Annotated[str, Meta(max_length=LONGEST_VALUE)] = ""
    artifact: Annotated[str, Meta(max_length=LONGEST_VALUE)] = ""
    experiment: Annotated[str, Meta(max_length=LONGEST)] = ""


@dataclass(frozen=True)
class Logged:
    """What the processes of a job logged."""

    sources: tuple[str, ...] = ()
    """SOURCE, where there is a metric."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Name and value, once each: the first processes' word, and of one process its last."""
    artifacts: tuple[str, ...] = ()
    """Absolute paths, as the job knew them."""
    experiment: str = ""
    findings: tuple[Finding, ...] = ()


def read_logged(watch: Path, folder: Path) -> Logged:
    """Read the files of a watch folder, and write the metrics to FILE in `folder`, always, so that it can be read.

    Points of one process stay in their order. Where several processes log one metric, its points are ordered by
    step, else by time; a process of a distributed job other than rank 0 has its names followed by `@rank1`.
    """
    unread: dict[str, None] = {}
    by_process = _processes(watch, unread)
    points = _points(by_process)
    with (folder / FILE).open("wb") as sink:
        encoder = msgspec.json.Encoder()
        for point in points:
            sink.write(encoder.encode(point) + b"\n")
    entries = sorted((one for many in by_process for one in many), key=lambda one: (-one.rank, one.at))
    values: dict[str, dict[str, None]] = {}
    chosen: dict[str, str] = {}
    for one in entries:  # The lowest rank, and of it the last word, comes last and stands.
        if one.parameter:
            chosen[one.parameter] = one.text
            values.setdefault(one.parameter, {})[one.text] = None
    several = [name for name, texts in values.items() if len(texts) > 1]
    findings = [
        _warn(
            "parameter-relogged",
            f"{name} was logged as {', '.join(list(values[name])[:3])}; {chosen[name]} stands",
        )
        for name in several[:20]
    ]
    findings += [_warn("api-log-unread", text) for text in unread]
    artifacts = tuple(dict.fromkeys(one.artifact for one in entries if one.artifact.startswith("/")))
    return Logged(
        sources=(SOURCE,) if points else (),
        parameters=tuple(sorted(chosen.items())),
        artifacts=artifacts[:_ARTIFACTS],
        experiment=next((one.experiment for one in reversed(entries) if one.experiment), ""),
        findings=tuple(findings),
    )


def points_of(stream: BinaryIO) -> Iterator[Point]:
    """The points of FILE. Raises ValueError."""
    decoder = msgspec.json.Decoder(Point)
    for line in stream:
        yield decoder.decode(line)


def _points(by_process: list[list[_Entry]]) -> list[Point]:
    holders: dict[str, list[int]] = {}
    named: dict[str, list[tuple[_Entry, int]]] = {}
    for number, entries in enumerate(by_process):
        for one in entries:
            if one.metric:
                name = f"{one.metric}@rank{one.rank}" if one.rank else one.metric
                name = name[:LONGEST]
                named.setdefault(name, []).append((one, number))
                if number not in holders.setdefault(name, []):
                    holders[name].append(number)
    points = []
    for name, many in named.items():
        if len(holders[name]) > 1:
            stepped = all(one.step is not None for one, _ in many)
            many.sort(key=lambda pair: pair[0].step or 0 if stepped else pair[0].at)
        points += [Point(name, one.value, one.step) for one, _ in many]
    return points


def _processes(watch: Path, unread: dict[str, None]) -> list[list[_Entry]]:
    """The entries of each process's file, by the time of its first."""
    decoder = msgspec.json.Decoder(_Entry)
    left, count = _BYTES, 0
    found = []
    for path in _paths(watch, unread):
        entries = []
        try:
            regular = stat.S_ISREG(path.lstat().st_mode)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) if regular else -1
        except OSError:
            descriptor = -1
        if descriptor < 0:
            unread["a file of what the job logged is no regular file, or could not be opened"] = None
            continue
        with os.fdopen(descriptor, "rb") as stream:
            while line := stream.readline(_LINE):
                left, count = left - len(line), count + 1
                if left < 0 or count > _ENTRIES:
                    unread[
                        f"the job logged more than {_BYTES >> 20} MiB or {_ENTRIES} lines: the rest is lost"
                    ] = None
                    break
                try:
                    entries.append(decoder.decode(line))
                except ValueError:
                    unread["lines of what the job logged are torn or not ours, and were not read"] = None
        if entries:
            found.append(entries)
        if left < 0 or count > _ENTRIES:
            break
    return sorted(found, key=lambda entries: entries[0].at)


def _paths(watch: Path, unread: dict[str, None]) -> list[Path]:
    try:
        paths = sorted(
            path for path in watch.iterdir() if path.name.startswith(PREFIX) and path.suffix == ".jsonl"
        )
    except OSError:
        return []
    if len(paths) > _FILES:
        unread[f"more than {_FILES} processes logged: those of the rest are lost"] = None
    return paths[:_FILES]


def _warn(id: str, text: str) -> Finding:
    return Finding(id=id, level="warning", text=text)
