"""Wheels as they lie when installed: a folder each in the cache, from whose files environments are put together.

A tree is what PEP 427 makes of a wheel below a prefix, without bytecode: `lib/pythonX.Y/site-packages`, `bin`,
`share` … It is named by the wheel's sha256, has one time for all files, and appears by a rename. Its `LISTING`
holds path and size of each file; a tree whose files have other sizes (a crash before the disk had them) is made
anew. Nothing of a wheel is executed, here or by what links its files together.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name

from runbook.digest import receive
from runbook.digest.lanes import cores
from runbook.environment.layer import TIME
from runbook.environment.tags import best_wheel
from runbook.environment.wheels import chosen
from runbook.errors import EnvironmentNotRebuilt
from runbook.model.environment import Interpreter
from runbook.model.path import text_defect
from runbook.model.requirements import Requirement, parse_requirements

LISTING = "listing.json"
FILES = "files"
"""The folder of a tree that holds the files."""
_MALFORMED = (
    ValueError,
    KeyError,
    AssertionError,
    RuntimeError,
    NotImplementedError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading and installing a wheel raises where it is none."""
_INSTALLER = b"runbook\n"
_MOST_FILES = 1_000_000
_ROOMY = 1 << 30
_RATIO = 100
"""Most bytes that a wheel may unpack to: a GiB, or so many times its own size."""


def have(
    requirements: bytes,
    interpreter: Interpreter,
    carried: Mapping[str, str],
    wheels: Callable[[], Path],
    *,
    python: str,
    cache: Path,
) -> dict[str, Path]:
    """A tree for each pin of a lock: its key → its folder.

    carried: file name → sha256 of the wheels that a bundle carries, as its manifest states them. wheels: fetches
    the folder of every wheel of the lock; asked only where a tree is lacking. python: the interpreter that scripts
    name. Raises EnvironmentNotRebuilt (`install-failed`) for a wheel that cannot be laid out.
    """
    store = cache / "trees" / _library(interpreter)
    pins = parse_requirements(requirements)
    known = [_known(pin, interpreter, carried, cache) for pin in pins]
    trees = {sha256: store / sha256 for sha256 in known if sha256}
    if len(trees) == len(pins) and all(map(is_whole, trees.values())):
        return trees
    return _unpack(wheels(), pins, store, _library(interpreter), python)


def _known(pin: Requirement, interpreter: Interpreter, carried: Mapping[str, str], cache: Path) -> str:
    """The digest of the wheel that `fetch` would take, where that is known without reading any; else empty."""
    own = {name: sha256 for name, sha256 in carried.items() if sha256 in pin.hashes}
    if best := best_wheel(own, interpreter):
        return own[best]
    return chosen(pin, interpreter, cache)[0]


def is_whole(tree: Path) -> bool:
    """Whether each of its files is there, with its size."""
    try:
        return all(os.stat(f"{tree}/{FILES}/{name}").st_size == size for name, size in listing(tree))  # noqa: PTH116
    except (OSError, msgspec.DecodeError):
        return False


def listing(tree: Path) -> list[tuple[str, int]]:
    """Path and size of each of its files, sorted. Raises OSError, msgspec.DecodeError."""
    return msgspec.json.decode((tree / LISTING).read_bytes(), type=list[tuple[str, int]])


def _library(interpreter: Interpreter) -> str:
    """`python3.11`: the folder in `lib` of a virtual environment."""
    minor = ".".join(interpreter.version.split(".")[:2])
    # A Python without the lock that serialises threads has a library of its own.
    return f"python{minor}{'t' if interpreter.abi.endswith('t') else ''}"


def _unpack(folder: Path, pins: Sequence[Requirement], store: Path, library: str, python: str) -> dict[str, Path]:
    store.mkdir(parents=True, exist_ok=True)
    hashes = {pin.name: pin.hashes for pin in pins}

    def tree(wheel: Path) -> tuple[str, Path]:
        sha256 = receive.sha256(wheel)
        if sha256 not in hashes.get(canonicalize_name(wheel.name.partition("-")[0]), ()):
            raise _refused(wheel, "it has not the hash that the lock names")
        target = store / sha256
        if not is_whole(target):
            _lay_out(wheel, target, library, python)
        return sha256, target

    # Bytecode that a wheel brings is left out, with a warning. Which are shown is the process's, not a thread's.
    with warnings.catch_warnings(), ThreadPoolExecutor(cores(), "unpack") as pool:
        warnings.simplefilter("ignore")
        found = dict(pool.map(tree, sorted(folder.glob("*.whl"))))
    if lost := [pin.pin for pin in pins if found.keys().isdisjoint(pin.hashes)]:
        raise _refused(folder / lost[0], "there is no wheel of it")
    return found


def _refused(wheel: Path, why: str) -> EnvironmentNotRebuilt:
    return EnvironmentNotRebuilt(
        "the locked packages cannot be installed",
        f"{wheel.name}: {why}",
        hint="runbook verify tells whether the bundle is whole; a wheel that is malformed stays so",
        id="install-failed",
    )


def _lay_out(wheel: Path, target: Path, library: str, python: str) -> None:
    draft = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        try:
            _check(wheel)
            _install(wheel, draft / FILES, library, python)
        except _MALFORMED as error:
            raise _refused(wheel, str(error)) from error
        (draft / LISTING).write_bytes(msgspec.json.encode(sorted(_settle(draft / FILES))))
        draft.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        try:
            draft.rename(target)
        except OSError:
            if not is_whole(target):  # Else another runbook was quicker.
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check(wheel: Path) -> None:
    """Raise ValueError for a wheel with names that are no plain ones, or that unpacks to far more than it is."""
    with zipfile.ZipFile(wheel) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if len(names) > _MOST_FILES or len(set(names)) != len(names):
        raise ValueError("too many files, or one twice")
    for name in names:
        parts = name.removesuffix("/").split("/")
        if text_defect(name) or not {"", ".", ".."}.isdisjoint(parts):
            raise ValueError(f"no plain file name: {name!r}")
    if sum(member.file_size for member in members) > max(_ROOMY, _RATIO * wheel.stat().st_size):
        raise ValueError("it unpacks to far more than it is")


def _install(wheel: Path, prefix: Path, library: str, python: str) -> None:
    """By pypa's own library; what it refuses is a ValueError or an AssertionError."""
    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError, InvalidWheelSource
    from installer.sources import WheelFile

    packages = str(prefix / "lib" / library / "site-packages")
    name = wheel.name.partition("-")[0]
    schemes = {
        "purelib": packages,
        "platlib": packages,
        "scripts": str(prefix / "bin"),
        "headers": str(prefix / "include" / "site" / library / name),
        "data": str(prefix),
    }
    Path(packages).mkdir(parents=True)
    with warnings.catch_warnings(), WheelFile.open(wheel) as source:
        warnings.simplefilter("ignore")  # Bytecode that a wheel brings is left out.
        try:
            install(
                source=source,
                destination=SchemeDictionaryDestination(schemes, interpreter=python, script_kind="posix"),
                additional_metadata={"INSTALLER": _INSTALLER},
            )
        except (InstallerError, InvalidWheelSource) as error:
            raise ValueError(str(error)) from error


def _settle(files: Path) -> list[tuple[str, int]]:
    """One time for all, modes that the sandbox's user can read; path and size of each file."""
    found = []
    for folder, _, names in os.walk(files):
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - a Path for each of many files is slow
        for name in names:
            path = f"{folder}/{name}"
            status = os.lstat(path)
            os.chmod(path, 0o755 if status.st_mode & 0o111 else 0o644)  # noqa: PTH101
            # Compiled modules name the time of their source.
            os.utime(path, (TIME, TIME))
            found.append((os.path.relpath(path, files), status.st_size))
    return found
