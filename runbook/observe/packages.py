"""The installed packages as a record holds them, and what a person should know about them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from runbook.model.environment import Origin, Package
from runbook.model.record import Finding
from runbook.observe.probing import Distribution, Probe, RecordCheck
from runbook.observe.urls import without_credentials

_DISTRO_INSTALLERS = frozenset(("debian", "rpm", "apk", "pacman", "portage"))
_DISTRO_FOLDERS = re.compile(r"/usr/(lib|lib64|share)/python3[^/]*/?")
_NAMED = 5


def read_packages(probe: Probe) -> tuple[Package, ...]:
    """Every installed distribution, sorted by its normalised name (PEP 503).

    The origin is what the installer wrote down (PEP 610); where it wrote nothing it is `index` until the lock
    has asked the index, or `distro` for what the operating system's package manager installed.
    """
    found = [read_package(one) for one in probe.distributions]
    return tuple(sorted(found, key=lambda p: p.name))


def read_package(one: Distribution) -> Package:
    """One distribution; credentials are stripped from its source."""
    origin, source = _origin(one)
    # A distribution rewrites and strips files but ships upstream's RECORD: its own database is the authority.
    checked = one.record if origin != "distro" else None
    return Package(
        name=canonicalize_name(one.name),
        version=one.version,
        origin=origin,
        source=source,
        record=_record(checked),
        modified=tuple(sorted({*checked.modified, *checked.missing}))[:50] if checked else (),
        requested=one.requested,
        requires=one.requires,
        imports=one.imports,
    )


def _record(checked: RecordCheck | None) -> Literal["intact", "modified", "absent"]:
    if checked is None or checked.status in ("absent", "unchecked"):
        return "absent"
    return "modified" if checked.differing else "intact"


def _origin(one: Distribution) -> tuple[Origin, str]:
    """Where it came from, and the URL or path that the installer noted."""
    direct = one.direct_url or {}
    url = without_credentials(str(direct.get("url", "")))
    if one.editable:
        return "editable", local_path(one.editable) or without_credentials(one.editable)
    version_control = direct.get("vcs_info")
    if isinstance(version_control, dict):
        kind, commit = version_control.get("vcs", "git"), version_control.get("commit_id", "")
        return "vcs", f"{kind}+{url}@{commit}"
    if url.startswith("file:"):
        return "local-file", local_path(url)
    if url:
        return "off-index", url
    by_distro = one.installer.lower() in _DISTRO_INSTALLERS or "/dist-packages" in one.location
    if _DISTRO_FOLDERS.match(one.location) and (by_distro or not one.installer):
        return "distro", one.location
    return "index", ""


def local_path(url: str) -> str:
    """The path that a `file:` URL or a plain absolute path names; empty for other URLs."""
    if url.startswith("file:"):
        return unquote(urlsplit(url).path)
    return url if url.startswith("/") else ""


def findings(probe: Probe) -> tuple[Finding, ...]:
    """What a person should know: hand-edited packages, stray files, unmet requirements, conda."""
    return tuple(_findings(probe))


def _findings(probe: Probe) -> Iterator[Finding]:
    packages = read_packages(probe)
    for package in packages:
        if package.record == "modified":
            files = _some(package.modified, _differing(probe, package.name))
            text = f"{package.name} {package.version} differs from what was installed: {files}"
            yield Finding(id="package-modified", level="warning", text=text)
    if not probe.record_checked:
        text = "the installed files were not checked against their RECORD"
        yield Finding(id="record-not-checked", level="note", text=text)
    if probe.stray:
        names = tuple(_within(path, probe.sites) for path in probe.stray)
        text = f"files among the packages that belong to none of them: {_some(names, probe.stray_count)}"
        yield Finding(id="stray-files", level="warning", text=text)
    for text in unmet_requirements(probe):
        yield Finding(id="environment-inconsistent", level="warning", text=text)
    if probe.conda:
        text = f"a conda environment: {len(probe.conda)} conda packages, some of them not Python's, are not locked"
        yield Finding(id="conda-environment", level="warning", text=text)


def unmet_requirements(probe: Probe) -> tuple[str, ...]:
    """Requirements of installed packages that what is installed does not satisfy, one sentence each.

    Markers are evaluated for the job's interpreter; extras that nobody asked for do not count.
    """
    installed = {canonicalize_name(d.name): d.version for d in probe.distributions}
    environment = marker_environment(probe)
    unmet = []
    for one in probe.distributions:
        for text in one.requires:
            try:
                requirement = Requirement(text)
                if requirement.marker and not requirement.marker.evaluate({**environment, "extra": ""}):
                    continue
            except (InvalidRequirement, InvalidMarker, UndefinedEnvironmentName):
                unmet.append(f"{one.name} {one.version} has a requirement that cannot be read: {text[:100]}")
                continue
            version = installed.get(canonicalize_name(requirement.name))
            wanted = f"{one.name} {one.version} requires {requirement.name}{requirement.specifier}"
            if version is None:
                unmet.append(f"{wanted}, which is not installed")
            elif not _satisfies(requirement, version):
                unmet.append(f"{wanted}, but {version} is installed")
    return tuple(sorted(unmet))


def _satisfies(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not requirement.specifier


def marker_environment(probe: Probe) -> dict[str, str]:
    """The values of PEP 508's markers in the job's interpreter."""
    told = probe.interpreter
    names = {"cpython": "CPython", "pypy": "PyPy"}
    return {
        "implementation_name": told.implementation,
        "implementation_version": told.version,
        "os_name": "nt" if told.system == "windows" else "posix",
        "platform_machine": told.machine,
        "platform_python_implementation": names.get(told.implementation, told.implementation),
        "platform_release": told.release,
        "platform_system": told.system.capitalize(),
        "platform_version": "",
        "python_full_version": told.version,
        "python_version": ".".join(told.version.split(".")[:2]),
        "sys_platform": {"windows": "win32"}.get(told.system, told.system),
    }


def _differing(probe: Probe, name: str) -> int:
    one = probe.distribution(name)
    return one.record.differing if one else 0


def _within(path: str, sites: tuple[str, ...]) -> str:
    """The path relative to the site folder it lies in."""
    for folder in sites:
        if path.startswith(folder + "/"):
            return path[len(folder) + 1 :]
    return Path(path).name


def _some(names: tuple[str, ...], count: int) -> str:
    """The first few names, and how many more there are."""
    more = max(count, len(names)) - len(names[:_NAMED])
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more else "")
