"""A store in plain files: an OCI image layout that shares its blobs with its neighbours.

`PLACE/index.json` names the manifest, `PLACE/oci-layout` says what it is; blobs lie beside it, at
`PLACE/../blobs/sha256/HEX`, so that artifacts in one folder hold what they have in common once, and two people who
push at once do not meet. skopeo reads it with `--src-shared-blob-dir`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from typing import Any, BinaryIO, Final, Protocol, Self

from runbook.remote.interface import MANIFEST_CAP, Blocks, read_capped

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class Files(Protocol):
    """Where the files of a layout lie. Names are relative, POSIX. Raises OSError."""

    def open(self, name: str, offset: int) -> Blocks:
        """A file's bytes from an offset on."""

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is none."""

    def write(self, name: str, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """Make or replace a file; it appears whole or not at all. OSError where nothing can be written."""


class LayoutStore:
    """A Store over such files."""

    def __init__(self, files: Files, name: str) -> None:
        """name: of the artifact's own folder; its blobs lie beside it."""
        self._files, self._name = files, name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def manifest(self) -> bytes:
        """The only manifest of the index, which has the digest that the index says."""
        digest = _named(self._read(f"{self._name}/index.json"))
        text = self._read(_blob(digest))
        if f"sha256:{sha256(text).hexdigest()}" != digest:
            raise OSError(f"the manifest is not the one that {self._name}/index.json names")
        return text

    def open(self, digest: str, offset: int) -> Blocks:
        """The blob from an offset on."""
        return self._files.open(_blob(digest), offset)

    def has(self, digest: str, size: int) -> bool:
        """A file of the right size: it was written whole, or would not be there."""
        return self._files.size(_blob(digest)) == size

    def put(self, digest: str, size: int, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """Store a blob."""
        self._files.write(_blob(digest), source, advance)

    def put_manifest(self, text: bytes, media_type: str) -> None:
        """The manifest, then what it is, then the index that names it."""
        digest = f"sha256:{sha256(text).hexdigest()}"
        entry = {"mediaType": media_type, "digest": digest, "size": len(text)}
        index = {"schemaVersion": 2, "manifests": [entry]}
        for name, content in (
            (_blob(digest), text),
            (f"{self._name}/oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
            (f"{self._name}/index.json", json.dumps(index).encode()),
        ):
            self._files.write(name, BytesIO(content), lambda _n: None)

    def _read(self, name: str) -> bytes:
        with self._files.open(name, 0) as (_, blocks):
            return read_capped(blocks, MANIFEST_CAP)


def _blob(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise OSError(f"not the digest of a blob: {digest[:80]!r}")
    return f"blobs/sha256/{match[1]}"


def _named(index: bytes) -> str:
    try:
        document: Any = json.loads(index)
        [entry] = document["manifests"]
        return str(entry["digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise OSError("index.json does not name one manifest") from None
