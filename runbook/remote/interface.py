"""What a store is: a place that keeps blobs by their digest, and one manifest that names those of an artifact.

Its methods raise OSError with one sentence that holds no credential: FileNotFoundError for what is not there,
PermissionError where a login is missing or not enough, ConnectionError where nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, Protocol

MANIFEST_CAP: Final = 4 << 20
"""Bytes of a manifest, as registries bound it."""
BLOCK: Final = 1 << 20

Blocks = AbstractContextManager[tuple[int, Iterator[bytes]]]
"""`(offset that the place agreed to, blocks)`: bytes from an offset on; 0 where it cannot begin elsewhere."""


class Store(Protocol):
    """One artifact's place. Used as a context manager."""

    def __enter__(self) -> Store:
        """Begin to ask."""

    def __exit__(self, *_: object) -> None:
        """Let go of connections."""

    def manifest(self) -> bytes:
        """The manifest; not yet trusted, at most MANIFEST_CAP bytes."""

    def open(self, digest: str, offset: int) -> Blocks:
        """The blob `sha256:…` from an offset on."""

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is there whole."""

    def put(self, digest: str, size: int, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """Store a blob from a seekable file; a transfer that breaks is continued where the place can."""

    def put_manifest(self, text: bytes, media_type: str) -> None:
        """Store the manifest, last: what it names is there."""


def read_capped(blocks: Iterator[bytes], cap: int) -> bytes:
    """All bytes; OSError when they are more than the cap."""
    parts, left = [], cap
    for block in blocks:
        left -= len(block)
        if left < 0:
            raise OSError(f"more than {cap} bytes, which no such file has")
        parts.append(block)
    return b"".join(parts)
