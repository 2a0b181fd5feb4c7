"""The machine: host and accelerators."""

from __future__ import annotations

from runbook.model.fact import Fact, Value


class Host(Value, frozen=True, kw_only=True, omit_defaults=True):
    """CPU, memory, OS and what decides arithmetic on them."""

    os: Fact[str]
    """`Debian GNU/Linux 12 (bookworm)`."""
    kernel: Fact[str]
    machine: Fact[str]
    cpu_model: Fact[str]
    cpu_flags: Fact[tuple[str, ...]]
    """ISA flags, sorted."""
    cores_logical: Fact[int]
    cores_physical: Fact[int]
    cores_usable: Fact[int]
    """After affinity and cgroup limits."""
    memory_bytes: Fact[int]
    libc: Fact[str]
    locale: Fact[str]
    timezone: Fact[str]
    blas: Fact[str]
    """The BLAS that the job's packages bring."""
    threads: dict[str, Fact[str]] = {}
    """OMP_NUM_THREADS, MKL_NUM_THREADS, OPENBLAS_NUM_THREADS …, as the job saw them."""
    container: Fact[str]
    """Container runtime and id the run was in; missing with `not in a container`."""


class Accelerator(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU as NVML describes it."""

    index: int
    model: Fact[str]
    uuid: Fact[str]
    memory_bytes: Fact[int]
    compute_capability: Fact[str]
    ecc: Fact[bool]
    mig: Fact[bool]
    pci_bus_id: Fact[str]
    serial: Fact[str]
    vbios: Fact[str]
    power_limit_w: Fact[float]


class Accelerators(Value, frozen=True, kw_only=True, omit_defaults=True):
    """All GPUs, the driver and how they are connected."""

    driver: Fact[str]
    cuda: Fact[str]
    """Highest CUDA version that the driver supports, `13.0`."""
    nvml: Fact[str]
    devices: tuple[Accelerator, ...] = ()
    topology: dict[str, str] = {}
    """`0-1` → `NVLink`, `PIX`, `SYS` …"""
