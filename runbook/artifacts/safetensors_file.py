"""safetensors: a length, a JSON header, then the numbers. docs: the format's own specification."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, BinaryIO

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable, metadata

if TYPE_CHECKING:
    from runbook.artifacts.values.tensors import Tensor

_HEADER_CAP = 32 << 20
"""Bytes; the format itself allows 100 MB, and no model needs a tenth of it."""
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}


class SafetensorsFormat:
    """Tensors in the order in which they lie in the file."""

    name = "safetensors"
    modules = ("numpy", "ml_dtypes")

    def claims(self, path: str, head: bytes) -> int:
        """By its ending, or a header that looks like one."""
        if path.endswith(".safetensors"):
            return interface.SURE
        return interface.CONTENT if head[8:10] == b'{"' and head[5:8] == b"\0\0\0" else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Tensor by tensor, then the header's metadata."""
        from runbook.artifacts.values.tensors import compare_tensors

        parts = Parts("tensor")
        (left, said_a), (right, said_b) = _read(a), _read(b)
        compare_tensors(left, right, parts)
        parts.remarks += metadata(said_a, said_b)
        return parts.found()


def _read(file: BinaryIO) -> tuple[list[Tensor], dict[str, Any]]:
    from runbook.artifacts.values.tensors import TENSORS

    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= _HEADER_CAP:
        raise Unreadable("a header of an impossible length")
    text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("its header is no JSON") from None
    if len(text) != length or not isinstance(header, dict) or len(header) > TENSORS:
        raise Unreadable("its header is no list of tensors")
    said = header.pop("__metadata__", {})
    try:
        ordered = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        found = [_tensor(name, one, file, 8 + length) for name, one in ordered]
    except (KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"its header describes no tensor ({error})") from None
    return found, said if isinstance(said, dict) else {"metadata": said}


def _tensor(name: str, one: dict[str, Any], file: BinaryIO, base: int) -> Tensor:
    from math import prod

    from runbook.artifacts.values.tensors import Tensor, checked_shape, from_file
    from runbook.artifacts.values.types import dtype_of

    if one["dtype"] not in _TYPES:
        raise Unreadable(f"a tensor of type {one['dtype']!s:.20}")
    dtype, shape = dtype_of(_TYPES[one["dtype"]]), checked_shape(one["shape"], name)
    start, end = one["data_offsets"]
    if type(start) is not int or type(end) is not int or end - start != prod(shape) * dtype.itemsize:
        raise Unreadable("a tensor whose bytes are not as many as its shape says")
    count = prod(shape)
    return Tensor(name, shape, dtype, from_file(file, base + start, count, dtype.newbyteorder("<")))


MEMBER = SafetensorsFormat()
