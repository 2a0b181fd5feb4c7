"""Read a bundle as hostile: structure first, then every file against its digest before anything uses it."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from runbook.bundle import layout, strict
from runbook.bundle.claims import FARTHEST, check_claims
from runbook.bundle.source import Source, open_source, rejecting
from runbook.digest.atomic import explaining
from runbook.digest.beneath import open_folder_beneath
from runbook.digest.copy import copy_hashed
from runbook.digest.lanes import cores
from runbook.errors import BundleRejected, UsageError
from runbook.model import manifest
from runbook.model.manifest import Entry
from runbook.model.metric import Series
from runbook.model.path import defect
from runbook.model.record import Record
from runbook.progress import SILENT, Progress

_MANIFEST_CAP: Final = 512 << 20
"""Bytes of a tree's manifest; a million files take about 150 MiB."""
_TAG_CAP: Final = 512 << 20
_ATTESTATION_CAP: Final = 16 << 20
_LARGE: Final = 1 << 20
"""Bytes from which on a file is unpacked beside others."""
RECORD_CAP: Final = 64 << 20
SERIES_CAP: Final = 256 << 20


def open_bundle(path: Path) -> Bundle:
    """Open a directory or zip bundle and check its structure: names, manifests, sizes. Payload is not hashed yet.

    Raises UsageError (`no-such-bundle`) and BundleRejected. Use it as a context manager.
    """
    source = open_source(path)
    try:
        return Bundle(path, source)
    except BaseException:
        source.close()
        raise


class Bundle:
    """An opened bundle. Whatever is read from it has been checked against the manifest that its id names."""

    def __init__(self, path: Path, source: Source) -> None:
        self._source = source
        self.path = path
        self.name = path.name.removesuffix(".zip").removesuffix(layout.SUFFIX)
        """File name without its ending."""
        for name in layout.TAGS:
            if name not in source.files:
                raise _not_a_bundle(path, name)
        texts = {name: self._tag(name) for name in layout.TAGS}
        if texts[layout.BAGIT] != layout.BAGIT_TEXT:
            raise BundleRejected("not a BagIt 1.0 bag in UTF-8", layout.BAGIT, id="not-a-bundle")
        tags = self._parse(layout.TAG_MANIFEST, texts[layout.TAG_MANIFEST])
        for name in (layout.BAGIT, layout.BAG_INFO, layout.MANIFEST):
            if tags.pop(name, None) != layout.sha256(texts[name]):
                raise BundleRejected("not what the tag manifest says", name, id="digest-mismatch")
        if tags:
            raise BundleRejected("the tag manifest lists what no bundle has", min(tags), id="missing-file")
        self._digests = self._parse(layout.MANIFEST, texts[layout.MANIFEST])
        self.id = layout.bundle_id(texts[layout.MANIFEST])
        """sha256, hex, of manifest-sha256.txt."""
        self._compare_listing()
        self._compare_sizes(texts[layout.BAG_INFO])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    @property
    def files(self) -> dict[str, int]:
        """Name → size in bytes, of the payload; names begin with `data/`."""
        return {name: self._source.files[name] for name in self._digests}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the payload, sorted."""
        return tuple(self._digests)

    @property
    def attestations(self) -> tuple[str, ...]:
        """Names of what was added later, in no manifest."""
        return tuple(sorted(name for name in self._source.files if layout.is_attestation(name)))

    def digest(self, name: str) -> str:
        """The sha256, hex, that the manifest states for a file of the payload."""
        return self._digests[self._known(name)]

    def open(self, name: str) -> BinaryIO:
        """A file of the payload, for reading; what comes out is not checked before `verify` was run."""
        return self._source.open(self._known(name))

    def read(self, name: str, cap: int) -> bytes:
        """A whole file of the payload, checked against its digest; BundleRejected above `cap` bytes."""
        data = self._read(self._known(name), cap)
        if layout.sha256(data) != self._digests[name]:
            raise BundleRejected("not what the manifest says", name, id="digest-mismatch")
        return data

    def manifest(self, name: str) -> list[Entry]:
        """The entries of a manifest inside the payload; BundleRejected for one that is none."""
        text = self.read(name, _MANIFEST_CAP)
        try:
            entries = manifest.parse(text)
        except ValueError as error:
            raise BundleRejected(f"not a manifest ({error})", name, id="bad-manifest") from None
        if manifest.render(entries) != text or len({entry.path for entry in entries}) != len(entries):
            raise BundleRejected("a manifest that is not sorted, or lists a file twice", name, id="bad-manifest")
        return entries

    def tag(self, name: str) -> bytes:
        """One of the files beside `data/` that every bundle has."""
        return self._tag(name)

    def read_attestation(self, name: str) -> bytes:
        """A whole attestation: in no manifest, so it proves nothing before its signature was checked."""
        if not layout.is_attestation(name) or name not in self._source.files:
            raise BundleRejected("no such attestation", name, id="missing-file")
        return self._read(name, _ATTESTATION_CAP)

    @cached_property
    def record(self) -> Record:
        """The record."""
        return parse_record(self.read(layout.RECORD, RECORD_CAP))

    @cached_property
    def series(self) -> dict[str, Series]:
        """The curves; empty when the bundle has none."""
        if layout.SERIES not in self._digests:
            return {}
        return parse_series(self.read(layout.SERIES, SERIES_CAP))

    def hash(self, progress: Progress = SILENT) -> None:
        """Read the whole payload on all cores; BundleRejected for the first file that differs."""
        for name, size, sha256 in self._source.hash(self.names, progress):
            if size != self._source.files[name]:
                raise BundleRejected("a file changed its size while it was read", name, id="size-mismatch")
            if sha256 != self._digests[name]:
                raise BundleRejected("not what the manifest says", name, id="digest-mismatch")

    def below(self, prefix: str) -> list[Entry]:
        """The files below a folder of the bundle, as the manifest has them; paths are relative to that folder."""
        start = prefix.rstrip("/") + "/"
        return [
            Entry(name.removeprefix(start), self._source.files[name], sha256)
            for name, sha256 in self._digests.items()
            if name.startswith(start)
        ]

    def unpack(self, prefix: str, target: Path) -> list[Entry]:
        """Write the files below a folder of the bundle into `target`, each checked against its digest meanwhile.

        target: made (mode 0700) when absent. No link is followed and nothing there is overwritten. What was
        written before an error stays; the caller's temporary folder goes.
        """
        entries = self.below(prefix)
        made: set[str] = {""}
        with explaining("what the bundle holds", target):
            target.mkdir(mode=0o700, parents=True, exist_ok=True)
            for entry in entries:
                _make(target, entry.path.rpartition("/")[0], made)
            with ThreadPoolExecutor(cores(), "unpack") as pool:
                start = f"{prefix.rstrip('/')}/"
                try:
                    # Threads lose on small files; those are written here meanwhile.
                    large = [
                        pool.submit(self._write_out, start + entry.path, entry, target)
                        for entry in entries
                        if entry.size >= _LARGE
                    ]
                    for entry in entries:
                        if entry.size < _LARGE:
                            self._write_out(start + entry.path, entry, target)
                    for one in large:
                        one.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        return entries

    def _write_out(self, name: str, entry: Entry, target: Path) -> None:
        folder, _, last = entry.path.rpartition("/")
        parent = open_folder_beneath(target, folder)
        try:
            with self._source.open(name) as source:
                copied = copy_hashed(source, Path(last), folder=parent, cap=entry.size)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            raise BundleRejected("a file grew while it was read", name, id="size-mismatch") from error
        finally:
            os.close(parent)
        if copied.sha256 != entry.sha256:
            raise BundleRejected("not what the manifest says", name, id="digest-mismatch")

    def _known(self, name: str) -> str:
        if name not in self._digests:
            raise BundleRejected("the bundle lacks a file", name, id="missing-file")
        return name

    def _tag(self, name: str) -> bytes:
        return self._read(name, _TAG_CAP)

    def _read(self, name: str, cap: int) -> bytes:
        if self._source.files[name] > cap:
            raise BundleRejected(f"larger than {cap >> 20} MiB", name, id="file-too-large")
        with self._source.open(name) as file, rejecting(name):
            parts, left = [], cap + 1
            while left > 0 and (part := file.read(left)):
                parts.append(part)
                left -= len(part)
        data = b"".join(parts)
        if len(data) != self._source.files[name]:
            raise BundleRejected("a file changed its size while it was read", name, id="size-mismatch")
        return data

    def _parse(self, name: str, text: bytes) -> dict[str, str]:
        try:
            digests = layout.parse_manifest(text)
        except ValueError as error:
            raise BundleRejected(str(error), name, id="bad-manifest") from None
        for listed in digests.keys() - self._source.files.keys():
            if wrong := defect(listed):
                raise BundleRejected(f"the manifest lists a file name that {wrong.text}", listed, id=wrong.id)
        if layout.render_manifest(digests) != text:
            raise BundleRejected("the manifest is not sorted", name, id="bad-manifest")
        return digests

    def _compare_listing(self) -> None:
        for name in self._digests:
            if not name.startswith(layout.DATA):
                raise BundleRejected("the manifest lists a file outside data/", name, id="path-escape")
            if name not in self._source.files:
                raise BundleRejected("a file of the manifest is missing", name, id="missing-file")
        for name in self._source.files:
            if name not in self._digests and name not in layout.TAGS and not layout.is_attestation(name):
                raise BundleRejected("a file that no manifest lists", name, id="unlisted-file")

    def _compare_sizes(self, info: bytes) -> None:
        try:
            stated = layout.parse_oxum(info)
        except ValueError as error:
            raise BundleRejected(str(error), layout.BAG_INFO, id="bad-manifest") from None
        found = sum(self._source.files[name] for name in self._digests), len(self._digests)
        if stated != found:
            raise BundleRejected(
                "the payload's size is not what bag-info.txt says", f"{found[0]} bytes", id="size-mismatch"
            )


def parse_record(data: bytes) -> Record:
    """A record from its bytes. Raises BundleRejected, and UsageError (`newer-bundle`) for a later schema."""
    value = strict.loads(data, layout.RECORD)
    if isinstance(value, dict) and str(value.get("schema", "")).startswith("runbook/record/"):
        number = str(value["schema"]).rpartition("/")[2]
        if number.isascii() and number.isdigit() and int(number[:9]) > 1:
            hint = "pip install --upgrade runbook"
            raise UsageError("this bundle is of a newer runbook", value["schema"], hint=hint, id="newer-bundle")
    try:
        record = msgspec.convert(value, Record)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise BundleRejected("not a record", f"{layout.RECORD}: {error}", id="bad-record") from None
    check_claims(record)
    return record


def parse_series(data: bytes) -> dict[str, Series]:
    """Curves from their bytes. Raises BundleRejected."""
    value = strict.loads(data, layout.SERIES)
    try:
        found = msgspec.convert(value, dict[str, Series])
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise BundleRejected("not curves", f"{layout.SERIES}: {error}", id="bad-series") from None
    for name, one in found.items():
        if len(one.steps) != len(one.values):
            raise BundleRejected("a curve whose steps and values differ in number", name, id="bad-series")
        if any(isinstance(value, int) and abs(value) > FARTHEST for value in (*one.steps, *one.values)):
            raise BundleRejected("a curve beyond what can be compared", name, id="json-huge-number")
    return found


def _not_a_bundle(path: Path, name: str) -> BundleRejected:
    if path.name.endswith(".partial"):
        return BundleRejected("unfinished: its writer was killed", path, hint="capture again", id="partial")
    what = "unfinished, or not a bundle" if name == layout.MANIFEST else "not a bundle"
    return BundleRejected(
        f"{what} (no {name})", path, hint="name a .runbook folder or zip file", id="not-a-bundle"
    )


def _make(target: Path, folder: str, made: set[str]) -> None:
    if folder in made:
        return
    above, _, name = folder.rpartition("/")
    _make(target, above, made)
    parent = open_folder_beneath(target, above)
    try:
        os.mkdir(name, 0o755, dir_fd=parent)
    except FileExistsError:
        pass  # A link in its place is refused by the next open.
    finally:
        os.close(parent)
    made.add(folder)
