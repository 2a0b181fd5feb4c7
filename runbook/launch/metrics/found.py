"""Reads a found source: one file, or the files of one format below a folder, put together run by run."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from runbook.digest.beneath import open_beneath, open_folder_beneath
from runbook.launch.metrics.filenames import label
from runbook.launch.metrics.interface import Claim, MetricReader, Reading, Source, whole_lines
from runbook.model.metric import Series

MAX_FILES = 10_000
"""Files of one format below one folder."""
_MAX_ENTRIES = 200_000
_MAX_DEPTH = 24


_Part = tuple[tuple[int, list[str]], Claim, Reading]
"""A run: where it stands among the others, what it is, what it holds."""


def read_found(reader: MetricReader, source: Source, root: Path) -> Reading:
    """What a reader finds at or below `source.path`, in files changed since `source.since`.

    Raises FileNotFoundError where there is nothing of the kind, OSError and ValueError as files and readers do.
    """
    claim = reader.claims(source.path)
    if claim is not None and claim.store == source.path:
        with _open(root, source.path) as stream:
            return _read_one(reader, source, stream, reader.cap)
    runs, files = dict[str, list[tuple[str, Claim]]](), 0
    for path in _walk(root, source.path):
        claim = reader.claims(path)
        if claim is not None:
            runs.setdefault(claim.run, []).append((path, claim))
            files += 1
            if files > MAX_FILES:
                raise ValueError(f"holds more than {MAX_FILES} files")
    left, parts, failures = reader.cap, list[_Part](), dict[str, None]()
    for run in runs.values():
        run_reading, earliest = Reading(), 2**63
        for path, _ in sorted(run, key=lambda pair: natural(pair[0])):
            with _open(root, path) as stream:
                state = os.fstat(stream.fileno())
                if source.since is not None and state.st_ctime < int(source.since):
                    continue
                left -= state.st_size
                if left < 0:
                    raise ValueError(f"is larger than {reader.cap} bytes")
                try:
                    reading = _read_one(reader, replace(source, path=path), stream, reader.cap)
                except (ValueError, RecursionError) as error:
                    failures[f"{path}: {error}"] = None
                    continue
                earliest = min(earliest, state.st_mtime_ns)
                run_reading = _join(run_reading, reading)
        claim = run[0][1]
        # What has no name but an id comes in the order of time, what has a name in the order of names.
        parts.append(
            (((0, natural(claim.run)) if claim.named else (earliest, natural(claim.run))), claim, run_reading)
        )
    if not any(reading.series for _, _, reading in parts):
        if failures:
            raise ValueError(next(iter(failures)).partition(": ")[2])
        raise FileNotFoundError(source.path)
    return _together(source, sorted(parts, key=lambda part: part[0]), tuple(failures))


def natural(text: str) -> list[str]:
    """A key that sorts 2 before 10."""
    return [part.zfill(20) if part.isdigit() else part for part in re.split(r"([0-9]+)", text)]


def _read_one(reader: MetricReader, source: Source, stream: BinaryIO, cap: int) -> Reading:
    state = os.fstat(stream.fileno())
    if state.st_size > cap:
        raise ValueError(f"is larger than {cap} bytes")
    if source.since is not None and state.st_ctime < int(source.since):
        raise FileNotFoundError(source.path)
    return reader.read(source, whole_lines(stream, source))


def _join(first: Reading, second: Reading) -> Reading:
    """Two files of one run: a series that goes on is one; of two that overlap the longer one stands."""
    series = dict(first.series)
    for name, more in second.series.items():
        known = series.get(name)
        if known is None:
            series[name] = more
        elif more.steps[0] > known.steps[-1]:
            series[name] = Series(steps=known.steps + more.steps, values=known.values + more.values)
        elif len(more.steps) > len(known.steps):
            series[name] = more
    return Reading(series, (*first.left_out, *second.left_out), first.noise | second.noise)


def _together(source: Source, parts: list[_Part], failures: tuple[str, ...]) -> Reading:
    """The runs below one folder: named after their folders, and numbered where these say nothing."""
    series: dict[str, Series] = {}
    left_out = [f"cannot be read: {text}" for text in failures]
    for _, claim, reading in parts:
        below = claim.run[len(source.path) :] if claim.named else ""
        prefix = label(below)
        for name, curve in reading.series.items():
            full = fresh = f"{prefix}/{name}" if prefix else name
            number = 1
            while fresh in series:
                number += 1
                fresh = f"{full}#{number}"
            series[fresh] = curve
        left_out += reading.left_out
    return Reading(series, tuple(dict.fromkeys(left_out)))


def _walk(root: Path, below: str) -> Iterator[str]:
    """Files below a folder, relative to the root; no link is followed, and a tree without end is refused."""
    folders, seen = [below], 0
    while folders:
        folder = folders.pop()
        try:
            descriptor = open_folder_beneath(root, folder)
        except (OSError, ValueError):
            if folder == below:
                raise
            continue
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    seen += 1
                    if seen > _MAX_ENTRIES:
                        raise ValueError(f"holds more than {_MAX_ENTRIES} files")
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if path.count("/") < _MAX_DEPTH and entry.name not in (".git", ".runbook", ".venv"):
                            folders.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        yield path
        finally:
            os.close(descriptor)


def _open(root: Path, path: str) -> BinaryIO:
    return io.BufferedReader(cast("io.FileIO", open_beneath(root, path)))
