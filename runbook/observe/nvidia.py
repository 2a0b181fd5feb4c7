"""NVIDIA GPUs through NVML. What a device does not support is a missing fact; other devices are not affected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pynvml

from runbook.model.fact import Fact, missing, observed
from runbook.model.host import Accelerator, Accelerators
from runbook.observe.interface import Context

T = TypeVar("T")

_PATHS = {
    0: "same board",
    10: "PIX",
    20: "PXB",
    30: "PHB",
    40: "NODE",
    50: "SYS",
}
"""NVML's topology levels by the names of `nvidia-smi topo -m`."""


class NvidiaCollector:
    """Fills `accelerators`."""

    name = "accelerators"

    def collect(self, context: Context) -> Fact[Accelerators]:
        """Every GPU of the machine, the driver and how the GPUs are connected; missing without a driver."""
        try:
            with _nvml():
                return observed(_accelerators())
        except pynvml.NVMLError as error:
            return missing(_reason(error))


def driver_answer() -> str:
    """Empty when the NVIDIA driver answers here, else the reason."""
    try:
        with _nvml():
            return ""
    except pynvml.NVMLError as error:
        return _reason(error)


def _accelerators() -> Accelerators:
    count = pynvml.nvmlDeviceGetCount()
    handles = [_told(partial(pynvml.nvmlDeviceGetHandleByIndex, at)) for at in range(count)]
    return Accelerators(
        driver=_text(pynvml.nvmlSystemGetDriverVersion),
        cuda=_told(lambda: _cuda(pynvml.nvmlSystemGetCudaDriverVersion_v2())),
        nvml=_text(pynvml.nvmlSystemGetNVMLVersion),
        devices=tuple(_device(at, handle) for at, handle in enumerate(handles)),
        topology=dict(_topology(handles)),
    )


def _device(index: int, handle: Fact[Any]) -> Accelerator:
    def ask(call: Callable[[Any], T]) -> Fact[T]:
        return _told(lambda: call(handle.value)) if handle.known else missing(handle.reason)

    return Accelerator(
        index=index,
        model=ask(lambda h: _string(pynvml.nvmlDeviceGetName(h))),
        uuid=ask(lambda h: _string(pynvml.nvmlDeviceGetUUID(h))),
        memory_bytes=ask(lambda h: int(pynvml.nvmlDeviceGetMemoryInfo(h).total)),
        compute_capability=ask(lambda h: ".".join(map(str, pynvml.nvmlDeviceGetCudaComputeCapability(h)))),
        ecc=ask(lambda h: pynvml.nvmlDeviceGetEccMode(h)[0] == pynvml.NVML_FEATURE_ENABLED),
        mig=ask(lambda h: pynvml.nvmlDeviceGetMigMode(h)[0] == pynvml.NVML_DEVICE_MIG_ENABLE),
        pci_bus_id=ask(lambda h: _string(pynvml.nvmlDeviceGetPciInfo(h).busId)),
        serial=ask(lambda h: _string(pynvml.nvmlDeviceGetSerial(h))),
        vbios=ask(lambda h: _string(pynvml.nvmlDeviceGetVbiosVersion(h))),
        power_limit_w=ask(lambda h: pynvml.nvmlDeviceGetPowerManagementLimit(h) / 1000),
    )


def _topology(handles: list[Fact[Any]]) -> Iterator[tuple[str, str]]:
    """Each pair of GPUs that tells how it is connected: `0-1` → `NVLink`, `PIX` …"""
    known = [(at, h.value) for at, h in enumerate(handles) if h.known]
    for place, (a, first) in enumerate(known):
        for b, second in known[place + 1 :]:
            nvlink = pynvml.NVML_P2P_CAPS_INDEX_NVLINK
            link: Fact[int] = _told(partial(pynvml.nvmlDeviceGetP2PStatus, first, second, nvlink))
            if link.known and link.value == pynvml.NVML_P2P_STATUS_OK:
                yield f"{a}-{b}", "NVLink"
                continue
            level: Fact[int] = _told(partial(pynvml.nvmlDeviceGetTopologyCommonAncestor, first, second))
            if level.value is not None:
                yield f"{a}-{b}", _PATHS.get(level.value, f"level {level.value}")


def _cuda(version: int) -> str:
    """13000 → `13.0`, 12040 → `12.4`."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _string(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _text(call: Callable[[], Any]) -> Fact[str]:
    return _told(lambda: _string(call()))


def _told(call: Callable[[], T]) -> Fact[T]:
    """The answer, or NVML's reason for having none."""
    try:
        return observed(call())
    except pynvml.NVMLError as error:
        return missing(_reason(error))


def _reason(error: pynvml.NVMLError) -> str:
    reasons = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver on this host (libnvidia-ml.so.1 is not found)",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded",
        pynvml.NVML_ERROR_NOT_SUPPORTED: "not supported by this device",
        pynvml.NVML_ERROR_NO_PERMISSION: "NVML refuses: no permission",
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "this driver does not have the call",
    }
    return reasons.get(getattr(error, "value", -1), f"NVML: {error}")


@contextmanager
def _nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


MEMBER = NvidiaCollector()
