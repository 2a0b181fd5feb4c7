"""What a running job and its children use: sampled from the process tree, and taken from the kernel at the end."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import psutil

from runbook.model.fact import Fact, missing
from runbook.model.job import Resources

_SAMPLED = "sampled: a lower bound"


class Sampler:
    """Follows one process tree: `sample` now and then, `seal` while the job is a zombie, `resources`."""

    def __init__(self, pid: int, *, gpu: bool) -> None:
        """Follow this process, which was started just now."""
        self._pid = pid
        # A child starts with the peak of the process that forked it: below ours, ru_maxrss says nothing about it.
        self._own_peak = _maxrss_bytes(resource.getrusage(resource.RUSAGE_SELF))
        self._peak_rss = 0
        self._peak_processes = 1
        self._io: dict[str, int] = {}
        self._gpu = _Gpu() if gpu else None

    def sample(self) -> None:
        """Look at the tree once."""
        try:
            job = psutil.Process(self._pid)
            tree = [job, *job.children(recursive=True)]
        except psutil.Error:
            return
        rss, alive = 0, set()
        for process in tree:
            try:
                rss += process.memory_info().rss
                alive.add(process.pid)
            except psutil.Error:
                continue
        self._peak_rss = max(self._peak_rss, rss)
        self._peak_processes = max(self._peak_processes, len(alive))
        if self._gpu:
            self._gpu.sample(alive)

    def seal(self) -> None:
        """Read the I/O counters of the ended, not yet reaped job: they hold those of every child it waited for."""
        try:
            text = Path(f"/proc/{self._pid}/io").read_text()
        except OSError:
            return
        self._io = {key: int(value) for key, value in (line.split(": ") for line in text.splitlines())}

    def resources(self, usage: resource.struct_rusage) -> Resources:
        """Everything, with the kernel's own account of the ended job (os.wait4)."""
        reported = _maxrss_bytes(usage)
        peak = max(self._peak_rss, reported if reported > self._own_peak else 0)
        return Resources(
            cpu_user_s=Fact(evidence="observed", value=round(usage.ru_utime, 6)),
            cpu_system_s=Fact(evidence="observed", value=round(usage.ru_stime, 6)),
            peak_rss_bytes=Fact(evidence="observed", value=peak, reason=_SAMPLED)
            if peak
            else missing("the job ended before it could be sampled"),
            read_bytes=self._counter("rchar", "read"),
            written_bytes=self._counter("wchar", "write"),
            peak_processes=Fact(evidence="observed", value=self._peak_processes, reason=_SAMPLED),
            peak_gpu_memory_bytes=self._gpu.peak() if self._gpu else missing("GPU memory was not sampled"),
        )

    def _counter(self, key: str, call: str) -> Fact[int]:
        if key in self._io:
            return Fact(evidence="observed", value=self._io[key], reason=f"through {call} calls, cached or not")
        return missing("this system does not show a process's I/O counters")


class _Gpu:
    """Memory that the job's processes hold on every GPU, through NVML."""

    def __init__(self) -> None:
        self._peak: int | None = None
        self._handles: list[Any] = []
        self._absent = ""
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
            self._absent = "" if count else "no NVIDIA GPU on this host"
        except pynvml.NVMLError as error:
            driver = isinstance(error, pynvml.NVMLError_LibraryNotFound | pynvml.NVMLError_DriverNotLoaded)
            self._absent = "no NVIDIA driver on this host" if driver else f"NVML: {error}"

    def sample(self, pids: set[int]) -> None:
        used: int | None = None
        for handle in self._handles:
            try:
                holders = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
            except self._nvml.NVMLError as error:
                self._absent = f"NVML: {error}"
                continue
            except self._nvml.NVMLLibraryMismatchError:  # It is no NVMLError.
                self._absent = "this NVIDIA driver is too old to tell"
                continue
            for holder in holders:
                if holder.pid in pids and holder.usedGpuMemory is not None:
                    used = (used or 0) + int(holder.usedGpuMemory)
        if used is not None:
            self._peak = max(self._peak or 0, used)

    def peak(self) -> Fact[int]:
        if self._handles:
            self._nvml.nvmlShutdown()
        if self._peak is not None:
            return Fact(evidence="observed", value=self._peak, reason=_SAMPLED)
        return missing(self._absent or "no process of the job was seen on a GPU")


def _maxrss_bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
