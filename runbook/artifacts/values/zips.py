"""Zip files of a stranger: their members by name, with caps before anything is believed."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from runbook.artifacts.interface import Unreadable

MEMBERS: Final = 100_000
_DIRECTORY: Final = 64 << 20
INFLATED: Final = 8 << 30
"""Bytes that the compressed members of one file may have together."""
_TAIL = 22 + 0xFFFF
BROKEN: Final = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, struct.error)
"""What reading a broken or encrypted member raises."""


def open_zip(file: BinaryIO) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """The archive and its members in the order of its directory. Raises Unreadable."""
    _check_directory(file)
    try:
        archive = zipfile.ZipFile(file)
    except (*BROKEN, UnicodeDecodeError) as error:
        raise Unreadable(f"a broken zip file ({error})") from None
    members = archive.infolist()
    if len({m.filename for m in members}) != len(members):
        raise Unreadable("a zip file with two members of one name")
    if sum(m.file_size for m in members if m.compress_type != zipfile.ZIP_STORED) > INFLATED:
        raise Unreadable(f"its members are more than {INFLATED >> 30} GiB when unpacked")
    return archive, {m.filename: m for m in members}


def _check_directory(file: BinaryIO) -> None:
    """Refuse a directory that is none, or too large: zipfile holds the whole of it in memory."""
    size = file.seek(0, 2)
    start = file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise Unreadable("a zip file without a directory")
    count, length = struct.unpack_from("<HI", tail, at + 10)
    if count == 0xFFFF or length == 0xFFFFFFFF:
        locator = tail.rfind(b"PK\6\7", 0, at)
        if locator >= 0:
            (where,) = struct.unpack_from("<Q", tail, locator + 8)
            if not start <= where <= start + at - 56:
                raise Unreadable("a zip file without a directory")
            count, length = struct.unpack_from("<QQ", tail, where - start + 32)
    if count > MEMBERS or length > _DIRECTORY:
        raise Unreadable(f"a zip file of more than {MEMBERS:,} members")
    file.seek(0)


def stored_at(file: BinaryIO, member: zipfile.ZipInfo) -> int | None:
    """Where the bytes of a member lie that is neither compressed nor encrypted; None for another."""
    if (
        member.compress_type != zipfile.ZIP_STORED
        or member.flag_bits & 1
        or member.file_size != member.compress_size
    ):
        return None
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) != 30 or header[:4] != b"PK\3\4":
        raise Unreadable("a broken zip file")
    name, extra = struct.unpack_from("<HH", header, 26)
    return int(member.header_offset + 30 + name + extra)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, cap: int) -> bytes:
    """A whole small member, its checksum checked. Raises Unreadable."""
    if member.file_size > cap:
        raise Unreadable(f"{member.filename} is larger than {cap >> 20} MiB")
    try:
        with archive.open(member) as stream:
            return stream.read(cap + 1)
    except BROKEN as error:
        raise Unreadable(f"a broken zip member ({error})") from None
