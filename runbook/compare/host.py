"""What differs between two machines: CPU, threads, accelerators, operating system."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.compare import rank
from runbook.compare.facts import ABSENT, differ, differ_facts
from runbook.model.fact import Fact
from runbook.model.host import Accelerator, Accelerators, Host
from runbook.model.verdict import Difference

_CPU: tuple[rank.Risk, str] = ("medium", "numerical libraries choose other kernels on another CPU")
_GPU: tuple[rank.Risk, str] = ("high", "no framework promises the same numbers on another accelerator")
_DRIVER: tuple[rank.Risk, str] = ("medium", "the driver compiles and schedules the kernels")
_THREADS: tuple[rank.Risk, str] = ("medium", "the number of threads decides the order of sums")


def compare_hosts(original: Host, replay: Host) -> Iterator[Difference]:
    """CPU, threads, operating system, locale."""
    yield from differ_facts("cpu", "CPU model", original.cpu_model, replay.cpu_model, _CPU)
    yield from differ_facts("cpu", "architecture", original.machine, replay.machine, _CPU)
    yield from _flags(original, replay)
    yield from differ_facts("threads", "usable cores", original.cores_usable, replay.cores_usable, _THREADS)
    not_set: Fact[str] = Fact(evidence="missing", reason="not set")
    for name in sorted({*original.threads, *replay.threads}):
        a, b = original.threads.get(name, not_set), replay.threads.get(name, not_set)
        if a.value != b.value:
            yield differ("threads", name, a.value or "(not set)", b.value or "(not set)", _THREADS)
    for family, what, x, y, judged in (
        ("library", "BLAS", original.blas, replay.blas, rank.framework("blas")),
        ("host", "operating system", original.os, replay.os, ("low", "")),
        ("host", "kernel", original.kernel, replay.kernel, ("low", "")),
        ("host", "C library", original.libc, replay.libc, ("low", "that of the interpreter is what the job used")),
        ("host", "locale", original.locale, replay.locale, ("low", "it decides how text is sorted and parsed")),
        ("host", "time zone", original.timezone, replay.timezone, ("low", "it decides how local times are read")),
    ):
        yield from differ_facts(family, what, x, y, judged)


def compare_accelerators(original: Fact[Accelerators], replay: Fact[Accelerators]) -> Iterator[Difference]:
    """GPUs by model and number, driver and CUDA. A side without any says so, with its reason."""
    a, b = original.value, replay.value
    left, right = _models(a), _models(b)
    if left != right:
        shown = [models or f"{ABSENT}{_reason(fact)}" for models, fact in ((left, original), (right, replay))]
        yield differ("accelerator", "devices", shown[0], shown[1], _GPU)
        if not left or not right:
            return
    if a is None or b is None:
        return
    for what, x, y in (("driver", a.driver, b.driver), ("CUDA of the driver", a.cuda, b.cuda)):
        yield from differ_facts("accelerator", what, x, y, _DRIVER)
    for one, other in zip(a.devices, b.devices, strict=False):
        yield from _device(one, other)


def _device(a: Accelerator, b: Accelerator) -> Iterator[Difference]:
    for what, x, y in (("ECC", a.ecc, b.ecc), ("MIG", a.mig, b.mig), ("memory", a.memory_bytes, b.memory_bytes)):
        yield from differ_facts("accelerator", f"GPU {a.index} {what}", x, y, ("low", ""))


def _models(accelerators: Accelerators | None) -> str:
    if accelerators is None:
        return ""
    counts: dict[str, int] = {}
    for device in accelerators.devices:
        counts[device.model.text()] = counts.get(device.model.text(), 0) + 1
    return ", ".join(f"{n} × {model}" for model, n in sorted(counts.items()))


def _reason(fact: Fact[Accelerators]) -> str:
    return f": {fact.reason}" if not fact.known else ""


def _flags(original: Host, replay: Host) -> Iterator[Difference]:
    if original.cpu_flags.value is None or replay.cpu_flags.value is None:
        return
    a, b = set(original.cpu_flags.value), set(replay.cpu_flags.value)
    if a != b:
        yield differ("cpu", "CPU flags", _only(a - b), _only(b - a), rank.flags(a ^ b))


def _only(flags: set[str]) -> str:
    named = sorted(flags)
    more = f" and {len(named) - 12} more" if len(named) > 12 else ""
    return f"only here: {' '.join(named[:12])}{more}" if named else "no flag of its own"
