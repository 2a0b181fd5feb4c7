"""The one way in which a bundle is a zip file: every byte follows from the files inside. Pure.

Members are stored, sorted by name, one after another from offset 0, with fixed time (1980-01-01) and mode
(0644), below one folder. So the same tree gives the same bytes on every machine (deflate does not: zlib and
zlib-ng differ), and a reader checks a zip by writing its headers again: nothing can hide between, before or
after the members.
Reference: APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

FOLDER: Final = "bundle.runbook/"
"""The one folder in a zip, as RFC 8493 wants it; the same whatever the file is called."""

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END64: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END: Final = struct.Struct("<4sHHHHIIH")
_MAX32: Final = 0xFFFFFFFF
_MAX16: Final = 0xFFFF
_UTF8: Final = 0x0800
_DATE: Final = 0x0021
"""1980-01-01, the earliest that the format knows."""
_MADE_BY: Final = 0x031E
"""Unix, specification 3.0."""
_MODE: Final = 0o100644 << 16


class Member(NamedTuple):
    """A file inside: its name below FOLDER, size in bytes, CRC-32, and where its local header begins."""

    name: str
    size: int
    crc32: int
    offset: int


class Broken(Exception):
    """Not a zip file that runbook would write: a stable id of the defect, and a sentence."""

    def __init__(self, id: str, text: str) -> None:
        super().__init__(text)
        self.id = id


def local_header(member: Member) -> bytes:
    """What stands before a member's bytes."""
    name = (FOLDER + member.name).encode()
    large = member.size >= _MAX32
    extra = struct.pack("<HHQQ", 1, 16, member.size, member.size) if large else b""
    size = _MAX32 if large else member.size
    need = 45 if large else 20
    return (
        _LOCAL.pack(b"PK\3\4", need, _UTF8, 0, 0, _DATE, member.crc32, size, size, len(name), len(extra))
        + name
        + extra
    )


def directory(members: Sequence[Member], offset: int) -> bytes:
    """The central directory and the end records; `offset` is where they begin."""
    entries = b"".join([_central(member) for member in members])
    count, size = len(members), len(entries)
    end64 = b""
    if count >= _MAX16 or size >= _MAX32 or offset >= _MAX32:
        end64 = _END64.pack(b"PK\6\6", 44, _MADE_BY, 45, 0, 0, count, count, size, offset)
        end64 += _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1)
    short = min(count, _MAX16)
    return entries + end64 + _END.pack(b"PK\5\6", 0, 0, short, short, min(size, _MAX32), min(offset, _MAX32), 0)


def place(sizes: Sequence[tuple[str, int, int]]) -> Iterator[Member]:
    """Members for (name, size, crc32) in this order, each with its offset."""
    offset = 0
    for name, size, crc32 in sizes:
        member = Member(name, size, crc32, offset)
        yield member
        offset += len(local_header(member)) + size


def _central(member: Member) -> bytes:
    name = (FOLDER + member.name).encode()
    wide, far = member.size >= _MAX32, member.offset >= _MAX32
    fields = ([member.size, member.size] if wide else []) + ([member.offset] if far else [])
    extra = struct.pack(f"<HH{len(fields)}Q", 1, 8 * len(fields), *fields) if fields else b""
    size = _MAX32 if wide else member.size
    return (
        _CENTRAL.pack(
            b"PK\1\2",
            _MADE_BY,
            45 if fields else 20,
            _UTF8,
            0,
            0,
            _DATE,
            member.crc32,
            size,
            size,
            len(name),
            len(extra),
            0,
            0,
            0,
            _MODE,
            _MAX32 if far else member.offset,
        )
        + name
        + extra
    )


def find_directory(tail: bytes, length: int) -> tuple[int, int]:
    """(offset, members) of the central directory, from the last 98 bytes of a file of `length` bytes.

    Raises Broken. Nothing that it returns is to be trusted before `parse_directory` has written it again.
    """
    if len(tail) < _END.size or tail[-_END.size :][:4] != b"PK\5\6":
        raise Broken("zip-truncated", "the zip file does not end with its end record")
    _, disk, start, here, count, size, offset, comment = _END.unpack(tail[-_END.size :])
    if disk or start or comment or here != count:
        raise Broken("zip-malformed", "the zip file is split or carries a comment")
    ends = _END.size
    if count == _MAX16 or _MAX32 in (size, offset):
        ends += _END64.size + _LOCATOR.size
        if len(tail) < ends:
            raise Broken("zip-malformed", "the zip64 end record is missing")
        magic, _, _, _, _, _, _, count, size, offset = _END64.unpack(tail[-ends:][: _END64.size])
        if magic != b"PK\6\6":
            raise Broken("zip-malformed", "the zip64 end record is missing")
    if offset + size + ends != length:
        raise Broken("zip-malformed", "the zip file's directory does not end where the file ends")
    return offset, count


TAIL: Final = _END.size + _END64.size + _LOCATOR.size
"""Bytes at the end of a file that `find_directory` wants."""


def parse_directory(data: bytes, offset: int, count: int) -> list[Member]:
    """The members of a central directory with its end records, in their order.

    Raises Broken: for an encrypted, compressed, linked, overlapping or doubled member by its own id, and for
    whatever else is not, byte for byte, what `directory` would have written.
    """
    members, position = [], 0
    for _ in range(count):
        member, position = _parse_central(data, position)
        members.append(member)
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise Broken("duplicate-entry", "the zip file holds a name twice")
    expected = list(place([(m.name, m.size, m.crc32) for m in members]))
    if any(a.offset < b.offset for a, b in zip(members, expected, strict=True)):
        raise Broken("zip-overlap", "members of the zip file overlap")
    if members != expected or directory(members, offset) != data:
        raise Broken("zip-malformed", "the zip file is not as runbook writes it")
    if names != sorted(names, key=str.encode):
        raise Broken("zip-malformed", "the zip file's members are not sorted")
    if members and offset != members[-1].offset + len(local_header(members[-1])) + members[-1].size:
        raise Broken("zip-malformed", "there are bytes between the members and the directory")
    return members


def _parse_central(data: bytes, position: int) -> tuple[Member, int]:
    if len(data) < position + _CENTRAL.size or data[position : position + 4] != b"PK\1\2":
        raise Broken("zip-malformed", "the zip file's directory is cut short")
    fields = _CENTRAL.unpack_from(data, position)
    flags, method, crc32, packed, size, name_size, extra_size = fields[3], fields[4], *fields[7:12]
    comment_size, attributes, offset = fields[12], fields[15], fields[16]
    start = position + _CENTRAL.size
    try:
        name = data[start : start + name_size].decode()
    except UnicodeDecodeError:
        raise Broken("bad-name", "a name in the zip file is not UTF-8") from None
    if flags & 0x2041:
        raise Broken("zip-encrypted", "a member of the zip file is encrypted")
    if (attributes >> 16) & 0o170000 not in (0, 0o100000, 0o040000):
        raise Broken("symlink", "a member of the zip file is a link or a device")
    if method:
        bomb = size > 100 * max(packed, 1)
        raise Broken(*(_BOMB if bomb else _METHOD))
    wide = []
    extra = data[start + name_size : start + name_size + extra_size]
    if len(extra) >= 4 and extra[:2] == b"\1\0" and len(extra) % 8 == 4:
        wide = [value for (value,) in struct.iter_unpack("<Q", extra[4:])]
    if size == _MAX32 and len(wide) >= 2:
        size, _, *wide = wide
    if offset == _MAX32 and wide:
        offset = wide[0]
    if not name.startswith(FOLDER):
        escapes = name.startswith("/") or ".." in name.split("/")
        raise Broken(*(_ESCAPE if escapes else _ELSEWHERE))
    member = Member(name.removeprefix(FOLDER), size, crc32, offset)
    return member, start + name_size + extra_size + comment_size


_BOMB: Final = ("zip-bomb", "a member of the zip file would swell more than a hundredfold")
_METHOD: Final = ("zip-method", "a member of the zip file is compressed; runbook stores them")
_ESCAPE: Final = ("path-escape", "a name in the zip file leads out of it")
_ELSEWHERE: Final = ("zip-malformed", f"a member of the zip file is not in {FOLDER}")
