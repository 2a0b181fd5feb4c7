"""Metrics that the job logged itself, through `runbook.log_metric`."""

from __future__ import annotations

from typing import BinaryIO

from runbook.launch.logged import points_of
from runbook.launch.metrics.interface import Reading, Source
from runbook.launch.metrics.numbers import Points
from runbook.model.metric import to_float


class _Api:
    name = "api"
    cap = 512 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> None:
        return None

    def recognises(self, source: Source) -> bool:
        return source.kind == "api"

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        points = Points()
        counts: dict[str, int] = {}
        for point in points_of(data):
            count = counts.get(point.metric, 0)
            value = to_float(point.value) if isinstance(point.value, str) else point.value
            points.add(point.metric, count if point.step is None else point.step, value)
            counts[point.metric] = count + 1
        return points.reading()


MEMBER = _Api()
