"""Building an environment: a base made ready, and beside it a folder of this machine that its containers see.

The image is tagged with the environment id, so that a second replay builds nothing. What a wheel holds is compiled
once for a base, in a container that gives nothing but bytes.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.digest.atomic import explaining
from runbook.engine import assemble, compiling, container, docker_base, docker_ready, owner
from runbook.engine.assemble import PYTHON, TARGET, Part, Python
from runbook.engine.daemon import Daemon
from runbook.engine.docker_ready import FOLDER, Tail
from runbook.engine.interface import Built, Plan
from runbook.engine.lock import alone
from runbook.errors import EnvironmentNotRebuilt
from runbook.progress import Progress

if TYPE_CHECKING:
    from docker import APIClient

REPOSITORY = "runbook/env"
_MODULE_GROWTH = 8
_MODULE_ROOM = 64 << 20
"""Most bytes of bytecode: so many times the sources' and this."""


def build(daemon: Daemon, engine: str, plan: Plan, progress: Progress) -> Built:
    """Find the environment, or make it. Raises EnvironmentNotRebuilt, NeedMissing, BundleRejected."""
    api = daemon.api
    held = frozenset(soname for soname, library in plan.libraries.items() if library.held)
    if (found := _find(api, plan.environment_id, held)) is not None:
        return _built(engine, plan, found, cached=True)
    with alone(plan.environment_id):
        if (found := _find(api, plan.environment_id, held)) is not None:
            return _built(engine, plan, found, cached=True)
        base = docker_base.obtain(api, plan, progress)
        image = docker_ready.obtain(daemon, plan, base, progress)
        progress.say("building the environment, offline")
        _lay_out(daemon, plan, image)
        repository, _, tag = _name(plan.environment_id).partition(":")
        api.tag(image["Id"], repository, tag, force=True)
    return _built(engine, plan, image, cached=False)


def is_built(api: APIClient, environment_id: str) -> bool:
    """Whether the engine has the environment's image, and this machine its folder."""
    return _find(api, environment_id) is not None


def _name(environment_id: str) -> str:
    return f"{REPOSITORY}:{environment_id.removeprefix('sha256:')[:24]}"


def _find(api: APIClient, environment_id: str, held: frozenset[str] = frozenset()) -> dict[str, Any] | None:
    """The image of this environment, unless it lacks a library of `held`, which are at hand now."""
    found = docker_ready.find(api, _name(environment_id))
    if found is None or held.intersection(docker_ready.lacking(found)):
        return None
    return found if _folder(environment_id, found).is_dir() else None


def _folder(environment_id: str, image: dict[str, Any]) -> Path:
    return assemble.place(environment_id, docker_ready.python_of(image).base)


def _built(engine: str, plan: Plan, image: dict[str, Any], *, cached: bool) -> Built:
    return Built(
        engine=engine,
        handle=str(image["Id"]),
        cached=cached,
        python=PYTHON,
        folder=_folder(plan.environment_id, image),
        substitutions=(
            *substitutions(plan, docker_ready.python_of(image).version),
            *_lacked(plan, docker_ready.lacking(image)),
        ),
    )


def _lacked(plan: Plan, sonames: list[str]) -> Iterator[str]:
    for soname in sonames:
        if soname in plan.libraries:
            yield f"neither the base nor the bundle has {plan.libraries[soname].text}"


def substitutions(plan: Plan, here: str) -> Iterator[str]:
    """What stands in for the original's interpreter, in sentences."""
    if here != plan.interpreter.version:
        yield f"Python {here} stands in for Python {plan.interpreter.version}"


def _lay_out(daemon: Daemon, plan: Plan, image: dict[str, Any]) -> None:
    """Make the environment's folder, unless it is there from another time."""
    python = docker_ready.python_of(image)
    target = assemble.place(plan.environment_id, python.base)
    if target.is_dir():
        return
    with explaining("the environment", target):
        parts = assemble.parts(plan.trees(PYTHON), python)
        if lacking := [part for part in parts if not part.bytecode.is_dir()]:
            _compile(daemon, image, lacking, python)
        assemble.assemble(target, parts, python)


def _compile(daemon: Daemon, image: dict[str, Any], parts: Sequence[Part], python: Python) -> None:
    """Have the base's Python compile modules of wheels, which it does not import.

    The container's one road out is its stdout: it can write to nothing of this machine.
    """
    from docker.types import Mount

    err = Tail()
    with owner.scratch() as folder:
        folder.chmod(0o755)
        shutil.copyfile(compiling.__file__, folder / "compiling.py")
        mounts, names, size = [Mount(FOLDER, str(folder), type="bind", read_only=True)], [], 0
        for number, part in enumerate(parts):
            mounts.append(Mount(f"/tmp/wheels/{number}", str(part.tree.files), type="bind", read_only=True))  # noqa: S108
            names += [f"{number}/{name}\n" for name in part.modules()]
            size += sum((part.tree.files / name).stat().st_size for name in part.modules())
        (folder / "modules").write_text("".join(names), encoding="utf-8")
        command = [python.executable, "-I", "-S", "-B", f"{FOLDER}/compiling.py", "/tmp/wheels", TARGET]  # noqa: S108
        host = {
            "network_mode": "none",
            "init": True,
            "read_only": True,
            "mounts": mounts,
            "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777"},  # noqa: S108
        }
        with (
            container.created(
                daemon,
                image["Id"],
                host,
                entrypoint=[*command, f"{FOLDER}/modules"],
                user="65534:65534",
                working_dir="/",
            ) as made,
            (folder / "bytecode").open("w+b") as kept,
        ):
            sink = _Capped(kept, size * _MODULE_GROWTH + _MODULE_ROOM)
            ended = container.run(daemon.api, made, stdout=sink, stderr=err)
            if ended.exit_code:
                said = err.text().strip().rpartition("\n")[2] or f"exit code {ended.exit_code}"
                raise container.no_room(said) or EnvironmentNotRebuilt(
                    "the base's Python does not compile", said, id="base-python-odd"
                )
            kept.seek(0)
            assemble.keep_bytecode(kept, parts, python.tag)


class _Capped:
    """A file that takes so many bytes."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._left = file, most

    def write(self, data: bytes) -> None:
        """Take the next bytes. Raises OSError(EFBIG)."""
        self._left -= len(data)
        if self._left < 0:
            raise OSError(errno.EFBIG, "more bytecode than modules can have")
        self._file.write(data)


def not_installed(said: str, code: int) -> EnvironmentNotRebuilt:
    """The installer's own message, trimmed, as an error."""
    lines = [line.strip(" ×╰─▶│\t") for line in said.strip().splitlines() if line.strip()]
    message = " ".join(line for line in lines if not line.startswith("hint:"))[:600] or f"exit code {code}"
    return EnvironmentNotRebuilt(
        "the locked packages cannot be installed",
        message,
        hint="the lock and the wheels must be for this Python and platform: runbook replay --plan",
        id="install-failed",
    )
