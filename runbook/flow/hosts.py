"""What of this machine decides whether a replay can run and reproduce: CPU, memory, cores, disk."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from runbook.compare.rank import kernel_flags
from runbook.environment.needs import cpu_needs
from runbook.model.fact import missing
from runbook.model.host import Host
from runbook.model.preflight import Check
from runbook.model.record import Record
from runbook.observe.host import MEMBER, usable_memory
from runbook.observe.interface import Context

_SAME = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
_TIGHT = 0.9
"""Share of the memory that a container gets, and beyond which a job is likely to be stopped."""
_NAMED = 12


def this_host() -> Host:
    """What this machine is, by the collector that records one."""
    here = Path.cwd()
    return MEMBER.collect(Context(argv=(), root=here, cwd=here, env={}, interpreter=missing("no job"), probe=None))


def check_cpu(record: Record, here: Host) -> Iterator[Check]:
    """Architecture; the flags that the packages need, and those that numerical libraries choose kernels by."""
    wanted, found = record.host.machine.value, here.machine.value or platform.machine()
    if wanted and _plain(wanted) != _plain(found):
        yield Check(
            id="architecture",
            what="architecture",
            needed=wanted,
            found=found,
            state="not comparable",
            hint=f"replay on a {wanted} machine",
        )
        return
    yield Check(id="architecture", what="architecture", needed=wanted or "", found=found, state="ok")
    if here.cpu_flags.value is None:
        reason = here.cpu_flags.reason
        yield Check(id="cpu-features", what="CPU features", found=reason, state="warning")
        return
    flags = set(here.cpu_flags.value)
    if _plain(found) == "x86_64":
        for need in cpu_needs(record.environment.packages):
            if lacking := [flag for flag in need.flags if flag not in flags]:
                yield Check(
                    id="cpu-needed",
                    what=f"{need.package} was compiled for CPU features that this machine lacks",
                    needed=" ".join(need.flags),
                    found=f"without {' '.join(lacking)}",
                    state="not comparable",
                    hint="replay on a machine that has them",
                )
    lost = kernel_flags(set(record.host.cpu_flags.value or ()) - flags)
    model = here.cpu_model.text()
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        yield Check(
            id="cpu-features",
            what="CPU features of the original are not here: numerical libraries choose other kernels",
            needed=record.host.cpu_model.text(),
            found=f"{model}, without {' '.join(lost[:_NAMED])}{more}",
            state="warning",
            hint="metrics that differ under it are not comparable; a CPU with these features decides",
        )
    else:
        yield Check(id="cpu-features", what="CPU", needed=record.host.cpu_model.text(), found=model, state="ok")


def check_memory(record: Record, limit: int | None, share: float, engine: int | None) -> Iterator[Check]:
    """Whether the original's peak fits.

    limit: what `--memory` says. share: of the machine that a job may use. engine: bytes of the engine's machine.
    """
    peak, have = record.resources.peak_rss_bytes.value, min(usable_memory(), engine or usable_memory())
    may = limit if limit is not None else int(have * share)
    if peak is None:
        why = record.resources.peak_rss_bytes.reason
        yield Check(
            id="memory", what="memory", needed=f"not known: {why}", found=f"{amount(may)} usable", state="ok"
        )
        return
    free = psutil.virtual_memory().available
    needed, hint = f"{amount(peak)} at its peak", "replay on a machine with more memory, or raise --memory"
    if peak > may:
        what = "the job needs more memory than it may use here"
        yield Check(id="memory", what=what, needed=needed, found=amount(may), state="missing", hint=hint)
    elif peak > _TIGHT * may or peak > free:
        found = f"{amount(may)} usable, {amount(free)} of the machine free now"
        what = "memory is tight"
        yield Check(id="memory", what=what, needed=needed, found=found, state="warning", hint="end other programs")
    else:
        yield Check(id="memory", what="memory", needed=needed, found=f"{amount(may)} usable", state="ok")


def check_cores(record: Record, here: Host, limit: float | None) -> Iterator[Check]:
    """Fewer cores than the original had are slower, and may sum in another order."""
    had, have = record.host.cores_usable.value, here.cores_usable.value
    have = have if limit is None or have is None else min(have, max(1, int(limit)))
    if not had or not have:
        return
    state = "warning" if have < had else "ok"
    what = "fewer cores: slower, and sums may be made in another order" if have < had else "cores"
    yield Check(id="cores", what=what, needed=str(had), found=str(have), state=state)  # type: ignore[arg-type]


def check_disk(needs: Mapping[Path, int]) -> Iterator[Check]:
    """Room at each place that something is laid out in; what lies on one file system is added up."""
    systems: dict[int, tuple[Path, int]] = {}
    for place, size in needs.items():
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        device = there.stat().st_dev
        known = systems.get(device, (there, 0))
        systems[device] = (known[0], known[1] + size)
    for place, size in systems.values():
        free = shutil.disk_usage(place).free
        yield Check(
            id="disk",
            what=f"room at {place}" if free > size else f"there is too little room at {place}",
            needed=amount(size),
            found=f"{amount(free)} free",
            state="ok" if free > size else "missing",
            hint="" if free > size else f"free some space: df -h {place}",
        )


def amount(size: int) -> str:
    """Bytes for a person: `91 B`, `1.2 MiB`, `24 GiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f} {unit}" if unit != "B" and value < 10 else f"{value:.0f} {unit}"


def _plain(machine: str) -> str:
    return _SAME.get(machine.lower(), machine.lower())
