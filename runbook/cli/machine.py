"""What this machine has for capturing and replaying: one check after another, each with what mends it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from runbook.engine.daemon import Daemon

_PATIENCE_S = 3
_DISK_LOW = 10 << 30
"""Free bytes below which an environment with a deep learning framework may not fit."""
_MEMORY_LOW = 4 << 30

State = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    serves: Literal["capture", "replay", "both"]
    state: State
    found: str
    mend: str = ""
    """The command or action that mends it; empty when there is nothing to mend."""


def look() -> Iterator[Check]:
    """Every check, engines first."""
    for part in (_engines, _uv, _git, _gpu, _index, _room, _caches):
        yield from part()


def _engines() -> Iterator[Check]:
    from runbook.registry import members

    for name, engine in members("engine").items():
        reason = engine.available()
        if reason:
            yield Check(f"engine {name}", "replay", "missing", reason, engine.hint())
            continue
        said = "; ".join([engine.describe(), *engine.warnings()])
        yield Check(f"engine {name}", "replay", "warning" if engine.warnings() else "ok", said, engine.hint())


def _uv() -> Iterator[Check]:
    import uv

    try:
        path = uv.find_uv_bin()
    except FileNotFoundError:
        yield Check("uv", "replay", "missing", "its executable is not there", "pip install --force-reinstall uv")
    else:
        yield Check("uv", "replay", "ok", _version(path))


def _git() -> Iterator[Check]:
    if (path := shutil.which("git")) is None:
        found = "not found: code is captured without commit, branch and patch"
        yield Check("git", "capture", "warning", found, "sudo apt-get install git")
    else:
        yield Check("git", "capture", "ok", _version(path))


def _gpu() -> Iterator[Check]:
    from runbook.engine.gpu import toolkit_version
    from runbook.model.fact import missing
    from runbook.observe.interface import Context
    from runbook.registry import members

    here = Path.cwd()
    context = Context(argv=(), root=here, cwd=here, env={}, interpreter=missing("no job"), probe=None)
    found = members("observe")["accelerators"].collect(context)
    if not found.known:
        yield Check("GPU", "both", "ok", f"none: {found.reason}")
        return
    devices = ", ".join(device.model.text() for device in found.value.devices)
    yield Check("GPU", "both", "ok", f"{devices or 'no device'}; driver {found.value.driver.text()}")
    version = toolkit_version()
    if version is None:
        mend = "sudo apt-get install nvidia-container-toolkit && sudo systemctl restart docker"
        yield Check("GPU in containers", "replay", "warning", "no NVIDIA container toolkit", mend)
    else:
        yield Check("GPU in containers", "replay", "ok", f"NVIDIA container toolkit {version}")


def _index() -> Iterator[Check]:
    import pip

    from runbook.environment.index import Index

    options = ("--timeout", str(_PATIENCE_S), "--retries", "0")
    pin = ("pip", pip.__version__)
    release = Index(_cache(), options).files([pin])[pin]
    if release.remote:
        yield Check("package index", "both", "ok", "answers")
    else:
        found = f"not reached ({release.problem or 'no index is configured'}): wheels must be cached or carried"
        yield Check("package index", "both", "warning", found, "pip config debug   (index-url, proxy, cert)")


def _room() -> Iterator[Check]:
    import tempfile

    import psutil

    places = {"temporary files": Path(tempfile.gettempdir()), "caches": _cache()}
    for name, daemon in _daemons():
        if daemon.root and Path(daemon.root).exists():
            places[f"images of {name}"] = Path(daemon.root)
    for name, place in places.items():
        existing = next(folder for folder in (place, *place.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        state: State = "ok" if free >= _DISK_LOW else "warning"
        mend = "" if state == "ok" else f"free space below {existing}: df -h {existing}"
        yield Check(f"disk for {name}", "both", state, f"{_size(free)} free in {place}", mend)
    memory = psutil.virtual_memory()
    state = "ok" if memory.total >= _MEMORY_LOW else "warning"
    yield Check("memory", "replay", state, f"{_size(memory.available)} of {_size(memory.total)} available")


def _caches() -> Iterator[Check]:
    from runbook.engine.growth import weigh

    if (place := _cache()).exists():
        yield Check("cache", "both", "ok", f"{_size(weigh(place))} in {place} (may be removed at any time)")
    for name, daemon in _daemons():
        images = [
            i
            for repository in ("runbook/env", "runbook/python", "runbook/base")
            for i in daemon.api.images(repository)
        ]
        size = sum(int(image["Size"]) for image in images)
        found = f"{len(images)} images, at most {_size(size)} ({name} image rm removes what is not needed)"
        yield Check(f"environments in {name}", "replay", "ok", found)


def _daemons() -> Iterator[tuple[str, Daemon]]:
    """Engines that keep images and answer here, by name."""
    from runbook.engine.daemon import Daemon
    from runbook.engine.docker_api import ApiEngine
    from runbook.registry import members

    for name, engine in members("engine").items():
        if isinstance(engine, ApiEngine) and isinstance(found := engine.find(), Daemon):
            yield name, found


def _cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("runbook")


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"


def _version(path: str) -> str:
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or f"{path} does not start"
