"""Scalars from TensorBoard event files, as TensorFlow, PyTorch and tensorboardX write them.

A file is TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C of them) of `Event` messages. A scalar
is a `simple_value` or, since TensorFlow 2, a tensor of no dimension from the `scalars` plug-in. Both are 32-bit
floats there: their value is kept as it is, exactly. A file that ends within a record was still being written:
what is whole is read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import Points

_MAX_RECORD = 64 * 1024 * 1024
_STRUCTS = {1: "<f", 2: "<d", 3: "<i", 9: "<q", 19: "<e"}
"""TensorFlow's number of a type → how its bytes are read."""
_LISTS = {1: "float_val", 2: "double_val", 3: "int_val", 9: "int64_val"}


class _TensorBoard:
    name = "tensorboard"
    cap = 1024 * 1024 * 1024
    rank = 1

    def claims(self, path: str) -> Claim | None:
        if ".tfevents." not in path:
            return None
        folder, _, name = path.rpartition("/")
        return Claim(store=folder, run=folder) if ".tfevents." in name else None

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        from google.protobuf.message import DecodeError

        points, event, scalars = Points(), _messages()["Event"], set[str]()
        for record in _records(data):
            try:
                message = event.FromString(record)
            except DecodeError:
                raise ValueError("is no TensorBoard event file") from None
            if source.since is not None and 0 < message.wall_time < int(source.since):
                continue
            for value in message.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                if plugin == "scalars":
                    scalars.add(value.tag)  # The plug-in is named with the first value of a tag only.
                number = _scalar(value, value.tag in scalars)
                if number is not None:
                    points.add_or_note(value.tag, message.step, number)
        return points.reading()


def _scalar(value: Any, tensor: bool) -> float | int | None:
    if value.HasField("simple_value"):
        return float(value.simple_value)
    if not tensor or not value.HasField("tensor") or value.tensor.tensor_shape.dim:
        return None
    inner = value.tensor
    form = _STRUCTS.get(inner.dtype)
    if form and len(inner.tensor_content) == struct.calcsize(form):
        number: float | int = struct.unpack(form, inner.tensor_content)[0]
        return number
    values: list[float | int] = list(getattr(inner, _LISTS[inner.dtype])) if inner.dtype in _LISTS else []
    return values[0] if len(values) == 1 else None


def _records(data: BinaryIO) -> Iterator[bytes]:
    import google_crc32c

    def checked(bytes_: bytes, code: bytes, where: int) -> None:
        crc = google_crc32c.value(bytes_)
        if ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF != int.from_bytes(code, "little"):
            raise ValueError(f"is damaged: a wrong checksum at byte {where}")

    position = 0
    while len(head := data.read(12)) == 12:
        checked(head[:8], head[8:], position)
        length = int.from_bytes(head[:8], "little")
        if length > _MAX_RECORD:
            raise ValueError(f"holds a record of {length} bytes")
        body = data.read(length + 4)
        if len(body) < length + 4:
            return
        checked(body[:length], body[length:], position)
        position += 16 + length
        yield body[:length]


@cache
def _messages() -> dict[str, Any]:
    from runbook.launch.metrics.protos import message_classes

    return message_classes(
        "tensorboard",
        {
            "Event": {"wall_time": (1, "double"), "step": (2, "int64"), "summary": (5, "Summary")},
            "Summary": {"value": (1, "*Value")},
            "Value": {
                "tag": (1, "string"),
                "simple_value": (2, "float"),
                "tensor": (8, "Tensor"),
                "metadata": (9, "Metadata"),
            },
            "Metadata": {"plugin_data": (1, "PluginData")},
            "PluginData": {"plugin_name": (1, "string")},
            "Tensor": {
                "dtype": (1, "int32"),
                "tensor_shape": (2, "Shape"),
                "tensor_content": (4, "bytes"),
                "float_val": (5, "*float"),
                "double_val": (6, "*double"),
                "int_val": (7, "*int32"),
                "int64_val": (10, "*int64"),
            },
            "Shape": {"dim": (2, "*Dimension")},
            "Dimension": {"size": (1, "int64")},
        },
    )


MEMBER = _TensorBoard()
