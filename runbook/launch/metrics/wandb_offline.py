"""Metrics from W&B's run files, `wandb/…run-*/run-ID.wandb`: history and summary.

A file is W&B's own kind of LevelDB log: blocks of 32 KiB that hold chunks (CRC-32, length, kind), which make up
records, each a protobuf `Record`. What the run keeps for itself (`_step`, `_runtime`, `_timestamp`) is no
metric. A file that ends within a chunk belongs to a run that was cut: what is whole is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, BinaryIO

from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import Points, is_number

_LOG = "/logs/debug.log"
_BLOCK = 32 * 1024
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_MAX_RECORD = 64 * 1024 * 1024
_MAX_DEPTH = 16


class _Wandb:
    name = "wandb"
    cap = 1024 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        if path.endswith(".wandb"):
            run = path.rpartition("/")[0]
        elif path.endswith(_LOG) and "run-" in path:
            # The run's file is written by wandb-core, which is no Python: what was seen of the run is this log.
            run = path.removesuffix(_LOG)
        else:
            return None
        return Claim(store=run.rpartition("/")[0], run=run, named=False)

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        from google.protobuf.message import DecodeError

        if source.path.endswith(_LOG):
            return Reading()
        points, record_class, step = Points(), _messages()["Record"], 0
        summary: dict[str, int | float] = {}
        for bytes_ in _records(data):
            try:
                record = record_class.FromString(bytes_)
            except DecodeError:
                raise ValueError("is no W&B run file") from None
            for item in record.summary.update:
                summary.update(_numbers(item))
            if not record.history.item:
                continue
            row = {name: value for item in record.history.item for name, value in _numbers(item)}
            named = row.get("_step", record.history.step.num if record.history.HasField("step") else step)
            step = named if isinstance(named, int) else step
            for name, value in row.items():
                if not name.startswith("_"):
                    points.add_or_note(name, step, value)
            step += 1
        for name, value in summary.items():
            if not name.startswith("_") and not points.has(name):
                points.add_or_note(name, 0, value)
        return points.reading()


def _numbers(item: Any) -> Iterator[tuple[str, int | float]]:
    """The numbers of one item: typed in newer files, JSON text in older ones, nested ones joined with dots."""
    name = ".".join(item.nested_key) or item.key
    for field in ("integer", "number"):
        if field in item.DESCRIPTOR.fields_by_name and item.HasField(field):
            yield name, getattr(item, field)
            return
    text = item.value_json or getattr(item, "json", "")
    if text:
        try:
            yield from _flat(name, json.loads(text), 0)
        except (ValueError, RecursionError):
            return


def _flat(name: str, value: Any, depth: int) -> Iterator[tuple[str, int | float]]:
    if is_number(value):
        yield name, value
    elif isinstance(value, dict) and "_type" not in value and depth < _MAX_DEPTH:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner, depth + 1)


def _records(data: BinaryIO) -> Iterator[bytes]:
    if data.read(7)[:4] != b":W&B":
        raise ValueError("is no W&B run file")
    position, parts, size = 7, list[bytes](), 0
    while True:
        left = _BLOCK - position % _BLOCK
        if left < 7:
            data.read(left)
            position += left
            continue
        head = data.read(7)
        if len(head) < 7:
            return
        length, kind = int.from_bytes(head[4:6], "little"), head[6]
        body = data.read(length)
        if len(body) < length:
            return
        if zlib.crc32(body, zlib.crc32(head[6:7])) != int.from_bytes(head[:4], "little"):
            raise ValueError(f"is damaged: a wrong checksum at byte {position}")
        position += 7 + length
        if kind in (_FULL, _FIRST):
            parts, size = [], 0
        size += length
        if kind not in (_FULL, _FIRST, _MIDDLE, _LAST) or size > _MAX_RECORD:
            raise ValueError(f"is damaged at byte {position}")
        parts.append(body)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts, size = [], 0


@cache
def _messages() -> dict[str, Any]:
    from runbook.launch.metrics.protos import message_classes

    return message_classes(
        "wandb",
        {
            "Record": {"history": (2, "History"), "summary": (3, "Summary")},
            "History": {"item": (1, "*HistoryItem"), "step": (2, "Step")},
            "Step": {"num": (1, "int64")},
            "HistoryItem": {
                "key": (1, "string"),
                "nested_key": (2, "*string"),
                "integer": (5, "sint64"),
                "number": (6, "double"),
                "json": (8, "string"),
                "value_json": (16, "string"),
            },
            "Summary": {"update": (1, "*SummaryItem")},
            "SummaryItem": {"key": (1, "string"), "nested_key": (2, "*string"), "value_json": (16, "string")},
        },
    )


MEMBER = _Wandb()
