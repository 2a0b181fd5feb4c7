"""What a job may call: `runbook.log_metric("loss", 0.3, step=1)`. Imports the standard library only.

Every call does nothing where the job does not run under `runbook run` or a replay. A value goes at once, as one
line, to a file of the process's own in the watch folder: processes do not mix and a killed one loses nothing.
`runbook.launch.logged` reads these files. Meant for people: docs/python-api.md.
"""

from __future__ import annotations

import json
import math
import operator
import os
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final

PREFIX: Final = "api-"
"""How the names of these files begin, in the watch folder; they end in `.jsonl`."""
LONGEST: Final = 1000
"""Characters of a name."""
LONGEST_VALUE: Final = 4096
"""Characters of a parameter's value."""
_WATCH: Final = "RUNBOOK_WATCH"
_scope: ContextVar[str] = ContextVar("runbook_scope", default="")
_names: dict[int, str] = {}
"""File by process: after a fork the child gets one of its own."""


def log_metric(name: str, value: Any, step: int | None = None) -> None:
    """Log one point of a metric.

    value: a number, or what `float()` takes as one (NumPy and torch scalars); kept exactly.
    step: a whole number; none: the points of the name are counted.
    Raises TypeError and ValueError for arguments that can be no metric.
    """
    if _WATCH not in os.environ:
        return
    point = {"metric": _name(name), "value": _number(value), "at": time.monotonic_ns()}
    if step is not None:
        point["step"] = _step(step)
    _write(point)


def log_param(name: str, value: Any) -> None:
    """Log a parameter, kept as the text that `str()` gives. Raises TypeError and ValueError."""
    if _WATCH not in os.environ:
        return
    _write({"parameter": _name(name), "text": _text(name, value), "at": time.monotonic_ns()})


def log_artifact(path: str | os.PathLike[str]) -> None:
    """Name a file or folder that the job writes, to be kept as an output; it is read when the job has ended."""
    if _WATCH not in os.environ:
        return
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"an artifact's path is text, not {type(text).__name__}")
    if not text or "\0" in text or len(text) > LONGEST_VALUE:
        raise ValueError(f"not a path: {text[:80]!r}")
    try:
        text = os.path.abspath(text)  # noqa: PTH100 - as the job sees it, links kept
    except OSError:
        return  # The working folder is gone.
    _write({"artifact": text, "at": time.monotonic_ns()})


class run:  # noqa: N801 - read as a word: `with runbook.run(name="fold-1") as run:`
    """A named part of the job: what is logged inside the block is called `NAME/…`.

    Blocks may be nested and repeated; without a name nothing is renamed. params are logged when the block begins;
    experiment names the recorded run's experiment where nothing else did. Not under `runbook run` it does nothing.
    """

    def __init__(
        self, name: str | None = None, *, experiment: str | None = None, params: Mapping[str, Any] | None = None
    ) -> None:
        self._on = _WATCH in os.environ
        self._named, self._experiment, self._params = name or "", experiment or "", dict(params or {})
        self._prefix = ""
        self._token: Token[str] | None = None
        if self._on:
            for what, text in (("name", name), ("experiment", experiment)):
                if text is not None:
                    _check(text, f"a run's {what}")
            for key, value in self._params.items():
                _check(key, "a parameter's name")
                _text(key, value)

    def __enter__(self) -> run:
        if self._on:
            outer = _scope.get()
            self._prefix = f"{outer}{self._named}/" if self._named else outer
            self._token = _scope.set(self._prefix)
            if self._experiment:
                _write({"experiment": self._experiment, "at": time.monotonic_ns()})
            for name, value in self._params.items():
                log_param(name, value)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _scope.reset(self._token)
            self._token = None

    def log_metric(self, name: str, value: Any, step: int | None = None) -> None:
        """As `runbook.log_metric`, in this block's name; also from a thread, which knows of no block."""
        with _Within(self._prefix):
            log_metric(name, value, step)

    def log_param(self, name: str, value: Any) -> None:
        """As `runbook.log_param`, in this block's name."""
        with _Within(self._prefix):
            log_param(name, value)

    def log_artifact(self, path: str | os.PathLike[str]) -> None:
        """As `runbook.log_artifact`."""
        log_artifact(path)


class _Within:
    """The scope of a block, wherever the call comes from."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __enter__(self) -> None:
        self._token = _scope.set(self._prefix)

    def __exit__(self, *_: object) -> None:
        _scope.reset(self._token)


def _name(name: str) -> str:
    _check(name, "a name")
    full = _scope.get() + name
    if len(full) > LONGEST:
        raise ValueError(f"a name has at most {LONGEST} characters: {full[:80]!r}")
    return full


def _check(name: object, what: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"{what} is text, not {type(name).__name__}")
    if not name.strip() or len(name) > LONGEST or any("\ud800" <= c <= "\udfff" for c in name):
        raise ValueError(f"{what} is text of 1 to {LONGEST} characters: {name[:80]!r}")


def _number(value: Any) -> int | float | str:
    """The number as JSON holds it: integers and finite floats as they are, the others by name."""
    if isinstance(value, bool | str | bytes | bytearray):
        raise TypeError(f"a metric's value is a number, not {type(value).__name__}")
    try:
        return operator.index(value)
    except (TypeError, ValueError):
        pass
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"a metric's value is a number, not {type(value).__name__}") from None
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _step(step: Any) -> int:
    try:
        number = operator.index(step)
    except (TypeError, ValueError):
        number = None
    if number is None or isinstance(step, bool):
        raise TypeError(f"a step is a whole number, not {type(step).__name__}")
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"a step has at most 64 bits: {step}")
    return number


def _text(name: str, value: Any) -> str:
    text = str(value)
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"the value of the parameter {name} has more than {LONGEST_VALUE} characters")
    return text.encode("utf-8", "replace").decode()


def _write(entry: dict[str, Any]) -> None:
    """Append one line with one call. What cannot be written is lost: the job goes on."""
    rank = os.environ.get("RANK", "0")
    if rank != "0" and rank.isdecimal():
        entry["rank"] = int(rank[:9])
    line = json.dumps(entry).encode() + b"\n"
    pid = os.getpid()
    if pid not in _names:
        _names[pid] = f"{PREFIX}{pid}-{time.monotonic_ns():x}.jsonl"
    # Opened for each line: a daemon closes descriptors that it does not know, and their numbers become others'.
    # NOTE: O_NOCTTY tells the hook that this is no file of the job's.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(f"{os.environ[_WATCH]}/{_names[pid]}", flags, 0o666)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
    except (OSError, KeyError):
        pass
