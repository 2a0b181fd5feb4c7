"""How much a layer of a carried base unpacks to, known before an engine gets it: a few megabytes can fill a disk.

The layer is decompressed and its headers are walked; nothing is kept, and counting ends with the bound. What makes
a tar's files larger than its bytes (sparse files) is refused, for an engine would write them out.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from runbook.errors import BundleRejected

_CHUNK: Final = 1 << 20
_BLOCK: Final = 512
ROOMY: Final = 4 << 30
RATIO: Final = 64
"""Most bytes that a layer may unpack to: ROOMY, or so many times what it weighs."""
_MOST_ENTRIES: Final = 4_000_000
_MOST_TEXT: Final = 1 << 20
"""Bytes of an extended header."""
_LONG: Final = frozenset((b"x", b"g", b"X", b"L", b"K", b"N"))
"""Types whose data belong to the next entry: pax and GNU long names."""
_EMPTY: Final = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
"""Types without data, whatever they say: links, devices, folders."""


def weigh(path: Path) -> int:
    """Bytes that the layer unpacks to. Raises BundleRejected (`base-bomb`, `base-malformed`), OSError."""
    most = max(ROOMY, RATIO * path.stat().st_size)
    walk, total = _Walk(path.name), 0
    try:
        with path.open("rb") as file:
            for data in _plain(file):
                total += len(data)
                if total > most:
                    raise _bomb(path.name, f"more than {most >> 30} GiB")
                walk.feed(data)
    except (zlib.error, EOFError, ValueError) as error:
        raise BundleRejected(
            "the carried base is malformed", f"{path.name}: {error}", id="base-malformed"
        ) from error
    return total


def _bomb(name: str, why: str) -> BundleRejected:
    return BundleRejected("a layer of the carried base would fill the disk", f"{name}: {why}", id="base-bomb")


def _plain(file: IO[bytes]) -> Iterator[bytes]:
    """The layer's bytes, decompressed as engines do, in pieces of a bounded size."""
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        yield from _inflated(file)
    elif head.startswith(b"\x28\xb5\x2f\xfd"):
        yield from _members(file, _zstd)
    elif head.startswith(b"BZh"):
        yield from _members(file, bz2.BZ2Decompressor)
    elif head.startswith(b"\xfd7zXZ\0"):
        yield from _members(file, lambda: lzma.LZMADecompressor(memlimit=256 << 20))
    else:
        while data := file.read(_CHUNK):
            yield data


def _inflated(file: IO[bytes]) -> Iterator[bytes]:
    """Of every member of a gzip file."""
    machine = zlib.decompressobj(31)
    while data := file.read(_CHUNK):
        while data:
            if machine.eof:
                if not data.strip(b"\0"):
                    return  # Padding.
                machine = zlib.decompressobj(31)
            yield machine.decompress(data, _CHUNK)
            data = machine.unused_data if machine.eof else machine.unconsumed_tail
    if not machine.eof:
        raise EOFError("it is cut short")


def _members(file: IO[bytes], make: Any) -> Iterator[bytes]:
    """Of every member of a file whose decompressor is of the standard library's kind."""
    machine = make()
    while data := file.read(_CHUNK):
        while data or not (machine.needs_input or machine.eof):
            if machine.eof:
                machine = make()
            try:
                piece = machine.decompress(data, _CHUNK)
            except Exception as error:  # Each kind has one of its own.
                raise ValueError(str(error)) from error
            yield piece
            data = machine.unused_data if machine.eof else b""
    if not machine.eof:
        raise EOFError("it is cut short")


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: 27})


class _Walk:
    """Goes from header to header of a tar that comes in pieces."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._skip = 0
        self._text = b""
        self._wanted = 0
        """Bytes of an extended header that are still to come."""
        self._kind = b""
        self._size: int | None = None
        """What an extended header says of the next entry."""
        self._buffer = b""
        self._entries = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises BundleRejected, ValueError for what is no tar."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return
        data = self._buffer + data[self._skip :]
        self._skip = at = 0
        while len(data) - at >= _BLOCK:
            if self._wanted:
                at += self._take(data[at : at + _BLOCK])
                continue
            at += _BLOCK + self._header(data[at : at + _BLOCK])
        self._buffer = data[at:]
        if at > len(data):
            self._skip = at - len(data)

    def _take(self, block: bytes) -> int:
        self._text += block[: self._wanted]
        self._wanted = max(0, self._wanted - _BLOCK)
        if not self._wanted and self._kind in (b"x", b"g", b"X"):
            if b"GNU.sparse" in self._text:
                raise _bomb(self._name, "it has a sparse file")
            self._size = _told_size(self._text)
        return _BLOCK

    def _header(self, block: bytes) -> int:
        """Look at one header; bytes to skip after it."""
        if not block.strip(b"\0"):
            return 0
        self._entries += 1
        if self._entries > _MOST_ENTRIES:
            raise _bomb(self._name, f"more than {_MOST_ENTRIES} entries")
        kind, size = block[156:157], _number(block[124:136])
        if kind == b"S":
            raise _bomb(self._name, "it has a sparse file")
        if kind in _LONG:
            if size > _MOST_TEXT:
                raise ValueError("an extended header that is too long")
            self._kind, self._text, self._wanted = kind, b"", size
            return 0
        size, self._size = (size if self._size is None else self._size), None
        return 0 if kind in _EMPTY else -(-size // _BLOCK) * _BLOCK


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    return int(text, 8) if text else 0


def _told_size(text: bytes) -> int | None:
    """What a pax header says of the size."""
    found = None
    while text:
        length, _, _ = text.partition(b" ")
        if not length.isdigit() or not 0 < int(length[:9]) <= len(text):
            break
        record = text[len(length) + 1 : int(length)]
        if record.startswith(b"size="):
            found = int(record[5:].strip() or b"0")
        text = text[int(length) :]
    return found
