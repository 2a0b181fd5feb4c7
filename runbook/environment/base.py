"""The base: an explicit image, the container of the run, the official Python image, or the host closure.

Requested and resolved stand side by side in the record, with one sentence on why this kind was chosen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import platformdirs

from runbook.environment.closure import ARCHITECTURES, build_closure
from runbook.environment.images import carry, in_engine, save_layout
from runbook.errors import NeedMissing, UsageError
from runbook.model.carrying import Carry
from runbook.model.environment import Base, Interpreter, SystemLibrary
from runbook.model.fact import Fact
from runbook.model.record import Finding
from runbook.model.reference import Reference, parse_reference
from runbook.progress import SILENT, Progress
from runbook.remote.registry import registry_digest

AUTOMATIC = "automatic"
LAYOUT = "data/image"
"""Bundle path of a carried base."""

_QUICK_S = 3.0
_PATIENT_S = 30.0
_DEBIAN = {(2, 31): "bullseye", (2, 36): "bookworm", (2, 41): "trixie"}
"""glibc of the Debian releases that the official images stand on."""


@dataclass(frozen=True)
class BaseResult:
    """The base, and its layout where the bundle has to carry it."""

    base: Base
    layout: Path | None = None
    """Folder in the cache, to be put at `data/image`."""
    findings: tuple[Finding, ...] = ()


class RunContainer(Protocol):
    """The container that the run was in, as it was observed."""

    @property
    def image(self) -> Fact[str]:
        """`name@sha256:…`, or why that is not known."""


def resolve_base(
    interpreter: Interpreter,
    *,
    requested: str = "",
    container: RunContainer | None = None,
    libraries: Sequence[SystemLibrary] = (),
    timezone: str = "",
    offline: bool = False,
    cache: Path | None = None,
    official: str = "python",
    progress: Progress = SILENT,
) -> BaseResult:
    """Resolve what was requested: an image reference; empty or `automatic` for runbook's own choice.

    offline: ask no registry. cache: runbook's cache folder, where a carried layout lies. official: name of the
    official Python image, or of a mirror of it. timezone: the host's, for a host closure. The layout is given
    where no registry has the base.
    Raises UsageError for what is no reference, NeedMissing for an image that neither a registry nor an engine has.
    """
    place = cache or platformdirs.user_cache_path("runbook")
    platform = f"linux/{ARCHITECTURES.get(interpreter.machine, interpreter.machine)}"
    if requested not in ("", AUTOMATIC):
        return _explicit(requested, platform, place, offline=offline, progress=progress)
    known = container.image if container is not None else None
    pinned = parse_reference(known.value or "") if known is not None else None
    if pinned is not None and pinned.digest:
        why = "the run was in a container of this image"
        return BaseResult(_base("container", AUTOMATIC, pinned, pinned.digest, platform, "", why))
    found = _official(official, interpreter, platform, offline=offline)
    if isinstance(found, Base):
        return BaseResult(found)
    closure = build_closure(interpreter, libraries=libraries, timezone=timezone, cache=place, progress=progress)
    if known is not None:
        found = f"{found}; of the run's container: {known.reason or 'its image has no digest'}"
    base = Base(
        kind="host-closure",
        requested=AUTOMATIC,
        digest=closure.digest,
        platform=closure.platform,
        python=closure.python,
        layout=LAYOUT,
        size=closure.size,
        why=f"{found}, so this machine's own Python is the base",
    )
    return BaseResult(base, closure.layout, closure.findings)


def settle_base(
    found: BaseResult, carrying: Carry, *, cache: Path | None = None, progress: Progress = SILENT
) -> BaseResult:
    """The base with its layout or without, as the bundle shall carry it.

    Raises NeedMissing (`base-not-carried`) for one that has to be carried and is nowhere to be had.
    """
    base, place = found.base, cache or platformdirs.user_cache_path("runbook")
    if carrying == "none":
        return BaseResult(msgspec.structs.replace(base, layout="", size=0), None, found.findings)
    if carrying == "needed" or found.layout is not None:
        return found
    try:
        layout = carry(base, place, progress)
    except NeedMissing as error:
        had = in_engine(base.reference)
        if had is None:
            raise
        api, inspected = had
        with api:
            layout, saved = save_layout(api, inspected["Id"], place)
        why = f"{base.why}; {error.what}, so the engine's copy is, under a digest of its own"
        base = msgspec.structs.replace(base, digest=saved.manifest, why=why)
    base = msgspec.structs.replace(base, layout=LAYOUT, size=layout_size(layout))
    return BaseResult(base, layout, found.findings)


def layout_size(layout: Path) -> int:
    """Bytes of all files of a layout."""
    return sum(p.stat().st_size for p in layout.rglob("*") if p.is_file())


def _base(kind: Any, requested: str, image: Reference, digest: str, platform: str, python: str, why: str) -> Base:
    return Base(
        kind=kind,
        requested=requested,
        reference=image.at(digest),
        digest=digest,
        platform=platform,
        python=python,
        why=why,
    )


def _official(name: str, interpreter: Interpreter, platform: str, *, offline: bool) -> Base | str:
    """The official image of this very version, or why it cannot be the base."""
    if interpreter.implementation != "cpython" or not re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+", interpreter.version):
        return f"there is no official image of {interpreter.implementation} {interpreter.version}"
    numbers = re.findall(r"[0-9]+", interpreter.libc)
    glibc = (
        (int(numbers[0]), int(numbers[1])) if interpreter.libc.startswith("glibc") and len(numbers) > 1 else None
    )
    release = next((name for version, name in sorted(_DEBIAN.items()) if glibc and version >= glibc), None)
    image = parse_reference(f"{name}:{interpreter.version}-slim-{release}") if release else None
    if image is None:
        return f"no official image has a C library as new as {interpreter.libc}"
    if offline:
        return "no registry was asked, as told (offline)"
    try:
        digest = registry_digest(image, timeout_s=_QUICK_S)
    except ConnectionError as error:
        return str(error)
    except OSError as error:
        return f"the official Python image could not be resolved: {error}"
    python = f"/usr/local/bin/python{'.'.join(interpreter.version.split('.')[:2])}"
    why = f"a registry has the official image of Python {interpreter.version}"
    return _base("python-image", AUTOMATIC, image, digest, platform, python, why)


def _explicit(requested: str, platform: str, cache: Path, *, offline: bool, progress: Progress) -> BaseResult:
    image = parse_reference(requested)
    if image is None:
        raise UsageError(
            "not an image reference", requested, hint="write it as NAME[:TAG][@sha256:…]", id="bad-image"
        )
    if image.digest:
        return BaseResult(_base("image", requested, image, image.digest, platform, "", "asked for by its digest"))
    progress.say(f"resolving {requested}")
    try:
        if offline:
            raise OSError("no registry was asked, as told")
        digest = registry_digest(image, timeout_s=_PATIENT_S)
        return BaseResult(
            _base("image", requested, image, digest, platform, "", "asked for; its registry told the digest")
        )
    except OSError as error:
        problem = str(error)
    found = in_engine(requested)
    if found is None:
        raise NeedMissing(
            f"neither a registry nor a Docker engine has the image ({problem})",
            requested,
            hint=f"docker pull {requested}, or docker login for its registry",
            id="image-not-found",
        )
    api, inspected = found
    with api:
        for pinned in inspected.get("RepoDigests") or ():
            told = parse_reference(pinned)
            if told is not None and told.name == image.name:
                why = "asked for; the engine's image has this digest in its registry"
                return BaseResult(_base("image", requested, image, told.digest, platform, "", why))
        progress.say(f"saving {requested}, which no registry has")
        target, layout = save_layout(api, inspected["Id"], cache)
    base = Base(
        kind="image",
        requested=requested,
        digest=layout.manifest,
        platform=f"{inspected.get('Os', 'linux')}/{inspected.get('Architecture', 'amd64')}",
        python="",
        layout=LAYOUT,
        size=layout.size,
        why=f"asked for; only this machine's engine has it ({problem})",
    )
    return BaseResult(base, target)
