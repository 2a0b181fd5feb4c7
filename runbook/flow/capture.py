"""`capture`: recorded run → cleanse → lock → base → decide what is carried → compose → seal. Never executes the job."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from runbook import __version__
from runbook.bundle import layout
from runbook.bundle.schema import record_schema
from runbook.bundle.write import BundleWriter
from runbook.catalog.objects import ObjectStore
from runbook.catalog.store import RunFolder
from runbook.config import EMBED_LIMIT
from runbook.environment.base import BaseResult, resolve_base
from runbook.environment.index import Index
from runbook.environment.lock import LockResult, make_lock
from runbook.environment.repack import Installed
from runbook.environment.recipe import dockerfile, replay_script
from runbook.errors import NeedMissing, UsageError
from runbook.export.interface import Payload
from runbook.flow.cleanse import Cleansed, Materials, cleanse
from runbook.launch.metrics import decode_series
from runbook.model import manifest
from runbook.model.data import Input, Output
from runbook.model.environment import Environment, Interpreter, environment_id
from runbook.model.fact import missing, observed
from runbook.model.manifest import Entry
from runbook.model.metric import Tolerance
from runbook.model.record import Finding, Record
from runbook.observe.container import detect_container
from runbook.observe.ospackages import os_packages
from runbook.observe.probing import Probe
from runbook.progress import SILENT, Progress
from runbook.registry import members
from runbook.report.interface import Report

OUTPUT_LIMIT = 64 << 20
"""Bytes of declared artifacts that a bundle holds in all; what exceeds it is known by digest only."""


@dataclass(frozen=True)
class Choices:
    """How to freeze."""

    target: Path | None = None
    archive: bool = False
    force: bool = False
    offline: bool = False
    image: str = ""
    redact: bool = False
    embed_limit: int = EMBED_LIMIT
    tolerances: tuple[Tolerance, ...] = ()


@dataclass(frozen=True)
class Captured:
    """A sealed bundle."""

    path: Path
    id: str
    record: Record
    base: str
    lock: str
    sizes: dict[str, int]
    findings: tuple[Finding, ...]

    def summary(self) -> dict[str, Any]:
        """The same as plain JSON."""
        return {"bundle": str(self.path), "id": self.id, "run": self.record.run, "sizes": self.sizes}


def freeze(folder: RunFolder, choices: Choices, progress: Progress = SILENT) -> Captured:
    """Freeze one recorded run. Raises SecretFound, UsageError, NeedMissing, EnvironmentNotRebuilt."""
    record = folder.read()
    target = _target(record, choices)
    inputs = _decide(record, choices.embed_limit)
    record = msgspec.structs.replace(
        record, inputs=tuple(inputs), tolerances=_tolerances(choices.tolerances, record.tolerances)
    )
    clean = cleanse(record, _materials(folder, record), redact=choices.redact, progress=progress)
    probe = _probe(folder)
    with tempfile.TemporaryDirectory(prefix="runbook-capture-") as scratch:
        locked = _lock(clean.record, probe, Path(scratch) / "lock", choices, progress)
        interpreter = _interpreter(clean.record)
        base = resolve_base(
            interpreter,
            requested=choices.image,
            container=detect_container(os.environ),
            libraries=clean.record.environment.libraries,
            timezone=clean.record.host.timezone.value or "",
            offline=choices.offline,
            progress=progress,
        )
        final = _complete(clean.record, locked, base, interpreter)
        return _seal(final, clean, folder, locked, base, target, choices, progress)


def _target(record: Record, choices: Choices) -> Path:
    suffix = ".runbook.zip" if choices.archive else ".runbook"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", record.name).strip(".-") or "run"
    return choices.target or Path.cwd() / f"{name}{suffix}"


def _tolerances(said: tuple[Tolerance, ...], recorded: tuple[Tolerance, ...]) -> tuple[Tolerance, ...]:
    patterns = {t.pattern for t in said}
    return (*said, *(t for t in recorded if t.pattern not in patterns))


def _materials(folder: RunFolder, record: Record) -> Materials:
    """The code as it was when the job started; a file that changed since and was not kept stops the capture."""
    root, objects = Path(record.job.root), ObjectStore(folder.path.parent.parent / "objects")
    code = tuple(manifest.parse((folder.path / "code.manifest").read_bytes()))

    def content(entry: Entry) -> Path:
        kept = objects.at(entry.sha256)
        if kept.exists():
            return kept
        here = root / entry.path
        try:
            with here.open("rb") as stream:
                same = hashlib.file_digest(stream, "sha256").hexdigest() == entry.sha256
        except OSError:
            same = False
        if not same:
            hint = "run the job again, then capture"
            raise UsageError("the code changed after the run", entry.path, hint=hint, id="code-changed")
        return here

    texts = {layout.STDOUT: folder.stdout.read_bytes(), layout.STDERR: folder.stderr.read_bytes()}
    texts[layout.SERIES] = (folder.path / "series.json").read_bytes()
    for output in record.outputs:
        if output.role == "metrics":
            texts[_output_name(output)] = (root / output.path).read_bytes()
    return Materials(code, content, (folder.path / "code.patch").read_bytes(), texts)


def _decide(record: Record, limit: int) -> list[Input]:
    """Where each input is stored: with the code, embedded while all of them fit the limit, else by reference."""
    left, decided = limit, []
    for one in sorted(record.inputs, key=lambda i: i.bytes):
        stored = one.stored
        if stored != "code":
            stored = "embedded" if one.bytes <= left else "reference"
            left -= one.bytes if stored == "embedded" else 0
        decided.append(msgspec.structs.replace(one, stored=stored))
    return sorted(decided, key=lambda i: i.name)


def _probe(folder: RunFolder) -> Probe:
    try:
        return msgspec.json.decode((folder.path / "probe.json").read_bytes(), type=Probe)
    except (OSError, msgspec.DecodeError):
        hint = "--python PATH names the job's interpreter, on `run` or with --command"
        raise NeedMissing("the job's Python is not known, so nothing can be locked", hint=hint) from None


def _interpreter(record: Record) -> Interpreter:
    value = record.environment.interpreter.value
    if value is None:
        raise NeedMissing("the job's Python is not known", hint="--python PATH names it")
    return value


def _lock(record: Record, probe: Probe, target: Path, choices: Choices, progress: Progress) -> LockResult:
    from packaging.utils import canonicalize_name

    installed: dict[str, Installed] = {canonicalize_name(d.name): d for d in probe.distributions}
    index = Index(platformdirs.user_cache_path("runbook"), ("--no-index",) if choices.offline else ())
    return make_lock(
        record.environment.packages, _interpreter(record), installed, target, index=index, progress=progress
    )


def _complete(record: Record, locked: LockResult, base: BaseResult, interpreter: Interpreter) -> Record:
    listed = os_packages()
    environment: Environment = msgspec.structs.replace(
        record.environment,
        packages=locked.packages,
        os_packages=observed(len(listed.value)) if listed.value is not None else missing(listed.reason),
        lock=observed(locked.lock),
        base=observed(base.base),
        id=observed(environment_id(base.base, interpreter, locked.lock, record.environment.libraries)),
    )
    stored, left = [], OUTPUT_LIMIT
    for output in record.outputs:
        fits = output.role == "metrics" or output.bytes <= left
        left -= output.bytes if fits and output.role != "metrics" else 0
        stored.append(
            msgspec.structs.replace(output, stored="embedded", bundle_path=_output_name(output))
            if fits
            else output
        )
    return msgspec.structs.replace(
        record,
        runbook=__version__,
        environment=environment,
        outputs=tuple(stored),
        findings=tuple(dict.fromkeys((*record.findings, *locked.findings))),
    )


def _seal(
    record: Record,
    clean: Cleansed,
    folder: RunFolder,
    locked: LockResult,
    base: BaseResult,
    target: Path,
    choices: Choices,
    progress: Progress,
) -> Captured:
    root = Path(record.job.root)
    materials = _materials(folder, record)
    sizes: dict[str, int] = {}
    form = "zip" if choices.archive else "directory"
    with BundleWriter(target, form=form, replace=choices.force) as writer:
        for entry in clean.code:
            name = f"{layout.CODE}/{entry.path}"
            if entry.path in clean.replaced:
                writer.add_bytes(name, clean.replaced[entry.path])
            else:
                writer.add_file(name, materials.content(entry), sha256=entry.sha256)
        writer.add_bytes(layout.CODE_MANIFEST, manifest.render(clean.code))
        if clean.patch:
            writer.add_bytes(layout.CODE_PATCH, clean.patch)
        sizes["code"] = record.code.tree.bytes
        sizes["inputs"] = sum(_add_input(writer, one, folder, root) for one in record.inputs)
        for name, data in clean.texts.items():
            writer.add_bytes(name, data)
        for output in record.outputs:
            if output.stored == "embedded" and output.role == "artifact":
                writer.add_file(output.bundle_path, _absolute(root, output.path), sha256=output.digest)
        writer.add_file(layout.REQUIREMENTS, locked.requirements)
        listed = os_packages()
        if listed.value is not None:
            writer.add_bytes(layout.OS_PACKAGES, "".join(f"{line}\n" for line in listed.value).encode())
        for wheel in record.environment.lock.value.carried if record.environment.lock.value else ():
            writer.add_file(f"{layout.WHEELS}/{wheel.file}", locked.wheels / wheel.file, sha256=wheel.sha256)
            sizes["wheels"] = sizes.get("wheels", 0) + wheel.size
        if base.layout is not None:
            sizes["base"] = base.base.size
            for file in sorted(p for p in base.layout.rglob("*") if p.is_file()):
                writer.add_file(f"{layout.IMAGE}/{file.relative_to(base.layout).as_posix()}", file)
        _add_documents(writer, record, clean)
        bundle_id = writer.finish()
    return Captured(
        path=target,
        id=bundle_id,
        record=record,
        base=f"{base.base.kind} {base.base.reference or base.base.digest[:19]} ({base.base.why})",
        lock=f"{locked.lock.packages} packages by hash, {len(locked.lock.carried)} of them carried",
        sizes=sizes,
        findings=record.findings,
    )


def _add_input(writer: BundleWriter, one: Input, folder: RunFolder, root: Path) -> int:
    """Write an input's manifest, and its files when it is embedded; the bytes that it added."""
    text = (folder.path / f"input-{one.name}.manifest").read_bytes()
    writer.add_bytes(one.manifest, text)
    if one.stored != "embedded":
        return 0
    path = _absolute(root, one.path)
    base = path if one.kind == "tree" else path.resolve().parent
    for entry in manifest.parse(text):
        writer.add_file(f"{layout.INPUTS}/{one.name}/{entry.path}", base / entry.path, sha256=entry.sha256)
    return one.bytes


def _add_documents(writer: BundleWriter, record: Record, clean: Cleansed) -> None:
    """The record and everything that is derived from it."""
    series = decode_series(clean.texts[layout.SERIES])
    report = Report(original=record, bundle_name=record.name, series=series, title=record.name)
    reporters = members("report")
    writer.add_bytes(layout.RECORD, msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n")
    writer.add_bytes(layout.SCHEMA, record_schema())
    writer.add_bytes(layout.REPORT, reporters["html"].render(report))
    writer.add_bytes(layout.RUNBOOK_MD, reporters["markdown"].render(report))
    writer.add_bytes(layout.DOCKERFILE, dockerfile(record).encode())
    writer.add_bytes(layout.REPLAY_SH, replay_script(record).encode())
    crate = members("export")["ro-crate"].export(Payload(record=record, files=writer.entries()))
    writer.add_bytes(layout.CRATE, crate)


def _absolute(root: Path, path: str) -> Path:
    return Path(path) if path.startswith("/") else root / path


def _output_name(output: Output) -> str:
    return f"{layout.OUTPUTS}/{output.path.lstrip('/')}"
