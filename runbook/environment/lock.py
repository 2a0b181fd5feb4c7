"""The lock: every installed package by hash from an index, as a wheel that the bundle carries, or named as absent.

The rule for one package. Its files are as installed, and an index that others can reach lists a wheel for the
job's interpreter: locked, by all hashes of that release. Otherwise a wheel is carried: the original file where it
is at hand and holds what is installed, a build of an editable's source, or the installed files packed again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import msgspec
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from runbook.environment.index import Index
from runbook.environment.release import IndexFile, Release
from runbook.environment.repack import INSTALLERS_OWN, Installed, read_record, repack, settle
from runbook.environment.source import build_wheel
from runbook.environment.tags import best_wheel
from runbook.model.environment import CarriedWheel, Interpreter, Lock, Origin, Package
from runbook.model.record import Finding
from runbook.model.requirements import Requirement, render_requirements
from runbook.progress import SILENT, Progress

_BLOCK = 1 << 20
_WORKERS = 2
_NAMED = 5


@dataclass(frozen=True)
class LockResult:
    """The lock, and the packages with how each is shipped filled in."""

    lock: Lock
    packages: tuple[Package, ...]
    findings: tuple[Finding, ...]
    requirements: Path
    """The written `requirements.txt`."""
    wheels: Path
    """The folder of the carried wheels."""


@dataclass(frozen=True)
class _Shipped:
    """How one package is provided."""

    package: Package
    requirement: Requirement | None = None
    wheel: CarriedWheel | None = None


@dataclass(frozen=True)
class _Workshop:
    """What every carried wheel is made with."""

    interpreter: Interpreter
    wheels: Path
    variables: Mapping[str, str]
    owned: Mapping[str, frozenset[str]]
    """Normalised name → the absolute paths that its RECORD lists; empty when nothing was changed by hand."""

    def foreign(self, name: str) -> frozenset[str]:
        """Paths of all other distributions."""
        return frozenset().union(*(paths for other, paths in self.owned.items() if other != name))


def make_lock(
    packages: Sequence[Package],
    interpreter: Interpreter,
    installed: Mapping[str, Installed],
    target: Path,
    *,
    index: Index,
    progress: Progress = SILENT,
) -> LockResult:
    """Write `requirements.txt` and `wheels/` into the folder `target`.

    installed: normalised name → the distribution as the probe tells it. Nothing is dropped: what can neither be
    locked nor carried is in `lock.absent` with its reason. Never fails for a network that is not there.
    """
    wheels = target / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    progress.say(f"locking {len(packages)} packages")
    releases = index.files([(p.name, p.version) for p in packages if _asks_index(p)], progress)
    workshop = _Workshop(
        interpreter,
        wheels,
        variables=index.uv_environment() if any(p.origin == "editable" for p in packages) else {},
        owned={n: _owned(one) for n, one in installed.items()} if any(map(_modified, packages)) else {},
    )

    def ship(package: Package) -> _Shipped:
        release = releases.get((package.name, package.version), Release(package.name, package.version))
        one = installed.get(package.name)
        reason = _why_not_locked(package, one, release, interpreter)
        if not reason:
            try:
                return _locked(package, release, index)
            except OSError as error:
                reason = str(error)
        if one is None:
            return _Shipped(_shipped(package, "absent", f"{reason}; its installed files are not known"))
        return _carry(package, one, release, workshop, reason)

    with (
        ThreadPoolExecutor(_WORKERS) as pool,
        progress.bar("locking", len(packages), "packages") as advance,
    ):
        shipped = []
        for one in pool.map(ship, packages):
            shipped.append(one)
            advance(1)
    text = render_requirements(one.requirement for one in shipped if one.requirement)
    requirements = target / "requirements.txt"
    requirements.write_bytes(text)
    lock = Lock(
        sha256=hashlib.sha256(text).hexdigest(),
        packages=sum(one.requirement is not None for one in shipped),
        carried=tuple(sorted((one.wheel for one in shipped if one.wheel), key=lambda w: w.file)),
        absent={s.package.name: s.package.shipped_reason for s in shipped if s.package.shipped == "absent"},
        tool=f"pip-tools {installed_version('pip-tools')}",
    )
    done = tuple(one.package for one in shipped)
    return LockResult(lock, done, tuple(_findings(done, releases.values())), requirements, wheels)


def _asks_index(package: Package) -> bool:
    """A find-links folder may hold the original wheel of whatever is not built from a checkout."""
    return package.origin not in ("editable", "vcs")


def _modified(package: Package) -> bool:
    return package.record == "modified"


def _owned(one: Installed) -> frozenset[str]:
    site = Path(one.location)
    return frozenset(str(site / name) for name, _ in read_record(Path(one.metadata)))


def _why_not_locked(package: Package, one: Installed | None, release: Release, interpreter: Interpreter) -> str:
    """Why a package cannot be had from an index as it is installed; empty when it can."""
    if package.origin == "editable":
        return "an editable install"
    if package.origin == "vcs":
        return "installed from version control"
    if package.origin == "local-file":
        return "installed from a local file"
    if package.record == "modified":
        return "its installed files were changed by hand"
    files = {file.filename: file for file in release.remote if file.wheel}
    best = best_wheel(files, interpreter)
    if best is None:
        if release.problem:
            return release.problem
        if files:
            return "no index has a wheel of this version for the job's interpreter"
        if release.remote:
            return "an index has this version as source only"
        if release.files:
            return "only this machine's own wheel folder has this version"
        return "no index has this version"
    told = files[best].metadata_sha256
    if told and one is not None and told != _sha256(Path(one.metadata) / "METADATA"):
        return f"what is installed is not the index's {best}: its METADATA differs"
    return ""


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _locked(package: Package, release: Release, index: Index) -> _Shipped:
    hashes = index.hashes(release)
    host = next((urlsplit(f.url).hostname or "" for f in release.remote if f.wheel), "")
    requirement = Requirement(package.name, package.version, hashes)
    return _Shipped(_shipped(package, "locked", f"{len(hashes)} files on {host}"), requirement)


def _carry(package: Package, one: Installed, release: Release, workshop: _Workshop, reason: str) -> _Shipped:
    origin: Origin = package.origin
    if origin == "index" and not release.remote and not release.problem:
        origin = "off-index"
    interpreter, wheels = workshop.interpreter, workshop.wheels
    original = None if _modified(package) else _original(one, release, interpreter)
    made: Literal["copied", "repacked", "built"]
    try:
        if origin == "editable":
            source = Path(_local(one.editable) or package.source)
            path = build_wheel(source, package.version, interpreter, wheels, variables=workshop.variables)
            settle(path)
            made = "built"
        elif original is not None:
            path, made = Path(shutil.copyfile(original, wheels / original.name)), "copied"
        else:
            foreign = workshop.foreign(package.name) if _modified(package) else None
            path, made = repack(one, interpreter, wheels, foreign=foreign), "repacked"
    except (OSError, ValueError) as error:
        return _Shipped(_shipped(package, "absent", f"{reason}; {error}"))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name, version, _, _ = parse_wheel_filename(path.name)
    wheel = CarriedWheel(
        file=path.name, sha256=digest, size=path.stat().st_size, package=package.name, origin=origin, made=made
    )
    requirement = Requirement(canonicalize_name(name), _pin(package.version, version), (digest,))
    return _Shipped(_shipped(package, "carried", f"{reason}; {made}", origin), requirement, wheel)


def _pin(told: str, version: Version) -> str:
    """The version as the package spells it, unless the wheel has another or the spelling is no plain one."""
    try:
        same = Version(told) == version and re.fullmatch(r"[A-Za-z0-9.!+_-]+", told)
    except InvalidVersion:
        same = None
    return told if same else str(version)


def _local(url: str) -> str:
    if url.startswith("file:"):
        return unquote(urlsplit(url).path)
    return url if url.startswith("/") else ""


def _original(one: Installed, release: Release, interpreter: Interpreter) -> Path | None:
    """The wheel file that was installed, where it is at hand and holds exactly what is installed."""
    direct = _local(str((one.direct_url or {}).get("url", "")))
    candidates = [Path(direct)] if direct.endswith(".whl") else []
    local: dict[str, IndexFile] = {f.filename: f for f in release.files if f.local and f.wheel}
    best = best_wheel(local, interpreter)
    if best is not None and (path := local[best].path) is not None:
        candidates.append(path)
    for path in candidates:
        if path.is_file() and best_wheel([path.name], interpreter) and _holds(path, one):
            return path
    return None


def _holds(wheel: Path, one: Installed) -> bool:
    """Whether every file of a wheel is installed with the wheel's own hash.

    Compared by the RECORD of both: the probe has checked the installed files against theirs. Scripts, headers and
    data lie elsewhere when installed, and a script has another first line: their hashes are looked for anywhere.
    """
    installed = {name: told for name, told in read_record(Path(one.metadata)) if told}
    anywhere = set(installed.values())
    try:
        with zipfile.ZipFile(wheel) as archive:
            record = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", n))
            rows = [row for row in csv.reader(io.StringIO(archive.read(record).decode())) if row and row[0]]
            names = {entry.filename for entry in archive.infolist() if not entry.is_dir()}
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile, InvalidWheelFilename):
        return False
    told = {row[0]: row[1] for row in rows if len(row) > 1 and row[1]}
    if not installed or names - told.keys() - {record, f"{record}.jws", f"{record}.p7s"}:
        return False
    for name, digest in told.items():
        folder, _, rest = name.partition("/")
        if folder.endswith(".dist-info") and rest in INSTALLERS_OWN:
            continue
        if folder.endswith(".data"):
            scheme, _, inner = rest.partition("/")
            if scheme in ("purelib", "platlib"):
                name = inner
            elif scheme == "scripts" or digest in anywhere:
                continue
        if not _same(installed.get(name, ""), digest):
            return False
    return True


def _same(one: str, other: str) -> bool:
    return one.rstrip("=") == other.rstrip("=") and bool(one)


def _shipped(
    package: Package, how: Literal["locked", "carried", "absent"], reason: str, origin: Origin | None = None
) -> Package:
    return msgspec.structs.replace(package, shipped=how, shipped_reason=reason, origin=origin or package.origin)


def _findings(packages: Sequence[Package], releases: Iterable[Release]) -> Iterable[Finding]:
    absent = [p for p in packages if p.shipped == "absent"]
    if absent:
        named = "; ".join(f"{p.name} {p.version}: {p.shipped_reason}" for p in absent[:_NAMED])
        yield Finding(
            id="package-absent", level="warning", text=f"{len(absent)} packages are not in the lock: {named}"
        )
    failed = [r for r in releases if r.problem]
    if failed:
        text = f"{len(failed)} packages could not be asked of an index ({failed[0].problem}); they are carried"
        yield Finding(id="index-unreachable", level="warning", text=text)
