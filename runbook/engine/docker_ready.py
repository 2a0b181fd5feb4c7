"""A base whose Python is ready for environments: one layer on it, made once for a base and its libraries.

A container of the base says what its Python is, compiles the common modules of its library, which a read-only root
could not keep, and brings shared libraries of the system that the base lacks. No Dockerfile is run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.engine import bring, container, docker_base, owner, ready
from runbook.engine.assemble import TARGET, Python
from runbook.engine.daemon import PODMAN, Daemon, moving
from runbook.engine.interface import Plan
from runbook.engine.lock import alone
from runbook.errors import EnvironmentNotRebuilt
from runbook.progress import Progress

if TYPE_CHECKING:
    from docker import APIClient

REPOSITORY = "runbook/python"
FOLDER = "/run/runbook"
PREFIX_LABEL = "org.runbook.prefix"
"""Folder of the base's interpreter, which no mount may hide."""
_TOLD_LABEL = "org.runbook.told"
"""What the base's Python told of itself: JSON in base64, which no engine reads anything into."""
_BASE_LABEL = "org.runbook.base"
_HIDDEN = ("/tmp", "/run", "/proc", "/sys", "/dev")  # noqa: S108
_TAIL = 4000
_REVISION = "1"
"""Of what is done to a base: another one is another image."""


def obtain(daemon: Daemon, plan: Plan, base: docker_base.BaseImage, progress: Progress) -> dict[str, Any]:
    """The image as the engine describes it, made when not there. Raises EnvironmentNotRebuilt, NeedMissing."""
    facts = [base.id, base.pythons, sorted((name, one.digest, one.held) for name, one in plan.libraries.items())]
    key = hashlib.sha256(f"{_REVISION} {facts}".encode()).hexdigest()
    name = f"{REPOSITORY}:{key[:24]}"
    with alone(key):
        if (found := find(daemon.api, name)) is None:
            progress.say("readying the Python of the base, offline")
            _make(daemon, plan, base, name, progress)
            found = find(daemon.api, name)
    if found is None:
        raise EnvironmentNotRebuilt("the engine did not keep the image", name, id="image-lost")
    _check_minor(plan, python_of(found).version)
    return found


def find(api: APIClient, name: str) -> dict[str, Any] | None:
    """The image of this name, if it is a base made ready."""
    from docker.errors import NotFound

    try:
        found: dict[str, Any] = api.inspect_image(name)
    except NotFound:
        return None
    return found if _labels(found).get(_TOLD_LABEL) else None


def python_of(image: Mapping[str, Any]) -> Python:
    """What the Python of such an image is. Raises EnvironmentNotRebuilt."""
    told = _told_before(image)
    texts = {name: str(told.get(name, "")) for name in ("executable", "implementation", "tag")}
    return Python(base=_labels(image).get(_BASE_LABEL, ""), version=str(told["python"]), **texts)


def lacking(image: Mapping[str, Any]) -> list[str]:
    """Sonames that the packages load and neither base nor bundle had."""
    return list(_told_before(image)["lacking"])


def _told_before(image: Mapping[str, Any]) -> dict[str, Any]:
    return read_told(base64.urlsafe_b64decode(_labels(image)[_TOLD_LABEL]).decode())


def _labels(image: Mapping[str, Any]) -> dict[str, str]:
    return (image.get("Config") or {}).get("Labels") or {}


def minor(version: str) -> str:
    """`3.11` of `3.11.7`."""
    return ".".join(version.split(".")[:2])


def _check_minor(plan: Plan, here: str) -> None:
    if minor(here) != minor(plan.interpreter.version):
        raise EnvironmentNotRebuilt(
            f"the lock is for Python {minor(plan.interpreter.version)}, but the base has Python",
            here,
            hint="capture again with --image of an image that has the same Python",
            id="base-other-python",
        )


def _make(daemon: Daemon, plan: Plan, base: docker_base.BaseImage, name: str, progress: Progress) -> None:
    """Ready it in a container of the base and keep its one layer as the image `name`."""
    from docker.types import Mount

    api = daemon.api
    with owner.scratch() as folder:
        host = {
            "network_mode": "none",
            "init": True,
            "mounts": [
                Mount(f"{FOLDER}/{target}", str(path), type="bind", read_only=True)
                for target, path in _tools(plan, folder).items()
            ],
            "tmpfs": scratch_folders(),
        }
        out, err = Tail(), Tail()
        for python in base.pythons:
            command = [python, "-I", "-S", "-B", f"{FOLDER}/ready.py", FOLDER, *sorted(plan.libraries)]
            with container.created(daemon, base.id, host, entrypoint=command, user="0:0", working_dir="/") as made:
                if not _exists(api, made, python):
                    continue
                _make_folders(api, made)
                ended = container.run(api, made, stdout=out, stderr=err)
                told = _told(out, err, ended.exit_code)
                for soname in told["brought"]:
                    if soname in plan.libraries:
                        progress.say(f"the base lacks {plan.libraries[soname].text}: brought along")
                _commit(daemon, made, name, told=told, base=base)
                return
    raise EnvironmentNotRebuilt(
        f"the base has no Python {minor(plan.interpreter.version)}",
        plan.base.reference or plan.base.digest,
        hint="capture again with --image of an image that has it",
        id="base-without-python",
    )


def scratch_folders() -> dict[str, str]:
    """The folders in memory of a container that works on a base."""
    return {"/tmp": "rw,nosuid,nodev,mode=1777", FOLDER: "rw,nosuid,nodev,mode=0755"}  # noqa: S108


def _tools(plan: Plan, folder: Path) -> dict[str, Path]:
    """What is mounted: name inside → file or folder here.

    Copied, so that the engine needs to see one folder of ours and the package's own modes do not matter.
    """
    for module in (ready, bring):
        shutil.copyfile(str(module.__file__), folder / Path(str(module.__file__)).name)
    brought = plan.library_files() if plan.libraries and plan.library_files else folder / "brought"
    brought.mkdir(exist_ok=True)
    return {"ready.py": folder / "ready.py", "bring.py": folder / "bring.py", "brought": brought}


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


def read_told(said: str) -> dict[str, Any]:
    """The last line that the installer printed, read as hostile: the base's own Python ran it. Empty for none.

    Raises EnvironmentNotRebuilt where it is not what the installer prints: printable texts, and lists of them.
    """
    try:
        told = json.loads(said.strip().rpartition("\n")[2])
    except (ValueError, RecursionError):
        return {}
    values = list(told.values()) if isinstance(told, dict) else []
    texts = [word for value in values for word in (value if isinstance(value, list) else [value])]
    whole = isinstance(told, dict) and isinstance(told.get("python"), str) and isinstance(told.get("prefix"), str)
    if not whole or not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise EnvironmentNotRebuilt("the base's Python does not say what it is", said[-200:], id="base-python-odd")
    libraries = {name: told.get(name, []) for name in ("brought", "lacking")}
    found: dict[str, Any] = {**told}
    found |= {name: value if isinstance(value, list) else [] for name, value in libraries.items()}
    return found


def _told(out: Tail, err: Tail, code: int) -> dict[str, Any]:
    """What the script told. Raises EnvironmentNotRebuilt with its own words when it failed."""
    told = read_told(out.text())
    if code or not told:
        if (full := container.no_room(err.text())) is not None:
            raise full
        said = (err.text() or out.text()).strip().rpartition("\n")[2][:600] or f"exit code {code}"
        raise EnvironmentNotRebuilt("the Python of the base does not work", said, id="base-python-odd")
    if any(told["prefix"] == hidden or told["prefix"].startswith(hidden + "/") for hidden in _HIDDEN):
        raise EnvironmentNotRebuilt(
            "the base keeps its Python in a folder that the sandbox replaces",
            told["prefix"],
            id="base-python-hidden",
        )
    return told


def _commit(
    daemon: Daemon, container_name: str, name: str, *, told: dict[str, Any], base: docker_base.BaseImage
) -> None:
    """Keep the layer, with a configuration that is ours: nothing of the base's starts by itself."""
    path = base.variables.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    labels = {
        _BASE_LABEL: base.id,
        PREFIX_LABEL: told["prefix"],
        _TOLD_LABEL: base64.urlsafe_b64encode(json.dumps(told, sort_keys=True).encode()).decode(),
        # Containers that somebody makes from this image must not look as if they were ours to remove.
        owner.LABEL: "",
    }
    user, activated = "65534:65534", {"PATH": f"{TARGET}/bin:{path}", "VIRTUAL_ENV": TARGET}
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
    with owner.uninterrupted(), moving(daemon.api):
        # Podman ignores the configuration, keeps the base's variables, and takes a change's value as it stands;
        # Docker would expand it.
        how: dict[str, Any] = {"changes": changes} if daemon.product == PODMAN else {"conf": config}
        daemon.api.commit(container_name, repository=repository, tag=tag, pause=False, **how)


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
