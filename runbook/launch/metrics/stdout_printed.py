"""Metrics from the job's standard output, with nobody saying where: `loss: 0.5`, JSON lines, tables of epochs.

Colours are stripped; of a line that rewrites itself the last state is read, and a progress bar is none. A label
that is printed many times is a series, against the counter on its line, else the one on a line of its own
above, `Epoch 3/10`, else its own number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from runbook.launch.metrics.interface import PRINTED, Claim, Reading, Source
from runbook.launch.metrics.lines import Line, Pair, parse_line
from runbook.launch.metrics.noise import why_noise
from runbook.launch.metrics.numbers import STEP_NAMES, Points, flatten, parse_number

_MAX_LINE = 64 * 1024
_MAX_TEXT = 2000
"""Characters of a line of prose; only JSON is read beyond."""
MAX_NAMES = 500
"""A log that holds more names is a listing: the first ones are taken."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]{0,32}[A-Za-z]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]")
# NOTE: nothing here repeats without a bound: a search starts at every character of a line that a stranger wrote.
_BAR = re.compile(r"\d%\||\d \[\d\d:\d\d|\[\d\d:\d\d<|\dit/s\b|\ds/it\b|\d%[ |]{0,2}[█▏▎▍▌▋▊▉━]")
_BOXES = str.maketrans("│┃║╎", "||||", "")
_AXES = frozenset((*STEP_NAMES, "episode", "generation"))
_WARNING = re.compile(r"(?:\[\w{1,30}\] )?\[?(?:WARNING|Warning)\b")
"""What a library warns of is no result."""
_REPORT = ("precision", "recall", "f1-score", "support")
_RULE = re.compile(r"[\s|+=:━─┄═┼╪╬┿╇┏┓┗┛┌┐└┘├┤┡┩┳┻┬┴╋-]+")
_COLUMNS = re.compile(r"  +|\t")
_NUMBER = re.compile(r"[0-9]|nan|inf", re.IGNORECASE)


class _Printed:
    name = PRINTED
    cap = 256 * 1024 * 1024
    rank = 2

    def claims(self, path: str) -> Claim | None:
        return None

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        log = _Log(frozenset(source.names))
        for text in _lines(data):
            log.line(text)
        return log.reading()


class _Point(NamedTuple):
    """A value, with the counter on its line and the one above."""

    step: int | None
    above: int | None
    value: int | float


class _Log:
    """What was printed so far."""

    def __init__(self, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._points: dict[str, list[_Point]] = {}
        self._noise: dict[str, str] = {}
        self._left_out: dict[str, None] = {}
        self._above: int | None = None
        self._header: tuple[str, ...] = ()
        self._report = False

    def line(self, text: str) -> None:
        """Take one line in."""
        if text.startswith("{") and text.endswith("}"):
            row = _row(text)
            if row is not None:
                self._json(row)
                return
        if len(text) > _MAX_TEXT or _WARNING.match(text):
            return
        named = (":" in text or "=" in text) and not (self._header and text[0].isdigit())
        cells = [] if named and "|" not in text else _cells(text)
        if self._table(text, cells, named) or not _NUMBER.search(text):
            return
        line = parse_line(text)
        if len(cells) == 2 and "|" in text and not line.pairs:
            value = parse_number(cells[1].removesuffix("%"))
            if value is not None and any(c.isalpha() for c in cells[0]) and parse_number(cells[0]) is None:
                line = Line([Pair(cells[0], value)])
        step = line.step()
        if not line.pairs and step is not None:
            self._above = step
        for pair in line.pairs:
            self._add(pair.name, step, pair.value, pair.unit, pair.setting)

    def _json(self, row: dict[str, Any]) -> None:
        numbers = dict(flatten(row))
        by_name = {name.lower(): value for name, value in numbers.items()}
        steps = [by_name[name] for name in STEP_NAMES if name in by_name]
        step = next((int(s) for s in steps if isinstance(s, int) or s.is_integer()), None)
        for name, value in numbers.items():
            self._add(name, step, value)

    def _table(self, text: str, cells: list[str], named: bool) -> bool:
        """Whether this line is of a table with a column that counts; `named`: names stand beside numbers on it."""
        if named:
            self._header = ()
            return False
        if _RULE.fullmatch(text):
            return True
        if len(cells) > 1 and any(cell.lower() in _AXES for cell in cells) and all(map(_is_title, cells)):
            self._header, self._report = tuple(cells), False
            return True
        if tuple(cell.lower() for cell in cells) == _REPORT:
            self._header, self._report = tuple(cells), True
            return True
        if not self._header:
            return False
        if self._report:
            return self._class(cells)
        numbers = [parse_number(cell.rstrip("%*+ ")) for cell in cells]
        if len(cells) != len(self._header) or sum(number is not None for number in numbers) < 2:
            self._header = ()
            return False
        counts = [name.lower() in _AXES for name in self._header]
        step = next(
            (n for n, is_count in zip(numbers, counts, strict=True) if is_count and isinstance(n, int)), None
        )
        for name, number in zip(self._header, numbers, strict=True):
            if number is not None:
                self._add(name, step, number)
        return True

    def _class(self, cells: list[str]) -> bool:
        """A row of scikit-learn's report: a class and its numbers; of `accuracy` there is but one."""
        numbers = [parse_number(cell) for cell in cells[1:]]
        columns = self._header if len(numbers) == len(self._header) else ("", self._header[-1])
        if len(numbers) != len(columns) or not all(number is not None for number in numbers):
            self._header, self._report = (), False
            return False
        for column, number in zip(columns, numbers, strict=True):
            if number is not None:
                self._add(f"{cells[0]} {column}".strip(), None, number)
        return True

    def _add(self, name: str, step: int | None, value: int | float, unit: str = "", setting: bool = False) -> None:
        found = self._points.get(name)
        if found is None:
            if self._wanted and name not in self._wanted:
                return
            if len(self._points) >= MAX_NAMES and not self._wanted:
                self._left_out[f"more than {MAX_NAMES} names are printed; the others are not read"] = None
                return
            noise = why_noise(name, unit, printed=True) or ("a setting in brackets" if setting else "")
            if noise:
                self._noise[name] = noise
            found = self._points[name] = []
        found.append(_Point(step, self._above, value))

    def reading(self) -> Reading:
        """Every name with its series."""
        points = Points()
        for name, found in self._points.items():
            for point, step in zip(found, _steps(found), strict=True):
                points.add_or_note(name, step, point.value)
        reading = points.reading()
        return Reading(reading.series, (*reading.left_out, *self._left_out), self._noise)


def _steps(found: list[_Point]) -> list[int]:
    """The counter on each line, or the one above, where it tells the points apart; else their number."""
    for steps in ([point.step for point in found], [point.above for point in found]):
        whole = [step for step in steps if step is not None and abs(step) < 2**63]
        if len(set(whole)) == len(found):
            return whole
    return list(range(len(found)))


def _lines(data: BinaryIO) -> Iterator[str]:
    """The lines as a terminal shows them in the end, without colours, progress bars and blank ones."""
    while raw := data.readline(_MAX_LINE):
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        if "\x1b" in text:
            text = _ESCAPES.sub("", text)
        if "\r" in text or "\b" in text:
            text = text.replace("\b", "\r").rstrip("\r").rpartition("\r")[2]
        text = text.translate(_BOXES).strip() if not text.isascii() else text.strip()
        if text and (len(text) > _MAX_TEXT or not _BAR.search(text)):
            yield text


def _cells(text: str) -> list[str]:
    """The columns of a line: between bars, else between tabs or two spaces, else between spaces."""
    if "|" in text:
        return [cell.strip() for cell in text.strip("|").split("|")]
    columns = [cell.strip() for cell in _COLUMNS.split(text)]
    return columns if len(columns) > 1 else text.split()


def _is_title(cell: str) -> bool:
    return parse_number(cell) is None and any(c.isalpha() for c in cell)


def _row(text: str) -> dict[str, Any] | None:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


MEMBER = _Printed()
