"""From plain data (dicts, lists, numbers) to named series. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runbook.launch.metrics.interface import Reading
from runbook.model.metric import Number, Series, to_number

STEP_NAMES = ("step", "global_step", "steps", "iteration", "iter", "epoch", "round", "trial")
"""Names of a column that counts steps, the finest first; matched without regard to case."""
MAX_METRICS = 10_000
"""Names that one source may give."""
_MAX_NAME = 1000
_INTEGERS = range(-(2**63), 2**64)


class Points:
    """Collects points by metric name, in order of appearance, and what had to be left out."""

    def __init__(self) -> None:
        self._steps: dict[str, list[int]] = {}
        self._values: dict[str, list[Number]] = {}
        self._left_out: dict[str, None] = {}

    def add(self, name: str, step: int, value: float | int) -> None:
        """One point. Integers stay exact; one beyond 64 bits is left out, and said so."""
        if isinstance(value, int) and value not in _INTEGERS:
            self._left_out[f"{name}: an integer beyond 64 bits"] = None
            return
        if name not in self._steps:
            if len(self._steps) >= MAX_METRICS:
                raise ValueError(f"holds more than {MAX_METRICS} metrics")
            if len(name) > _MAX_NAME or any("\ud800" <= c <= "\udfff" for c in name):
                raise ValueError(f"holds a name that is longer than {_MAX_NAME} characters or no text")
            self._steps[name], self._values[name] = [], []
        self._steps[name].append(step)
        self._values[name].append(to_number(value))

    def add_or_note(self, name: str, step: int, value: float | int) -> None:
        """One point of another program's log: a name or step that no series can hold is left out, and said so."""
        if not isinstance(step, int) or abs(step) >= 2**63:
            self._left_out[f"{name[:80]}: a step beyond 64 bits"] = None
        elif not name or len(name) > _MAX_NAME or any("\ud800" <= c <= "\udfff" or c < " " for c in name):
            self._left_out["a name that is empty, too long or no text"] = None
        else:
            self.add(name, step, value)

    def has(self, name: str) -> bool:
        """Whether this name has points already."""
        return name in self._steps

    def reading(self) -> Reading:
        """Everything that was added."""
        series = {
            name: Series(steps=tuple(steps), values=tuple(self._values[name]))
            for name, steps in self._steps.items()
        }
        return Reading(series=series, left_out=tuple(self._left_out))


def from_tree(tree: Any, stem: str) -> Reading:
    """Numbers of a nested document: names joined with dots, lists of numbers and of objects as series.

    stem: the name for a document that is nothing but a number or a list of numbers.
    """
    points = Points()
    _walk(points, tree, "", stem)
    return points.reading()


def from_rows(rows: Iterable[Mapping[str, Any]], prefix: str = "") -> Reading:
    """Rows of a table, or objects of a log: one series for each key, against the step column if there is one."""
    points = Points()
    _rows(points, list(rows), prefix)
    return points.reading()


def has_axis(rows: Sequence[Mapping[str, int | float]]) -> bool:
    """Whether a column of this table counts steps."""
    return bool(_axis(rows))


def is_number(value: object) -> bool:
    """Whether it is an int or a float; a boolean is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def parse_number(text: str) -> int | float | None:
    """The number that a text spells as a program prints it; None where it is none."""
    text = text.strip()
    if not text or "_" in text or len(text) > 400:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return None


def _walk(points: Points, node: Any, path: str, stem: str) -> None:
    if is_number(node):
        points.add(_fresh(points, path or stem), 0, node)
    elif isinstance(node, dict):
        for key, value in node.items():
            _walk(points, value, f"{path}.{key}" if path else key, stem)
    elif isinstance(node, list) and node:
        kinds = [x for x in node if x is not None]
        if kinds and all(is_number(x) for x in kinds):
            name = _fresh(points, path or stem)
            for index, value in enumerate(node):
                if value is not None:
                    points.add(name, index, value)
        elif kinds and all(isinstance(x, dict) for x in kinds):
            _rows(points, kinds, path)
        elif kinds and all(isinstance(x, list) for x in kinds):
            for index, value in enumerate(node):
                _walk(points, value, f"{path}.{index}" if path else str(index), stem)


def _rows(points: Points, rows: list[Mapping[str, Any]], prefix: str) -> None:
    flat = [dict(flatten(row)) for row in rows]
    axis = _axis(flat)
    names: dict[str, str] = {}
    for index, row in enumerate(flat):
        step = int(row[axis]) if axis else index
        for key, value in row.items():
            if key != axis:
                if key not in names:
                    names[key] = _fresh(points, f"{prefix}.{key}" if prefix else key)
                points.add(names[key], step, value)


def flatten(node: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, int | float]]:
    """The numbers of a nested object, names joined with dots, lists by their places."""
    for key, value in node.items():
        name = f"{path}.{key}" if path else key
        if is_number(value):
            yield name, value
        elif isinstance(value, dict):
            yield from flatten(value, name)
        elif isinstance(value, list):
            yield from flatten({str(i): x for i, x in enumerate(value)}, name)


def _axis(rows: Sequence[Mapping[str, int | float]]) -> str:
    """The column that counts steps: whole numbers in every row."""
    keys = {key.lower(): key for row in rows[:1] for key in row}
    for name in STEP_NAMES:
        key = keys.get(name)
        if key is not None and all(key in row and _whole(row[key]) for row in rows):
            return key
    return ""


def _whole(value: int | float) -> bool:
    return isinstance(value, int) or (value.is_integer() and abs(value) < 2**63)


def _fresh(points: Points, name: str) -> str:
    """The name, or `name#2` where the same file spells it twice (`a.b` beside `a: {b: …}`)."""
    number, fresh = 1, name
    while points.has(fresh):
        number += 1
        fresh = f"{name}#{number}"
    return fresh
