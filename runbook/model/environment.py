"""The Environment: interpreter, packages, lock, base, and the id that names the rebuilt image."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from runbook.model.fact import Fact, Value


class Interpreter(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The job's own Python."""

    implementation: str
    """`cpython`, `pypy`, lower case."""
    version: str
    """Full version, `3.11.7`."""
    abi: str
    """Wheel ABI tag, `cp311`."""
    soabi: str = ""
    machine: str
    """`x86_64`, `aarch64`."""
    system: str
    """`linux`, `darwin`, `windows`."""
    libc: str = ""
    """`glibc 2.36` or `musl 1.2`; empty where there is none."""
    executable: str
    prefix: str
    base_prefix: str
    """Equal to `prefix` outside a virtual environment."""


Origin = Literal["index", "local-file", "editable", "vcs", "off-index", "distro"]


class Package(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One installed distribution."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    origin: Origin
    source: str = ""
    """URL or path it came from, credentials stripped; empty when unknown."""
    record: Literal["intact", "modified", "absent"]
    """Installed files checked against their RECORD."""
    modified: tuple[str, ...] = ()
    """Files whose content differs from RECORD, or that are gone (at most 50 named)."""
    requested: bool = False
    """Installed by name, not as a dependency (PEP 376 REQUESTED)."""
    requires: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    """Top-level import names."""
    shipped: Literal["", "locked", "carried", "absent"] = ""
    """How the bundle provides it: by hash from an index, as a wheel inside, or not at all."""
    shipped_reason: str = ""


class SystemLibrary(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A shared library from outside the environment that an extension module loads."""

    soname: str
    path: str
    sha256: str
    needed_by: tuple[str, ...]
    """Packages whose extension modules need it."""
    os_package: Fact[str]
    """`libgomp1 12.2.0-14`, from the distribution's own database."""
    size: int = 0
    """Bytes of the file where the bundle holds it, at `data/lock/libraries/SONAME`, for a base that lacks it."""


class CarriedWheel(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A wheel that no index has, so that the bundle holds it, unless it is thin."""

    file: str
    """Name under `data/lock/wheels/`."""
    sha256: str
    size: int
    package: str
    origin: Origin
    made: Literal["copied", "repacked", "built"]
    """Copied as it was; repacked from the installed files; built from its source."""
    stored: bool = True
    """False in a thin bundle, which only names it."""


class WheelCopy(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A wheel that an index has, and that a self-contained bundle holds all the same."""

    file: str
    """Name under `data/lock/wheels/`."""
    sha256: str
    size: int


class Lock(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The hashed requirements file and what it could not hold."""

    sha256: str
    """Of `data/lock/requirements.txt`."""
    packages: int
    carried: tuple[CarriedWheel, ...] = ()
    """Wheels that no index has. They belong to the environment's id, copies do not."""
    copies: tuple[WheelCopy, ...] = ()
    absent: dict[str, str] = {}
    """Package → why it is neither locked nor carried."""
    tool: str
    """`pip-tools 7.6.2`."""


BaseKind = Literal["image", "container", "python-image", "host-closure"]


class Base(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What the environment stands on. Requested and resolved stand side by side."""

    kind: BaseKind
    requested: str
    """What was asked for: an image reference, or `automatic`."""
    reference: str = ""
    """`name@sha256:…`; empty for a host closure."""
    digest: str
    """`sha256:…` of the image manifest, or of the host closure's layer."""
    platform: str
    """`linux/amd64`."""
    python: str
    """Absolute path of the interpreter inside the base; empty when it must be searched."""
    layout: str = ""
    """Bundle path of the OCI layout when the base is carried."""
    size: int = 0
    """Bytes of the carried layout."""
    why: str
    """Why this kind was chosen, one sentence."""


class Environment(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that the job's code ran on, above the kernel."""

    interpreter: Fact[Interpreter]
    packages: tuple[Package, ...] = ()
    libraries: tuple[SystemLibrary, ...] = ()
    frameworks: dict[str, str] = {}
    """Library versions by the job's own packages: cuda, cudnn, nccl, blas."""
    os_packages: Fact[int]
    """How many OS packages `data/lock/os-packages` lists."""
    lock: Fact[Lock]
    base: Fact[Base]
    id: Fact[str]
    """`sha256:…`, see environment_id."""


def environment_id(base: Base, interpreter: Interpreter, lock: Lock, libraries: tuple[SystemLibrary, ...]) -> str:
    """Name the environment by everything that decides it (nix-like).

    sha256 over base, platform, interpreter, lock, carried wheels and OS libraries, as canonical JSON.
    """
    parts = {
        "base": base.digest,
        "platform": base.platform,
        "python": [interpreter.implementation, interpreter.version, interpreter.abi],
        "lock": lock.sha256,
        "wheels": sorted([w.file, w.sha256] for w in lock.carried),
        "libraries": sorted([x.soname, x.sha256] for x in libraries),
    }
    return "sha256:" + hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
