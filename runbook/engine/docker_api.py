"""Engines that speak Docker's API: all that they have in common, which is all but a name and where they listen."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from runbook.engine import daemon, owner, seccomp
from runbook.engine.interface import Built, Plan, Sandbox, Stock
from runbook.errors import NeedMissing
from runbook.model.environment import Base, Interpreter
from runbook.model.execution import Execution
from runbook.progress import Progress


class ApiEngine:
    """Builds images named by the environment id, and runs jobs in containers that are gone afterwards."""

    def __init__(self, name: str, product: daemon.Product, *, stronger: str) -> None:
        """name: the engine's own; stronger: the command that makes it rootless."""
        self.name = name
        self._product, self._stronger = product, stronger
        self.isolation = (
            f"{name.capitalize()} container: no network unless allowed, read-only root and inputs, no capability, "
            "no new privilege, unprivileged user, default seccomp; memory, processes, files and time bounded; "
            "the kernel is the host's."
        )

    def find(self) -> daemon.Daemon | daemon.Absent:
        """The daemon that serves it here."""
        return daemon.find(self._product)

    def available(self) -> str:
        """Empty when an engine answers, else the reason."""
        found = self.find()
        return found.reason if isinstance(found, daemon.Absent) else ""

    def hint(self) -> str:
        """The command that makes an engine answer, or a weaker one stronger."""
        found = self.find()
        if isinstance(found, daemon.Absent):
            return found.hint
        return "" if found.rootless or found.userns else self._stronger

    def describe(self) -> str:
        """Version, storage driver and cgroup version."""
        return self._daemon().describe()

    def warnings(self) -> tuple[str, ...]:
        """What makes it weaker here than it could be."""
        found = self._daemon()
        said = []
        if not (found.rootless or found.userns):
            said.append(
                f"{self.name.capitalize()} runs neither rootless nor with user namespaces: a job that escapes its "
                "container is an ordinary user of this machine, or worse"
            )
        if found.unbounded:
            said.append(f"the engine cannot bound {', '.join(found.unbounded)} here")
        if seccomp.missing(found.product):
            said.append("Podman's profile of system calls was not found: a job may make user namespaces")
        if found.selinux:
            said.append("SELinux labels stay as they are: containers must be allowed to read the inputs")
        return tuple(said)

    def stock(self, environment_id: str, base: Base, interpreter: Interpreter, *, ask: bool) -> Stock:
        """Whether the environment's image is there, else the base; a registry is asked by the engine itself."""
        from runbook.engine import docker_base, docker_build

        with self._answering() as found:
            built = docker_build.is_built(found.api, environment_id)
            there = docker_base.is_there(found.api, base)
            problem = "" if built or there or base.layout or not ask else docker_base.unobtainable(found.api, base)
            folder = Path(found.root) if found.root and Path(found.root).is_dir() else None
            hint = docker_base.HINT if problem else ""
            return Stock(built, there, folder, problem, hint, found.memory_bytes or None)

    def build(self, plan: Plan, progress: Progress) -> Built:
        """Make the environment's image, or find it."""
        from runbook.engine.docker_build import build

        with self._answering() as found:
            return build(found, self.name, plan, progress)

    @contextlib.contextmanager
    def probing(self, built: Built, script: bytes, variables: Mapping[str, str]) -> Iterator[Callable[[], bytes]]:
        """Run the probe in a container of the environment's own; yields what waits for its stdout."""
        from runbook.engine.docker_run import probing

        with self._answering() as found, probing(found, built, script, variables) as answer:
            yield answer

    def run(self, built: Built, sandbox: Sandbox, progress: Progress) -> Execution:
        """Run the job in a container."""
        from runbook.engine.docker_run import run

        with self._answering() as found:
            return run(found, built, sandbox, progress)

    def sweep(self) -> int:
        """Remove containers and folders whose owner is dead."""
        from docker.errors import APIError

        gone = owner.sweep_scratch()
        found = self.find()
        if isinstance(found, daemon.Absent):
            return gone
        with self._answering():
            listed = found.api.containers(all=True, filters={"label": owner.LABEL})
            for container in listed:
                if owner.is_dead(container["Labels"][owner.LABEL]):
                    try:
                        found.api.remove_container(container["Id"], v=True, force=True)
                    except APIError:  # Another runbook sweeps at the same time.
                        continue
                    gone += 1
        return gone

    def _daemon(self) -> daemon.Daemon:
        found = self.find()
        if isinstance(found, daemon.Absent):
            raise NeedMissing(
                f"{self._product.name} is not available", found.reason, hint=found.hint, id="engine-unavailable"
            )
        return found

    @contextlib.contextmanager
    def _answering(self) -> Iterator[daemon.Daemon]:
        """The daemon; one that goes away meanwhile is something the machine lacks, whatever was being done."""
        from requests import RequestException
        from urllib3.exceptions import HTTPError

        found = self._daemon()
        try:
            yield found
        except (RequestException, HTTPError) as error:
            silent = "timed out" in str(error).lower()
            raise NeedMissing(
                f"{self._product.name} stopped answering",
                f"{found.address} (it took a request and was silent for too long)" if silent else found.address,
                hint=f"{self._product.hints['silent']}   (the next replay removes what is left)",
                id="engine-gone",
            ) from error
