"""Ways to break a bundle in exactly one place, with everything around it mended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from runbook.bundle import layout
from tests.factories import entries_of, make_record

Change = Callable[[Path], object]
"""Changes the bundle at this path."""

RECORD = msgspec.json.encode(make_record())


def reseal(bundle: Path) -> None:
    """Write the manifests again, so that only the defect is left to find."""
    payload = {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and not path.is_symlink() and path.is_relative_to(bundle / "data")
    }
    (bundle / layout.BAG_INFO).write_bytes(layout.render_info(entries_of(payload)))
    (bundle / layout.MANIFEST).write_bytes(
        layout.render_manifest({name: layout.sha256(data) for name, data in payload.items()})
    )
    tags(bundle)


def tags(bundle: Path) -> None:
    """Write the tag manifest again."""
    names = [name for name in layout.TAGS if name != layout.TAG_MANIFEST]
    digests = {name: layout.sha256((bundle / name).read_bytes()) for name in names}
    (bundle / layout.TAG_MANIFEST).write_bytes(layout.render_manifest(digests))


def sealed(change: Change) -> Change:
    def made(bundle: Path) -> None:
        change(bundle)
        reseal(bundle)

    return made


def write(name: str, data: bytes = b"x") -> Change:
    def change(bundle: Path) -> None:
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return change


def append(name: str, data: bytes) -> Change:
    def change(bundle: Path) -> None:
        with (bundle / name).open("ab") as file:
            file.write(data)

    return change


def in_manifest(old: bytes, new: bytes) -> Change:
    """Replace text in the manifest and mend what depends on it."""

    def change(bundle: Path) -> None:
        text = (bundle / layout.MANIFEST).read_bytes()
        assert old in text
        (bundle / layout.MANIFEST).write_bytes(text.replace(old, new, 1))
        tags(bundle)

    return change


def record_with(**overrides: object) -> Change:
    """The same bundle with a record in which these fields are others."""
    return sealed(write(layout.RECORD, msgspec.json.encode(make_record(**overrides))))


def record_text(old: bytes, new: bytes) -> Change:
    """The same bundle with other bytes in its record."""
    assert old in RECORD
    return sealed(write(layout.RECORD, RECORD.replace(old, new, 1)))
