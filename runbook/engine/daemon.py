"""Finding an engine that speaks Docker's API, and what it says of itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from docker import APIClient

_PATIENCE_S = 3
"""Seconds that an engine has to say its version."""
_PATIENT_S = 120
"""Seconds that it has to answer any other request, unless Docker's own variable says otherwise."""
_SLOW = 10
"""How many times as long one that moves a whole image may take."""
_LAST_S = 10
"""Seconds that it has while everything is given up."""
_PATIENCE = "DOCKER_CLIENT_TIMEOUT"
DOCKER = "Docker Engine"
PODMAN = "Podman"
PODMAN_COMPONENT = "Podman Engine"
"""What Podman calls itself to a client of Docker's API."""


@dataclass(frozen=True)
class Product:
    """A kind of engine: what it is called, where it listens, and what makes one answer there."""

    name: str
    """`Docker Engine`, `Podman`."""
    places: Callable[[], list[Place]]
    """Where it may listen, in the order in which its own client looks."""
    hints: Mapping[str, str]
    """By what was found: `denied`, `remote`, `silent`, `absent`, `other` (another product answers there)."""


Place = tuple[str, str]
"""An address, and who named it: `DOCKER_HOST`, `default` …"""


@dataclass(frozen=True)
class Daemon:
    """An engine that answered."""

    api: APIClient
    address: str
    product: str
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
    unbounded: tuple[str, ...]
    """What the kernel does not let it bound here: `memory`, `processes`, `CPU`."""
    root: str
    """Folder where it keeps images and containers."""

    def describe(self) -> str:
        """`Docker Engine 20.10.24 (overlay2, cgroup v1)`."""
        extra = (", rootless" if self.rootless else "") + (", user namespaces" if self.userns else "")
        return f"{self.product} {self.version} ({self.storage}, cgroup v{self.cgroup}{extra})"


@dataclass(frozen=True)
class Absent:
    """No engine answered."""

    reason: str
    hint: str


def find(product: Product) -> Daemon | Absent:
    """The first engine of this kind that answers; each place is asked once a process."""
    failures = []
    for place in product.places():
        answer = _ask(place)
        if isinstance(answer, Daemon) and answer.product == product.name:
            return answer
        if isinstance(answer, Daemon):
            failures.append((f"at {answer.address} ({place[1]}) answers {answer.product}", "other"))
        else:
            failures.append(answer)
    order = ("denied", "remote", "silent", "absent", "other")
    reason, kind = min(failures, key=lambda f: order.index(f[1]))
    return Absent(reason=reason, hint=product.hints[kind])


@cache
def _ask(place: Place) -> Daemon | tuple[str, str]:
    """The engine at one place, or why there is none, as a sentence and its kind."""
    from docker import APIClient
    from docker.errors import DockerException

    address, named_by = place
    parts = urlsplit(address)
    if parts.scheme in ("unix", "http+unix"):
        if not Path(parts.path).exists():
            return f"no socket at {parts.path} ({named_by})", "absent"
    elif parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        return f"{address} ({named_by}) is another machine, which cannot see this machine's folders", "remote"
    try:
        api = APIClient(base_url=address, version="auto", timeout=_PATIENCE_S)
        api.timeout = _patience()  # It is there: the rest may take a while on a busy machine.
        version, facts = api.version(), api.info()
    except (DockerException, OSError, ValueError) as error:
        denied = "PermissionError" in repr(error) or "Permission denied" in str(error)
        why = "permission denied" if denied else "it does not answer"
        return f"{address} ({named_by}): {why}", "denied" if denied else "silent"
    return _daemon(api, address, version, facts)


def _patience() -> int:
    """Seconds that an engine has to answer: `DOCKER_CLIENT_TIMEOUT`, as Docker's other clients take it."""
    try:
        return max(1, int(os.environ.get(_PATIENCE, "")))
    except ValueError:
        return _PATIENT_S


@contextlib.contextmanager
def moving(api: APIClient) -> Iterator[None]:
    """Be more patient while the engine stores or loads an image."""
    with _within(api, _patience() * _SLOW):
        yield


@contextlib.contextmanager
def parting(api: APIClient) -> Iterator[None]:
    """Be less patient, when an error or Ctrl-C is on its way out: what stays is swept at the next start."""
    with _within(api, min(_LAST_S, _patience())):
        yield


@contextlib.contextmanager
def _within(api: APIClient, seconds: int) -> Iterator[None]:
    before, api.timeout = api.timeout, seconds
    try:
        yield
    finally:
        api.timeout = before


def default_places(sockets: list[str]) -> list[Place]:
    """Sockets where an engine listens when nobody says otherwise."""
    return [(f"unix://{socket}", "default") for socket in dict.fromkeys(sockets)]


def context() -> Place | None:
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


def _daemon(api: APIClient, address: str, version: Mapping[str, Any], facts: Mapping[str, Any]) -> Daemon:
    options = " ".join(facts.get("SecurityOptions") or ())
    components = [str(one.get("Name")) for one in version.get("Components") or ()]
    rootless = "name=rootless" in options or bool(facts.get("Rootless"))
    bounds = {"memory": "MemoryLimit", "processes": "PidsLimit", "CPU": "CpuCfsQuota"}
    return Daemon(
        api=api,
        address=address,
        product=PODMAN if PODMAN_COMPONENT in components else DOCKER,
        version=str(facts.get("ServerVersion", "")).partition("+")[0],
        storage=str(facts.get("Driver", "")),
        cgroup=str(facts.get("CgroupVersion", "1")),
        memory_bytes=int(facts.get("MemTotal", 0)),
        cpus=int(facts.get("NCPU", 1)),
        rootless=rootless,
        userns="name=userns" in options,
        selinux="name=selinux" in options,
        # An engine that does not say is taken to bound: it refuses what it cannot.
        unbounded=tuple(what for what, key in bounds.items() if facts.get(key, True) is False),
        root=str(facts.get("DockerRootDir", "")),
    )
