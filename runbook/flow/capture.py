"""`capture`: recorded run → decide what is stored → cleanse → lock → base → seal. Never executes the job."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import platformdirs

from runbook import __version__
from runbook.bundle import layout
from runbook.bundle.write import check_target
from runbook.catalog.store import RunFolder
from runbook.config import EMBED_LIMIT
from runbook.digest.tree import tree_of
from runbook.environment.base import BaseResult, resolve_base, settle_base
from runbook.environment.copies import carry_wheels, leave_wheels
from runbook.environment.index import Index
from runbook.environment.lock import LockResult, make_lock
from runbook.environment.repack import Installed
from runbook.errors import NeedMissing, UsageError
from runbook.flow import artifacts
from runbook.flow.cleanse import Materials, cleanse, without_secrets
from runbook.flow.libraries import Libraries, carry_libraries
from runbook.flow.seal import Goods, seal
from runbook.model import manifest
from runbook.model.carrying import Carry, carried_inputs, lacks
from runbook.model.data import Input
from runbook.model.environment import Base, Environment, Interpreter, Lock, environment_id
from runbook.model.fact import missing, observed
from runbook.model.manifest import Entry
from runbook.model.metric import Tolerance
from runbook.model.record import Finding, Record
from runbook.observe.container import detect_container
from runbook.observe.ospackages import os_packages
from runbook.observe.probing import Probe
from runbook.progress import SILENT, Progress

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
    carry: Carry = "needed"
    """How much of what can be had elsewhere goes along."""
    embed_limit: int = EMBED_LIMIT
    tolerances: tuple[Tolerance, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """Input name → URL it can be had from."""


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
    lacks: tuple[str, ...]
    """What a replay has to find outside of the bundle."""

    def summary(self) -> dict[str, Any]:
        """The same as plain JSON."""
        told = {"bundle": str(self.path), "id": self.id, "run": self.record.run}
        return told | {"sizes": self.sizes, "lacks": self.lacks}


def freeze(folder: RunFolder, choices: Choices, progress: Progress = SILENT) -> Captured:
    """Freeze one recorded run. Raises SecretFound, UsageError, NeedMissing, EnvironmentNotRebuilt."""
    record = folder.read()
    if record.kind == "replay":
        hint = "name the run that it replays; `runbook diff` compares both"
        raise UsageError("a replay is not captured", record.run, hint=hint, id="capture-of-replay")
    target = place(record.name, choices)
    index = Index(platformdirs.user_cache_path("runbook"), ("--no-index",) if choices.offline else ())
    index.warm()
    record = msgspec.structs.replace(record, tolerances=_tolerances(choices.tolerances, record.tolerances))
    record = without_secrets(artifacts.with_sources(record, choices.sources), folder)
    record, code = _decide(record, _code_entries(folder), choices.embed_limit)
    record = msgspec.structs.replace(record, inputs=carried_inputs(record.inputs, choices.carry))
    materials = _materials(folder, record, code)
    clean = cleanse(record, materials, redact=choices.redact, progress=progress)
    probe = _probe(folder)
    with tempfile.TemporaryDirectory(prefix="runbook-capture-") as scratch:
        locked = _lock(clean.record, probe, Path(scratch), index, choices.carry, progress)
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
        base = settle_base(base, choices.carry, progress=progress)
        carried = carry_libraries(base.base, clean.record.environment.libraries, choices.carry)
        final = _complete(clean.record, locked, base, interpreter, carried)
        goods = Goods(final, clean, materials, folder, locked, base.layout, carried.files)
        bundle_id, sizes = seal(goods, target, archive=choices.archive, replace=choices.force)
    return Captured(
        path=target,
        id=bundle_id,
        record=final,
        base=_base_line(base.base),
        lock=_lock_line(locked.lock),
        sizes=sizes,
        findings=final.findings,
        lacks=lacks(final),
    )


def _base_line(base: Base) -> str:
    """The base for a person: its name, and why it is this one."""
    named = f" {base.reference}" if base.reference else ""
    return f"{base.kind.replace('-', ' ')}{named}: {base.why}"


def _lock_line(lock: Lock) -> str:
    held = len(lock.copies) + sum(wheel.stored for wheel in lock.carried)
    return f"{lock.packages} packages by hash, {held} of them carried as wheels"


def place(name: str, choices: Choices) -> Path:
    """Where the bundle of a run of this name will appear. Raises UsageError where it cannot."""
    suffix = ".runbook.zip" if choices.archive else ".runbook"
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "run"
    target = choices.target or Path.cwd() / f"{stem}{suffix}"
    check_target(target, form="zip" if choices.archive else "directory", replace=choices.force)
    return target


def _tolerances(said: tuple[Tolerance, ...], recorded: tuple[Tolerance, ...]) -> tuple[Tolerance, ...]:
    patterns = {t.pattern for t in said}
    return (*said, *(t for t in recorded if t.pattern not in patterns))


def _code_entries(folder: RunFolder) -> tuple[Entry, ...]:
    return tuple(manifest.parse((folder.path / "code.manifest").read_bytes()))


def _materials(folder: RunFolder, record: Record, code: tuple[Entry, ...]) -> Materials:
    """The code as it was when the job started; a file that changed since and was not kept stops the capture."""
    root, objects = Path(record.job.root), folder.objects

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
            texts[layout.output_file(output.path)] = (root / output.path).read_bytes()
    return Materials(code, content, (folder.path / "code.patch").read_bytes(), texts)


def _decide(record: Record, code: tuple[Entry, ...], limit: int) -> tuple[Record, tuple[Entry, ...]]:
    """Where each input is stored, the smallest first: with the code, embedded, or by reference beyond the limit.

    A data file that belongs to the code is stored once; one that is by reference leaves the code.
    """
    left, decided, apart = limit, [], list[Input]()
    files = {entry.path: entry.sha256 for entry in code}
    for one in sorted(record.inputs, key=lambda i: (i.bytes, i.name)):
        stored: Literal["embedded", "code", "package", "reference"] = "reference"
        if one.stored == "package":
            stored = "package"
        elif one.withheld:
            pass
        elif one.bytes <= left:
            left -= one.bytes
            stored = "code" if one.kind == "file" and files.get(one.path) == one.digest else "embedded"
        if stored not in ("code", "package"):
            apart.append(one)
        decided.append(msgspec.structs.replace(one, stored=stored))
    kept = tuple(entry for entry in code if not any(_belongs(entry.path, one) for one in apart))
    left_out = tuple(f"{one.path}: it is the input {one.name}" for one in apart if not one.path.startswith("/"))
    tree = tree_of(list(kept), record.code.tree.shape)
    value = msgspec.structs.replace(record.code, tree=tree, left_out=(*record.code.left_out, *left_out))
    ordered = tuple(sorted(decided, key=lambda i: i.name))
    return msgspec.structs.replace(record, inputs=ordered, code=value), kept


def _belongs(path: str, one: Input) -> bool:
    return path == one.path or path.startswith(one.path + "/")


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


def _lock(
    record: Record, probe: Probe, scratch: Path, index: Index, carry: Carry, progress: Progress
) -> LockResult:
    from packaging.utils import canonicalize_name

    installed: dict[str, Installed] = {canonicalize_name(d.name): d for d in probe.distributions}
    interpreter, cache = _interpreter(record), platformdirs.user_cache_path("runbook")
    packages = record.environment.packages
    made = make_lock(packages, interpreter, installed, scratch / "lock", index=index, progress=progress)
    if carry == "none":
        return replace(made, lock=leave_wheels(made.lock, made.wheels, cache))
    if carry == "needed":
        return made
    target, told = scratch / "wheels", (made.lock, made.requirements, interpreter, made.wheels)
    lock = carry_wheels(*told, target, index=index, cache=cache, progress=progress)
    return replace(made, lock=lock, wheels=target)


def _complete(
    record: Record, locked: LockResult, base: BaseResult, interpreter: Interpreter, carried: Libraries
) -> Record:
    listed = os_packages()
    environment: Environment = msgspec.structs.replace(
        record.environment,
        packages=locked.packages,
        libraries=carried.libraries,
        os_packages=observed(len(listed.value)) if listed.value is not None else missing(listed.reason),
        lock=observed(locked.lock),
        base=observed(base.base),
        id=observed(environment_id(base.base, interpreter, locked.lock, record.environment.libraries)),
    )
    stored, left = [], OUTPUT_LIMIT
    for output in record.outputs:
        fits = not output.withheld and (output.role == "metrics" or output.bytes <= left)
        left -= output.bytes if fits and output.role != "metrics" else 0
        stored.append(
            msgspec.structs.replace(output, stored="embedded", bundle_path=layout.output_file(output.path))
            if fits
            else output
        )
    return msgspec.structs.replace(
        record,
        runbook=__version__,
        environment=environment,
        outputs=tuple(stored),
        findings=tuple(dict.fromkeys((*record.findings, *locked.findings, *base.findings, *carried.findings))),
    )
