"""What `--vary` can change about a job, one thing at a time, while its code, data and packages stay the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from runbook.errors import UsageError
from runbook.model.job import Variable
from runbook.model.record import Record

THREADS = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"),
)
"""Variables that say how many threads a numeric library may use."""
_LOCALE = {"LC_ALL": "C", "LANG": "C", "LANGUAGE": "", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
_HASH_SEEDS = ("4242", "2424")
_ZONES = ("<+0545>-5:45", "<-0330>3:30")
"""Written out, so that no database of zones is needed."""
_SOMEBODY = "somebody-else"
_UNKNOWN = {"RUNBOOK_UNKNOWN_VARIABLE": "an unknown value"}


@dataclass(frozen=True)
class Variation:
    """One change, and how it is made."""

    name: str
    how: str
    """For a person, `PYTHONHASHSEED: 0 → 4242`."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Set in the job's environment."""
    cpus: float | None = None
    """CPUs that the job may use instead."""
    inside: str = ""
    """What the hook in the job's Python processes changes, see `launch/inside/_runbook_vary.py`."""
    elsewhere: bool = False
    """Whether the project lies in another folder."""

    def of(self, record: Record) -> Record:
        """The record of a job that is asked so."""
        known = {v.name: v for v in record.job.variables}
        known |= {name: Variable(name=name, value=value) for name, value in self.variables.items()}
        variables = tuple(known[name] for name in sorted(known))
        return replace(record, job=replace(record.job, variables=variables))


@dataclass(frozen=True)
class Impossible:
    """Why one cannot be made of this job here."""

    name: str
    why: str


@dataclass(frozen=True)
class Setting:
    """What decides how a variation is made."""

    record: Record
    engine: str
    cpus: float | None
    """The limit that the replayer asked for."""

    def variable(self, name: str) -> str:
        """What the job's environment holds; empty for nothing."""
        return next((v.value for v in self.record.job.variables if v.name == name), "")


def chosen(text: str) -> tuple[str, ...]:
    """The names of `threads,time`, or all of `all`. Raises UsageError."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if names == ("all",):
        return tuple(_MAKERS)
    unknown = [name for name in names if name not in _MAKERS]
    if unknown or not names:
        hint = f"--vary all, or some of {','.join(_MAKERS)}"
        raise UsageError("nothing that can be varied", ", ".join(unknown) or text, hint=hint, id="vary")
    return names


def variations(names: Sequence[str], setting: Setting) -> tuple[Variation | Impossible, ...]:
    """The changes of these names, each as it can be made of this job."""
    return tuple(_MAKERS[name](setting) for name in names)


def _threads(setting: Setting) -> Variation:
    declared = setting.variable("OMP_NUM_THREADS")
    usable = len(os.sched_getaffinity(0)) if setting.cpus is None else max(1, int(setting.cpus))
    before = int(declared) if declared.isdecimal() and len(declared) < 6 else usable
    after = 1 if before > 1 else 2
    known = declared if before != usable or declared else f"not set, with {before} CPUs"
    limited = after < before and setting.engine != "local"  # Which bounds nothing.
    limit = f", and {after} CPU" if limited else ""
    return Variation(
        "threads",
        f"OMP_NUM_THREADS and its kin: {known} → {after}{limit}",
        dict.fromkeys(THREADS, str(after)),
        cpus=float(after) if limited else None,
    )


def _hashseed(setting: Setting) -> Variation:
    before = setting.variable("PYTHONHASHSEED")
    after = next(seed for seed in _HASH_SEEDS if seed != before)
    fixed = before.isdecimal()
    return Variation(
        "hashseed",
        f"PYTHONHASHSEED: {before if fixed else 'drawn by each process'} → {after}",
        {"PYTHONHASHSEED": after},
    )


def _timezone(setting: Setting) -> Variation:
    before = setting.variable("TZ")
    after = next(zone for zone in _ZONES if zone != before)
    return Variation("timezone", f"TZ: {before or 'not set'} → {after}", {"TZ": after})


def _locale(setting: Setting) -> Variation:
    before = setting.variable("LC_ALL") or setting.variable("LANG") or "not set"
    if all(setting.variable(name) == value for name, value in _LOCALE.items()):
        return Variation("locale", "locale and encoding of text: C, ASCII → C.UTF-8", {"LC_ALL": "C.UTF-8"})
    return Variation("locale", f"locale and encoding of text: {before} → C, ASCII", _LOCALE)


def _user(setting: Setting) -> Variation | Impossible:
    if setting.engine == "local":
        return Impossible("user", "on the local engine each replay has a home of its own, and one name")
    home = f"/home/{_SOMEBODY}"
    variables = {"USER": _SOMEBODY, "LOGNAME": _SOMEBODY}
    # What libraries downloaded is found by HOME: it would be lost, and not vary.
    if setting.variable("HOME") or setting.record.caches:
        return Variation("user", f"USER and LOGNAME: → {_SOMEBODY}; HOME stays, for inputs lie there", variables)
    return Variation("user", f"USER, LOGNAME and HOME: → {_SOMEBODY}, {home}", variables | {"HOME": home})


def _path(setting: Setting) -> Variation | Impossible:
    if setting.engine == "local":
        return Impossible("path", "on the local engine each replay lies in another folder anyhow")
    return Variation("path", f"folder of the project: {setting.record.job.root} → another", elsewhere=True)


_ORDER = Variation("order", "order in which Python lists a folder: the file system's → another", inside="order")
_TIME = Variation("time", "clock that Python reads: now → a year and three months ahead", inside="time")
_ENVIRONMENT = Variation("environment", "one more variable, which nothing knows", _UNKNOWN)

_MAKERS: dict[str, Callable[[Setting], Variation | Impossible]] = {
    "threads": _threads,
    "hashseed": _hashseed,
    "order": lambda _: _ORDER,
    "time": lambda _: _TIME,
    "timezone": _timezone,
    "locale": _locale,
    "user": _user,
    "environment": lambda _: _ENVIRONMENT,
    "path": _path,
}
