"""Before anything is spent: can this machine replay the bundle, and what would happen?"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runbook.bundle.read import Bundle
from runbook.engine.interface import Engine
from runbook.errors import NeedMissing, NotComparable, RunbookError, UsageError
from runbook.flow import artifacts
from runbook.model.record import Record
from runbook.registry import members

_ROOM = 3
"""An environment takes about three times its packages' size on the disk while it is built."""


@dataclass(frozen=True)
class Check:
    """One thing looked at before a replay."""

    what: str
    found: str
    state: Literal["ok", "warning", "missing", "not comparable"]
    hint: str = ""


@dataclass(frozen=True)
class Preflight:
    """What a replay would do, and whether it can."""

    bundle_id: str
    steps: tuple[str, ...]
    checks: tuple[Check, ...]

    def check(self) -> None:
        """Raise for the first thing that makes a replay pointless here."""
        for one in self.checks:
            if one.state == "missing":
                raise NeedMissing(one.what, one.found, hint=one.hint, id="preflight")
        for one in self.checks:
            if one.state == "not comparable":
                raise NotComparable(one.what, one.found, hint=one.hint, id="preflight")


def find_engine(wanted: str) -> Engine:
    """The engine of this name; `auto`: the first that isolates, Docker before any other, else `local`."""
    engines: dict[str, Engine] = members("engine")
    if wanted != "auto":
        if wanted not in engines:
            raise UsageError("no such engine", wanted, hint=f"one of: auto, {', '.join(engines)}")
        reason = engines[wanted].available()
        if reason:
            raise NeedMissing(
                f"the {wanted} engine cannot be used", reason, hint=engines[wanted].hint(), id="engine-missing"
            )
        return engines[wanted]
    for name, engine in sorted(engines.items(), key=lambda item: item[0] != "docker"):
        if name != "local" and not engine.available():
            return engine
    return engines["local"]


def look_ahead(bundle: Bundle, engine: Engine, data: Mapping[str, Path]) -> Preflight:
    """Check everything that can be checked without spending anything."""
    record = bundle.record
    checks = [*_machine(record), *_accelerators(record), *_disk(record), *_data(record, data)]
    return Preflight(bundle.id, tuple(_steps(record, engine)), tuple(checks))


def _steps(record: Record, engine: Engine) -> list[str]:
    environment, base = record.environment, record.environment.base.value
    lock = environment.lock.value
    steps = [f"engine: {engine.describe()}; {engine.isolation}"]
    if base is not None:
        where = "carried in the bundle" if base.layout else f"pulled as {base.reference}"
        steps.append(f"base: {base.kind}, {where}")
    if lock is not None:
        fetched = lock.packages - len(lock.carried)
        steps.append(
            f"environment: {lock.packages} packages, {len(lock.carried)} carried, {fetched} from an index"
        )
    steps.append(f"job: {' '.join(record.job.argv)} in {record.job.cwd}")
    duration = record.outcome.duration_s
    steps.append(f"time: the original took {duration.value:.0f} s" if duration.value else "time: not known")
    steps.append(f"compare: {len(record.metrics)} metrics, {len(record.tolerances)} tolerances")
    return steps


def _machine(record: Record) -> list[Check]:
    checks = []
    machine = record.host.machine.value
    if machine and machine != platform.machine():
        hint = f"replay on a {machine} machine"
        checks.append(Check("the original ran on another architecture", machine, "not comparable", hint))
    else:
        checks.append(Check("architecture", machine or "not recorded", "ok"))
    return checks


def _accelerators(record: Record) -> list[Check]:
    wanted = record.accelerators.value
    if wanted is None or not wanted.devices:
        return [Check("accelerators", "none needed", "ok")]
    from runbook.observe.nvidia import driver_answer

    reason = driver_answer()
    names = ", ".join(d.model.text() for d in wanted.devices)
    if reason:
        return [Check(f"the original saw {names}; there is none here", reason, "warning")]
    return [Check("accelerators", names, "ok")]


def _disk(record: Record) -> list[Check]:
    need = sum(i.bytes for i in record.inputs) + record.code.tree.bytes
    lock, base = record.environment.lock.value, record.environment.base.value
    need += _ROOM * (sum(w.size for w in lock.carried) if lock else 0) + (base.size if base else 0)
    free = shutil.disk_usage("/tmp" if Path("/tmp").is_dir() else ".").free  # noqa: S108  (where work is laid out)
    state: Literal["ok", "missing"] = "ok" if free > need else "missing"
    return [Check("disk space", f"{need >> 20} MiB needed, {free >> 20} MiB free", state, "free some space")]


def _data(record: Record, data: Mapping[str, Path]) -> list[Check]:
    unknown = set(data) - {i.name for i in record.inputs}
    if unknown:
        names = ", ".join(i.name for i in record.inputs) or "none"
        raise UsageError("the bundle has no such input", ", ".join(sorted(unknown)), hint=f"its inputs: {names}")
    checks = []
    for one in record.inputs:
        if one.stored != "reference":
            checks.append(Check(f"input {one.name}", f"{one.stored}, {one.bytes} bytes", "ok"))
            continue
        try:
            found = artifacts.locate(one, data.get(one.name))
            checks.append(Check(f"input {one.name}", str(found), "ok"))
        except RunbookError as error:
            state: Literal["missing", "not comparable"] = (
                "missing" if isinstance(error, NeedMissing) else "not comparable"
            )
            checks.append(Check(error.what, error.value, state, error.hint))
    return checks
