"""What a project declares that it needs, and what its job imported without being declared."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from runbook.model.environment import Package

_FILES = (
    "requirements*.txt",
    "requirements/*.txt",
    "pyproject.toml",
    "environment*.y*ml",
    "conda*.y*ml",
    "Pipfile",
)
_CAP = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Requirements:
    """What the requirements files of a project ask for."""

    files: tuple[str, ...]
    """Relative to the root."""
    asked: tuple[tuple[str, str], ...]
    """File and requirement, as written there."""

    @property
    def names(self) -> frozenset[str]:
        """Normalised names of the packages."""
        return frozenset(name for _, text in self.asked if (name := _requirement(text, here=False)))


def requirements(root: Path, folder: Path) -> Requirements:
    """What the requirements files beside the job and at the project's root declare."""
    asked: list[tuple[str, str]] = []
    for place in dict.fromkeys((folder, root)):
        for pattern in _FILES:
            for path in sorted(place.glob(pattern)):
                name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
                asked += [(name, text) for text in _read(path)]
    return Requirements(tuple(dict.fromkeys(name for name, _ in asked)), tuple(asked))


def unmet(wanted: Requirements, packages: Sequence[Package]) -> Iterator[str]:
    """Requirements that the installed versions do not meet, one sentence each."""
    known = {p.name: p.version for p in packages}
    for file, text in wanted.asked:
        try:
            one = Requirement(text)
            if one.marker is not None and not one.marker.evaluate():
                continue
            version = known.get(canonicalize_name(one.name))
            met = version is None or one.specifier.contains(version, prereleases=True)
        except (InvalidRequirement, UndefinedEnvironmentName, InvalidVersion):
            continue
        if not met:
            yield f"{file} asks for {one.name}{one.specifier}; {version} is installed"


def undeclared(imported: Iterable[str], packages: Sequence[Package], names: Iterable[str]) -> tuple[str, ...]:
    """Packages that were imported and come neither by declaration nor with a package that is declared.

    imported: top-level module names. What comes with another undeclared package is not named again.
    """
    known = {p.name: p for p in packages}
    providers: dict[str, list[str]] = {}
    for package in packages:
        for module in dict.fromkeys(top.partition(".")[0] for top in package.imports):
            providers.setdefault(module, []).append(package.name)
    used = [providers[module] for module in imported if module in providers]
    declared = _closure(names, known)
    missing = {one for (one, *more) in used if not more} - declared
    needs = {one: _closure([one], known) for one in missing}
    surely = {one: _closure([one], known, extras=False) for one in missing}
    # Of a name that several packages share, such as `google`, it is not known which of them was imported.
    accounted = declared.union(missing, *needs.values())
    missing |= {shared[0] for shared in used if len(shared) > 1 and not accounted.intersection(shared)}
    brought = {
        name
        for one in needs
        for name in needs[one]
        # Extras of two packages may name each other: then neither is there because of the other.
        if one not in needs.get(name, ()) or (name in surely[one] and one not in surely[name])
    }
    return tuple(sorted(missing - brought))


def _closure(names: Iterable[str], known: Mapping[str, Package], *, extras: bool = True) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += _required(known.get(name), extras=extras)
    return found


def _required(package: Package | None, *, extras: bool) -> list[str]:
    """What a package requires here. extras: they count as asked for, where nobody knows which were."""
    texts = package.requires if package else ()
    return [name for text in texts if (extras or not _extra(text)) and (name := _requirement(text))]


def _extra(text: str) -> bool:
    return "extra" in text.partition(";")[2]


def _requirement(text: str, *, here: bool = True) -> str:
    """The normalised name; empty when its marker excludes this machine. here: whether that matters."""
    try:
        one = Requirement(text)
        if here and one.marker is not None and "extra" not in str(one.marker) and not one.marker.evaluate():
            return ""
    except (InvalidRequirement, UndefinedEnvironmentName):
        match = _NAME.match(text)
        return canonicalize_name(match[0]) if match else ""
    return canonicalize_name(one.name)


def _read(path: Path) -> Iterator[str]:
    try:
        text = path.read_bytes()[:_CAP].decode(errors="replace")
    except OSError:
        return
    if path.name == "pyproject.toml":
        lines = _pyproject(text)
    elif path.suffix in (".yml", ".yaml"):
        lines = [m[1] for m in re.finditer(r"^\s*-\s+([A-Za-z0-9][^\n#]*)", text, re.MULTILINE)]
    elif path.name == "Pipfile":
        lines = [m[1] for m in re.finditer(r"^([A-Za-z0-9._-]+)\s*=\s*[\"{]", text, re.MULTILINE)]
    else:
        lines = [line.partition(" #")[0].strip() for line in text.splitlines()]
    for line in lines:
        if _NAME.match(line):
            yield line


def _pyproject(text: str) -> list[str]:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return []
    project = tree.get("project", {})
    poetry = tree.get("tool", {}).get("poetry", {})
    extras = project.get("optional-dependencies", {})
    found = [*project.get("dependencies", ()), *(one for group in extras.values() for one in group)]
    found += [name for name in poetry.get("dependencies", {}) if name != "python"]
    return [one for one in found if isinstance(one, str)]
