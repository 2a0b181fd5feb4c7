"""Is a bundle intact? Reads everything, executes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runbook.bundle import layout
from runbook.bundle.read import Bundle, open_bundle
from runbook.errors import BundleRejected
from runbook.model import manifest, requirements
from runbook.model.carrying import held_libraries, held_wheels, lacks
from runbook.model.data import Input, Output
from runbook.model.environment import environment_id
from runbook.model.manifest import Entry
from runbook.model.record import Record
from runbook.progress import SILENT, Progress

UNSIGNED: Final = "who made it: no signature was checked"
SAYS_NOT: Final = (
    "that the run happened as recorded: whoever made the bundle wrote the record",
    UNSIGNED,
    "that it runs here, or gives the same result: `runbook replay` tries",
)
"""What an intact bundle does not prove."""


@dataclass(frozen=True)
class Verification:
    """An intact bundle: what it is and what was checked."""

    id: str
    """sha256, hex, of manifest-sha256.txt."""
    name: str
    """The record's own name."""
    run: str
    files: int
    """In the payload."""
    bytes: int
    quick: bool
    checked: tuple[str, ...]
    """One sentence each."""
    warnings: tuple[str, ...]
    attestations: int
    """How many there are; none was checked."""
    lacks: tuple[str, ...] = ()
    """What a replay has to find outside of the bundle, one phrase each."""
    packed_from: str = ""
    """Id of the bundle that it was packed from, as it says itself."""


def verify(path: Path, quick: bool = False, progress: Progress = SILENT) -> Verification:
    """Check a bundle from end to end; quick: structure, sizes and the record, without reading the payload.

    Raises BundleRejected with the defect's id, UsageError when there is no such bundle.
    """
    with open_bundle(path) as bundle:
        return verify_opened(bundle, quick, progress)


def verify_opened(bundle: Bundle, quick: bool = False, progress: Progress = SILENT) -> Verification:
    """The same for a bundle that is open already, so that what was verified is what is used."""
    checked = ["structure: every file is listed, regular, and named as a bundle may name it"]
    if not quick:
        bundle.hash(progress)
        checked.append("content: every file has the size and sha256 that the manifest states")
    record = bundle.record
    warnings = [*_check_code(bundle, record)]
    for one in record.inputs:
        warnings += _check_input(bundle, one)
    _check_origin(record)
    _check_outputs(bundle, record.outputs)
    _check_stdin(record)
    _check_lock(bundle, record)
    _check_series(bundle, record)
    checked.append("record: code, inputs, outputs, lock and base in the bundle are those that the record names")
    files = bundle.files
    return Verification(
        id=bundle.id,
        name=record.name,
        run=record.run,
        files=len(files),
        bytes=sum(files.values()),
        quick=quick,
        checked=tuple(checked),
        warnings=tuple(warnings),
        attestations=len(bundle.attestations),
        lacks=lacks(record),
        packed_from=record.packed_from,
    )


def _check_code(bundle: Bundle, record: Record) -> list[str]:
    tree = record.code.tree
    entries = _manifest(bundle, layout.CODE_MANIFEST, tree.digest, tree.files, tree.bytes)
    _same_files(layout.CODE, entries, bundle.below(layout.CODE))
    if record.code.patch:
        bundle.digest(record.code.patch)
    return [] if entries else ["the bundle holds no code"]


def _check_input(bundle: Bundle, one: Input) -> list[str]:
    where = f"the input {one.name}"
    if one.manifest != layout.input_manifest(one.name):
        raise BundleRejected("its manifest is not where a bundle keeps it", where, id="record-mismatch")
    entries = _manifest(bundle, one.manifest, one.digest if one.kind == "tree" else None, one.files, one.bytes)
    if one.kind == "file" and [entry.sha256 for entry in entries] != [one.digest]:
        raise BundleRejected("its manifest is not of the file that the record names", where, id="record-mismatch")
    inside = bundle.below(layout.input_file(one.name, ""))
    _same_files(f"{layout.INPUTS}/{one.name}", entries if one.stored == "embedded" else [], inside)
    if one.stored == "code":
        held = {entry.path: entry for entry in bundle.below(layout.CODE)}
        for entry in entries:
            path = one.path if one.kind == "file" else f"{one.path}/{entry.path}".removeprefix("./")
            found = held.get(path)
            if found is None or (found.size, found.sha256) != (entry.size, entry.sha256):
                raise BundleRejected("the code does not hold it, as the record says", where, id="record-mismatch")
    return [f"{where} is not in the bundle, only its digest"] if one.stored == "reference" else []


def _check_stdin(record: Record) -> None:
    fed = record.job.stdin
    if fed is not None and not any(
        fed.path == one.path or (one.kind == "tree" and fed.path.startswith(f"{one.path}/"))
        for one in record.inputs
    ):
        raise BundleRejected("the job's standard input is none of its inputs", fed.path, id="record-mismatch")


def _check_origin(record: Record) -> None:
    """A bundle that was made of others names each by an id."""
    for id in (record.hybrid.a, record.hybrid.b) if record.hybrid else ():
        if not re.fullmatch(r"[0-9a-f]{64}", id):
            raise BundleRejected("it was made of what is no bundle id", id, id="record-mismatch")
    if record.packed_from and not re.fullmatch(r"[0-9a-f]{64}", record.packed_from):
        raise BundleRejected("it was packed from what is no bundle id", record.packed_from, id="record-mismatch")


def _check_outputs(bundle: Bundle, outputs: Iterable[Output]) -> None:
    for one in outputs:
        if one.stored == "embedded" and (
            bundle.digest(one.bundle_path) != one.digest or bundle.files[one.bundle_path] != one.bytes
        ):
            raise BundleRejected("an output is not the one that the record names", one.path, id="record-mismatch")


def _check_lock(bundle: Bundle, record: Record) -> None:
    lock, base = record.environment.lock.value, record.environment.base.value
    if lock is not None and bundle.digest(layout.REQUIREMENTS) != lock.sha256:
        raise BundleRejected("not the lock that the record names", layout.REQUIREMENTS, id="record-mismatch")
    if lock is not None:
        requirements.parse_requirements(bundle.read(layout.REQUIREMENTS, requirements.CAP))
    _same_files(layout.WHEELS, held_wheels(lock) if lock else (), bundle.below(layout.WHEELS))
    _same_files(layout.LIBRARIES, held_libraries(record.environment), bundle.below(layout.LIBRARIES))
    image = bundle.below(layout.IMAGE)
    if base is not None and base.layout:
        if base.layout.rstrip("/") != layout.IMAGE or not any(e.path == "index.json" for e in image):
            raise BundleRejected("the base's image layout is not in the bundle", base.layout, id="record-mismatch")
        _check_layout(base.digest, image)
    elif image:
        raise BundleRejected("an image that the record does not name", layout.IMAGE, id="record-mismatch")
    _check_id(record)


def _check_id(record: Record) -> None:
    """The environment id is that of its parts: it names a cached image, which no bundle may claim for another."""
    environment = record.environment
    stated = environment.id.value
    if stated is None:
        return
    base, interpreter, lock = environment.base.value, environment.interpreter.value, environment.lock.value
    if base is None or interpreter is None or lock is None:
        raise BundleRejected("an environment id without its parts", stated, id="environment-id")
    if environment_id(base, interpreter, lock, environment.libraries) != stated:
        raise BundleRejected("not the id of the environment that the record names", stated, id="environment-id")


def _check_layout(digest: str, image: Iterable[Entry]) -> None:
    """Every blob of an OCI layout is named by its own sha256, and the base is one of them."""
    blobs = {entry.path: entry.sha256 for entry in image if entry.path.startswith("blobs/")}
    for path, sha256 in blobs.items():
        if path != f"blobs/sha256/{sha256}":
            raise BundleRejected("an image blob is not what its name says", path, id="record-mismatch")
    if f"blobs/sha256/{digest.removeprefix('sha256:')}" not in blobs:
        raise BundleRejected("the image layout lacks the base that the record names", digest, id="record-mismatch")


def _check_series(bundle: Bundle, record: Record) -> None:
    series = bundle.series
    for metric in record.metrics:
        one = series.get(metric.name)
        if one is not None and len(one.values) != metric.points:
            raise BundleRejected("a curve is not as long as the record says", metric.name, id="record-mismatch")


def _manifest(bundle: Bundle, name: str, digest: str | None, files: int, size: int) -> list[Entry]:
    """The entries of a manifest inside the bundle, bound to the record's digest, number and bytes."""
    entries = bundle.manifest(name)
    if digest is not None and manifest.digest(manifest.render(entries)) != digest:
        raise BundleRejected("not the manifest that the record names", name, id="record-mismatch")
    if (len(entries), sum(entry.size for entry in entries)) != (files, size):
        raise BundleRejected("the record counts its files or bytes otherwise", name, id="record-mismatch")
    return entries


def _same_files(where: str, wanted: Iterable[Entry], found: Iterable[Entry]) -> None:
    """The files below a folder are just those of a manifest: path, size and digest."""
    differing = {*wanted} ^ {*found}
    if differing:
        path = min(entry.path for entry in differing)
        raise BundleRejected("not what the record's manifest says", f"{where}/{path}", id="record-mismatch")
