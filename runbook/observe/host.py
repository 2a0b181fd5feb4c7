"""The machine that the job ran on: CPU, memory, operating system, and the settings that decide arithmetic."""

from __future__ import annotations

import math
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from runbook.model.fact import Fact, missing, observed
from runbook.model.host import Host
from runbook.observe.container import detect_container
from runbook.observe.interface import Context
from runbook.observe.probing import blas

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "OMP_DYNAMIC",
    "MKL_CBWR",
)
"""What decides in how many parts, and so in which order, sums are made."""


class HostCollector:
    """Fills `host`."""

    name = "host"

    def collect(self, context: Context) -> Host:
        """The host as this process sees it, with what the probe saw from inside the job's Python."""
        cpu = _cpu()
        container = detect_container(context.env)
        here: Fact[str] = (
            observed(f"{container.runtime} {container.id.value or ''}".strip())
            if container
            else missing("not in a container")
        )
        return Host(
            os=_os(),
            kernel=observed(platform.release()),
            machine=observed(platform.machine()),
            cpu_model=_known(cpu.get("model name") or cpu.get("Model") or cpu.get("Hardware"), "CPU model"),
            cpu_flags=_flags(cpu),
            cores_logical=_count(psutil.cpu_count()),
            cores_physical=_count(psutil.cpu_count(logical=False)),
            cores_usable=observed(usable_cores()),
            memory_bytes=observed(usable_memory()),
            libc=_libc(context),
            locale=_locale(context),
            timezone=_timezone(context),
            blas=blas(context.probe, context.probe_failure),
            threads={n: _variable(context, n) for n in THREAD_VARIABLES},
            container=here,
        )


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, within its control groups' CPU quota (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for text in limits("cpu", ("cpu.max", "cpu.cfs_quota_us"), root):
        quota, _, period = text.partition(" ")
        if quota.isdigit() and int(quota) > 0:
            cores = min(cores, math.ceil(int(quota) / int(period or 100_000)))
    return max(1, cores)


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, bounded by its control groups."""
    bound: int = psutil.virtual_memory().total
    for text in limits("memory", ("memory.max", "memory.limit_in_bytes"), root):
        if text.isdigit():
            bound = min(bound, int(text))
    return bound


def limits(controller: str, files: tuple[str, str], root: Path = Path("/")) -> Iterator[str]:
    """The texts of a limit's file in every control group this process is in, from its own up; version 2, then 1.

    A version 1 CPU quota is followed by its period, as version 2 writes both into one file.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        new = controllers == ""
        if not new and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" if new else root / "sys/fs/cgroup" / controller
        below = Path(path.lstrip("/"))
        # Inside a container the group's path may be the host's; its own limits are then at the top.
        for folder in dict.fromkeys([below, *below.parents, Path()]):
            text = _text(top / folder / files[0 if new else 1]).strip()
            period = "" if new else _text(top / folder / "cpu.cfs_period_us").strip()
            if text:
                yield f"{text} {period}".strip() if controller == "cpu" else text


def _os() -> Fact[str]:
    try:
        return observed(platform.freedesktop_os_release()["PRETTY_NAME"])
    except (OSError, KeyError):
        return observed(f"{platform.system()} {platform.release()}")


def _cpu() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, with what ARM writes once at the end."""
    found: dict[str, str] = {}
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _flags(cpu: dict[str, str]) -> Fact[tuple[str, ...]]:
    flags = tuple(sorted((cpu.get("flags") or cpu.get("Features") or "").split()))
    return observed(flags) if flags else missing("/proc/cpuinfo names no CPU flags")


def _known(value: str | None, what: str) -> Fact[str]:
    return observed(value) if value else missing(f"/proc/cpuinfo names no {what}")


def _count(value: int | None) -> Fact[int]:
    return observed(value) if value else missing("the system does not tell")


def _libc(context: Context) -> Fact[str]:
    if context.probe is not None and context.probe.libc:
        return observed(context.probe.libc)
    name = " ".join(platform.libc_ver()).strip()
    return observed(name) if name else missing("the C library does not tell its version")


def _locale(context: Context) -> Fact[str]:
    if context.probe is not None:
        told = context.probe.locale
        return observed(told.name if told.encoding in told.name else f"{told.name} ({told.encoding})")
    named = next((context.env[n] for n in ("LC_ALL", "LC_CTYPE", "LANG") if context.env.get(n)), "")
    return observed(named) if named else missing("no locale variable is set and the job's Python was not probed")


def _timezone(context: Context) -> Fact[str]:
    """TZ as the job saw it, else the system's zone."""
    if context.env.get("TZ"):
        return observed(context.env["TZ"])
    link = os.path.realpath("/etc/localtime")
    if "/zoneinfo/" in link:
        return observed(link.rpartition("/zoneinfo/")[2])
    return observed(_text(Path("/etc/timezone")).strip() or "/".join(time.tzname))


def _variable(context: Context, name: str) -> Fact[str]:
    value = context.env.get(name, "")
    return observed(value) if value else missing("not set")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


MEMBER = HostCollector()
