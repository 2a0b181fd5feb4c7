"""Building an environment's image: the base, plus one layer with the virtual environment. No Dockerfile is run.

Wheels and tools are mounted, never copied into a layer. The image is named by the environment id and carries the
full id as a label, so that a second replay builds nothing.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.engine import bring, container, docker_base, install, owner
from runbook.engine.daemon import PODMAN, Daemon
from runbook.engine.interface import Built, Plan
from runbook.engine.lock import alone
from runbook.errors import EnvironmentNotRebuilt
from runbook.progress import Progress

if TYPE_CHECKING:
    from docker import APIClient

REPOSITORY = "runbook/env"
TARGET = "/opt/runbook/env"
"""Where the virtual environment lies in the image."""
PYTHON = f"{TARGET}/bin/python"
PREFIX_LABEL = "org.runbook.prefix"
"""Folder of the base's interpreter, which no mount may hide."""
_ID_LABEL = "org.runbook.environment"
_PYTHON_LABEL = "org.runbook.python"
_LACKING_LABEL = "org.runbook.lacking"
"""Sonames, separated by blanks, that the packages load and neither base nor bundle had."""
_FOLDER = "/run/runbook"
_HIDDEN = ("/tmp", "/run", "/proc", "/sys", "/dev")  # noqa: S108
_TAIL = 4000


def build(daemon: Daemon, engine: str, plan: Plan, progress: Progress) -> Built:
    """Find the environment, or make it. Raises EnvironmentNotRebuilt, NeedMissing, BundleRejected."""
    api, name = daemon.api, _name(plan.environment_id)
    held = frozenset(soname for soname, library in plan.libraries.items() if library.held)
    if (found := _find(api, name, plan.environment_id, held)) is not None:
        return _built(engine, plan, found, cached=True)
    with alone(plan.environment_id):
        if (found := _find(api, name, plan.environment_id, held)) is not None:
            return _built(engine, plan, found, cached=True)
        base = docker_base.obtain(api, plan, progress)
        progress.say("building the environment, offline")
        _install(daemon, plan, base, name, progress)
    found = _find(api, name, plan.environment_id)
    if found is None:
        raise EnvironmentNotRebuilt("the engine did not keep the image", name, id="image-lost")
    return _built(engine, plan, found, cached=False)


def is_built(api: APIClient, environment_id: str) -> bool:
    """Whether the engine has the environment's image."""
    return _find(api, _name(environment_id), environment_id) is not None


def _name(environment_id: str) -> str:
    return f"{REPOSITORY}:{environment_id.removeprefix('sha256:')[:24]}"


def _find(
    api: APIClient, name: str, environment_id: str, held: frozenset[str] = frozenset()
) -> dict[str, Any] | None:
    """The image of this environment, unless it lacks a library of `held`, which are at hand now."""
    from docker.errors import NotFound

    try:
        found: dict[str, Any] = api.inspect_image(name)
    except NotFound:
        return None
    same = _labels(found).get(_ID_LABEL) == environment_id
    return found if same and not held.intersection(_lacking(found)) else None


def _lacking(image: dict[str, Any]) -> list[str]:
    return _labels(image).get(_LACKING_LABEL, "").split()


def _labels(image: dict[str, Any]) -> dict[str, str]:
    return (image.get("Config") or {}).get("Labels") or {}


def _built(engine: str, plan: Plan, image: dict[str, Any], *, cached: bool) -> Built:
    here = _labels(image).get(_PYTHON_LABEL, "")
    return Built(
        engine=engine,
        handle=str(image["Id"]),
        cached=cached,
        python=PYTHON,
        substitutions=(*substitutions(plan, here), *_lacked(plan, _lacking(image))),
    )


def _lacked(plan: Plan, sonames: list[str]) -> Iterator[str]:
    for soname in sonames:
        if soname in plan.libraries:
            yield f"neither the base nor the bundle has {plan.libraries[soname].text}"


def substitutions(plan: Plan, here: str) -> Iterator[str]:
    """What stands in for the original's interpreter, in sentences."""
    if here != plan.interpreter.version:
        yield f"Python {here} stands in for Python {plan.interpreter.version}"


def minor(version: str) -> str:
    """`3.11` of `3.11.7`."""
    return ".".join(version.split(".")[:2])


def _install(daemon: Daemon, plan: Plan, base: docker_base.BaseImage, name: str, progress: Progress) -> None:
    """Install into a container of the base and keep its one layer as the image `name`."""
    from docker.types import Mount

    api = daemon.api
    with owner.scratch() as folder:
        tools = [(path, f"{_FOLDER}/{target}") for target, path in _tools(plan, folder).items()]
        host = {
            "network_mode": "none",
            "init": True,
            "mounts": [Mount(target, str(path), type="bind", read_only=True) for path, target in tools],
            "tmpfs": {"/tmp": "rw,nosuid,nodev,mode=1777", _FOLDER: "rw,nosuid,nodev,mode=0755"},  # noqa: S108
        }
        out, err = Tail(), Tail()
        for python in base.pythons:
            command = [
                python,
                "-I",
                "-S",
                "-B",
                f"{_FOLDER}/install.py",
                TARGET,
                _FOLDER,
                minor(plan.interpreter.version),
                *sorted(plan.libraries),
            ]
            with container.created(daemon, base.id, host, entrypoint=command, user="0:0", working_dir="/") as made:
                if not _exists(api, made, python):
                    continue
                _make_folders(api, made)
                ended = container.run(api, made, stdout=out, stderr=err)
                told = _told(out, err, ended.exit_code, plan)
                for soname in told["brought"]:
                    progress.say(f"the base lacks {plan.libraries[soname].text}: brought along")
                _commit(daemon, made, name, plan=plan, told=told, base=base)
                return
    raise EnvironmentNotRebuilt(
        f"the base has no Python {minor(plan.interpreter.version)}",
        plan.base.reference or plan.base.digest,
        hint="capture again with --image of an image that has it",
        id="base-without-python",
    )


def _tools(plan: Plan, folder: Path) -> dict[str, Path]:
    """What is mounted: name inside → file or folder here."""
    import pip
    import uv

    # Copied, so that the engine needs to see one folder of ours and the package's own modes do not matter.
    script = folder / "install.py"
    shutil.copyfile(install.__file__, script)
    binary = Path(uv.find_uv_bin()).resolve()
    libraries = folder / "libraries"
    libraries.mkdir()
    for library in _libraries(binary):
        shutil.copyfile(library, libraries / library.name)
        (libraries / library.name).chmod(0o755)
    brought = plan.library_files() if plan.library_files else folder / "brought"
    brought.mkdir(exist_ok=True)
    bringer = folder / "bring.py"
    shutil.copyfile(bring.__file__, bringer)
    return {
        "install.py": script,
        "bring.py": bringer,
        "brought": brought,
        "libraries": libraries,
        "requirements.txt": plan.requirements().resolve(),
        "wheels": plan.wheels().resolve(),
        "uv": binary,
        "pip": Path(pip.__file__).parent.resolve(),
    }


def _libraries(binary: Path) -> list[Path]:
    """Loader and libraries of an executable of this machine, for a base that has others or none."""
    try:
        said = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
    except OSError:
        return []
    return [Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)]


def _exists(api: APIClient, name: str, path: str) -> bool:
    from docker.errors import APIError, NotFound

    try:
        response, _ = api.get_archive(name, path)
    except NotFound:
        return False
    except APIError:
        return False
    response.close()
    return True


def _make_folders(api: APIClient, name: str) -> None:
    """Make what must be there before the start, each as every Linux has it.

    The folder above the environment, because root without a capability may not where Podman closes `/`; and
    `/tmp`, because what is mounted over it takes the mode of what lies there.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, mode in ((TARGET.rpartition("/")[0], 0o755), ("/tmp", 0o1777)):  # noqa: S108
            folder = tarfile.TarInfo(path.lstrip("/"))
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
    api.put_archive(name, "/", archive.getvalue())


def _told(out: Tail, err: Tail, code: int, plan: Plan) -> dict[str, Any]:
    """What the installer told. Raises EnvironmentNotRebuilt with its own words when it failed."""
    try:
        told: dict[str, Any] = json.loads(out.text().strip().rpartition("\n")[2])
    except ValueError:
        told = {}
    if code == install.OTHER_PYTHON and told:
        raise EnvironmentNotRebuilt(
            f"the lock is for Python {minor(plan.interpreter.version)}, but the base has Python",
            told["python"],
            hint="capture again with --image of an image that has the same Python",
            id="base-other-python",
        )
    if code or not told:
        raise container.no_room(err.text()) or not_installed(err.text() or out.text(), code)
    if not "".join([told["python"], told["prefix"], *told["lacking"]]).isprintable():
        raise EnvironmentNotRebuilt(
            "the base's Python does not say what it is", told["python"], id="base-python-odd"
        )
    if any(told["prefix"] == hidden or told["prefix"].startswith(hidden + "/") for hidden in _HIDDEN):
        raise EnvironmentNotRebuilt(
            "the base keeps its Python in a folder that the sandbox replaces",
            told["prefix"],
            id="base-python-hidden",
        )
    return told


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


def _commit(
    daemon: Daemon,
    container_name: str,
    name: str,
    *,
    plan: Plan,
    told: dict[str, Any],
    base: docker_base.BaseImage,
) -> None:
    """Keep the layer, with a configuration that is ours: nothing of the base's starts by itself."""
    path = base.variables.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    labels = {
        _ID_LABEL: plan.environment_id,
        _PYTHON_LABEL: told["python"],
        PREFIX_LABEL: told["prefix"],
        _LACKING_LABEL: " ".join(told["lacking"]),
        # Containers that somebody makes from this image must not look as if they were ours to remove.
        owner.LABEL: "",
    }
    user, activated = "65534:65534", _activated(path)
    config = {
        "Env": [f"{key}={value}" for key, value in {**base.variables, **activated}.items()],
        # Empty and not absent: what is absent would be the installer's.
        "Entrypoint": [],
        "Cmd": ["python"],
        "Healthcheck": {"Test": ["NONE"]},
        "User": user,
        "WorkingDir": "/",
        "Labels": labels,
    }
    changes = [
        *(f"LABEL {key}={value}" for key, value in labels.items()),
        *(f"ENV {key}={value}" for key, value in activated.items()),
        "ENTRYPOINT []",
        'CMD ["python"]',
        f"USER {user}",
    ]
    repository, _, tag = name.partition(":")
    with owner.uninterrupted():
        # Podman ignores the configuration, keeps the base's variables, and takes a change's value as it stands;
        # Docker would expand it.
        how: dict[str, Any] = {"changes": changes} if daemon.product == PODMAN else {"conf": config}
        daemon.api.commit(container_name, repository=repository, tag=tag, pause=False, **how)


def _activated(path: str) -> dict[str, str]:
    return {"PATH": f"{TARGET}/bin:{path}", "VIRTUAL_ENV": TARGET}


class Tail:
    """Keeps the end of a stream in memory, for a message."""

    def __init__(self, cap: int = _TAIL) -> None:
        self._cap, self._bytes = cap, bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._bytes += data
        if len(self._bytes) > 2 * self._cap:
            del self._bytes[: -self._cap]

    @property
    def data(self) -> bytes:
        """What is kept."""
        return bytes(self._bytes[-self._cap :])

    def text(self) -> str:
        """What is kept, as text."""
        return self.data.decode(errors="replace")
