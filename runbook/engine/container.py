"""One container from creation to removal: its output streamed apart, its limits minded, its cost sampled."""

from __future__ import annotations

import contextlib
import resource
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runbook.engine import owner, seccomp
from runbook.engine.daemon import parting
from runbook.errors import EnvironmentNotRebuilt, NeedMissing

if TYPE_CHECKING:
    from docker import APIClient
    from docker.errors import APIError
    from docker.types import Ulimit

    from runbook.engine.daemon import Daemon

_TICK_S = 0.25
"""How often limits are looked at."""
_SAMPLE_S = 1.0
_ASK_S = 5.0
"""How often an engine is asked whether it is still there while a container runs."""
_OPEN_FILES = 16384
_GRACE_S = 5
"""Seconds between SIGTERM and SIGKILL when the time is up."""


class Sink(Protocol):
    """Where one stream goes."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass
class Usage:
    """What the engine said of the container while it ran; zeros until the first sample."""

    samples: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    peak_rss: int = 0
    with_cache: bool = False
    """Whether peak_rss counts the page cache too."""
    peak_processes: int = 0
    read_bytes: int | None = None
    written_bytes: int | None = None

    def add(self, stats: Mapping[str, Any], cgroup: str) -> None:
        """Take one answer of the engine."""
        memory = stats.get("memory_stats") or {}
        parts = memory.get("stats") or {}
        if not (parts or memory.get("usage")):
            return  # It had ended already.
        self.samples += 1
        cpu = stats["cpu_stats"]["cpu_usage"]
        self.cpu_user_ns = max(self.cpu_user_ns, int(cpu.get("usage_in_usermode", 0)))
        self.cpu_system_ns = max(self.cpu_system_ns, int(cpu.get("usage_in_kernelmode", 0)))
        # Podman tells the sum alone.
        anonymous = parts.get("anon" if cgroup == "2" else "total_rss", 0) if parts else memory["usage"]
        self.with_cache = self.with_cache or not parts
        self.peak_rss = max(self.peak_rss, int(anonymous))
        self.peak_processes = max(self.peak_processes, int((stats.get("pids_stats") or {}).get("current") or 0))
        for entry in (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ():
            if entry["op"].lower() == "read":
                self.read_bytes = max(self.read_bytes or 0, int(entry["value"]))
            elif entry["op"].lower() == "write":
                self.written_bytes = max(self.written_bytes or 0, int(entry["value"]))


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    exit_code: int
    out_of_memory: bool
    timed_out: bool
    broke: str
    """The limit of ours that it broke, one sentence; empty for none."""
    started: str
    """As the engine wrote it: RFC 3339 with nanoseconds."""
    finished: str
    stopped: str = ""
    """Why it was stopped although it broke no limit; empty when it was not."""
    usage: Usage = field(default_factory=Usage)


@contextlib.contextmanager
def created(daemon: Daemon, image: str, host: Mapping[str, Any], **config: Any) -> Iterator[str]:
    """A container that is removed with its volumes whatever happens; yields its name.

    The name is chosen here, so that one whose creation was interrupted half-way is found and removed too.
    host: arguments of docker-py's HostConfig; config: of create_container.
    """
    from docker.errors import APIError, NotFound
    from docker.types import LogConfig
    from requests import RequestException

    api, name = daemon.api, owner.fresh_name()
    host_config = api.create_host_config(
        log_config=LogConfig(type="none"),
        cap_drop=["ALL"],
        security_opt=["no-new-privileges", *seccomp.options(daemon.product)],
        **{"ulimits": ulimits(), **host},
    )
    given_up = True
    try:
        # An engine goes on creating when its caller has left: what is not there yet cannot be removed.
        with owner.uninterrupted():
            api.create_container(
                image,
                name=name,
                labels={owner.LABEL: owner.owner()},
                host_config=host_config,
                healthcheck={"test": ["NONE"]},
                use_config_proxy=False,
                **config,
            )
        yield name
        given_up = False
    except APIError as error:
        raise refused(error) from error
    finally:
        # An engine that has gone keeps it, and the next start sweeps.
        with (
            owner.uninterrupted(),
            contextlib.suppress(NotFound, RequestException),
            parting(api) if given_up else contextlib.nullcontext(),
        ):
            api.remove_container(name, v=True, force=True)


def ulimits(**bytes_at_most: int) -> list[Ulimit]:
    """Limits of each process: open files and processes, never more than ours, and others by their names.

    Named, for an engine's own default may be more than it can give: ours is the best guess at what it can.
    """
    from docker.types import Ulimit

    files = min(_OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    # Podman lowers its own to what the kernel has at all, and may be unable to go above it again.
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    processes = most if processes == resource.RLIM_INFINITY else min(processes, most)
    bounds = {"nofile": files, "nproc": processes, **bytes_at_most}
    return [Ulimit(name=name, soft=bound, hard=bound) for name, bound in bounds.items()]


def no_room(said: str) -> NeedMissing | None:
    """The error for an engine, or a tool inside a container, that says its disk is full."""
    if "no space left on device" not in said.lower():
        return None
    hint = "free some: docker system df, then docker image prune; runbook doctor shows where images lie"
    return NeedMissing("the engine's disk is full", said[-300:], hint=hint, id="engine-disk-full")


def refused(error: APIError) -> NeedMissing | EnvironmentNotRebuilt:
    """What the engine's refusal means to a person."""
    said = str(error.explanation or error)
    if (full := no_room(said)) is not None:
        return full
    if "bind source path does not exist" in said:
        return NeedMissing(
            "the engine cannot see this machine's folders",
            said.rpartition("exist: ")[2],
            hint="run runbook on the machine whose engine it uses, not inside a container that borrows its socket",
            id="engine-elsewhere",
        )
    if "container-init binary" in said:
        hint = "sudo apt-get install catatonit"
        return NeedMissing(
            "Podman lacks the program that reaps a container's processes", said, hint=hint, id="no-init"
        )
    if "could not select device driver" in said or "nvidia" in said.lower():
        hint = "sudo apt-get install nvidia-container-toolkit && sudo systemctl restart docker"
        return NeedMissing("the engine cannot give GPUs to a container", said, hint=hint, id="no-gpu-in-engine")
    return NeedMissing("the engine refused", said, hint="runbook doctor", id="engine-refused")


def run(
    api: APIClient,
    name: str,
    *,
    stdout: Sink,
    stderr: Sink,
    cgroup: str = "",
    time_s: float | None = None,
    broken: Callable[[], str] = str,
    enough: Callable[[], str] = str,
) -> Ended:
    """Start it and stay with it until it ends.

    cgroup: version of the engine's cgroups to sample resource use, empty for no samples.
    broken: asked four times a second whether a limit of ours is broken; a sentence kills the container.
    enough: asked as often whether the job may end; a sentence interrupts it, and kills it some seconds later.
    """
    pump = _Pump(
        api.attach_socket(name, params={"stdout": 1, "stderr": 1, "stream": 1, "logs": 0}), stdout, stderr
    )
    api.start(name)
    asked = time.monotonic()
    deadline = None if time_s is None else time.monotonic() + time_s
    timed_out, broke, stopped = False, "", ""
    with _sampled(api, name, cgroup) as usage:
        while not pump.ended(_TICK_S):
            if time.monotonic() - asked > _ASK_S:
                api.ping()  # One that hangs says nothing for ever; its silence ends in a time-out.
                asked = time.monotonic()
            broke = broken()
            if broke:
                _end(api, name, grace=0)
            elif deadline is not None and time.monotonic() >= deadline:
                timed_out = True
                _end(api, name, grace=_GRACE_S)
            else:
                stopped = enough()
                if stopped:
                    _interrupt(api, name, pump)
            if broke or timed_out or stopped:
                pump.ended(None)
                break
    if pump.failure is not None:
        _end(api, name, grace=0)
    api.wait(name, timeout=api.timeout)
    pump.check()
    state = api.inspect_container(name)["State"]
    return Ended(
        exit_code=int(state["ExitCode"]),
        out_of_memory=bool(state.get("OOMKilled")),
        timed_out=timed_out,
        broke=broke,
        stopped=stopped,
        started=str(state["StartedAt"]),
        finished=str(state["FinishedAt"]),
        usage=replace(usage),
    )


def _end(api: APIClient, name: str, *, grace: int) -> None:
    """Stop it; one that has just ended by itself is no error."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        if grace:
            api.stop(name, timeout=grace)
        else:
            api.kill(name)


def _interrupt(api: APIClient, name: str, pump: _Pump) -> None:
    """End it as Ctrl-C would, so that what it buffers is written; what does not end then is killed."""
    from docker.errors import APIError

    with contextlib.suppress(APIError):
        api.kill(name, signal="SIGINT")
        if not pump.ended(_GRACE_S):
            api.kill(name)


@contextlib.contextmanager
def _sampled(api: APIClient, name: str, cgroup: str) -> Iterator[Usage]:
    """What the container uses, asked for from beside: an answer may take longer than the container lasts.

    Yields what fills meanwhile; an answer that is on its way at the end is not waited for.
    """
    from docker.errors import DockerException
    from requests import RequestException

    usage, done = Usage(), threading.Event()

    def sample() -> None:
        pause = _TICK_S
        while not done.wait(pause):
            # The container may be gone, and its engine with it: whoever waits for it learns that.
            with contextlib.suppress(DockerException, RequestException, KeyError):
                usage.add(api.stats(name, stream=False, one_shot=True), cgroup)
            pause = min(pause * 2, _SAMPLE_S)

    if cgroup:
        threading.Thread(target=sample, name="runbook-usage", daemon=True).start()
    try:
        yield usage
    finally:
        done.set()


class _Pump:
    """Moves the container's output to its sinks; what cannot be written ends it and is raised by `check`.

    The engine waits while a sink is slow, so a flood never swells memory.
    """

    def __init__(self, socket: Any, stdout: Sink, stderr: Sink) -> None:
        self._socket, self._stdout, self._stderr = socket, stdout, stderr
        self.failure: OSError | None = None
        self._thread = threading.Thread(target=self._move, name="runbook-output", daemon=True)
        self._thread.start()

    def ended(self, patience_s: float | None) -> bool:
        """Whether the container has closed its output, waiting so long."""
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def check(self) -> None:
        """Raise NeedMissing when output could not be written."""
        if self.failure is not None:
            raise NeedMissing(
                "the job's output cannot be written",
                self.failure.strerror or str(self.failure),
                hint="free some disk space: df -h",
                id="output-not-written",
            )

    def _move(self) -> None:
        from docker.utils.socket import STDOUT, frames_iter

        try:
            for stream, data in frames_iter(self._socket, tty=False):
                (self._stdout if stream == STDOUT else self._stderr).write(data)
        except OSError as error:
            self.failure = error
        finally:
            # docker-py hangs the response on the socket; closing that closes both.
            getattr(self._socket, "_response", self._socket).close()
