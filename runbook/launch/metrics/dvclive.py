"""Metrics from a DVCLive folder: `metrics.json` with the last values, `plots/metrics/NAME.tsv` with the curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.json_file import parse_json
from runbook.launch.metrics.numbers import Points, is_number, parse_number

_PLOTS = "/plots/metrics/"


class _DvcLive:
    name = "dvclive"
    cap = 64 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        if path.endswith(".tsv") and _PLOTS in f"/{path}":
            folder = f"/{path}".rpartition(_PLOTS)[0][1:]
        elif path.endswith("/metrics.json") and path.split("/")[-2] == "dvclive":
            folder = path.rpartition("/")[0]
        else:
            return None
        return Claim(store=folder, run=folder)

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        points = Points()
        if source.path.endswith(".tsv"):
            _curve(points, f"/{source.path}".rpartition(_PLOTS)[2].removesuffix(".tsv"), data)
        else:
            for name, value in _flat("", parse_json(data.read())):
                points.add_or_note(name, 0, value)
        return points.reading()


def _curve(points: Points, name: str, data: BinaryIO) -> None:
    lines = iter(lambda: data.readline(4096), b"")
    header = next(lines, b"").decode("utf-8", "replace").rstrip("\r\n").split("\t")
    if "step" not in header or len(header) < 2:
        raise ValueError("is no curve of DVCLive: no column called step")
    at = header.index("step")
    value_at = next((i for i, column in enumerate(header) if name.endswith(column)), len(header) - 1)
    for number, line in enumerate(lines, 2):
        cells = line.decode("ascii", "replace").rstrip("\r\n").split("\t")
        step, value = (parse_number(cells[i]) if i < len(cells) else None for i in (at, value_at))
        if not isinstance(step, int) or value is None:
            raise ValueError(f"line {number} is not a step and a value")
        points.add_or_note(name, step, value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, int | float]]:
    if is_number(value):
        yield name, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}/{key}" if name else key, inner)


MEMBER = _DvcLive()
