"""A wheel made again from a distribution's installed files, byte for byte the same each time.

It is what lets a VCS install, a hand-edited package or a private wheel replay exactly: what was installed is what
is carried. Bytecode and what an installer writes of its own accord are left out; console scripts come back from
their entry points; files outside the packages folder go to the wheel's `*.data` schemes.
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path
from typing import IO, Any, Protocol

from packaging.tags import Tag, parse_tag
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from runbook.environment.tags import platform_tags
from runbook.model.environment import Interpreter

# fmt: off
INSTALLERS_OWN = frozenset((
    "INSTALLER", "REQUESTED", "direct_url.json", "RECORD", "RECORD.jws", "RECORD.p7s",
    "uv_cache.json", "uv_build.json",
))
# fmt: on
"""Files of a `.dist-info` that the installer writes, not the wheel."""

_SITE = re.compile(r"(?P<prefix>.*)/lib(?:64)?/[^/]*python[^/]*/(?:site|dist)-packages")
_HEADERS = re.compile(r"include/(?:site/)?python[^/]*/[^/]+/(?P<rest>.+)")
_BYTECODE = (".pyc", ".pyo")
_SHEBANG = re.compile(rb"#!(?:[^\n]*python[^\n]*|/bin/sh\n'''exec' [^\n]*\n' ''')\n")
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


class Installed(Protocol):
    """One installed distribution, as the probe tells it."""

    @property
    def name(self) -> str:
        """As its metadata spells it."""

    @property
    def version(self) -> str:
        """As its metadata spells it."""

    @property
    def location(self) -> str:
        """The folder on sys.path that holds it."""

    @property
    def metadata(self) -> str:
        """Path of its `.dist-info` or `.egg-info`."""

    @property
    def direct_url(self) -> dict[str, Any] | None:
        """PEP 610."""

    @property
    def editable(self) -> str:
        """URL or folder of the source of an editable install."""

    @property
    def imports(self) -> tuple[str, ...]:
        """Top-level import names."""

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags of the wheel that it came from."""


@dataclass(frozen=True)
class Member:
    """A file of the wheel to be: its name inside, and where its bytes are."""

    name: str
    path: Path | None = None
    text: bytes = b""
    script: bool = False


def read_record(metadata: Path) -> list[tuple[str, str]]:
    """`(path relative to the packages folder, "sha256=…" or "")` of each row of RECORD; empty without one."""
    try:
        text = (metadata / "RECORD").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return [(row[0], row[1] if len(row) > 1 else "") for row in csv.reader(text.splitlines()) if row and row[0]]


def repack(
    installed: Installed, interpreter: Interpreter, target: Path, *, foreign: Collection[str] | None = None
) -> Path:
    """Write the wheel into the folder `target`; its path.

    foreign: absolute paths that belong to other distributions, when files that a person added inside the package's
    folders are to be taken along (a hand-edited package); None: only what RECORD lists.
    Raises ValueError with the reason when a wheel cannot be made of it, OSError when a file cannot be read.
    """
    metadata, site = Path(installed.metadata), Path(installed.location)
    version = _version(installed.version)
    stem = f"{canonicalize_name(installed.name).replace('-', '_')}-{version}"
    info = metadata.name if metadata.suffix == ".dist-info" and metadata.is_dir() else f"{stem}.dist-info"
    paths = [site / name for name, _ in read_record(metadata)]
    if not paths:
        paths = list(_without_record(installed, metadata, site))
    if foreign is not None:
        paths += _added(paths, site, foreign)
    members = {m.name: m for m in _members(paths, metadata, site, stem, _entry_points(metadata))}
    code = [name for name in members if not name.startswith(f"{info}/")]
    if metadata.suffix != ".dist-info" or not metadata.is_dir():
        members.update({m.name: m for m in _converted(metadata, info)})
    if f"{info}/METADATA" not in members:
        raise ValueError("its METADATA is gone")
    tags = _tags(installed, interpreter, code)
    if f"{info}/WHEEL" not in members:
        members[f"{info}/WHEEL"] = Member(f"{info}/WHEEL", text=_wheel_text(tags, not _native(code)))
    path = target / f"{stem}-{_compressed(tags)}.whl"
    _write(path, sorted(members.values(), key=lambda m: _order(m.name)), info)
    return path


def settle(wheel: Path) -> None:
    """Write a wheel again with the same members, sorted and of one time: backends leave that to chance."""
    draft = wheel.with_suffix(".part")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as sink:
        members = sorted((m for m in source.infolist() if not m.is_dir()), key=lambda m: _order(m.filename))
        for member in members:
            entry = zipfile.ZipInfo(member.filename, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o100755 if member.external_attr >> 16 & 0o111 else 0o100644) << 16
            with (
                source.open(member) as data,
                sink.open(entry, "w", force_zip64=member.file_size > 1 << 31) as copy,
            ):
                shutil.copyfileobj(data, copy, _BLOCK)
    draft.replace(wheel)


def _order(name: str) -> tuple[bool, bool, str]:
    """Metadata last, and RECORD last of all, as the wheel format wishes."""
    folder = name.partition("/")[0]
    return folder.endswith(".dist-info"), name.endswith(".dist-info/RECORD"), name


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise ValueError(f"its version {text!r} is none that an installer accepts (PEP 440)") from None


def _without_record(installed: Installed, metadata: Path, site: Path) -> Iterator[Path]:
    """Files of a distribution without RECORD: from the list that setuptools or the system's packages keep."""
    listed = metadata / "installed-files.txt"
    if listed.is_file():
        yield from (
            (metadata / line).resolve() for line in listed.read_text(encoding="utf-8").splitlines() if line
        )
        return
    owned = _debian_files(metadata)
    if owned:
        for path in owned:
            if path.is_file() and (path.is_relative_to(site) or path.parent.name == "bin"):
                yield path
        return
    for name in installed.imports:
        for found in (site / name, *site.glob(f"{name}.py"), *site.glob(f"{name}.*.so")):
            yield from (p for p in ([found] if found.is_file() else sorted(found.rglob("*"))) if p.is_file())


def _debian_files(metadata: Path) -> list[Path]:
    try:
        owner = subprocess.run(["dpkg-query", "-S", str(metadata)], capture_output=True, text=True, check=True)
        package = owner.stdout.partition(": ")[0].split(",")[0]
        listed = subprocess.run(["dpkg-query", "-L", package], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [Path(line) for line in listed.stdout.splitlines()]


def _added(paths: list[Path], site: Path, foreign: Collection[str]) -> list[Path]:
    """Files that nobody recorded, in the folders of these paths."""
    # A script is recorded as `site/../../../bin/x`: the folder that it lies in is nobody's.
    paths = [_normal(p) for p in paths]
    known = {str(p) for p in paths}
    folders = sorted({p.parent for p in paths if p.parent != site and p.is_relative_to(site)})
    beside = (p for folder in folders if folder.is_dir() for p in sorted(folder.iterdir()))
    return [p for p in beside if p.is_file() and str(p) not in known and str(p) not in foreign]


def _members(paths: list[Path], metadata: Path, site: Path, stem: str, commands: set[str]) -> Iterator[Member]:
    match = _SITE.fullmatch(str(site))
    prefix = Path(match["prefix"]) if match else site
    for path in paths:
        path = _normal(path)
        if path.suffix in _BYTECODE and (path.parent.name == "__pycache__" or path.with_suffix(".py").is_file()):
            continue
        if path.parent == metadata and path.name in INSTALLERS_OWN:
            continue
        if path.is_relative_to(metadata) and metadata.suffix != ".dist-info":
            continue
        if not path.is_file():
            continue
        if path.is_relative_to(site):
            yield Member(path.relative_to(site).as_posix(), path)
        elif path.parent == prefix / "bin":
            if path.name not in commands:
                yield Member(f"{stem}.data/scripts/{path.name}", path, script=True)
        elif path.is_relative_to(prefix):
            rest = path.relative_to(prefix).as_posix()
            headers = _HEADERS.fullmatch(rest)
            yield Member(f"{stem}.data/" + (f"headers/{headers['rest']}" if headers else f"data/{rest}"), path)
        else:
            raise ValueError(f"it has a file that no wheel can hold: {path}")


def _normal(path: Path) -> Path:
    # `site/../../../bin/x`: collapsed without following links, as the installer wrote it.
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def _entry_points(metadata: Path) -> set[str]:
    """Names of the scripts that an installer makes by itself."""
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read(metadata / "entry_points.txt", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return set()
    return {name for s in ("console_scripts", "gui_scripts") if parser.has_section(s) for name in parser[s]}


def _converted(metadata: Path, info: str) -> Iterator[Member]:
    """The metadata of an egg as a `.dist-info`."""
    source = metadata / "PKG-INFO" if metadata.is_dir() else metadata
    headers = HeaderParser().parsestr(source.read_text(encoding="utf-8", errors="replace"))
    if not headers.get("Name"):
        raise ValueError("its PKG-INFO names no distribution")
    yield Member(f"{info}/METADATA", source)
    for name in ("entry_points.txt", "top_level.txt"):
        if metadata.is_dir() and (metadata / name).is_file():
            yield Member(f"{info}/{name}", metadata / name)


def _native(names: list[str]) -> bool:
    return any(re.search(r"\.so(\.[0-9]+)*$", name) for name in names)


def _tags(installed: Installed, interpreter: Interpreter, names: list[str]) -> frozenset[Tag]:
    """Its own tags where the job's interpreter takes them, else what its files ask for."""
    accepted = frozenset(platform_tags(interpreter))
    told = frozenset(tag for text in installed.tags if text.count("-") == 2 for tag in parse_tag(text))
    if told & accepted:
        return told
    if not _native(names):
        return frozenset(parse_tag("py3-none-any"))
    return frozenset((next(t for t in platform_tags(interpreter) if t.platform.startswith(interpreter.system)),))


def _compressed(tags: frozenset[Tag]) -> str:
    """The compressed tag set of a wheel's name (PEP 425); one of them where they are not a full product."""
    parts = [sorted({getattr(t, n) for t in tags}) for n in ("interpreter", "abi", "platform")]
    text = "-".join(".".join(part) for part in parts)
    return text if frozenset(parse_tag(text)) == tags else str(min(tags, key=str))


def _wheel_text(tags: frozenset[Tag], pure: bool) -> bytes:
    lines = ["Wheel-Version: 1.0", "Generator: runbook", f"Root-Is-Purelib: {str(pure).lower()}"]
    return "".join(f"{line}\n" for line in [*lines, *sorted(f"Tag: {tag}" for tag in tags)]).encode()


def _write(path: Path, members: list[Member], info: str) -> None:
    rows = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            digest, size = _add(archive, member)
            rows.append((member.name, f"sha256={digest}", str(size)))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
        _add(archive, Member(f"{info}/RECORD", text=text.getvalue().encode()))


def _add(archive: zipfile.ZipFile, member: Member) -> tuple[str, int]:
    """Write one member while hashing it: (urlsafe base64 of its sha256, size)."""
    entry = zipfile.ZipInfo(member.name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    executable = member.path is not None and member.path.stat().st_mode & 0o111
    entry.external_attr = (0o100755 if executable or member.script else 0o100644) << 16
    if member.script and member.path is not None:
        # Installers write their own interpreter after `#!python`.
        member = replace(member, path=None, text=_SHEBANG.sub(b"#!python\n", member.path.read_bytes(), count=1))
    digest, size = hashlib.sha256(), 0
    source: IO[bytes] = io.BytesIO(member.text) if member.path is None else member.path.open("rb")
    large = member.path is not None and member.path.stat().st_size > 1 << 31
    with source, archive.open(entry, "w", force_zip64=large) as sink:
        while block := source.read(_BLOCK):
            digest.update(block)
            size += len(block)
            sink.write(block)
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode(), size
