"""`pack`: verify → bring or leave out → seal, the same run with other parts of it carried. Executes nothing.

What is brought is checked against the digests that the bundle records. The new bundle names the old one by its id;
everything that decided the result, the environment's id included, stays as it is.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import platformdirs

from runbook.bundle import layout
from runbook.bundle.read import Bundle, open_bundle
from runbook.bundle.verify import verify_opened
from runbook.bundle.write import BundleWriter, check_target
from runbook.environment.base import LAYOUT, layout_size
from runbook.environment.closure import build_closure
from runbook.environment.copies import carry_wheels, leave_wheels
from runbook.environment.images import carry as carry_base
from runbook.environment.images import find_layout
from runbook.environment.index import Index
from runbook.errors import NeedMissing, UsageError
from runbook.fetch.cache import DataCache
from runbook.flow.libraries import Libraries, Place, carry_libraries, on_this_machine
from runbook.flow.own import note_derived
from runbook.flow.referenced import check_names, have, offer
from runbook.flow.seal import DERIVED, add_documents, add_layout, add_wheels
from runbook.model import manifest
from runbook.model.carrying import Carry, carried_inputs, held_wheels, lacks
from runbook.model.data import Input
from runbook.model.environment import Base, Environment, Interpreter, Lock, SystemLibrary
from runbook.model.fact import Fact
from runbook.model.record import Record
from runbook.progress import SILENT, Progress

_MANIFEST_CAP = 512 << 20
_PARTS = (f"{layout.WHEELS}/", f"{layout.LIBRARIES}/", f"{layout.IMAGE}/", f"{layout.INPUTS}/")


@dataclass(frozen=True)
class Choices:
    """What the new bundle carries, and where that may be found."""

    carry: Carry
    target: Path | None = None
    archive: bool = False
    force: bool = False
    offline: bool = False
    data: Mapping[str, str] = field(default_factory=dict)
    """Input name → PATH or URL."""


@dataclass(frozen=True)
class Packed:
    """A bundle made of another."""

    path: Path
    id: str
    packed_from: str
    sizes: dict[str, int]
    lacks: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The same as plain JSON."""
        told = {"bundle": str(self.path), "id": self.id, "packed_from": self.packed_from}
        return told | {"sizes": self.sizes, "lacks": self.lacks}


@dataclass(frozen=True)
class _Known:
    """The facts without which there is nothing to pack."""

    interpreter: Interpreter
    lock: Lock
    base: Base


@dataclass(frozen=True)
class _Parts:
    """What the new bundle holds besides what is copied, and the record that says so."""

    record: Record
    lock: Lock
    wheels: Path
    base: Path | None
    libraries: Libraries
    inputs: Mapping[str, Path]
    """Embedded input's name → its file, or its folder."""


def pack(path: Path, choices: Choices, progress: Progress = SILENT) -> Packed:
    """Make a self-contained or a thin bundle of another.

    Raises BundleRejected, UsageError; NeedMissing and EnvironmentNotRebuilt for what has to be brought and is not
    to be had, NotComparable for an input whose content is another.
    """
    progress.say("verifying the bundle")
    with open_bundle(path) as bundle, tempfile.TemporaryDirectory(prefix="runbook-pack-") as scratch:
        target = _place(bundle, choices)
        verify_opened(bundle, progress=progress)
        parts = _gather(bundle, choices, Path(scratch), progress)
        with BundleWriter(target, form="zip" if choices.archive else "directory", replace=choices.force) as writer:
            for name in bundle.names:
                if name not in DERIVED and not name.startswith(_PARTS):
                    _copy(writer, bundle, name)
            sizes = {
                "inputs": sum(_input(writer, bundle, one, parts) for one in parts.record.inputs),
                "wheels": add_wheels(writer, parts.lock, parts.wheels),
                "base": add_layout(writer, parts.base),
                "libraries": sum(writer.add_file(n, p).size for n, p in sorted(parts.libraries.files.items())),
            }
            add_documents(writer, parts.record, bundle.series)
            identity = writer.finish()
        note_derived(identity, bundle.id)
    told = {name: size for name, size in sizes.items() if size}
    return Packed(target, identity, bundle.id, told, lacks(parts.record))


def _place(bundle: Bundle, choices: Choices) -> Path:
    """Where the new bundle will appear. Raises UsageError where it cannot."""
    ending = layout.ZIP_SUFFIX if choices.archive else layout.SUFFIX
    kind = "thin" if choices.carry == "none" else "self-contained"
    target = choices.target or Path.cwd() / f"{bundle.name}-{kind}{ending}"
    check_target(target, form="zip" if choices.archive else "directory", replace=choices.force)
    return target


def _gather(bundle: Bundle, choices: Choices, scratch: Path, progress: Progress) -> _Parts:
    """Have everything at hand before anything is written."""
    record, known = bundle.record, _known(bundle.record.environment)
    inputs = carried_inputs(record.inputs, choices.carry)
    check_names(record.inputs, choices.data)
    places = {
        one.name: _find(bundle, one, choices, scratch, progress) for one in inputs if one.stored == "embedded"
    }
    lock, wheels = _wheels(bundle, known, choices, scratch, progress)
    base, image = _base(bundle, known, choices, scratch, progress)
    libraries = carry_libraries(base, record.environment.libraries, choices.carry, _library_of(scratch))
    environment = msgspec.structs.replace(
        record.environment,
        lock=_kept(record.environment.lock, lock),
        base=_kept(record.environment.base, base),
        libraries=libraries.libraries,
    )
    findings = tuple(dict.fromkeys((*record.findings, *libraries.findings)))
    packed = msgspec.structs.replace(
        record, packed_from=bundle.id, environment=environment, inputs=inputs, findings=findings
    )
    return _Parts(packed, lock, wheels, image, libraries, places)


def _known(environment: Environment) -> _Known:
    interpreter, lock, base = environment.interpreter.value, environment.lock.value, environment.base.value
    if interpreter is None or lock is None or base is None:
        why = environment.interpreter.reason or environment.lock.reason or environment.base.reason
        raise UsageError(
            "the bundle does not hold an environment", why, hint="capture it again", id="no-environment"
        )
    return _Known(interpreter, lock, base)


def _kept(fact: Fact[Any], value: Any) -> Fact[Any]:
    return Fact(evidence=fact.evidence, value=value, reason=fact.reason)


def _wheels(
    bundle: Bundle, known: _Known, choices: Choices, scratch: Path, progress: Progress
) -> tuple[Lock, Path]:
    held, target, cache = scratch / "lock", scratch / "wheels", platformdirs.user_cache_path("runbook")
    bundle.unpack(layout.LOCK, held)
    if choices.carry == "none":
        return leave_wheels(known.lock, held / "wheels", cache), held / "wheels"
    if not _wanting(known.lock):
        return known.lock, held / "wheels"
    index = Index(cache, ("--no-index",) if choices.offline else ())
    told = (known.lock, held / "requirements.txt", known.interpreter, held / "wheels")
    return carry_wheels(*told, target, index=index, cache=cache, progress=progress), target


def _wanting(lock: Lock) -> bool:
    return len(held_wheels(lock)) < lock.packages


def _base(
    bundle: Bundle, known: _Known, choices: Choices, scratch: Path, progress: Progress
) -> tuple[Base, Path | None]:
    base = known.base
    if base.layout:
        image = scratch / "image"
        bundle.unpack(layout.IMAGE, image)
        if choices.carry != "none":
            return base, image
        _keep_layout(base, image)
    if choices.carry == "none":
        return msgspec.structs.replace(base, layout="", size=0), None
    try:
        image = carry_base(base, platformdirs.user_cache_path("runbook"), progress)
    except NeedMissing:
        if base.kind != "host-closure":
            raise
        image = _closure_again(bundle.record, known, progress)
    return msgspec.structs.replace(base, layout=LAYOUT, size=layout_size(image)), image


def _keep_layout(base: Base, image: Path) -> None:
    """Keep in the cache a base that no registry has: a replay and a later pack on this machine find it there."""
    cache = platformdirs.user_cache_path("runbook")
    if base.reference or find_layout(cache, base.digest):
        return
    target = cache / "images" / base.digest.removeprefix("sha256:")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as fresh:
        shutil.rmtree(target, ignore_errors=True)
        Path(shutil.copytree(image, Path(fresh) / "layout")).rename(target)


def _closure_again(record: Record, known: _Known, progress: Progress) -> Path:
    """The host closure made anew, where this is still the machine that it was made of."""
    timezone, libraries = record.host.timezone.value or "", record.environment.libraries
    cache = platformdirs.user_cache_path("runbook")
    made = build_closure(known.interpreter, libraries=libraries, timezone=timezone, cache=cache, progress=progress)
    if made.digest != known.base.digest:
        raise NeedMissing(
            "the base cannot be carried (it is a host closure, and this machine's Python is another)",
            known.base.digest,
            hint="pack it on the machine where the run was captured",
            id="base-not-carried",
        )
    return made.layout


def _library_of(scratch: Path) -> Place:
    def place(one: SystemLibrary) -> Path | None:
        """The bundle's own file, else this machine's of the same content."""
        return scratch / "lock" / "libraries" / one.soname if one.size else on_this_machine(one)

    return place


def _find(bundle: Bundle, one: Input, choices: Choices, scratch: Path, progress: Progress) -> Path:
    """Where the bytes of an embedded input lie: in the bundle, else where a replay would find them, checked."""
    before = next(other for other in bundle.record.inputs if other.name == one.name)
    if before.stored != "embedded":
        cache = DataCache(platformdirs.user_cache_path("runbook"))
        found = offer(bundle, before, choices.data.get(one.name, ""), cache, offline=choices.offline)
        return have(found, cache, progress)
    target = scratch / "inputs" / one.name
    bundle.unpack(f"{layout.INPUTS}/{one.name}", target)
    return target if one.kind == "tree" else next(target.iterdir())


def _input(writer: BundleWriter, bundle: Bundle, one: Input, parts: _Parts) -> int:
    """Write an input's manifest, and its files when it is embedded; the bytes of these."""
    text = bundle.read(one.manifest, _MANIFEST_CAP)
    writer.add_bytes(one.manifest, text)
    if one.stored != "embedded":
        return 0
    place = parts.inputs[one.name]
    for entry in manifest.parse(text):
        source = place / entry.path if one.kind == "tree" else place
        writer.add_file(layout.input_file(one.name, entry.path), source, sha256=entry.sha256)
    return one.bytes


def _copy(writer: BundleWriter, bundle: Bundle, name: str) -> None:
    with bundle.open(name) as file:
        writer.add_stream(name, file, sha256=bundle.digest(name))
