"""Put everything into the bundle, the record and what is derived from it last, and seal it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec

from runbook.bundle import layout
from runbook.bundle.schema import record_schema
from runbook.bundle.write import BundleWriter
from runbook.catalog.store import RunFolder
from runbook.environment.lock import LockResult
from runbook.environment.recipe import dockerfile, replay_script
from runbook.export.interface import Payload
from runbook.flow.cleanse import Cleansed, Materials
from runbook.flow.own import note
from runbook.launch.metrics import decode_series
from runbook.model import manifest
from runbook.model.carrying import held_wheels
from runbook.model.data import Input
from runbook.model.environment import Lock
from runbook.model.metric import Series
from runbook.model.record import Record
from runbook.observe.ospackages import os_packages
from runbook.registry import members
from runbook.report.interface import Report


@dataclass(frozen=True)
class Goods:
    """What goes into a bundle."""

    record: Record
    """Complete: nothing of it changes any more."""
    clean: Cleansed
    materials: Materials
    folder: RunFolder
    locked: LockResult
    base: Path | None
    """OCI layout of the base, when it is carried."""
    libraries: Mapping[str, Path]
    """Bundle path → file, of the shared libraries that go along."""


def seal(goods: Goods, target: Path, *, archive: bool, replace: bool) -> tuple[str, dict[str, int]]:
    """Write the bundle; its id, and the bytes of its parts."""
    with BundleWriter(target, form="zip" if archive else "directory", replace=replace) as writer:
        sizes = {
            "code": _code(writer, goods),
            "inputs": sum(_input(writer, one, goods) for one in goods.record.inputs),
            "outputs": _outputs(writer, goods),
            "wheels": _lock(writer, goods),
            "base": add_layout(writer, goods.base),
            "libraries": sum(writer.add_file(name, path).size for name, path in sorted(goods.libraries.items())),
        }
        add_documents(writer, goods.record, decode_series(goods.clean.texts[layout.SERIES]))
        identity = writer.finish()
    note(identity)
    return identity, {name: size for name, size in sizes.items() if size}


def _code(writer: BundleWriter, goods: Goods) -> int:
    clean = goods.clean
    for entry in clean.code:
        name = layout.code_file(entry.path)
        if entry.path in clean.replaced:
            writer.add_bytes(name, clean.replaced[entry.path])
        else:
            writer.add_file(name, goods.materials.content(entry), sha256=entry.sha256)
    writer.add_bytes(layout.CODE_MANIFEST, manifest.render(clean.code))
    if clean.patch:
        writer.add_bytes(layout.CODE_PATCH, clean.patch)
    return goods.record.code.tree.bytes


def _input(writer: BundleWriter, one: Input, goods: Goods) -> int:
    """Write an input's manifest, and its files when it is embedded; the bytes of these."""
    text = (goods.folder.path / f"input-{one.name}.manifest").read_bytes()
    writer.add_bytes(layout.input_manifest(one.name), text)
    if one.stored != "embedded":
        return 0
    path = _absolute(goods, one.path)
    for entry in manifest.parse(text):
        kept = goods.folder.objects.at(entry.sha256)
        here = path / entry.path if one.kind == "tree" else path
        writer.add_file(
            layout.input_file(one.name, entry.path), kept if kept.is_file() else here, sha256=entry.sha256
        )
    return one.bytes


def _outputs(writer: BundleWriter, goods: Goods) -> int:
    for name, data in goods.clean.texts.items():
        writer.add_bytes(name, data)
    artifacts = [o for o in goods.record.outputs if o.stored == "embedded" and o.role == "artifact"]
    for one in artifacts:
        writer.add_file(one.bundle_path, _absolute(goods, one.path), sha256=one.digest)
    return sum(map(len, goods.clean.texts.values())) + sum(one.bytes for one in artifacts)


def _lock(writer: BundleWriter, goods: Goods) -> int:
    writer.add_file(layout.REQUIREMENTS, goods.locked.requirements)
    listed = os_packages()
    if listed.value is not None:
        writer.add_bytes(layout.OS_PACKAGES, "".join(f"{line}\n" for line in listed.value).encode())
    return add_wheels(writer, goods.locked.lock, goods.locked.wheels)


def add_wheels(writer: BundleWriter, lock: Lock, folder: Path) -> int:
    """Write the wheels that the lock says are in the bundle; their bytes."""
    held = held_wheels(lock)
    for file, _, sha256 in held:
        writer.add_file(f"{layout.WHEELS}/{file}", folder / file, sha256=sha256)
    return sum(size for _, size, _ in held)


def add_layout(writer: BundleWriter, base: Path | None) -> int:
    """Write the layout of the base; its bytes."""
    if base is None:
        return 0
    files = sorted(p for p in base.rglob("*") if p.is_file())
    return sum(writer.add_file(f"{layout.IMAGE}/{p.relative_to(base).as_posix()}", p).size for p in files)


DERIVED = frozenset(
    (
        layout.RECORD,
        layout.SCHEMA,
        layout.REPORT,
        layout.RUNBOOK_MD,
        layout.DOCKERFILE,
        layout.REPLAY_SH,
        layout.CRATE,
    )
)
"""What `add_documents` writes."""


def add_documents(writer: BundleWriter, record: Record, series: Mapping[str, Series]) -> None:
    """Write the record and everything that is derived from it; last: the crate describes every file before it."""
    report = Report(original=record, bundle_name=record.name, series=series, title=record.name)
    reporters = members("report")
    writer.add_bytes(layout.RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    writer.add_bytes(layout.SCHEMA, record_schema())
    writer.add_bytes(layout.REPORT, reporters["html"].render(report))
    writer.add_bytes(layout.RUNBOOK_MD, reporters["markdown"].render(report))
    writer.add_bytes(layout.DOCKERFILE, dockerfile(record).encode())
    scripts = [(files("runbook.engine") / name).read_text(encoding="utf-8") for name in ("enter.py", "bring.py")]
    writer.add_bytes(layout.REPLAY_SH, replay_script(record, *scripts).encode())
    crate = members("export")["ro-crate"].export(Payload(record=record, files=writer.entries()))
    writer.add_bytes(layout.CRATE, crate)


def _absolute(goods: Goods, path: str) -> Path:
    return Path(path) if path.startswith("/") else Path(goods.record.job.root) / path
