"""Parquet, by pyarrow: columns, compared in batches of rows; who wrote it, and how, is metadata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable, metadata, one_sided
from runbook.model.artifact import Part, short
from runbook.model.metric import to_number

_ROWS = 1 << 15
"""Rows that are held at a time, of both sides."""


class ParquetFormat:
    """A table; row groups and encodings may differ and hold the same."""

    name = "parquet"
    modules = ("pyarrow", "numpy")

    def claims(self, path: str, head: bytes) -> int:
        """By its magic bytes."""
        return interface.SURE if head.startswith(b"PAR1") else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Column by column, each with its first differing row."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            return _compare(*(_open(parquet, file) for file in (a, b)))
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise Unreadable(f"not to be read as Parquet ({short(str(error))})") from None


def _open(parquet: Any, file: BinaryIO) -> Any:
    file.seek(0)
    limits = {"thrift_string_size_limit": 16 << 20, "thrift_container_size_limit": 1_000_000}
    return parquet.ParquetFile(
        file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True, **limits
    )


def _compare(a: Any, b: Any) -> Found:
    parts = Parts("column")
    types_a, types_b = ({f.name: f.type for f in one.schema_arrow} for one in (a, b))
    names = list(dict.fromkeys([*types_a, *types_b]))
    parts.of = len(names)
    rows = a.metadata.num_rows, b.metadata.num_rows
    if rows[0] != rows[1]:
        compared = f"; the first {min(rows):,} were compared"
        parts.add(Part(name="rows", note=f"{rows[0]:,} rows became {rows[1]:,}{compared}"))
    for name in names:
        if name not in types_a or name not in types_b:
            parts.add(one_sided(name, original=name in types_a))
        elif types_a[name] != types_b[name]:
            parts.add(Part(name=short(name), note=f"{types_a[name]} became {types_b[name]}"))
        else:
            part = _column(name, a, b)
            if part is not None:
                parts.add(part)
    if [n for n in types_a if n in types_b] != [n for n in types_b if n in types_a]:
        parts.remarks.append("the columns stand in another order")
    parts.remarks += metadata(*({"written by": one.metadata.created_by} | _said(one) for one in (a, b)))
    return parts.found()


def _said(file: Any) -> dict[str, str]:
    found = file.metadata.metadata or {}
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in found.items()}


def _column(name: str, a: Any, b: Any) -> Part | None:
    """Where a column differs, None where it does not."""
    from runbook.artifacts.values.numbers import Tally

    whole, start = Tally(), 0
    for x, y in _aligned(_arrays(a, name), _arrays(b, name)):
        if not x.equals(y):
            whole.add(_measured(x, y, start))
        else:
            whole.add(Tally(of=len(x)))
        start += len(x)
    if not whole.differing:
        return None
    return Part(
        name=short(name),
        note=f"NaN on one side only: {whole.nans:,}" if whole.nans else "",
        where=f"row {(whole.first or 0) + 1}",
        original=whole.values[0],
        replay=whole.values[1],
        differing=whole.differing,
        of=whole.of,
        largest=to_number(whole.largest) if whole.largest else None,
        mean=None if whole.mean is None else to_number(whole.mean),
        ulp=whole.ulp,
    )


def _arrays(file: Any, name: str) -> Iterator[Any]:
    for batch in file.iter_batches(batch_size=_ROWS, columns=[name], use_threads=False):
        yield batch.column(0)


def _aligned(a: Iterator[Any], b: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """The same rows of both sides, however each is divided."""
    x, y = next(a, None), next(b, None)
    while x is not None and y is not None:
        length = min(len(x), len(y))
        if length:
            yield x.slice(0, length), y.slice(0, length)
        x = x.slice(length) if len(x) > length else next(a, None)
        y = y.slice(length) if len(y) > length else next(b, None)


def _measured(x: Any, y: Any, start: int) -> Any:
    """Two arrays of one type and length that are not equal as they are."""
    import numpy as np
    import pyarrow as pa

    from runbook.artifacts.values.numbers import Tally, measure

    if pa.types.is_integer(x.type) or pa.types.is_floating(x.type):
        null_x, null_y = (v.is_null().to_numpy(zero_copy_only=False) for v in (x, y))
        odd = null_x != null_y
        both = ~(null_x | null_y)
        places = np.flatnonzero(both)
        plain_x, plain_y = (v.filter(pa.array(both)).to_numpy(zero_copy_only=False).copy() for v in (x, y))
        tally = measure(plain_x, plain_y) if places.size else Tally()
        first = None if tally.first is None else int(places[tally.first])
        tally.of = len(x)
        tally.differing += int(np.count_nonzero(odd))
        if odd.any() and (first is None or int(odd.argmax()) < first):
            first = int(odd.argmax())
            tally.values = short(str(x[first].as_py())), short(str(y[first].as_py()))
        tally.first = None if first is None else start + first
        return tally
    tally = Tally(of=len(x))
    for index, (one, other) in enumerate(zip(x.to_pylist(), y.to_pylist(), strict=True)):
        if one != other and repr(one) != repr(other):
            tally.differing += 1
            if tally.first is None:
                tally.first, tally.values = start + index, (short(str(one)), short(str(other)))
    return tally


MEMBER = ParquetFormat()
