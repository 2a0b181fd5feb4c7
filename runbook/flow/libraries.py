"""Shared libraries of the system that the job's packages load: found by content, for a base that lacks them."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runbook.bundle import layout
from runbook.engine.interface import Library
from runbook.model.carrying import Carry, loaded_beside
from runbook.model.environment import Base, SystemLibrary
from runbook.model.path import defect
from runbook.model.record import Finding

_SONAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")

Place = Callable[[SystemLibrary], Path | None]
"""Where the file of a library lies, checked; None where it is not at hand."""


def on_this_machine(one: SystemLibrary) -> Path | None:
    """Its file where the run found it, if it still has the same content."""
    path = Path(one.path)
    try:
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == one.sha256
    except OSError:
        return None
    return path if same else None


@dataclass(frozen=True)
class Libraries:
    """What a bundle says and holds of the system's libraries."""

    libraries: tuple[SystemLibrary, ...]
    """With the size of those that go along."""
    files: Mapping[str, Path]
    """Bundle path → file."""
    findings: tuple[Finding, ...]
    """What should go along and cannot."""


def carry_libraries(
    base: Base, libraries: Sequence[SystemLibrary], carry: Carry, place: Place = on_this_machine
) -> Libraries:
    """Decide which go along: for a base that is no host closure, those that it may lack."""
    wanted = loaded_beside(base, libraries) if carry != "none" else {}
    files, told, lost = dict[str, Path](), list[SystemLibrary](), list[str]()
    for one in libraries:
        if wanted.get(one.soname) is not one:
            told.append(msgspec.structs.replace(one, size=0))
            continue
        path = place(one) if storable(one.soname) else None
        if path is None:
            lost.append(one.soname)
        else:
            files[layout.library_file(one.soname)] = path
        told.append(msgspec.structs.replace(one, size=path.stat().st_size if path else 0))
    return Libraries(tuple(told), files, tuple(_findings(lost)))


def planned(
    base: Base, libraries: Sequence[SystemLibrary], unpacked: Callable[[str], Path]
) -> tuple[dict[str, Library], Callable[[], Path]]:
    """What an engine is told of the libraries that the base may lack, and what gives the folder of their files.

    What the bundle does not hold is taken from this machine, where it has the same bytes.
    """
    beside = {soname: one for soname, one in loaded_beside(base, libraries).items() if storable(soname)}
    here = {soname: path for soname, one in beside.items() if not one.size and (path := on_this_machine(one))}

    def files() -> Path:
        target = unpacked(layout.LOCK) / "libraries"
        target.mkdir(exist_ok=True)
        for soname, path in here.items():
            shutil.copyfile(path, target / soname)
        return target

    told = {
        soname: Library(described(one), bool(one.size) or soname in here, one.sha256)
        for soname, one in beside.items()
    }
    return told, files


def storable(soname: str) -> bool:
    """Whether it is a plain file name."""
    return _SONAME.fullmatch(soname) is not None and defect(layout.library_file(soname)) is None


def described(one: SystemLibrary) -> str:
    """What it is and who loads it: `libgomp.so.1 (libgomp1 12.2.0-14), which lightgbm loads`."""
    owner = f" ({one.os_package.value})" if one.os_package.value else ""
    users = f", which {' and '.join(one.needed_by[:3])} loads" if one.needed_by else ""
    return f"{one.soname}{owner}{users}"


def _findings(lost: list[str]) -> Iterator[Finding]:
    if lost:
        named = ", ".join(lost[:5])
        text = f"{named}: not carried, its file is no longer the one that the run loaded; a base may lack it"
        yield Finding(id="library-not-carried", level="warning", text=text)
