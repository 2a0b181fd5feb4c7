"""Protocol Buffers' wire format, field by field, without reading what long fields hold.

protobuf itself copies a message as a whole: of a model of a gigabyte that is more memory than there may be.
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from runbook.artifacts.interface import Unreadable

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED: Final = {FIXED64: 8, FIXED32: 4}
FIELDS: Final = 5_000_000
"""Fields of one message."""
_AHEAD: Final = 20
"""Bytes that hold a tag and a length, or a number."""


class Field(NamedTuple):
    """One field of a message: the number that it holds, or where its bytes lie in the file."""

    number: int
    kind: int
    value: int
    start: int
    end: int


def fields(file: BinaryIO, start: int, end: int) -> Iterator[Field]:
    """The fields of the message between two places of a file. Raises Unreadable for what is none."""
    at = start
    for _ in range(FIELDS):
        if at >= end:
            return
        file.seek(at)
        head = file.read(min(_AHEAD, end - at))
        tag, used = _varint(head, 0)
        kind, value = tag & 7, 0
        if kind == VARINT:
            value, used = _varint(head, used)
            length = 0
        elif kind == LENGTH:
            length, used = _varint(head, used)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise Unreadable("not in the format that its name says")
        at += used
        if at + length > end or tag < 8:
            raise Unreadable("not in the format that its name says")
        yield Field(tag >> 3, kind, value, at, at + length)
        at += length
    raise Unreadable(f"a message of more than {FIELDS:,} fields")


def read(file: BinaryIO, field: Field, cap: int = 1 << 20) -> bytes:
    """The bytes of a field. Raises Unreadable above the cap."""
    if field.end - field.start > cap:
        raise Unreadable(f"a field of more than {cap:,} bytes")
    file.seek(field.start)
    return file.read(field.end - field.start)


def varints(data: bytes) -> Iterator[int]:
    """The numbers of a packed field."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, at
        shift += 7
    raise Unreadable("not in the format that its name says")
