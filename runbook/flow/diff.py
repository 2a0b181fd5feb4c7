"""`diff`: open two sides, lay them side by side, say what differs. Nothing is executed.

Steps: open both → compare records, manifests and output files → report → for code, show the lines.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runbook.bundle import layout
from runbook.bundle.read import Bundle, open_bundle
from runbook.catalog.objects import ObjectStore
from runbook.catalog.store import RunFolder, find_store
from runbook.compare.contents import Manifests
from runbook.compare.verdict import compare
from runbook.errors import UsageError
from runbook.flow.outputs import Held, compare_outputs, held_by_run, held_in_bundle
from runbook.launch.metrics import decode_series
from runbook.model import manifest
from runbook.model.data import Input
from runbook.model.manifest import Entry
from runbook.model.metric import Series, Tolerance
from runbook.model.record import Record
from runbook.model.verdict import EXIT
from runbook.progress import SILENT, Progress
from runbook.report.interface import Report

_TEXT_CAP = 64 << 10
"""Bytes of a file whose lines are shown."""
_READ_CAP = 8 << 20
"""Bytes of a file of which lines or rows are compared."""
_FILES, _LINES = 20, 40
"""Files whose lines are shown, and lines of each."""


@dataclass(frozen=True)
class Side:
    """One of the two: a bundle, or a run of the run store."""

    record: Record
    series: dict[str, Series]
    manifests: Manifests
    output: Held
    bundle_id: str = ""
    name: str = ""


@dataclass(frozen=True)
class Diffed:
    """What the two sides have and have not in common."""

    report: Report
    exit_code: int
    patches: tuple[str, ...] = ()
    """Changed lines of small text files, as unified diffs."""


def diff(
    a: str,
    b: str,
    *,
    overrides: Sequence[Tolerance] = (),
    lines: bool = False,
    cwd: Path | None = None,
    progress: Progress = SILENT,
) -> Diffed:
    """Compare two bundles or runs; `lines` also shows what changed inside small files of the code.

    Raises UsageError for a side that is not there, BundleRejected for one that cannot be trusted.
    """
    with ExitStack() as stack:
        one, other = (_open(what, cwd or Path.cwd(), stack) for what in (a, b))
        comparison = compare(
            one.record,
            other.record,
            one.series,
            other.series,
            overrides=overrides,
            replaying=False,
            manifests=(one.manifests, other.manifests),
        )
        artifacts = compare_outputs(one.record, other.record, one.output, other.output, progress)
        comparison = msgspec.structs.replace(comparison, artifacts=artifacts)
        report = Report(
            original=one.record,
            replay=other.record,
            comparison=comparison,
            bundle_id=one.bundle_id,
            bundle_name=one.name,
            series=one.series,
            replay_series=other.series,
            title=f"{a} and {b}",
        )
        return Diffed(report, EXIT[comparison.verdict], tuple(_patches(one, other)) if lines else ())


def _open(what: str, cwd: Path, stack: ExitStack) -> Side:
    path = cwd / what
    if path.exists():
        return _bundle(stack.enter_context(open_bundle(path)))
    if "/" in what or what.endswith((layout.SUFFIX, ".zip")):
        raise UsageError("no such bundle", what, hint="runbook diff A.runbook last", id="no-such-bundle")
    return _run(find_store(cwd).load(what))


def _bundle(bundle: Bundle) -> Side:
    stored = {one.name: one for one in bundle.record.inputs}

    def read(name: str, entry: Entry) -> bytes | None:
        place = _place(stored.get(name), entry) if name else layout.code_file(entry.path)
        known = place in bundle.files and entry.size <= _READ_CAP
        return bundle.read(place, _READ_CAP) if known else None

    def entries(name: str) -> list[Entry] | None:
        return bundle.manifest(name) if name in bundle.files else None

    inputs = {one.name: entries(one.manifest) for one in bundle.record.inputs}
    return Side(
        record=bundle.record,
        series=bundle.series,
        manifests=Manifests(
            entries(layout.CODE_MANIFEST), {k: v for k, v in inputs.items() if v is not None}, read
        ),
        output=held_in_bundle(bundle),
        bundle_id=bundle.id,
        name=bundle.name,
    )


def _place(stored: Input | None, entry: Entry) -> str:
    """Where a bundle holds a file of an input; empty where it holds none of it."""
    if stored is None or stored.stored not in ("embedded", "code"):
        return ""
    if stored.stored == "embedded":
        return layout.input_file(stored.name, entry.path)
    return layout.code_file(stored.path if stored.kind == "file" else f"{stored.path}/{entry.path}")


def _run(run: RunFolder) -> Side:
    record = run.read()
    objects = ObjectStore(run.path.parent.parent / "objects")

    places = {one.name: Path(record.job.root, one.path) for one in record.inputs}

    def read(name: str, entry: Entry) -> bytes | None:
        if entry.size > _READ_CAP:
            return None
        path = places.get(name)
        there = [objects.at(entry.sha256), *([path, path / entry.path] if path else [])]
        contents = (one.read_bytes() for one in there if one.is_file())
        # What lies where the job read it may be another file by now.
        return next((one for one in contents if hashlib.sha256(one).hexdigest() == entry.sha256), None)

    def entries(name: str) -> list[Entry] | None:
        found = _kept(run, name)
        return None if found is None else manifest.parse(found)

    curves = _kept(run, "series.json")
    inputs = {one.name: entries(f"input-{one.name}.manifest") for one in record.inputs}
    try:
        series = decode_series(curves) if curves is not None else {}
    except msgspec.ValidationError as error:
        raise UsageError("the run's curves cannot be read", error, hint="run it again", id="bad-run") from None
    return Side(
        record=record,
        series=series,
        manifests=Manifests(entries("code.manifest"), {k: v for k, v in inputs.items() if v is not None}, read),
        output=held_by_run(run, record),
        name=run.id,
    )


def _kept(run: RunFolder, name: str) -> bytes | None:
    path = run.path / name
    return path.read_bytes() if path.is_file() else None


def _patches(one: Side, other: Side) -> Iterator[str]:
    """Unified diffs of the first small text files that differ."""
    a = {e.path: e for e in one.manifests.code or ()}
    b = {e.path: e for e in other.manifests.code or ()}
    changed = sorted(p for p in {*a, *b} if p not in a or p not in b or a[p].sha256 != b[p].sha256)
    for path in changed[:_FILES]:
        left, right = _lines(one, a.get(path)), _lines(other, b.get(path))
        if left is not None and right is not None:
            found = list(difflib.unified_diff(left, right, f"a/{path}", f"b/{path}", lineterm="", n=2))
            more = [f"… {len(found) - _LINES} more lines"] if len(found) > _LINES else []
            yield "\n".join(found[:_LINES] + more)
    if len(changed) > _FILES:
        yield f"… and {len(changed) - _FILES} more files"


def _lines(side: Side, entry: Entry | None) -> list[str] | None:
    """The lines of a text file; none where the side has no such file, None where it cannot be shown."""
    if entry is None:
        return []
    content = side.manifests.read("", entry) if entry.size <= _TEXT_CAP else None
    if content is None or b"\0" in content:
        return None
    return content.decode(errors="replace").splitlines()
