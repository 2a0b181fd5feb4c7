"""Where a difference stands in each record: a JSON pointer (RFC 6901) into record.json."""

from __future__ import annotations

from collections.abc import Iterable

from runbook.model.record import Record
from runbook.model.verdict import Difference

_HOST = {
    "CPU model": "/host/cpu_model",
    "architecture": "/host/machine",
    "CPU flags": "/host/cpu_flags",
    "usable cores": "/host/cores_usable",
    "BLAS": "/host/blas",
    "operating system": "/host/os",
    "kernel": "/host/kernel",
    "C library": "/host/libc",
    "locale": "/host/locale",
    "time zone": "/host/timezone",
    "git commit": "/code/git/value/commit",
    "git branch": "/code/git/value/branch",
    "git state": "/code/git/value/dirty",
    "command": "/job/argv",
    "working folder": "/job/cwd",
    "requirements file": "/environment/lock",
}


def pointer(difference: Difference, record: Record) -> str:
    """The pointer to it; empty where this record does not hold the thing."""
    family, what = difference.family, difference.what
    if family == "interpreter":
        return "/environment/interpreter"
    if what in _HOST:
        return _HOST[what]
    if family == "seed":
        return _nth("/seeds", (s.name for s in record.seeds), what)
    if family == "code":
        return _nth("/files", (f.path for f in record.files), what) or "/code/tree"
    if family == "data":
        holds = (i for i in record.inputs if what in (i.path, i.name) or what.startswith(f"{i.path}/"))
        return _nth("/inputs", (i.name for i in record.inputs), next((i.name for i in holds), ""))
    if family == "lock":
        return _nth(
            "/environment/packages", (p.name for p in record.environment.packages), what.removesuffix(" (files)")
        )
    if family == "argv":
        name = what.removeprefix("parameter ")
        return f"/job/parameters/{_escaped(name)}" if name in record.job.parameters else ""
    if family == "variable":
        return _nth("/job/variables", (v.name for v in record.job.variables), what)
    if family == "threads":
        return f"/host/threads/{_escaped(what)}" if what in record.host.threads else ""
    if family == "order":
        return _nth("/orders", (o.path for o in record.orders), what)
    if family == "library":
        if what in record.environment.frameworks:
            return f"/environment/frameworks/{_escaped(what)}"
        return _nth("/environment/libraries", (x.soname for x in record.environment.libraries), what)
    return {
        "base": "/environment/base",
        "accelerator": "/accelerators",
        "outcome": "/outcome",
        "engine": "/engine",
    }.get(family, "")


def _nth(place: str, names: Iterable[str], name: str) -> str:
    return next((f"{place}/{n}" for n, one in enumerate(names) if one == name), "")


def _escaped(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")
