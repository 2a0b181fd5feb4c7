"""How a tolerance is written: in runbook.yaml, and as an option, `'val_*=rel:1e-3,ulp32:4,curve.smooth:10'`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from runbook.errors import UsageError
from runbook.model.metric import CurveBounds, FloatType, Tolerance

HINT: Final = "--tolerance 'val_*=rel:1e-3,abs:1e-6'; also ulp:4, ulp32:4, curve.rel:…, curve.smooth:10, margin:1%"
_PERCENT = re.compile(r"\s*([0-9.]+(?:[eE][-+]?[0-9]+)?)\s*%\s*")


class BoundsEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How far a value may be off: absolute + relative × |original| + ulp × the type's step there."""

    absolute: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    relative: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    ulp: Annotated[int, Meta(ge=0, le=1 << 53)] | UnsetType = UNSET
    ulp_of: FloatType | UnsetType = UNSET


class CurveEntry(BoundsEntry, forbid_unknown_fields=True, frozen=True):
    """The same for every step of the curve, or of its trailing mean over `smooth` points."""

    smooth: Annotated[int, Meta(ge=1, le=1 << 31)] | UnsetType = UNSET


class ToleranceEntry(BoundsEntry, forbid_unknown_fields=True, frozen=True):
    """How far a replay's value may be from the original's, and what is known of the metric."""

    curve: Annotated[CurveEntry, Meta(description="Bounds of the curve, where they are others.")] | UnsetType = (
        UNSET
    )
    margin: Annotated[float | str, Meta(description="Equivalence of repeated runs: 0.01, or 1 %.")] | UnsetType = (
        UNSET
    )
    items: Annotated[int, Meta(ge=1, description="A proportion of so many items, as an accuracy.")] | UnsetType = (
        UNSET
    )
    better: (
        Annotated[Literal["higher", "lower"], Meta(description="For reading, never for passing.")] | UnsetType
    ) = UNSET


_KINDS: Final = {
    "abs": "absolute",
    "absolute": "absolute",
    "rel": "relative",
    "relative": "relative",
    "ulp": "ulp",
    "ulp64": "ulp",
    "ulp32": "ulp",
    "ulp16": "ulp",
    "ulpb16": "ulp",
    "smooth": "smooth",
    "margin": "margin",
    "items": "items",
    "better": "better",
}
_TYPES: Final[dict[str, FloatType]] = {"ulp32": "float32", "ulp16": "float16", "ulpb16": "bfloat16"}


def parse_tolerance(text: str) -> Tolerance:
    """`'val_*=rel:1e-3,abs:1e-6'`; a bare number is relative to nothing and refused. Raises UsageError."""
    name, _, bounds = text.rpartition("=")
    entry: dict[str, Any] = {}
    for part in bounds.split(","):
        kind, _, written = part.strip().partition(":")
        inside, kind = ("curve", kind[6:]) if kind.startswith("curve.") else ("", kind)
        values = entry.setdefault("curve", {}) if inside else entry
        key = _KINDS.get(kind, "")
        if not key or key in values:
            raise _refused(text)
        values[key] = _value(key, written.strip(), text)
        if kind in _TYPES:
            values["ulp_of"] = _TYPES[kind]
    try:
        return of_entry(name.strip(), msgspec.convert(entry, ToleranceEntry))
    except (msgspec.ValidationError, UsageError):
        raise _refused(text) from None


def of_entry(pattern: str, entry: ToleranceEntry) -> Tolerance:
    """The tolerance that an entry of runbook.yaml declares. Raises UsageError, its value the pattern."""
    values = _said(entry)
    curve = values.pop("curve", None)
    margin = values.pop("margin", 0.0)
    if isinstance(margin, str):
        percent = _PERCENT.fullmatch(margin)
        try:
            values["margin_relative"] = float(percent[1]) / 100 if percent else float("nan")
        except ValueError:
            values["margin_relative"] = math.nan
    else:
        values["margin"] = margin
    if curve is not None:
        values["curve"] = CurveBounds(**_said(curve))
    numbers = [*values.values(), *(_said(curve).values() if curve is not None else ())]
    if not pattern or not all(0 <= n < math.inf for n in numbers if isinstance(n, int | float)):
        hint = "a finite number, not negative: relative: 1e-3, margin: 1%"
        raise UsageError("not a finite tolerance", pattern, hint=hint, id="tolerance")
    return Tolerance(pattern=pattern, **values)


def _said(entry: BoundsEntry) -> dict[str, Any]:
    return {key: value for key, value in msgspec.structs.asdict(entry).items() if value is not UNSET}


def _value(key: str, written: str, text: str) -> float | int | str:
    if key == "better" or (key == "margin" and written.endswith("%")):
        return written
    try:
        return int(written) if key in ("ulp", "smooth", "items") else float(written)
    except ValueError:
        raise _refused(text) from None


def _refused(text: str) -> UsageError:
    return UsageError("not a tolerance", text, hint=HINT, id="tolerance")
