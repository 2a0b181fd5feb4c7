"""Before anything is spent: can this machine replay the bundle, and what would happen?"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from runbook.bundle import layout
from runbook.bundle.read import Bundle
from runbook.engine.interface import Engine, Limits, Stock
from runbook.environment.wheels import Foreseen
from runbook.errors import (
    BundleRejected,
    EnvironmentNotRebuilt,
    NeedMissing,
    NotComparable,
    RunbookError,
    UsageError,
)
from runbook.fetch.cache import DataCache
from runbook.fetch.interface import place
from runbook.flow import gpus, hosts, referenced
from runbook.flow.kept import kept_layout
from runbook.flow.referenced import Offer
from runbook.model.carrying import held_wheels
from runbook.model.fact import Fact, inferred, missing
from runbook.model.preflight import Check, Preflight, Size, State
from runbook.model.record import Record
from runbook.model.requirements import CAP
from runbook.registry import members

_ROOM = 3
"""An environment takes about three times its packages' size on the disk while it is built."""
_SHARE = 0.9
"""Share of the machine's memory that a container gets unless told otherwise."""
_ERRORS: Mapping[State, type[RunbookError]] = {
    "missing": NeedMissing,
    "not rebuildable": EnvironmentNotRebuilt,
    "not comparable": NotComparable,
}
"""What ends a replay, the first of these first."""
OPTIONAL = frozenset(
    ("cpu-needed", "disk", "gpu", "gpu-capability", "gpu-count", "gpu-driver", "gpu-memory", "memory")
)
"""Checks that a person may overrule: what they foresee may not come true."""


@dataclass(frozen=True)
class Terms:
    """How a replay is to be done, as far as that decides what it needs."""

    data: Mapping[str, str]
    """Input name → PATH or URL."""
    limits: Limits
    offline: bool


@dataclass(frozen=True)
class Outlook:
    """What was foreseen, and where each referenced input is to be had."""

    preflight: Preflight
    offers: tuple[Offer, ...]


def refuse(preflight: Preflight, despite: Collection[str]) -> tuple[str, ...]:
    """Raise for the first thing that makes a replay pointless here; a sentence for each that was overruled.

    despite: ids of checks that a person overrules. Raises UsageError for one that nobody can.
    """
    if wrong := sorted(set(despite) - OPTIONAL):
        raise UsageError(
            "not a check that can be overruled", ", ".join(wrong), hint=f"one of: {', '.join(sorted(OPTIONAL))}"
        )
    for state, kind in _ERRORS.items():
        for one in preflight.checks:
            if one.state == state and one.id not in despite:
                value = f"{one.found} (needed: {one.needed})" if one.needed else one.found
                hint = one.hint or "--plan prints all that was looked at"
                if one.id in OPTIONAL:
                    hint += f"; --despite {one.id} replays anyway"
                raise kind(one.what, value, hint=hint, id=f"preflight-{one.id.partition(':')[0]}")
    ignored = [one for one in preflight.checks if one.id in despite and one.state in _ERRORS]
    return tuple(f"replayed although: {one.what}: {one.found}" for one in ignored)


def find_engine(wanted: str, *, own: bool = False) -> Engine:
    """The engine of this name; `auto`: the first that isolates, Docker before any other.

    Where none is, `local` for a bundle of the user's own; raises NeedMissing (`no-sandbox`) for any other.
    """
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
    if not own:
        raise NeedMissing(
            "no engine that isolates is at hand, and the bundle was not captured by you on this machine",
            engines["docker"].available(),
            hint=f"{engines['docker'].hint()}; only if you trust its author with this machine: --engine local",
            id="no-sandbox",
        )
    return engines["local"]


def look_ahead(bundle: Bundle, engine: Engine | NeedMissing, terms: Terms) -> Outlook:
    """Check everything that can be checked without spending anything.

    Where the environment is not built yet, indexes and a registry are asked for it; places of data for sizes.
    engine: the one to replay on, or why there is none.
    """
    record = bundle.record
    referenced.check_names(record.inputs, terms.data)
    here = hosts.this_host()
    stock, foreseen = (None, None) if isinstance(engine, NeedMissing) else _environment(bundle, engine, terms)
    checks = [*_engine(record, engine, stock, foreseen), *hosts.check_cpu(record, here), *gpus.check_gpus(record)]
    isolated = not isinstance(engine, NeedMissing) and engine.name != "local"
    share, ceiling = _SHARE if isolated else 1.0, stock.memory_bytes if stock else None
    checks += hosts.check_memory(record, terms.limits.memory_bytes, share, ceiling)
    checks += hosts.check_cores(record, here, terms.limits.cpus)
    checks += _time(record, terms.limits)
    offers, about = _data(bundle, terms)
    checks += about
    built = list(_built(record, stock, foreseen))
    unpacked = list(_unpacked(record, offers))
    sizes = built + unpacked
    cache = platformdirs.user_cache_path("runbook")
    needs = {
        Path(tempfile.gettempdir()): sum(one.bytes or 0 for one in unpacked if one.action == "unpack"),
        cache: sum(one.bytes or 0 for one in sizes if one.action == "fetch"),
    }
    if stock is not None and stock.folder is not None:
        laid_out = sum(one.bytes or 0 for one in built if one.action in ("unpack", "build"))
        needs[stock.folder] = needs.get(stock.folder, 0) + laid_out
    checks += hosts.check_disk(needs)
    preflight = Preflight(
        bundle_id=bundle.id,
        name=record.name,
        engine="" if isinstance(engine, NeedMissing) else engine.name,
        steps=tuple(_steps(record, engine, sizes)),
        sizes=tuple(sizes),
        job_s=_duration(record),
        checks=tuple(checks),
        exit_code=next((_ERRORS[s].exit_code for s in _ERRORS if any(one.state == s for one in checks)), 0),
    )
    return Outlook(preflight, tuple(offers))


def _environment(bundle: Bundle, engine: Engine, terms: Terms) -> tuple[Stock | None, Foreseen | None]:
    """What the engine has, and what fetching the wheels would do; None for what need not or cannot be known."""
    environment = bundle.record.environment
    base, interpreter, identity = environment.base.value, environment.interpreter.value, environment.id.value
    lock = environment.lock.value
    if base is None or interpreter is None or identity is None or lock is None:
        return None, None
    ask = not terms.offline and kept_layout(base) is None
    stock = engine.stock(identity, base, interpreter, ask=ask)
    if stock.environment or not lock.packages:
        return stock, None
    from runbook.environment.index import Index
    from runbook.environment.wheels import foresee

    cache = platformdirs.user_cache_path("runbook")
    index = Index(cache, ("--no-index",) if terms.offline else ())
    requirements = bundle.read(layout.REQUIREMENTS, CAP)
    return stock, foresee(requirements, interpreter, [w.path for w in held_wheels(lock)], index=index, cache=cache)


def _engine(
    record: Record, engine: Engine | NeedMissing, stock: Stock | None, foreseen: Foreseen | None
) -> Iterator[Check]:
    if isinstance(engine, NeedMissing):
        yield Check(id="engine", what=engine.what, found=engine.value, state="missing", hint=engine.hint)
        return
    warnings = engine.warnings()
    yield Check(
        id="engine",
        what="engine",
        found="; ".join([engine.describe(), *warnings]),
        state="warning" if warnings else "ok",
        hint=engine.hint() if warnings else "",
    )
    if stock is None:
        why = record.environment.base.reason or record.environment.interpreter.reason
        what = "the bundle does not hold an environment"
        yield Check(id="environment", what=what, found=why, state="not rebuildable", hint="capture it again")
        return
    base = record.environment.base.value
    assert base is not None
    named = base.reference or base.kind
    if stock.environment:
        yield Check(id="environment", what="environment", found="built already", state="ok")
        return
    if stock.problem:
        yield Check(id="base", what=stock.problem, found=named, state="not rebuildable", hint=stock.hint)
    else:
        carried = "carried in the bundle" if base.layout else "kept on this machine" if kept_layout(base) else ""
        found = "here" if stock.base else carried or "can be pulled"
        yield Check(id="base", what=f"base {named}", found=found, state="ok")
    if foreseen is None:
        return
    if foreseen.problem is not None:
        told = foreseen.problem
        yield Check(id="packages", what=told.what, found=told.value, state="not rebuildable", hint=told.hint)
    else:
        found = f"{foreseen.files} to fetch" if foreseen.files else "all at hand"
        yield Check(id="packages", what="packages", found=found, state="ok")


def _time(record: Record, limits: Limits) -> Iterator[Check]:
    took = record.outcome.duration_s.value
    if took and limits.time_s and took > limits.time_s:
        yield Check(
            id="time",
            what="the original took longer than the time limit",
            needed=_span(took),
            found=_span(limits.time_s),
            state="warning",
            hint="raise --time-limit",
        )


def _data(bundle: Bundle, terms: Terms) -> tuple[list[Offer], list[Check]]:
    """Each input: where it is to be had, and whether it can be."""
    cache = DataCache(platformdirs.user_cache_path("runbook"))
    offers, checks = [], []
    for one in bundle.record.inputs:
        name, needed = f"input:{one.name}", hosts.amount(one.bytes)
        if one.stored != "reference":
            checks.append(Check(id=name, what=f"input {one.name}", needed=needed, found=one.stored, state="ok"))
            continue
        try:
            found = referenced.offer(bundle, one, terms.data.get(one.name, ""), cache, offline=terms.offline)
            where = str(found.path) if found.path else referenced.ask(found, cache)
            checks.append(Check(id=name, what=f"input {one.name}", needed=needed, found=where, state="ok"))
            offers.append(found)
        except (BundleRejected, UsageError):
            raise
        except RunbookError as error:
            state: State = "missing" if isinstance(error, NeedMissing) else "not comparable"
            checks.append(Check(id=name, what=error.what, found=error.value, state=state, hint=error.hint))
    return offers, checks


def _unpacked(record: Record, offers: list[Offer]) -> Iterator[Size]:
    yield Size(what="code", action="unpack", bytes=record.code.tree.bytes)
    for one in record.inputs:
        if one.stored == "embedded":
            yield Size(what=f"input {one.name}", action="unpack", bytes=one.bytes)
    for offer in offers:
        what = f"input {offer.value.name}"
        if offer.lacking:
            yield Size(what=what, action="fetch", bytes=offer.lacking, source=place(offer.url))
        else:
            where = str(offer.path) if offer.path else "the cache of data"
            yield Size(what=what, action="here", bytes=offer.value.bytes, source=where)


def _built(record: Record, stock: Stock | None, foreseen: Foreseen | None) -> Iterator[Size]:
    base, lock = record.environment.base.value, record.environment.lock.value
    if stock is None or base is None or lock is None:
        return
    if stock.environment:
        yield Size(what="environment", action="here", bytes=None)
        return
    if stock.base:
        yield Size(what="base", action="here", bytes=None, source=base.reference)
    elif base.layout or kept_layout(base):
        yield Size(what="base", action="unpack", bytes=base.size or None)
    else:
        yield Size(what="base", action="fetch", bytes=None, source=base.reference)
    held = held_wheels(lock)
    carried = sum(wheel.size for wheel in held)
    if held:
        yield Size(what=f"{len(held)} wheels", action="unpack", bytes=carried)
    if foreseen and foreseen.cached:
        yield Size(what="wheels", action="here", bytes=foreseen.cached, source="the cache of wheels")
    if foreseen and foreseen.files:
        size = None if foreseen.unknown else foreseen.download
        yield Size(what=f"{foreseen.files} wheels", action="fetch", bytes=size, source="the package index")
    wheels = carried + (foreseen.cached + foreseen.download if foreseen else 0)
    known = foreseen is None or not foreseen.unknown
    yield Size(what="environment", action="build", bytes=_ROOM * wheels if known else None)


def _steps(record: Record, engine: Engine | NeedMissing, sizes: list[Size]) -> Iterator[str]:
    environment, base = record.environment, record.environment.base.value
    lock = environment.lock.value
    if not isinstance(engine, NeedMissing):
        yield f"engine: {engine.describe()}; {engine.isolation}"
    if base is not None:
        where = f"pulled as {base.reference}" if base.reference else "kept on this machine"
        where = "carried in the bundle" if base.layout else where
        yield f"base: {base.kind}, {where}"
    if lock is not None:
        held = len(held_wheels(lock))
        yield f"environment: {lock.packages} packages, {held} carried, {lock.packages - held} from elsewhere"
    for one in sizes:
        if one.action != "here":
            size = "size not known" if one.bytes is None else hosts.amount(one.bytes)
            yield f"{one.action}: {one.what}, {size}" + (f", from {one.source}" if one.source else "")
    yield f"job: {' '.join(record.job.argv)} in {record.job.cwd}"
    took = _duration(record)
    yield (
        f"time: {_span(took.value)} for the job, {took.reason}"
        if took.value
        else f"time: not known, {took.reason}"
    )
    yield f"compare: {len(record.metrics)} metrics, {len(record.tolerances)} tolerances"


def _duration(record: Record) -> Fact[float]:
    took = record.outcome.duration_s
    if took.value is None:
        return missing(took.reason or "the original's was not recorded")
    return inferred(took.value, f"which is what the original took on {record.host.cpu_model.text()}")


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"
