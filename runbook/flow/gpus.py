"""Whether this machine's GPUs can do what the original's did: number, memory, compute capability, driver."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from runbook.environment.needs import cuda_need, dated, older
from runbook.flow.hosts import amount
from runbook.model.fact import Fact, missing
from runbook.model.host import Accelerator, Accelerators
from runbook.model.preflight import Check
from runbook.model.record import Record
from runbook.observe.interface import Context


def these_gpus() -> Fact[Accelerators]:
    """The GPUs of this machine, by the collector that records them."""
    from runbook.observe.nvidia import MEMBER  # Only where the original had a GPU.

    here = Path.cwd()
    return MEMBER.collect(Context(argv=(), root=here, cwd=here, env={}, interpreter=missing("no job"), probe=None))


def wanted_here(record: Record) -> bool:
    """Whether the job is given this machine's GPUs: the original had some, and there are some here."""
    if record.accelerators.value is None or not record.accelerators.value.devices:
        return False
    here = these_gpus().value
    return here is not None and bool(here.devices)


def check_gpus(record: Record) -> Iterator[Check]:
    """What the original had and used, beside what is here.

    A GPU that was not seen to be used is not needed: its absence is a substitution, which a report names.
    """
    had = record.accelerators.value.devices if record.accelerators.value else ()
    if not had:
        yield Check(id="gpu", what="GPU", needed="none", found="not looked at", state="ok")
        return
    here = these_gpus()
    have = here.value.devices if here.value else ()
    used = record.resources.peak_gpu_memory_bytes.value
    if not have:
        why = "there is no GPU in this machine" if here.known else here.reason
        yield Check(
            id="gpu",
            what="the job computed on a GPU, and there is none here"
            if used
            else "the original's machine had a GPU",
            needed=_models(had),
            found=why,
            state="missing" if used else "warning",
            hint="replay on a machine with an NVIDIA GPU: nvidia-smi",
        )
        return
    same = _models(had) == _models(have)
    yield Check(
        id="gpu",
        what="GPU" if same else "another GPU: no framework promises the same numbers on it",
        needed=_models(had),
        found=_models(have),
        state="ok" if same else "warning",
        hint="" if same else f"metrics that differ under it are not comparable; {_models(had)} decides",
    )
    assert here.value is not None
    yield from _number(record, had, have)
    yield from _memory(had, have, used)
    yield from _capability(record, had, have)
    yield from _driver(record, here.value)


def _number(record: Record, had: tuple[Accelerator, ...], have: tuple[Accelerator, ...]) -> Iterator[Check]:
    """Each rank of a distributed job on one machine takes a GPU of its own."""
    ranks = _ranks(record)
    if ranks > len(have):
        yield Check(
            id="gpu-count",
            what="the job had more processes with a GPU of their own than there are GPUs",
            needed=str(ranks),
            found=str(len(have)),
            state="missing",
            hint=f"replay on a machine with {ranks} GPUs",
        )
    elif len(had) != len(have):
        state, what = ("warning", "fewer GPUs") if len(have) < len(had) else ("ok", "number of GPUs")
        yield Check(id="gpu-count", what=what, needed=str(len(had)), found=str(len(have)), state=state)  # type: ignore[arg-type]


def _ranks(record: Record) -> int:
    """Processes that one launcher on this machine numbered, as torchrun does."""
    watched = record.watch.value
    told = [one.variables.get("LOCAL_RANK", "") for one in watched.processes] if watched else []
    return max((int(rank) + 1 for rank in told if rank.isdecimal()), default=0)


def _memory(had: tuple[Accelerator, ...], have: tuple[Accelerator, ...], used: int | None) -> Iterator[Check]:
    sizes = [device.memory_bytes.value for device in have]
    if any(size is None for size in sizes):
        yield Check(id="gpu-memory", what="GPU memory", found="a GPU does not tell", state="warning")
        return
    total, largest = sum(size or 0 for size in sizes), max(size or 0 for size in sizes)
    before = max((device.memory_bytes.value or 0 for device in had), default=0)
    needed = f"{amount(used)} in all at its peak" if used else f"not known; the original's has {amount(before)}"
    if used and used > total:
        yield Check(
            id="gpu-memory",
            what="the job needs more GPU memory than there is",
            needed=needed,
            found=amount(total),
            state="missing",
            hint="replay on GPUs with more memory",
        )
        return
    less = largest < before and (not used or used > largest)
    what = "less memory on each GPU" if less else "GPU memory"
    state = "warning" if less else "ok"
    yield Check(id="gpu-memory", what=what, needed=needed, found=f"{amount(largest)} on one", state=state)  # type: ignore[arg-type]


def _capability(record: Record, had: tuple[Accelerator, ...], have: tuple[Accelerator, ...]) -> Iterator[Check]:
    told = [device.compute_capability.value for device in have if device.compute_capability.value]
    if not told:
        return
    here = max(told, key=_numbers)
    before = max((d.compute_capability.value or "" for d in had), key=_numbers, default="")
    need = cuda_need(record.environment.frameworks.get("cuda", ""))
    least = need.capability if need else ""
    if least and _numbers(here) < _numbers(least):
        yield Check(
            id="gpu-capability",
            what=f"CUDA {record.environment.frameworks['cuda']} has no kernels for this GPU",
            needed=f"compute capability {least} or later (table of {dated()})",
            found=here,
            state="missing",
            hint="replay on a newer GPU",
        )
    elif before and _numbers(here) < _numbers(before):
        what = "an older generation of GPU: what the original's can do (bf16, fp8) may be lacking"
        yield Check(id="gpu-capability", what=what, needed=before, found=here, state="warning")
    else:
        yield Check(id="gpu-capability", what="compute capability", needed=before, found=here, state="ok")


def _driver(record: Record, here: Accelerators) -> Iterator[Check]:
    """The driver has to be at least what the CUDA of the bundle's packages needs."""
    cuda, driver = record.environment.frameworks.get("cuda", ""), here.driver.value
    if not cuda or not driver:
        found = here.driver.text()
        yield Check(id="gpu-driver", what="driver", needed="no package names its CUDA", found=found, state="ok")
        return
    need = cuda_need(cuda)
    if need is None:
        needed = f"CUDA {cuda} is not in the table of {dated()}"
        yield Check(id="gpu-driver", what="driver", needed=needed, found=driver, state="warning")
    elif older(driver, need.least):
        yield Check(
            id="gpu-driver",
            what=f"the NVIDIA driver is too old for CUDA {cuda}",
            needed=f"{need.least} or later",
            found=driver,
            state="missing",
            hint=f"install driver {need.driver} or later",
        )
    elif older(driver, need.driver):
        yield Check(
            id="gpu-driver",
            what=f"the NVIDIA driver is older than CUDA {cuda}: it runs by minor version compatibility",
            needed=f"{need.driver} for all of it",
            found=driver,
            state="warning",
            hint=f"where a kernel is refused, install driver {need.driver} or later",
        )
    else:
        yield Check(id="gpu-driver", what="driver", needed=f"{need.least} or later", found=driver, state="ok")


def _numbers(capability: str) -> tuple[int, ...]:
    return tuple(int(part) for part in capability.split(".") if part.isdecimal())


def _models(devices: tuple[Accelerator, ...]) -> str:
    counts: dict[str, int] = {}
    for device in devices:
        counts[device.model.text()] = counts.get(device.model.text(), 0) + 1
    return ", ".join(f"{n} × {model}" for model, n in sorted(counts.items()))
