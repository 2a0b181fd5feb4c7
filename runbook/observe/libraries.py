"""Shared libraries of the operating system that the job's extension modules load.

The dynamic loader's own rules are followed (ld.so(8)): RPATH of the object and of those that load it, the job's
LD_LIBRARY_PATH, RUNPATH, the loader's cache, the default folders; and a library that is already loaded under its
name is not searched again. What a program opens by name at run time (dlopen) is not seen here.
"""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from posixpath import basename, dirname, normpath
from shutil import which

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from packaging.utils import canonicalize_name

from runbook.model.environment import SystemLibrary
from runbook.model.record import Finding
from runbook.observe.ospackages import owners
from runbook.observe.probing import Probe

_LIBC = re.compile(
    r"(lib(c|m|pthread|dl|rt|util|resolv|anl|mvec|thread_db|BrokenLocale|nss_[a-z]+|nsl)\.so\.\d+"
    r"|libc\.musl-.*|ld-(linux|musl).*|ld64\.so\.\d+|linux-vdso.*)"
)
"""The C library and its loader: the base's own, never brought along."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INTERPRETER = re.compile(r"libpython\d.*\.so.*")
_TRIPLET = f"{platform.machine()}-linux-gnu"
_DEFAULT = (
    f"/lib/{_TRIPLET}",
    f"/usr/lib/{_TRIPLET}",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
)
"""Debian's multiarch folders first: its loader knows them without a cache, which a small image has not."""


@dataclass(frozen=True)
class _Object:
    """The dynamic section of one ELF file."""

    path: str
    machine: tuple[str, int]
    """Architecture and word size."""
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


@dataclass
class _Closure:
    """What the extension modules load from outside the environment."""

    outside: dict[str, set[str]] = field(default_factory=dict)
    """Path of a system library → extension modules that lead to it."""
    unresolved: dict[str, set[str]] = field(default_factory=dict)
    """Name that was found nowhere → objects that need it."""


def system_libraries(probe: Probe, library_path: str = "") -> tuple[SystemLibrary, ...]:
    """The libraries outside the environment, and outside libc, that its extension modules load; by soname.

    library_path: the job's LD_LIBRARY_PATH.
    """
    packages = _package_of(probe)
    outside = _closure(probe.shared_objects, library_path, _brought(probe, packages)).outside
    owner = owners(sorted(outside))
    found = []
    for path, users in outside.items():
        told = _read(path)
        names = {packages.get(user, basename(user)) for user in users}
        found.append(
            SystemLibrary(
                soname=(told.soname if told else "") or basename(path),
                path=path,
                sha256=_sha256(path),
                needed_by=tuple(sorted(names)),
                os_package=owner[path],
            )
        )
    return tuple(sorted(found, key=lambda x: (x.soname, x.path)))


def findings(probe: Probe, library_path: str = "") -> tuple[Finding, ...]:
    """Libraries that some extension module needs and that are nowhere to be found."""
    packages = _package_of(probe)
    found = []
    closure = _closure(probe.shared_objects, library_path, _brought(probe, packages))
    for soname, users in sorted(closure.unresolved.items()):
        names = ", ".join(sorted({packages.get(user, basename(user)) for user in users})[:5])
        text = f"{soname}, which {names} needs, is not found: a part of it cannot be loaded here"
        found.append(Finding(id="library-unresolved", level="warning", text=text))
    return tuple(found)


Brought = Callable[[str, str], bool]
"""(an object, a library inside the environment) → whether the object's package has it loaded beforehand."""


def _brought(probe: Probe, packages: dict[str, str]) -> Brought:
    """A package loads its own libraries, and those of what it requires, before the modules that need them.

    Not those of any other package: one that is installed need not be imported.
    """
    requires: dict[str, tuple[str, ...]] = {canonicalize_name(d.name): d.requires for d in probe.distributions}

    @lru_cache(maxsize=4096)
    def closure(name: str) -> frozenset[str]:
        found, pending = set[str](), [name]
        while pending:
            one = pending.pop()
            if one not in found:
                found.add(one)
                pending += [canonicalize_name(m[0]) for text in requires.get(one, ()) if (m := _NAME.match(text))]
        return frozenset(found)

    def brought(origin: str, library: str) -> bool:
        ours, theirs = packages.get(origin), packages.get(library)
        if ours is None or theirs is None:
            return True
        return canonicalize_name(theirs) in closure(canonicalize_name(ours))

    return brought


def _closure(objects: tuple[str, ...], library_path: str, brought: Brought) -> _Closure:
    closure = _Closure()
    bundled: dict[str, list[str]] = {}
    for path in objects:
        bundled.setdefault(basename(path), []).append(path)
    inside = set(objects)
    cache = _loader_cache()
    extra = tuple(p for p in library_path.split(":") if p.startswith("/"))
    done: set[tuple[str, tuple[str, ...]]] = set()

    def follow(one: _Object, origin: str, inherited: tuple[str, ...]) -> None:
        if (origin, (one.path, *inherited)) in done:
            return
        done.add((origin, (one.path, *inherited)))
        passed = inherited if one.runpath else (*one.rpath, *inherited)
        places = (*(() if one.runpath else passed), *extra, *one.runpath)
        for soname in one.needed:
            if _LIBC.fullmatch(soname) or _INTERPRETER.fullmatch(soname):
                continue
            path = _find(soname, places, cache, one.machine)
            if not (path and path in inside):
                # Loaded beforehand (torch, pyarrow, nvidia-*); where nothing else is found, by whomever.
                candidates = bundled.get(soname, ())
                path = next((b for b in candidates if not path or brought(origin, b)), path)
            told = _read(path) if path else None
            if told is None:
                closure.unresolved.setdefault(soname, set()).add(origin)
            elif path not in inside:
                closure.outside.setdefault(path, set()).add(origin)
                follow(told, origin, passed)

    for path in objects:
        told = _read(path)
        if told is not None:
            follow(told, path, ())
    return closure


def _find(soname: str, places: tuple[str, ...], cache: dict[str, list[str]], machine: tuple[str, int]) -> str:
    """The first file that the loader would take; empty when there is none."""
    if "/" in soname:
        return soname if Path(soname).is_file() else ""
    return next((p for p in _candidates(soname, places, cache) if _fits(p, machine)), "")


def _candidates(soname: str, places: tuple[str, ...], cache: dict[str, list[str]]) -> Iterator[str]:
    yield from (f"{folder}/{soname}" for folder in places)
    yield from cache.get(soname, ())
    yield from (f"{folder}/{soname}" for folder in _DEFAULT)


@lru_cache(maxsize=65536)
def _fits(path: str, machine: tuple[str, int]) -> bool:
    told = _read(path)
    return told is not None and told.machine == machine


@lru_cache(maxsize=65536)
def _read(path: str) -> _Object | None:
    """The dynamic section of a file; None for what is no dynamic ELF object."""
    try:
        with Path(path).open("rb") as stream:
            elf = ELFFile(stream)
            machine = (str(elf["e_machine"]), int(elf.elfclass))
            for segment in elf.iter_segments("PT_DYNAMIC"):
                return _dynamic(path, machine, segment)
    except (OSError, ELFError, AssertionError, ValueError, KeyError):
        return None
    return None


def _dynamic(path: str, machine: tuple[str, int], segment: DynamicSegment) -> _Object:
    soname, needed = "", []
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    for tag in segment.iter_tags():
        kind = tag.entry.d_tag
        if kind == "DT_NEEDED":
            needed.append(str(tag.needed))
        elif kind == "DT_SONAME":
            soname = str(tag.soname)
        elif kind == "DT_RPATH":
            rpath = _expand(str(tag.rpath), path)
        elif kind == "DT_RUNPATH":
            runpath = _expand(str(tag.runpath), path)
    return _Object(path, machine, soname, tuple(needed), rpath, runpath)


def _expand(folders: str, path: str) -> tuple[str, ...]:
    """The folders of an RPATH with $ORIGIN in place; relative ones, which depend on the caller, are dropped."""
    found = [re.sub(r"\$ORIGIN|\$\{ORIGIN\}", lambda _m: dirname(path), f) for f in folders.split(":")]
    return tuple(normpath(f) for f in found if f.startswith("/") and "$" not in f)


@lru_cache(maxsize=1)
def _loader_cache() -> dict[str, list[str]]:
    """Soname → files, from the loader's cache in its order."""
    tool = which("ldconfig") or "/sbin/ldconfig"
    try:
        done = subprocess.run((tool, "-p"), capture_output=True, text=True, errors="replace", check=False)
    except OSError:
        return {}
    found: dict[str, list[str]] = {}
    for name, path in re.findall(r"^\s+(\S+) \(.*?\) => (/.+)$", done.stdout, re.MULTILINE):
        found.setdefault(name, []).append(path)
    return found


def _package_of(probe: Probe) -> dict[str, str]:
    """Path of a shared object → the distribution whose RECORD lists it."""
    found = {}
    for one in probe.distributions:
        try:
            text = Path(one.metadata, "RECORD").read_text(errors="replace")
        except OSError:
            continue
        for line in text.splitlines():
            if ".so" in line:
                name = line.partition(",")[0].strip('"')
                found[normpath(f"{one.location}/{name}")] = one.name
    return found


def _sha256(path: str) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
