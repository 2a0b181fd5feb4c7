"""Data by reference: where an input that the bundle does not hold can be had, and its checked content.

In this order: what `--data` says, the cache of data, the file that it was, the URL that the record names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from runbook.bundle import layout
from runbook.bundle.read import Bundle
from runbook.digest.hashing import hash_tree
from runbook.digest.tree import digest_tree
from runbook.digest.walk import Walk
from runbook.errors import BundleRejected, NeedMissing, NotComparable, UsageError
from runbook.fetch.cache import DataCache
from runbook.fetch.interface import is_url, place, remote_of
from runbook.model import manifest
from runbook.model.data import Input
from runbook.model.manifest import Entry
from runbook.model.path import text_defect
from runbook.progress import Progress

_MANIFEST_CAP = 256 << 20


@dataclass(frozen=True)
class Offer:
    """Where one input is to be had."""

    value: Input
    entries: tuple[Entry, ...]
    """Its files; of a single file that one."""
    path: Path | None = None
    """It lies here; its content is not checked yet."""
    url: str = ""
    """It is fetched from here, as far as the cache lacks it."""
    lacking: int = 0
    """Bytes to fetch."""


def check_names(inputs: tuple[Input, ...], data: Mapping[str, str]) -> None:
    """Raise UsageError for a `--data` that names no input of the bundle."""
    if unknown := sorted(set(data) - {one.name for one in inputs}):
        names = ", ".join(one.name for one in inputs) or "none"
        raise UsageError(
            "the bundle has no such input", ", ".join(unknown), hint=f"its inputs: {names}", id="no-such-input"
        )


def offer(bundle: Bundle, one: Input, given: str, cache: DataCache, *, offline: bool) -> Offer:
    """Where this input is to be had, by names and sizes alone: no content is read, nobody is asked.

    Raises NeedMissing where there is no such place, NotComparable for what is plainly something else.
    """
    entries = _entries(bundle, one)
    lacking = [entry for entry in entries if not cache.has(entry)]
    hint = f"--data {one.name}=PATH says where it lies"
    path = None if is_url(given) else Path(given) if given else _local(one.source.value or "")
    if (
        path is None
        and not given
        and one.kind == "tree"
        and Path(one.path).is_absolute()
        and Path(one.path).is_dir()
    ):
        path = Path(one.path)  # A hub's repository has a page, and no file that a plain download gives.
    if path is not None and (given or lacking):
        if not path.exists():
            raise NeedMissing(
                f"the input {one.name} is not in the bundle and not here", path, hint=hint, id="data-absent"
            )
        _compare(one, entries, path.absolute(), hint)
        return Offer(one, entries, path=path.absolute())
    url = given or one.source.value or ""
    if lacking:
        if remote_of(url) is None:
            said = f"nothing fetches {place(url)}" if url else one.path
            raise NeedMissing(
                f"the input {one.name} is not in the bundle and not here", said, hint=hint, id="data-absent"
            )
        if offline:
            raise NeedMissing(
                f"the input {one.name} is not at hand, and nothing is fetched (offline)",
                place(url),
                hint=f"{hint}; or replay without --offline",
                id="data-offline",
            )
    return Offer(one, entries, url=url, lacking=sum(entry.size - cache.coming(entry) for entry in lacking))


def ask(found: Offer, cache: DataCache) -> str:
    """Ask the place for the size of what is to be fetched (of a tree: of its first file); one sentence.

    Raises NeedMissing where it does not answer or does not have it, NotComparable when the size is another.
    """
    first = next((entry for entry in found.entries if not cache.has(entry)), None)
    remote = remote_of(found.url)
    if first is None or remote is None:
        return "in the cache"
    url = found.url if found.value.kind == "file" else remote.child(found.url, first.path)
    try:
        size = remote.size(url)
    except OSError as error:
        raise NeedMissing(
            f"the input {found.value.name} cannot be fetched ({error})",
            place(url),
            hint=f"--data {found.value.name}=PATH names a copy",
            id="data-unreachable",
        ) from error
    if size is not None and size != first.size:
        raise NotComparable(
            f"the source of the input {found.value.name} has another size than the original's ({first.size})",
            f"{place(url)}: {size} bytes",
            hint=f"--data {found.value.name}=PATH names a copy of the original's data",
            id="data-differs",
        )
    return f"to be fetched from {place(found.url)}"


def have(found: Offer, cache: DataCache, progress: Progress) -> Path:
    """The input's content on this machine, every byte of it checked: a replay trusts no cache.

    Raises NeedMissing when it cannot be had, NotComparable when its content is another.
    """
    one = found.value
    if found.path is not None:
        progress.say(f"checking the input {one.name}")
        if _digest(found.path) != one.digest:
            hint = f"--data {one.name}=PATH says where it lies"
            raise NotComparable(
                f"the input {one.name} has another content than the original's",
                found.path,
                hint=hint,
                id="data-differs",
            )
        return found.path
    remote = remote_of(found.url)
    if found.lacking:
        progress.say(f"fetching the input {one.name} from {place(found.url)}")
    if one.kind == "file":
        return cache.fetch_file(found.entries[0], remote, found.url, progress)
    return cache.fetch_tree(found.entries, one.digest, remote, found.url, progress)


def _entries(bundle: Bundle, one: Input) -> tuple[Entry, ...]:
    """The files of an input by its manifest, which has to be what the record says of it."""
    try:
        entries = manifest.parse(bundle.read(layout.input_manifest(one.name), _MANIFEST_CAP))
    except ValueError as error:
        raise BundleRejected(f"the manifest of the input {one.name}", error, id="bad-manifest") from None
    if one.kind == "file":
        same = len(entries) == 1 and entries[0].sha256 == one.digest
    else:
        same = manifest.tree_digest(entries) == one.digest
    # What is kept outside of a bundle may have names that a bundle cannot hold, but none that leads elsewhere.
    for path in (entry.path for entry in entries):
        if text_defect(path) or path.startswith("/") or {"", ".", ".."} & set(path.split("/")):
            raise BundleRejected(f"a file name in the manifest of the input {one.name}", path, id="path-escape")
    if not same or sum(entry.size for entry in entries) != one.bytes:
        raise BundleRejected("an input's manifest is not what the record says", one.name, id="bad-manifest")
    return tuple(entries)


def _compare(one: Input, entries: tuple[Entry, ...], path: Path, hint: str) -> None:
    """Raise NotComparable for what is another kind or has other files or sizes."""
    if path.is_dir() != (one.kind == "tree"):
        raise NotComparable(f"the input {one.name} is a {one.kind}, this is not", path, hint=hint, id="data-kind")
    if one.kind == "file":
        size = path.stat().st_size
        if size != one.bytes:
            raise NotComparable(
                f"the input {one.name} has another size than the original's ({one.bytes})",
                f"{path}: {size} bytes",
                hint=hint,
                id="data-differs",
            )
        return
    there = {name for names in Walk(path).folders() for name in names}
    wanted = {entry.path for entry in entries}
    for what, names in (("lacks", wanted - there), ("also has", there - wanted)):
        if names:
            raise NotComparable(
                f"the input {one.name} {what} {len(names)} files",
                f"{path}: {min(names)}",
                hint=hint,
                id="data-differs",
            )


def _local(source: str) -> Path | None:
    parts = urlsplit(source)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _digest(path: Path) -> str:
    """By reading every byte."""
    if path.is_dir():
        return digest_tree(path)[0].digest
    path = path.resolve()
    return hash_tree(path.parent, [path.name])[0].sha256
