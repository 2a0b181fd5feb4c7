"""Message types of other programs' files, declared as the few fields that are read; `protobuf` does the parsing.

The generated modules of TensorBoard and W&B come with those packages, which nobody installs to read a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SCALARS = {"double": 1, "float": 2, "int64": 3, "int32": 5, "string": 9, "bytes": 12, "sint64": 18}

Fields = Mapping[str, tuple[int, str]]
"""Name → number and type: a scalar, or the name of a message; `*` in front: repeated."""


def message_classes(package: str, messages: Mapping[str, Fields]) -> dict[str, Any]:
    """A parser for each message, by name; a field that is not declared is skipped, as protobuf does."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"runbook/{package}.proto", package=package, syntax="proto2")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            base = kind.lstrip("*")
            one = message.field.add(name=field, number=number, label=3 if kind.startswith("*") else 1)
            if base in _SCALARS:
                one.type = _SCALARS[base]  # type: ignore[assignment]
            else:
                one.type, one.type_name = 11, f".{package}.{base}"  # type: ignore[assignment]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in messages
    }
