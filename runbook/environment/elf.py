"""Which shared libraries a set of ELF files loads, found without running anything.

The rules are those of glibc's loader: what is loaded already by that name, RPATH of the file and of its loaders,
RUNPATH, the folders of ld.so.conf, the default folders.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

_MAGIC = b"\x7fELF"


@dataclass(frozen=True)
class Elf:
    """What a loader reads of one file."""

    path: Path
    machine: str
    soname: str
    loader: str
    """Path of the program interpreter (ld.so); empty for a library."""
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    """DT_RPATH, which counts only where there is no RUNPATH, and then for what it loads too."""
    runpath: tuple[str, ...]


@dataclass(frozen=True)
class Libraries:
    """The closure: libraries by soname, and what could not be found."""

    found: dict[str, Path] = field(default_factory=dict)
    """soname → the path by which the loader finds it (links not resolved)."""
    configured: frozenset[str] = frozenset()
    """sonames that were found through ld.so.conf only."""
    loaders: frozenset[str] = frozenset()
    lost: dict[str, str] = field(default_factory=dict)
    """soname → the file that needs it."""


def is_elf(path: Path) -> bool:
    """Whether a file begins like an ELF file."""
    try:
        with path.open("rb") as file:
            return file.read(4) == _MAGIC
    except OSError:
        return False


@lru_cache(maxsize=4096)
def read_elf(path: Path) -> Elf | None:
    """The dynamic section of a file; None when it is not ELF or is broken."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as stream:
            if stream.read(4) != _MAGIC:
                return None
            file = ELFFile(stream)
            loader, tags = "", []
            for segment in file.iter_segments():
                kind = segment.header.p_type
                if kind == "PT_INTERP":
                    loader = segment.get_interp_name()
                elif kind == "PT_DYNAMIC":
                    tags = list(segment.iter_tags())
            origin = str(path.resolve().parent)
            machine = f"{file.header.e_machine} {file.elfclass}"
            return Elf(
                path=path,
                machine=machine,
                soname=next((t.soname for t in tags if t.entry.d_tag == "DT_SONAME"), ""),
                loader=loader,
                needed=tuple(t.needed for t in tags if t.entry.d_tag == "DT_NEEDED"),
                rpath=_folders((t.rpath for t in tags if t.entry.d_tag == "DT_RPATH"), origin),
                runpath=_folders((t.runpath for t in tags if t.entry.d_tag == "DT_RUNPATH"), origin),
            )
    except (OSError, ELFError, ValueError, KeyError):
        return None


def _folders(values: Iterable[str], origin: str) -> tuple[str, ...]:
    parts = [part for value in values for part in value.split(":") if part]
    return tuple(part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for part in parts)


def default_folders(machine: str) -> tuple[str, ...]:
    """Where the loader looks by itself, Debian's multiarch folders first."""
    triplet = f"{machine}-linux-gnu"
    places = (f"/lib/{triplet}", f"/usr/lib/{triplet}", "/lib64", "/usr/lib64", "/lib", "/usr/lib")
    return tuple(place for place in places if Path(place).is_dir())


def configured_folders(conf: Path = Path("/etc/ld.so.conf")) -> tuple[str, ...]:
    """The folders of ld.so.conf, in its order, with what it includes."""
    return tuple(dict.fromkeys(_configured(conf)))


def _configured(conf: Path) -> Iterator[str]:
    try:
        lines = conf.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for path in sorted(Path("/").glob(str(conf.parent / pattern).lstrip("/"))):
                    yield from _configured(path)
        elif words:
            yield words[0]


def load_closure(roots: Iterable[Path], machine: str) -> Libraries:
    """Everything that these ELF files load, transitively, on a host of this machine type."""
    found: dict[str, Path] = {}
    by_conf: set[str] = set()
    loaders: set[str] = set()
    lost: dict[str, str] = {}
    default, configured = default_folders(machine), configured_folders()
    queue: deque[tuple[Elf, tuple[str, ...]]] = deque()
    for root in roots:
        elf = read_elf(root)
        if elf is not None:
            queue.append((elf, ()))
            # A library that is there for its own sake is found by its name from then on.
            if elf.soname and not elf.loader:
                found.setdefault(elf.soname, root)
    while queue:
        elf, inherited = queue.popleft()
        if elf.loader:
            loaders.add(elf.loader)
        own = () if elf.runpath else (*elf.rpath, *inherited)
        for name in elf.needed:
            if name in found:
                continue
            hit = _find(name, (*own, *elf.runpath, *configured, *default), elf.machine)
            if hit is None:
                lost.setdefault(name, str(elf.path))
                continue
            found[name] = hit.path
            lost.pop(name, None)
            if str(hit.path.parent) not in (*own, *elf.runpath, *default):
                by_conf.add(name)
            queue.append((hit, own))
    lost = {name: by for name, by in lost.items() if name not in found}
    return Libraries(found, frozenset(by_conf), frozenset(loaders), lost)


def _find(name: str, folders: tuple[str, ...], machine: str) -> Elf | None:
    for path in [Path(name)] if "/" in name else [Path(folder) / name for folder in folders]:
        elf = read_elf(path)
        if elf is not None and elf.machine == machine:
            return elf
    return None
