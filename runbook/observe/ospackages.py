"""The operating system's own package database: which package owns a file, and everything that is installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from shutil import which

from runbook.model.fact import Fact, missing, observed

_APK = Path("/lib/apk/db/installed")


def os_packages() -> Fact[tuple[str, ...]]:
    """Lines `name version arch` of every installed OS package, sorted; dpkg, rpm or apk."""
    if which("dpkg-query"):
        pattern = "${db:Status-Abbrev}|${Package} ${Version} ${Architecture}\n"
        lines = [r.partition("|") for r in _ask("dpkg-query", "-W", "-f", pattern)]
        found = [text for status, _, text in lines if status.strip().endswith("i")]
    elif which("rpm"):
        found = _ask("rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE} %{ARCH}\n")
    elif _APK.is_file():
        found = [f"{p['P']} {p['V']} {p.get('A', '')}".strip() for p in _apk_database()]
    else:
        return missing("no dpkg, rpm or apk database on this host")
    return observed(tuple(sorted(found))) if found else missing("the package database of this host is empty")


def owners(paths: Iterable[str]) -> dict[str, Fact[str]]:
    """For each absolute path the OS package that owns it, `libgomp1 12.2.0-14`, or why there is none."""
    wanted = list(paths)
    if which("dpkg-query"):
        return _dpkg_owners(wanted)
    if which("rpm"):
        return {p: _rpm_owner(p) for p in wanted}
    if _APK.is_file():
        return _apk_owners(wanted)
    return {p: missing("no dpkg, rpm or apk database on this host") for p in wanted}


def _ask(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout.splitlines()


def _spellings(path: str) -> list[str]:
    """The names under which a database may hold the file: links resolved, with and without a merged /usr."""
    real = str(Path(path).resolve())
    found = dict.fromkeys((path, real))
    for one in (path, real):
        found[one.removeprefix("/usr") if one.startswith("/usr/") else f"/usr{one}"] = None
    return list(found)


def _dpkg_owners(paths: list[str]) -> dict[str, Fact[str]]:
    spelt = {s: p for p in paths for s in _spellings(p)}
    owner: dict[str, str] = {}
    for line in _ask("dpkg-query", "-S", "--", *spelt) if spelt else ():
        names, _, path = line.rpartition(": ")
        if path in spelt and not names.startswith("diversion "):
            owner.setdefault(spelt[path], names.split(", ")[0])
    versions = {}
    named = sorted(set(owner.values()))
    for line in _ask("dpkg-query", "-W", "-f", "${Package}:${Architecture} ${Version}\n", *named) if named else ():
        full, _, version = line.partition(" ")
        versions[full.partition(":")[0]] = version
    found: dict[str, Fact[str]] = {}
    for path in paths:
        name = owner.get(path, "").partition(":")[0]
        known = name in versions
        found[path] = observed(f"{name} {versions[name]}") if known else missing("no OS package owns this file")
    return found


def _rpm_owner(path: str) -> Fact[str]:
    for spelling in _spellings(path):
        lines = _ask("rpm", "-qf", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n", spelling)
        if lines and " is not owned " not in lines[0] and not lines[0].startswith("error"):
            return observed(lines[0])
    return missing("no OS package owns this file")


def _apk_owners(paths: list[str]) -> dict[str, Fact[str]]:
    spelt = {s: p for p in paths for s in _spellings(p)}
    found: dict[str, Fact[str]] = {p: missing("no OS package owns this file") for p in paths}
    name = folder = ""
    version = ""
    for line in _APK.read_text(errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key == "P":
            name = value
        elif key == "V":
            version = value
        elif key == "F":
            folder = f"/{value}"
        elif key == "R" and f"{folder}/{value}" in spelt:
            found[spelt[f"{folder}/{value}"]] = observed(f"{name} {version}")
    return found


def _apk_database() -> list[dict[str, str]]:
    blocks = _APK.read_text(errors="replace").split("\n\n")
    packages = [dict(line.split(":", 1) for line in b.splitlines() if line[1:2] == ":") for b in blocks]
    return [p for p in packages if {"P", "V"} <= set(p)]
