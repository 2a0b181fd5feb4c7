"""Exactly one wheel for every pin of a lock, with not one byte trusted before its hash is right.

Sources, in this order: the wheels that the bundle carries, runbook's cache, the user's indexes. Nothing of the
bundle is executed. The cache holds `wheels/<sha256>/<file name>`; a file gets there by a rename once its hash was
right, and is hashed again whenever it is taken out, so that it can neither be poisoned nor rot unnoticed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from runbook.digest import receive
from runbook.digest.atomic import explaining_full
from runbook.environment.index import Index
from runbook.environment.release import IndexFile, Release
from runbook.environment.tags import best_wheel, platform_tags
from runbook.errors import BundleRejected, EnvironmentNotRebuilt
from runbook.model.environment import Interpreter
from runbook.model.requirements import CAP, Requirement, parse_requirements
from runbook.progress import SILENT, Progress

_BLOCK = 1 << 20
_THREADS = 8
_NAMED = 5
_TRIES = 3


@dataclass(frozen=True)
class Fetched:
    """What a lock needs, at hand."""

    folder: Path
    wheels: tuple[str, ...]
    """File names, sorted; one for each pin."""
    downloaded: int
    """Bytes that came over the network."""


def fetch(
    requirements: Path,
    interpreter: Interpreter,
    carried: Path | None,
    target: Path,
    *,
    index: Index,
    cache: Path,
    progress: Progress = SILENT,
) -> Fetched:
    """Fill the folder `target` with one wheel for each pin, hard-linked from the cache where that is possible.

    carried: the bundle's `data/lock/wheels`, or None. cache: runbook's cache folder.
    Raises BundleRejected for a lock that is none or a carried wheel that is damaged, and EnvironmentNotRebuilt for
    a pin that nothing satisfies (`pin-unsatisfied`) or an index that cannot be reached (`index-unreachable`):
    either way the environment cannot be rebuilt.
    """
    with requirements.open("rb") as file:
        pins = parse_requirements(file.read(CAP + 1))
    target.mkdir(parents=True, exist_ok=True)
    store = _Store(cache / "wheels", target)
    names: dict[str, str] = {}
    for pin, name in _carried(pins, carried, interpreter, store):
        names[pin.name] = name
    for pin in pins:
        if pin.name not in names and (name := store.take_choice(pin, interpreter)):
            names[pin.name] = name
    missing = [pin for pin in pins if pin.name not in names]
    downloaded = 0
    if missing:
        progress.say(f"fetching {len(missing)} wheels")
        found, downloaded = _from_index(missing, interpreter, index, store, cache, progress)
        names.update(found)
    return Fetched(target, tuple(sorted(names.values())), downloaded)


@dataclass(frozen=True)
class Foreseen:
    """What fetching would do: bytes by where they come from, and what cannot be had."""

    cached: int = 0
    """Bytes of wheels in the cache."""
    download: int = 0
    """Bytes to come over the network, as far as the indexes tell them."""
    unknown: int = 0
    """Wheels whose size no index tells."""
    files: int = 0
    """Wheels to come over the network."""
    problem: EnvironmentNotRebuilt | None = None
    """What `fetch` would raise."""


def foresee(
    requirements: bytes, interpreter: Interpreter, carried: Iterable[str], *, index: Index, cache: Path
) -> Foreseen:
    """What `fetch` would do, by names alone: no wheel is read or fetched. The indexes are asked for their lists.

    carried: file names of the wheels that the bundle carries.
    """
    pins = parse_requirements(requirements)
    own = {name for name in carried if best_wheel([name], interpreter)}
    brought = {(name, str(version)) for name, version, _, _ in map(parse_wheel_filename, own)}
    cached, lacking = 0, []
    for pin in pins:
        if (pin.name, str(pin.parsed)) in brought:
            continue
        names = {path.name: path for sha256 in pin.hashes for path in (cache / "wheels" / sha256).glob("*.whl")}
        if best := best_wheel(names, interpreter):
            cached += names[best].stat().st_size
        else:
            lacking.append(pin)
    if not lacking:
        return Foreseen(cached)
    releases = index.files([(pin.name, pin.version) for pin in lacking])
    chosen: list[IndexFile] = []
    problems: list[str] = []
    offline = False
    for pin in lacking:
        release = releases[pin.name, pin.version]
        if (file := _choose(pin, release, interpreter)) is None:
            problems.append(f"{pin.pin}: {_why_none(release, interpreter)}")
            offline = offline or release.offline
        else:
            chosen.append(file)
    return Foreseen(
        cached=cached,
        download=sum(file.size or 0 for file in chosen),
        unknown=sum(file.size is None for file in chosen),
        files=len(chosen),
        problem=_unsatisfied(problems, offline=offline) if problems else None,
    )


def _carried(
    pins: Sequence[Requirement], folder: Path | None, interpreter: Interpreter, store: _Store
) -> Iterator[tuple[Requirement, str]]:
    by_pin: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(folder.glob("*.whl")) if folder and folder.is_dir() else []:
        try:
            name, version, _, _ = parse_wheel_filename(path.name)
        except (InvalidWheelFilename, ValueError):
            raise BundleRejected(
                "a carried wheel has no wheel's name", path.name, id="carried-wheel-name"
            ) from None
        by_pin.setdefault((name, str(version)), []).append(path)
    for pin in pins:
        paths = {path.name: path for path in by_pin.get((pin.name, str(pin.parsed)), [])}
        best = best_wheel(paths, interpreter)
        if best is None:
            continue
        if not store.copy_in(paths[best], pin.hashes):
            raise BundleRejected(
                "a carried wheel has not the hash that the lock names",
                best,
                hint="run `runbook verify` on the bundle",
                id="carried-wheel-hash",
            )
        yield pin, best


def _from_index(
    pins: Sequence[Requirement],
    interpreter: Interpreter,
    index: Index,
    store: _Store,
    cache: Path,
    progress: Progress,
) -> tuple[dict[str, str], int]:
    releases = index.files([(pin.name, pin.version) for pin in pins], progress)
    chosen: dict[str, IndexFile] = {}
    problems: dict[str, str] = {}
    offline = False
    for pin in pins:
        release = releases[pin.name, pin.version]
        file = _choose(pin, release, interpreter)
        if file is not None:
            chosen[pin.name] = file
        elif name := store.take_any(pin, interpreter):
            chosen[pin.name] = IndexFile(name, "", None, local=True)
        else:
            problems[pin.name] = f"{pin.pin}: {_why_none(release, interpreter)}"
            offline = offline or release.offline
    if problems:
        raise _unsatisfied(list(problems.values()), offline=offline)
    wanted = [(pin, chosen[pin.name]) for pin in pins if chosen[pin.name].url]
    total = 0
    lock = threading.Lock()
    with progress.bar("fetching wheels", None) as advance, ThreadPoolExecutor(_THREADS, "fetch") as pool:

        def count(amount: int) -> None:
            nonlocal total
            with lock:
                total += amount
                advance(amount)

        def get(one: tuple[Requirement, IndexFile]) -> str:
            try:
                with explaining_full("wheels", cache):
                    store.download(*one, interpreter, index, count)
            except OSError as error:
                return f"{one[0].pin}: {error}"
            return ""

        failed = [text for text in pool.map(get, wanted) if text]
    if failed:
        raise _unsatisfied(failed, offline=False)
    return {name: file.filename for name, file in chosen.items()}, total


def _choose(pin: Requirement, release: Release, interpreter: Interpreter) -> IndexFile | None:
    """The best wheel whose hash the lock names; one that the index lists without a hash is tried after those."""
    for known in (True, False):
        files = {
            file.filename: file
            for file in release.files
            if file.wheel and (file.sha256 in pin.hashes if known else file.sha256 is None)
        }
        best = best_wheel(files, interpreter)
        if best is not None:
            return files[best]
    return None


def _why_none(release: Release, interpreter: Interpreter) -> str:
    if release.problem:
        return release.problem
    if not release.files:
        return "no index has this version"
    wheels = [file.filename for file in release.files if file.wheel]
    if not wheels:
        return "an index has it as source only"
    best = best_wheel(wheels, interpreter)
    if best is None:
        kind = f"{interpreter.abi} on {interpreter.system} {interpreter.machine}"
        return f"none of the {len(wheels)} wheels that were found is for {kind}"
    return f"{best} was found, but with a hash that the lock does not name"


def _unsatisfied(problems: Sequence[str], *, offline: bool) -> EnvironmentNotRebuilt:
    more = f" (and {len(problems) - _NAMED} more)" if len(problems) > _NAMED else ""
    named = "; ".join(problems[:_NAMED]) + more
    if offline:
        return EnvironmentNotRebuilt(
            "wheels of the lock are not at hand and no index can be reached",
            named,
            hint="connect to an index, or set PIP_INDEX_URL or PIP_FIND_LINKS to where these wheels are",
            id="index-unreachable",
        )
    return EnvironmentNotRebuilt(
        "a wheel that the lock names cannot be had",
        named,
        hint="set PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to where this version is published",
        id="pin-unsatisfied",
    )


def chosen(pin: Requirement, interpreter: Interpreter, cache: Path) -> tuple[str, str]:
    """Sha256 and file name of the wheel that was chosen for this pin and interpreter before; empty for none."""
    try:
        sha256, _, name = _choice(pin, interpreter, cache).read_text(encoding="utf-8").partition(" ")
    except OSError:
        return "", ""
    return (sha256, name) if sha256 in pin.hashes and "/" not in name else ("", "")


def _choice(pin: Requirement, interpreter: Interpreter, cache: Path) -> Path:
    tags = "\n".join(str(tag) for tag in platform_tags(interpreter))
    key = hashlib.sha256(f"{pin.pin}\n{pin.hashes}\n{tags}".encode()).hexdigest()
    return cache / "wheels" / "choices" / key


class _Store:
    """The content-addressed cache, and the folder that is being filled from it."""

    def __init__(self, root: Path, target: Path) -> None:
        self._root = root
        self._target = target
        root.mkdir(parents=True, exist_ok=True)

    def take(self, sha256: str, filename: str) -> bool:
        """Link a cached wheel into the target if its bytes still have the hash; a rotten one is removed."""
        cached = self._root / sha256 / filename
        if not cached.is_file():
            return False
        if receive.sha256(cached) != sha256:
            cached.unlink(missing_ok=True)
            return False
        receive.link(cached, self._target / filename)
        return True

    def take_choice(self, pin: Requirement, interpreter: Interpreter) -> str:
        """The wheel that was chosen for this very pin and interpreter before; its name, or empty."""
        sha256, name = chosen(pin, interpreter, self._root.parent)
        return name if sha256 and self.take(sha256, name) else ""

    def take_any(self, pin: Requirement, interpreter: Interpreter) -> str:
        """The best cached wheel of the pin; its name, or empty."""
        cached = {
            path.name: sha256
            for sha256 in pin.hashes
            if (self._root / sha256).is_dir()
            for path in (self._root / sha256).glob("*.whl")
        }
        best = best_wheel(cached, interpreter)
        return best if best is not None and self.take(cached[best], best) else ""

    def copy_in(self, path: Path, hashes: Iterable[str]) -> bool:
        """Copy a file of the bundle into the target while hashing it; False when the hash is another."""
        part = self._target / f".{path.name}.part"
        digest = hashlib.sha256()
        with path.open("rb") as source, part.open("wb") as sink:
            while block := source.read(_BLOCK):
                digest.update(block)
                sink.write(block)
        if digest.hexdigest() not in hashes:
            part.unlink()
            return False
        part.replace(self._target / path.name)
        return True

    def download(
        self,
        pin: Requirement,
        file: IndexFile,
        interpreter: Interpreter,
        index: Index,
        count: Callable[[int], None],
    ) -> None:
        """Have the file in the cache and the target. Continues what an earlier attempt left. Raises OSError."""
        if not (file.sha256 and self.take(file.sha256, file.filename)):
            self._download(pin, file, index, count)
        sha256 = receive.sha256(self._target / file.filename)
        choice = _choice(pin, interpreter, self._root.parent)
        choice.parent.mkdir(parents=True, exist_ok=True)
        fresh = choice.with_name(f"{choice.name}.{os.getpid()}.{threading.get_ident()}")
        fresh.write_text(f"{sha256} {file.filename}", encoding="utf-8")
        fresh.replace(choice)

    def _download(self, pin: Requirement, file: IndexFile, index: Index, count: Callable[[int], None]) -> None:
        key = file.sha256 or hashlib.sha256(file.url.encode()).hexdigest()
        part = self._root / "partial" / key
        problem: OSError = OSError("nothing came")
        for _ in range(_TRIES):
            with receive.holding(part) as sink:
                # Two runbooks may want the same wheel: the second waits and finds it done.
                if file.sha256 and self.take(file.sha256, file.filename):
                    part.unlink(missing_ok=True)
                    return
                try:
                    digest = receive.append(sink, partial(index.open, file), count, known=file.sha256 or "")
                except OSError as error:
                    problem = error
                    continue
                if digest in pin.hashes:
                    receive.settle(sink, part, self._root / digest / file.filename)
                    self.take(digest, file.filename)
                    return
                problem = OSError(f"{file.filename} came with sha256 {digest}, which the lock does not name")
                part.unlink(missing_ok=True)
        raise problem
