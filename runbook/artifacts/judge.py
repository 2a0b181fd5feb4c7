"""Which format two files have, and what comparing them as that gives; by bytes where nothing else can be had."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, BinaryIO, Final

from runbook import registry
from runbook.artifacts.interface import EXTRA, NO, Format, Unreadable
from runbook.artifacts.values.streams import first_difference
from runbook.model.artifact import ArtifactComparison, short

if TYPE_CHECKING:
    from runbook.artifacts.interface import Found

HEAD: Final = 4096
BYTES: Final = "bytes"


def judge(path: str, a: BinaryIO, b: BinaryIO) -> ArtifactComparison:
    """Compare two regular files, open without a buffer, whatever they hold. Never raises for what they hold."""
    kinds = format_of(path, _head(a)), format_of(path, _head(b))
    kind = kinds[0].name if kinds[0] else BYTES
    sizes = os.fstat(a.fileno()).st_size, os.fstat(b.fileno()).st_size
    at = _parting(a, b)
    if at is None:
        return ArtifactComparison(
            path=path, kind=kind, verdict="identical bytes", bytes=sizes[0], replay_bytes=sizes[1]
        )
    by_bytes = ArtifactComparison(
        path=path, kind=kind, verdict="bytes differ", bytes=sizes[0], replay_bytes=sizes[1]
    )
    place = f"from byte {at:,} on"
    if kinds[0] is None and kinds[1] is None:
        return _why(by_bytes, f"the bytes differ {place}; the format is not known")
    if kinds[0] is not kinds[1] or kinds[0] is None:
        names = [one.name if one else "an unknown format" for one in kinds]
        return _why(by_bytes, f"{names[0]} became {names[1]}", verdict="different")
    lacking = [module for module in kinds[0].modules if importlib.util.find_spec(module) is None]
    if lacking:
        hint = f"pip install 'runbook[{EXTRA}]' compares what it holds"
        return _why(by_bytes, f"the bytes differ {place}; {', '.join(lacking)} not installed: {hint}")
    try:
        for file in (a, b):
            file.seek(0)
        found = kinds[0].compare(a, b)
    except Unreadable as error:
        return _why(by_bytes, f"only bytes were compared, which differ {place}: {short(str(error))}")
    except Exception as error:  # Whatever a library makes of a stranger's file.
        why = "too large to be held" if isinstance(error, MemoryError) else type(error).__name__
        return _why(by_bytes, f"only bytes were compared, which differ {place}: it could not be read ({why})")
    return _found(by_bytes, found)


def format_of(path: str, head: bytes) -> Format | None:
    """The format that claims a file most surely; None where none does."""
    formats: list[Format] = list(registry.members("artifacts").values())
    best = max(formats, key=lambda one: one.claims(path.lower(), head))
    return best if best.claims(path.lower(), head) > NO else None


def _found(base: ArtifactComparison, found: Found) -> ArtifactComparison:
    from msgspec.structs import replace

    same = "the content is the same, written in other bytes"
    remarks = list(found.remarks) or ([] if found.differing else [same])
    return replace(
        base,
        verdict="different" if found.differing else "same content",
        reason="; ".join(short(text) if len(text) > 400 else text for text in remarks),
        parts=found.parts,
        parts_differing=found.differing,
        parts_of=found.of,
        unit=found.unit,
    )


def _why(base: ArtifactComparison, reason: str, **changes: object) -> ArtifactComparison:
    from msgspec.structs import replace

    return replace(base, reason=reason, **changes)


def _parting(a: BinaryIO, b: BinaryIO) -> int | None:
    for file in (a, b):
        file.seek(0)
    return first_difference(a, b)


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEAD)
