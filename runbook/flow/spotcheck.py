"""A spot check: the job is stopped once enough of its series has been logged again, or its time is up."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runbook.compare.prefix import Stop, reached
from runbook.errors import UsageError
from runbook.launch.logged import SOURCE, read_logged
from runbook.launch.metrics import grows, read_metrics
from runbook.model.metric import Series
from runbook.model.record import Record

_PAUSE_S = 1.0
_CALM = 20
"""The metrics are read at most 1/20 of the time."""


def followed(record: Record, series: Mapping[str, Series], until: int) -> dict[str, Series]:
    """The original's series that a job appends to while it runs and that have a point up to this step.

    Raises UsageError where there is none.
    """
    labels = {grows(source) for source in record.sources} - {""}
    written = {metric.name: metric.source for metric in record.metrics}
    found = {n: one for n, one in series.items() if one.steps[0] <= until and written.get(n) in labels}
    if not found:
        spans = [f"{name} {one.steps[0]:,}-{one.steps[-1]:,}" for name, one in sorted(series.items())]
        hint = f"its series: {', '.join(spans[:5])}" if spans else "--time-limit SECONDS, or a whole replay"
        raise UsageError("no series of the bundle can be followed up to this step", until, hint=hint, id="until")
    return found


@dataclass(frozen=True)
class Where:
    """Where a running job writes."""

    work: Path
    stdout: Path
    watch: Path
    since: float
    """Unix time before the job was started."""


class SpotCheck:
    """Watches the series of a job that runs; `enough` is asked some times a second."""

    def __init__(
        self, record: Record, series: Mapping[str, Series], until: int | None, time_s: float | None, where: Where
    ) -> None:
        """`series`: the original's; `until`: a step; `time_s`: seconds. Raises UsageError as `followed` does."""
        self.stop: Stop | None = None
        """Why the job was stopped, when it was."""
        self._until, self._time_s, self._where = until, time_s, where
        self._begun = self._next = 0.0
        self._sources = tuple(source for source in record.sources if grows(source))
        self._wanted = {} if until is None else followed(record, series, until)

    def enough(self) -> str:
        """Why the job may be stopped now; empty while it must go on."""
        now = time.monotonic()
        self._begun = self._begun or now
        why = ""
        if self._time_s is not None and now - self._begun >= self._time_s:
            why = f"its time was up after {self._time_s:g} s"
        elif self._until is not None and now >= self._next:
            if self._seen():
                why = f"step {self._until:,} was reached"
            self._next = time.monotonic() + max(_PAUSE_S, _CALM * (time.monotonic() - now))
        if why:
            self.stop = Stop(why, self._until)
        return why

    def _seen(self) -> bool:
        if all(one.steps[-1] <= (self._until or 0) for one in self._wanted.values()):
            return False  # There is nothing to be cut off: it ends by itself.
        where = self._where
        if SOURCE in self._sources:
            read_logged(where.watch, where.stdout.parent)
        found = read_metrics(self._sources, where.work, where.stdout, since=where.since, growing=True).series
        return all(reached(one, found.get(name), self._until or 0) for name, one in self._wanted.items())
