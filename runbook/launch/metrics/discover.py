"""Finds the metrics of a run that nobody declared: in the files that the job wrote, and in its output.

What is a metric is decided here once, at the original run, and the choice is kept in the sources: a replay
reads the metrics that were chosen and decides nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook import registry
from runbook.launch.metrics.filenames import stable
from runbook.launch.metrics.found import read_found
from runbook.launch.metrics.interface import (
    PRINTED,
    Discovered,
    MetricReader,
    Reading,
    Source,
    found_source,
)
from runbook.launch.metrics.noise import overruled, plain, why_noise
from runbook.model.metric import Choice, Number

MAX_PLACES = 500
"""Files and folders with metrics that are looked into; a job that writes more is told so."""
_OURS = (".runbook/", ".git/")


@dataclass(frozen=True)
class _Found:
    """One readable place and what it holds."""

    reader: MetricReader
    source: Source
    reading: Reading


def discover(
    root: Path,
    written: Iterable[Path],
    stdout: Path,
    *,
    since: float | None,
    declared: Sequence[str] = (),
    keep: Sequence[str] = (),
    drop: Sequence[str] = (),
) -> Discovered:
    """The sources of a run that has ended, and why each number was taken or not.

    written: absolute paths of the files that the job wrote, any number, in any order; what lies outside of `root`
    is not looked into. since: when the job started, seconds since the epoch: what is older is another run's.
    declared: sources that a person named. Their metrics come first, and where there are any, nothing is taken from
    the output by itself. keep, drop: names or globs that overrule; the longer pattern wins.
    """
    choices: list[Choice] = []
    places = _places(root, written, {s.removeprefix("file:") for s in declared if s.startswith("file:")}, choices)
    found = [one for reader, path in places if (one := _look(reader, path, root, since, choices))]
    printed: MetricReader = registry.members("launch.metrics")[PRINTED]
    with stdout.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size <= printed.cap:
            source = Source(text="", kind="found", reader=PRINTED)
            found.append(_Found(printed, source, printed.read(source, stream)))
    found.sort(key=lambda one: (one.reader.rank, one.reader.name, one.source.path))
    chosen = _choose(found, _declared_names(declared, root, stdout, since), (tuple(keep), tuple(drop)), choices)
    sources = tuple(
        found_source(one.reader.name, one.source.path, names)
        for one, names in zip(found, chosen, strict=True)
        if names
    )
    return Discovered(sources=sources, choices=tuple(choices))


def _places(
    root: Path, written: Iterable[Path], declared: set[str], choices: list[Choice]
) -> list[tuple[MetricReader, str]]:
    """What to read: for each reader the files, and the folders above what differs from run to run."""
    readers: list[MetricReader] = list(registry.members("launch.metrics").values())
    tops = tuple(dict.fromkeys(f"{top.rstrip('/')}/" for top in (os.fspath(root), os.path.realpath(root))))
    files: dict[tuple[str, str], MetricReader] = {}
    folders: dict[tuple[str, str], tuple[MetricReader, str]] = {}
    full = False
    for each in written:
        full_path = os.fspath(each)
        top = next((top for top in tops if full_path.startswith(top)), None)
        path = full_path[len(top) :] if top else ""
        if not path or path.startswith(_OURS) or path in declared:
            continue
        for reader in readers:
            claim = reader.claims(path)
            if claim is None:
                continue
            place = stable(claim.store)
            if place == path:
                full = full or (len(files) >= MAX_PLACES and (reader.name, path) not in files)
                if not full:
                    files[reader.name, path] = reader
                continue
            # Folders of one format below one folder of the project are one source: their names tell them apart.
            key = (reader.name, place.partition("/")[0])
            known = folders.get(key)
            folders[key] = (reader, place if known is None else _common(known[1], place))
    if full:
        choices.append(
            Choice("", "", False, f"more than {MAX_PLACES} metrics files were written; the first were read")
        )
    ordered = [(reader, path) for (_, path), reader in sorted(files.items())]
    return ordered + [folders[key] for key in sorted(folders)]


def _common(first: str, second: str) -> str:
    if first == second:
        return first
    return os.path.commonpath([first, second]) if first and second else ""


def _look(
    reader: MetricReader, path: str, root: Path, since: float | None, choices: list[Choice]
) -> _Found | None:
    source = Source(text="", kind="found", path=path, reader=reader.name, since=since)
    try:
        reading = read_found(reader, source, root)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = error.strerror or "cannot be opened"
    except RecursionError:
        why = "is nested too deeply"
    except ValueError as error:
        why = str(error)
    else:
        choices += [Choice("", source.label, False, text) for text in reading.left_out]
        return _Found(reader, source, reading)
    choices.append(Choice("", source.label, False, f"not read as {reader.name}: {why}"))
    return None


def _declared_names(declared: Sequence[str], root: Path, stdout: Path, since: float | None) -> set[str] | None:
    """The plain names of declared metrics; None where nothing was declared."""
    if not declared:
        return None
    from runbook.launch.metrics import read_metrics

    readings = read_metrics(declared, root, stdout, since=since)
    patterns = [text.removeprefix("stdout:").partition("=")[0] for text in declared if text.startswith("stdout:")]
    return {plain(name) for name in (*patterns, *(metric.name for metric in readings.metrics))}


def _choose(
    found: Sequence[_Found],
    declared: set[str] | None,
    said: tuple[tuple[str, ...], tuple[str, ...]],
    choices: list[Choice],
) -> list[tuple[str, ...]]:
    """The names taken from each source; the most exact source of a name comes first."""
    taken: dict[str, list[tuple[_Found, Number]]] = {}
    chosen: list[tuple[str, ...]] = []
    for one in found:
        names: list[str] = []
        for name, series in one.reading.series.items():
            final = series.values[-1]
            why = _why_not(one, name, final, declared, overruled(name, *said), taken)
            if not why:
                names.append(name)
            label = one.source.label
            choices.append(
                Choice(name, label, not why, why or (one.reader.name if label != "stdout" else "printed"))
            )
        for name in names:
            taken.setdefault(plain(name), []).append((one, one.reading.series[name].values[-1]))
        chosen.append(tuple(names))
    return chosen


def _why_not(
    one: _Found,
    name: str,
    final: Number,
    declared: set[str] | None,
    said: bool | None,
    taken: Mapping[str, Sequence[tuple[_Found, Number]]],
) -> str:
    """Why this number is not taken; empty where it is."""
    printed = one.reader.name == PRINTED
    if said is False:
        return "left out as asked"
    if declared is not None and plain(name) in declared:
        return "declared"
    if said is None:
        noise = one.reading.noise.get(name) or why_noise(name, printed=printed)
        if noise:
            return noise
        if printed and declared is not None:
            return "printed, where metrics are declared"
    for other, value in taken.get(plain(name), ()):
        if printed:
            return f"also in {other.source.label}, as the job had it"
        if other.reader is not one.reader and _agree(value, final):
            return f"also in {other.source.label}"
    return ""


def _agree(exact: Number, other: Number) -> bool:
    """Whether two files hold one number, if one of them holds it as a 32-bit float."""
    if exact == other or isinstance(exact, str) or isinstance(other, str):
        return exact == other
    try:
        return struct.pack("f", exact) == struct.pack("f", other)
    except (OverflowError, struct.error):
        return False
