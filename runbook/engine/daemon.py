"""Finding a Docker Engine that answers, and what it says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from docker import APIClient

_PATIENCE_S = 3
"""Seconds that an engine has to say its version."""
_LONG_S = 3600
"""Seconds that one request may take afterwards: committing a large layer is one request."""


@dataclass(frozen=True)
class Daemon:
    """An engine that answered."""

    api: APIClient
    address: str
    version: str
    storage: str
    cgroup: str
    """`1` or `2`."""
    memory_bytes: int
    cpus: int
    rootless: bool
    userns: bool
    """Whether root in a container is somebody else on the host."""
    selinux: bool
    root: str
    """Folder where it keeps images and containers."""

    def describe(self) -> str:
        """`Docker Engine 20.10.24 (overlay2, cgroup v1)`."""
        extra = (", rootless" if self.rootless else "") + (", user namespaces" if self.userns else "")
        return f"Docker Engine {self.version} ({self.storage}, cgroup v{self.cgroup}{extra})"


@dataclass(frozen=True)
class Absent:
    """No engine answered."""

    reason: str
    hint: str


def find() -> Daemon | Absent:
    """The first engine that answers; asked once a process, because a replay needs the answer many times."""
    return _find(tuple(_candidates()))


@cache
def _find(candidates: tuple[tuple[str, str], ...]) -> Daemon | Absent:
    from docker import APIClient
    from docker.errors import DockerException

    failures = []
    for address, named_by in candidates:
        parts = urlsplit(address)
        if parts.scheme in ("unix", "http+unix"):
            if not Path(parts.path).exists():
                failures.append((f"no socket at {parts.path} ({named_by})", "absent"))
                continue
        elif parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            reason = f"{address} ({named_by}) is another machine, which cannot see this machine's folders"
            failures.append((reason, "remote"))
            continue
        try:
            api = APIClient(base_url=address, version="auto", timeout=_PATIENCE_S)
        except (DockerException, OSError, ValueError) as error:
            denied = "PermissionError" in repr(error) or "Permission denied" in str(error)
            why = "permission denied" if denied else "it does not answer"
            failures.append((f"{address} ({named_by}): {why}", "denied" if denied else "silent"))
            continue
        facts = api.info()
        api.timeout = _LONG_S
        return _daemon(api, address, facts)
    order = ("denied", "remote", "silent", "absent")
    reason, kind = min(failures, key=lambda f: order.index(f[1]))
    return Absent(reason=reason, hint=_HINTS[kind])


_HINTS = {
    "denied": "sudo usermod -aG docker $USER   (then log in again), or start rootless Docker",
    "remote": "unset DOCKER_HOST, or run runbook on that machine",
    "silent": "sudo systemctl start docker",
    "absent": "sudo apt-get install docker.io && sudo systemctl start docker, or: replay --engine local",
}


def _candidates() -> list[tuple[str, str]]:
    """Addresses in the order in which Docker's own client looks, then the places where engines usually listen."""
    if host := os.environ.get("DOCKER_HOST"):
        return [(host, "DOCKER_HOST")]
    found = []
    if (context := _context()) is not None:
        found.append(context)
    places = ["/var/run/docker.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        places.append(f"{runtime}/docker.sock")
    places += [f"/run/user/{os.getuid()}/docker.sock"]
    places += [str(Path.home() / p) for p in (".docker/run/docker.sock", ".docker/desktop/docker.sock")]
    found += [(f"unix://{place}", "default") for place in dict.fromkeys(places)]
    return found


def _context() -> tuple[str, str] | None:
    """The endpoint of the current `docker context`, when one other than the default is chosen."""
    if not (Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker")) / "config.json").exists():
        return None
    from docker.context import ContextAPI

    try:
        context = ContextAPI.get_current_context()
    except Exception:  # docker-py raises bare Exception for a malformed configuration; other places remain.
        return None
    if context is None or context.name == "default" or not context.Host:
        return None
    return str(context.Host), f"docker context {context.name}"


def _daemon(api: APIClient, address: str, facts: dict[str, Any]) -> Daemon:
    options = " ".join(facts.get("SecurityOptions") or ())
    return Daemon(
        api=api,
        address=address,
        version=str(facts.get("ServerVersion", "")).partition("+")[0],
        storage=str(facts.get("Driver", "")),
        cgroup=str(facts.get("CgroupVersion", "1")),
        memory_bytes=int(facts.get("MemTotal", 0)),
        cpus=int(facts.get("NCPU", 1)),
        rootless="name=rootless" in options,
        userns="name=userns" in options,
        selinux="name=selinux" in options,
        root=str(facts.get("DockerRootDir", "")),
    )
