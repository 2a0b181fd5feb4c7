"""Docker Engine, through its SDK: the strongest sandbox that this version of runbook knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from runbook.engine import daemon, owner
from runbook.engine.interface import Built, Plan, Sandbox, Stock
from runbook.errors import NeedMissing
from runbook.model.environment import Base, Interpreter
from runbook.model.execution import Execution
from runbook.progress import Progress


class DockerEngine:
    """Builds images named by the environment id, and runs jobs in containers that are gone afterwards."""

    name = "docker"
    isolation = (
        "Docker container: no network unless allowed, read-only root and inputs, no capability, no new privilege, "
        "unprivileged user, default seccomp; memory, processes, files and time bounded; the kernel is the host's."
    )

    def available(self) -> str:
        """Empty when an engine answers, else the reason."""
        found = daemon.find()
        return found.reason if isinstance(found, daemon.Absent) else ""

    def hint(self) -> str:
        """The command that makes an engine answer, or a weaker one stronger."""
        found = daemon.find()
        if isinstance(found, daemon.Absent):
            return found.hint
        return "" if found.rootless or found.userns else "dockerd-rootless-setuptool.sh install"

    def describe(self) -> str:
        """Version, storage driver and cgroup version."""
        return self._daemon().describe()

    def warnings(self) -> tuple[str, ...]:
        """What makes it weaker here than it could be."""
        found = self._daemon()
        said = []
        if not (found.rootless or found.userns):
            said.append(
                "Docker runs neither rootless nor with user namespaces: a job that escapes its container "
                "is an ordinary user of this machine, or worse"
            )
        if found.selinux:
            said.append("SELinux labels stay as they are: containers must be allowed to read the inputs")
        return tuple(said)

    def stock(self, environment_id: str, base: Base, interpreter: Interpreter, *, ask: bool) -> Stock:
        """Whether the environment's image is there, else the base; a registry is asked by the engine itself."""
        from runbook.engine import docker_base, docker_build

        found = self._daemon()
        built = docker_build.is_built(found.api, environment_id)
        there = docker_base.is_there(found.api, base)
        problem = "" if built or there or base.layout or not ask else docker_base.unobtainable(found.api, base)
        folder = Path(found.root) if found.root and Path(found.root).is_dir() else None
        return Stock(built, there, folder, problem, docker_base.HINT if problem else "")

    def build(self, plan: Plan, progress: Progress) -> Built:
        """Make the environment's image, or find it."""
        from runbook.engine.docker_build import build

        return build(self._daemon().api, plan, progress)

    def probing(
        self, built: Built, script: bytes, variables: Mapping[str, str]
    ) -> AbstractContextManager[Callable[[], bytes]]:
        """Run the probe in a container of the environment's own; yields what waits for its stdout."""
        from runbook.engine.docker_run import probing

        return probing(self._daemon(), built, script, variables)

    def run(self, built: Built, sandbox: Sandbox, progress: Progress) -> Execution:
        """Run the job in a container."""
        from runbook.engine.docker_run import run

        return run(self._daemon(), built, sandbox, progress)

    def sweep(self) -> int:
        """Remove containers and folders whose owner is dead."""
        from docker.errors import APIError

        gone = owner.sweep_scratch()
        found = daemon.find()
        if isinstance(found, daemon.Absent):
            return gone
        for container in found.api.containers(all=True, filters={"label": owner.LABEL}):
            if owner.is_dead(container["Labels"][owner.LABEL]):
                try:
                    found.api.remove_container(container["Id"], v=True, force=True)
                except APIError:  # Another runbook sweeps at the same time.
                    continue
                gone += 1
        return gone

    def _daemon(self) -> daemon.Daemon:
        found = daemon.find()
        if isinstance(found, daemon.Absent):
            raise NeedMissing("Docker is not available", found.reason, hint=found.hint, id="engine-unavailable")
        return found


MEMBER = DockerEngine()
