"""ONNX models: initializers as tensors, nodes one by one; the producer and texts about the model are metadata.

Field numbers are those of onnx.proto3. The `onnx` library reads a model as a whole into memory, twice; here the
parts are found, and numbers are read as they are compared.
"""

from __future__ import annotations

import struct
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable, metadata, one_sided
from runbook.model.artifact import Part, short

if TYPE_CHECKING:
    from runbook.artifacts.values.tensors import Tensor
    from runbook.artifacts.values.wire import Field

_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
}
_TYPED = {4: "float32", 5: "int32", 7: "int64", 10: "float64", 11: "uint64"}
"""Fields of a tensor that hold its numbers one by one, and as what."""
_TYPED_CAP = 64 << 20
_SAID = {2: "producer_name", 3: "producer_version", 4: "domain", 5: "model_version", 6: "doc_string"}


class OnnxFormat:
    """Initializers, then the nodes of the graph, then its inputs and outputs and the operators it needs."""

    name = "onnx"
    modules = ("numpy", "ml_dtypes")

    def claims(self, path: str, head: bytes) -> int:
        """By its ending: the format has no magic bytes."""
        return interface.ENDING if path.endswith(".onnx") else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Weights first: they are what a training makes."""
        from runbook.artifacts.values.tensors import compare_tensors

        left, right = _read(a), _read(b)
        parts = Parts("part")
        compare_tensors(left.tensors, right.tensors, parts)
        _compare_pieces(left.pieces, right.pieces, parts)
        parts.remarks += metadata(left.said, right.said)
        outside = len({*left.outside, *right.outside})
        if outside:
            parts.remarks.append(f"{outside} tensors lie in files beside it, which were not looked into")
        return parts.found()


class _Model(NamedTuple):
    tensors: list[Tensor]
    outside: list[str]
    pieces: dict[str, str]
    """What is no weight, `node 3 (Gemm fc1)` and such, with a digest of it."""
    said: dict[str, Any]


def _read(file: BinaryIO) -> _Model:
    from runbook.artifacts.values import wire

    model = _Model([], [], {}, {})
    graphs = 0
    for field in wire.fields(file, 0, file.seek(0, 2)):
        if field.number == 7 and field.kind == wire.LENGTH:
            graphs += 1
            _graph(file, field, model)
        elif field.number in _SAID:
            text = field.value if field.kind == wire.VARINT else wire.read(file, field).decode(errors="replace")
            model.said[_SAID[field.number]] = text
        elif field.number == 14:
            pair = {f.number: wire.read(file, f).decode(errors="replace") for f in wire.fields(file, *field[3:])}
            model.said[pair.get(1, "")] = pair.get(2, "")
        else:
            what = {1: "version of the format", 8: "operator set"}.get(field.number, f"field {field.number}")
            _keep(model, what, _digest(file, field))
    if graphs != 1:
        raise Unreadable("no model of one graph")
    return model


def _graph(file: BinaryIO, graph: Field, model: _Model) -> None:
    from runbook.artifacts.values import wire

    nodes = 0
    for field in wire.fields(file, graph.start, graph.end):
        if field.number == 5:
            _initializer(file, field, model)
        elif field.number == 1:
            inner = {f.number: f for f in wire.fields(file, field.start, field.end) if f.number in (3, 4)}
            name, operator = (
                wire.read(file, inner[n]).decode(errors="replace") if n in inner else "" for n in (3, 4)
            )
            _keep(model, f"node {nodes} ({' '.join(filter(None, (operator, name)))})", _digest(file, field))
            nodes += 1
        elif field.number in (2, 10):  # The graph's name and what is said of it.
            model.said["graph name" if field.number == 2 else "graph doc_string"] = wire.read(file, field).decode(
                errors="replace"
            )
        else:
            what = {11: "input", 12: "output", 13: "value", 15: "sparse initializer"}
            name = what.get(field.number, f"graph field {field.number}")
            _keep(model, name, _digest(file, field))


def _keep(model: _Model, name: str, digest: str) -> None:
    number = 2
    unique = name
    while unique in model.pieces:
        unique, number = f"{name} {number}", number + 1
        if number > 10_000:
            raise Unreadable("a graph of too many parts of one kind")
    model.pieces[unique] = digest


def _digest(file: BinaryIO, field: Field) -> str:
    digest = sha256(struct.pack("<Q", field.value))
    at = field.start
    file.seek(at)
    while at < field.end and (block := file.read(min(1 << 20, field.end - at))):
        digest.update(block)
        at += len(block)
    return digest.hexdigest()


def _initializer(file: BinaryIO, field: Field, model: _Model) -> None:
    import numpy as np

    from runbook.artifacts.values import tensors, wire
    from runbook.artifacts.values.tensors import Tensor, checked_shape
    from runbook.artifacts.values.types import dtype_of

    dims: list[int] = []
    kind, name, raw, outside = 0, f"initializer {len(model.tensors)}", None, False
    typed: dict[int, list[Field]] = {}
    for one in wire.fields(file, field.start, field.end):
        if one.number == 1:
            dims += [one.value] if one.kind == wire.VARINT else wire.varints(wire.read(file, one))
        elif one.number == 2:
            kind = one.value
        elif one.number == 8:
            name = wire.read(file, one).decode(errors="replace")
        elif one.number == 9:
            raw = one
        elif one.number in _TYPED:
            typed.setdefault(one.number, []).append(one)
        elif one.number == 13 or (one.number == 14 and one.value == 1):
            outside = True
    if outside:
        model.outside.append(name)
        return
    if kind not in _TYPES:
        raise Unreadable(f"an initializer of type {kind}, which is not read")
    dtype, shape = dtype_of(_TYPES[kind]), checked_shape(dims, name)
    count = prod(shape)
    if raw is not None:
        if raw.end - raw.start != count * dtype.itemsize:
            raise Unreadable("an initializer whose bytes are not as many as its shape says")
        blocks = tensors.from_file(file, raw.start, count, dtype.newbyteorder("<"))
    else:
        values = _typed(file, typed, dtype)
        if values.size != count:
            raise Unreadable("an initializer whose numbers are not as many as its shape says")
        blocks = tensors.from_array(np.ascontiguousarray(values))
    model.tensors.append(Tensor(name, shape, dtype, blocks))


def _typed(file: BinaryIO, typed: dict[int, list[Field]], dtype: Any) -> Any:
    """The numbers of a tensor that are written as such, packed or one by one."""
    import numpy as np

    from runbook.artifacts.values import wire

    if len(typed) > 1 or sum(f.end - f.start for fields in typed.values() for f in fields) > _TYPED_CAP:
        raise Unreadable("an initializer of too many numbers written one by one")
    for number, found in typed.items():
        kind = np.dtype(_TYPED[number])
        if number in (4, 10):
            data = b"".join(wire.read(file, one, _TYPED_CAP) for one in found)
            if len(data) % kind.itemsize:
                raise Unreadable("an initializer that ends within a number")
            values = np.frombuffer(data, kind.newbyteorder("<"))
            return values.view(dtype) if dtype.kind == "c" else values.astype(dtype)
        numbers: list[int] = []
        for one in found:
            numbers += [one.value] if one.kind == wire.VARINT else wire.varints(wire.read(file, one, _TYPED_CAP))
        unsigned = np.array(numbers, np.uint64)
        if number == 5 and dtype.kind not in "iub":  # Halves are there as the numbers of their bits.
            return unsigned.astype(f"u{dtype.itemsize}").view(dtype)
        return unsigned.view(np.int64).astype(dtype) if number != 11 else unsigned.astype(dtype)
    return np.empty(0, dtype)


def _compare_pieces(a: dict[str, str], b: dict[str, str], parts: Parts) -> None:
    for name in dict.fromkeys([*a, *b]):
        parts.of += 1
        if name not in a or name not in b:
            parts.add(one_sided(name, original=name in a))
        elif a[name] != b[name]:
            parts.add(Part(name=short(name), note="its operator, connections or attributes differ"))


MEMBER = OnnxFormat()
