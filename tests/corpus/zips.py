"""Zip files that runbook would not have written: cut, lying, swelling, climbing out of themselves."""

from __future__ import annotations

import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

from runbook.bundle import archive
from tests.corpus.change import Change


def repacked(bundle: Path, change: Callable[[zipfile.ZipFile], object], **options: object) -> Path:
    """The same files packed again by Python's zipfile, and a change."""
    files = {}
    with zipfile.ZipFile(bundle) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(bundle, "w", **options) as new:
        for name, data in files.items():
            new.writestr(name, data)
        change(new)
    return bundle


def packed(member: str | zipfile.ZipInfo, data: bytes = b"x", **options: object) -> Change:
    def change(bundle: Path) -> None:
        with warnings.catch_warnings(action="ignore"):  # zipfile warns of a name that is there twice.
            repacked(bundle, lambda new: new.writestr(member, data, **options))

    return change


def linked(mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(archive.FOLDER + "data/link")
    info.external_attr = mode << 16
    return info


def patched(old: bytes, new: bytes, which: int = 0) -> Change:
    """Replace bytes of the file, from its end when `which` is -1."""

    def change(bundle: Path) -> None:
        data = bytearray(bundle.read_bytes())
        at = data.find(old) if which == 0 else data.rfind(old)
        assert at >= 0
        data[at : at + len(old)] = new
        bundle.write_bytes(data)

    return change


def encrypted_flag(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[data.find(b"PK\1\2") + 8] |= 1
    bundle.write_bytes(data)


def overlapping(bundle: Path) -> None:
    """Let the second member of the directory point at the first's bytes."""
    data = bytearray(bundle.read_bytes())
    second = data.find(b"PK\1\2", data.find(b"PK\1\2") + 4)
    data[second + 42 : second + 46] = bytes(4)
    bundle.write_bytes(data)


def cut(share: float) -> Change:
    return lambda bundle: os.truncate(bundle, int(bundle.stat().st_size * share))


def huge_count(bundle: Path) -> None:
    data = bundle.read_bytes()
    offset = int.from_bytes(data[-6:-2], "little")
    end = archive._END64.pack(b"PK\6\6", 44, 0x31E, 45, 0, 0, 1 << 40, 1 << 40, len(data) - 22 - offset, offset)
    end += archive._LOCATOR.pack(b"PK\6\7", 0, len(data) - 22, 1)
    bundle.write_bytes(
        data[:-22] + end + archive._END.pack(b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    )


def comment(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as file:
        file.comment = b"hello"


def flag(bit: int) -> Change:
    """Flip a general purpose bit of the first entry of the directory."""

    def change(bundle: Path) -> None:
        data = bytearray(bundle.read_bytes())
        at = data.find(b"PK\1\2") + 8
        data[at : at + 2] = struct.pack("<H", struct.unpack("<H", data[at : at + 2])[0] ^ bit)
        bundle.write_bytes(data)

    return change


def patched_size(bundle: Path) -> None:
    """Let the first member claim nearly four gigabytes, packed and unpacked."""
    data = bytearray(bundle.read_bytes())
    at = data.find(b"PK\1\2") + 20
    data[at : at + 8] = struct.pack("<II", 0xFFFFFFF0, 0xFFFFFFF0)
    bundle.write_bytes(data)


def with_extra(bundle: Path) -> None:
    """Give one member a Unicode path field that names another file."""
    info = zipfile.ZipInfo(archive.FOLDER + "data/plain")
    name = b"\x01" + bytes(4) + (archive.FOLDER + "../../evil").encode()
    info.extra = struct.pack("<HH", 0x7075, len(name)) + name
    repacked(bundle, lambda new: new.writestr(info, b"x"))


def nested_directory(bundle: Path) -> None:
    """Put a whole second zip between the members and the directory."""
    data = bundle.read_bytes()
    at = data.find(b"PK\1\2")
    end = bytearray(data[-22:])
    end[16:20] = struct.pack("<I", at + len(data))
    bundle.write_bytes(data[:at] + data + data[at:-22] + end)


ZIPS: dict[str, tuple[Change, str]] = {
    "cut in half": (cut(0.5), "zip-truncated"),
    "cut by a hundredth": (cut(0.99), "zip-truncated"),
    "emptied": (cut(0), "not-a-bundle"),
    "no zip at all": (lambda b: b.write_bytes(b"#!/bin/sh\nexit 0\n" * 99), "not-a-bundle"),
    "bytes before": (lambda b: b.write_bytes(b"#!/bin/sh\n" + b.read_bytes()), "not-a-bundle"),
    "bytes after": (lambda b: b.write_bytes(b.read_bytes() + b"\0"), "zip-truncated"),
    "a comment": (comment, "zip-truncated"),
    "a climbing name": (packed("../evil"), "path-escape"),
    "a name that climbs from inside": (packed(archive.FOLDER + "../../evil"), "zip-malformed"),
    "an absolute name": (packed("/etc/evil"), "path-escape"),
    "a name twice": (packed(archive.FOLDER + "data/record.json"), "duplicate-entry"),
    "a link": (packed(linked(0o120777), b"/etc/passwd"), "symlink"),
    "a device": (packed(linked(0o060644)), "symlink"),
    "a bomb": (
        packed(archive.FOLDER + "data/bomb", bytes(50 << 20), compress_type=zipfile.ZIP_DEFLATED),
        "zip-bomb",
    ),
    "a compressed member": (
        packed(archive.FOLDER + "data/z", os.urandom(999), compress_type=zipfile.ZIP_DEFLATED),
        "zip-method",
    ),
    "an LZMA member": (
        packed(archive.FOLDER + "data/z", os.urandom(999), compress_type=zipfile.ZIP_LZMA),
        "zip-method",
    ),
    "a folder's entry": (packed(archive.FOLDER + "data/empty/", b""), "zip-malformed"),
    "an encrypted member": (encrypted_flag, "zip-encrypted"),
    "members that overlap": (overlapping, "zip-overlap"),
    "a name that differs inside": (
        patched(b"bundle.runbook/data/code/train.py", b"bundle.runbook/data/code/trick.py"),
        "zip-malformed",
    ),
    "a name that differs in the directory": (
        patched(b"bundle.runbook/data/code/train.py", b"bundle.runbook/data/code/trick.py", -1),
        "zip-malformed",
    ),
    "a lie about the number of files": (huge_count, "too-many-files"),
    "content changed": (patched(b"0.9375')", b"0.9376')"), "digest-mismatch"),
    "a date": (
        patched(b"\x00\x08\x00\x00\x00\x00\x21\x00", b"\x00\x08\x00\x00\x00\x00\x22\x00"),
        "zip-malformed",
    ),
    "a member that claims more than the file has": (patched_size, "zip-overlap"),
    "a data descriptor": (flag(0x08), "zip-malformed"),
    "a name that is said not to be UTF-8": (flag(0x0800), "zip-malformed"),
    "strong encryption": (flag(0x40), "zip-encrypted"),
    "an extra field": (with_extra, "zip-malformed"),
    "a name with a backslash": (packed(archive.FOLDER + "data\\..\\..\\evil"), "zip-malformed"),
    "another folder": (packed("other.runbook/data/x"), "zip-malformed"),
    "a name with a drive": (packed("C:/evil"), "zip-malformed"),
    "a directory inside the directory": (nested_directory, "zip-malformed"),
}
