"""What was seen of a job while it ran, as rows of a report."""

from __future__ import annotations

import shlex

from runbook.model.record import Record
from runbook.model.watch import Watched
from runbook.report.cell import Cell

_TRACERS = {"python": "inside its Python processes", "native": "by strace, whatever the program"}
_NAMED = 5


def rows(record: Record) -> list[tuple[str, Cell]]:
    """How the job was watched, what it did besides computing, and what could not be seen."""
    seen = record.watch.value
    if seen is None:
        return [("Watched", Cell(record.watch.reason, "missing"))]
    how = " and ".join(_TRACERS[one] for one in seen.tracers)
    return [
        ("Watched", Cell(how, "observed")),
        ("Processes", Cell(_processes(seen))),
        *_steps(record),
        *_groups(seen),
        *((f"Switch: {name}", Cell(value)) for name, value in _switches(seen)),
        *_random(seen),
        *_reached(seen),
        *((f"Not seen ({number})", Cell(text)) for number, text in enumerate(seen.lost, 1)),
    ]


def _processes(seen: Watched) -> str:
    number, unfinished = len(seen.processes), sum(not one.ended for one in seen.processes)
    text = "1 process" if number == 1 else f"{number} processes"
    return text + (f", {unfinished} of them without a regular end" if unfinished else "")


def _steps(record: Record) -> list[tuple[str, Cell]]:
    found = []
    for number, stage in enumerate(record.stages, 1):
        read = f"; read {_some(stage.inputs)}" if stage.inputs else ""
        wrote = f"; wrote {_some(stage.outputs)}" if stage.outputs else ""
        found.append((f"Step {number}: {stage.name}", Cell(f"{shlex.join(stage.argv)}{read}{wrote}")))
    return found


def _groups(seen: Watched) -> list[tuple[str, Cell]]:
    groups = {(one.framework, one.backend, one.world_size) for one in seen.distributed}
    found = []
    for framework, backend, size in sorted(groups):
        same = [one for one in seen.distributed if (one.framework, one.world_size) == (framework, size)]
        ranks = _some([str(rank) for rank in sorted({one.rank for one in same})])
        text = f"{backend}, world size {size}, ranks seen: {ranks}"
        found.append((f"Process group: {framework}", Cell(text)))
    return found


def _switches(seen: Watched) -> list[tuple[str, str]]:
    """Each switch once, with all the values that processes ended with."""
    values: dict[str, list[str]] = {}
    for one in seen.switches:
        if one.value not in values.setdefault(one.name, []):
            values[one.name].append(one.value)
    return [(name, ", ".join(told)) for name, told in sorted(values.items())]


def _random(seen: Watched) -> list[tuple[str, Cell]]:
    libraries = sorted({(use.library, use.by_library, use.detail) for use in seen.uses if not use.seeded})
    return [
        (
            f"Random numbers: {library}",
            Cell(f"used{' by libraries only' * apart}, and never seeded" + (f": {detail}" if detail else "")),
        )
        for library, apart, detail in libraries
    ]


def _reached(seen: Watched) -> list[tuple[str, Cell]]:
    found = []
    programs = list(dict.fromkeys(one.executable or one.argv[0] for one in seen.subprocesses if one.argv))
    if programs:
        found.append(("Programs started", Cell(_some(programs))))
    reached = list(
        dict.fromkeys(one.url or (f"{one.host}:{one.port}" if one.port else one.host) for one in seen.connections)
    )
    if reached:
        found.append(("Network reached for", Cell(_some(reached))))
    return found


def _some(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
