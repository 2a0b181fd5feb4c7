"""Where the job, its inputs and its scratch folders go inside a container. Pure: decides, touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec

from runbook.engine.interface import Mount, Sandbox
from runbook.errors import NeedMissing
from runbook.model.code import Shape

HOST = "runbook"
"""The name of the container itself, which a job without a network finds."""
WORKSPACE = "/workspace"
"""Where the project goes when its own place is taken by the image."""
ELSEWHERE = "/workspace-elsewhere"
"""Where it goes when it is to lie elsewhere, and `WORKSPACE` is where it lies anyhow."""
FOLDER = "/run/runbook"
WATCH = "/run/runbook-watch"
"""Where a watched job writes what is seen of it."""
_FARM = "/run/runbook-inputs"
_SYSTEM = (
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/sbin",
)
_KERNEL = ("/proc", "/sys", "/dev", FOLDER, WATCH, _FARM, "/opt/runbook")
_OCCUPIED = ("/usr/local", "/usr/share", "/var/lib", "/tmp", "/run", "/workspace")  # noqa: S108


@dataclass(frozen=True)
class Bind:
    """One folder or file of the host inside the container."""

    source: str
    target: str
    read_only: bool


@dataclass(frozen=True)
class Placement:
    """The decided layout."""

    root: str
    argv: tuple[str, ...]
    binds: tuple[Bind, ...]
    tmpfs: tuple[str, ...]
    home: str
    spec: bytes
    """What enter.py reads."""
    substitutions: tuple[str, ...]


def place(sandbox: Sandbox, prefix: str, bin_folder: str) -> Placement:
    """Lay out a sandbox. `prefix`: folder of the base's interpreter, which nothing may hide.

    Raises NeedMissing for an input at a place that belongs to the system.
    """
    root = _normal(sandbox.root)
    substitutions: list[str] = []
    taken = _taken(root, prefix)
    if taken:
        substitutions.append(f"the project lies at {WORKSPACE}, because {root} belongs to the image")
    if taken or sandbox.elsewhere:
        root = ELSEWHERE if taken and sandbox.elsewhere else WORKSPACE

    def moved(path: str) -> str:
        old = _normal(sandbox.root)
        if old in (root, "/") or not _within(path, old):
            return path
        return root + path.removeprefix(old)

    argv = tuple(moved(word) if word.startswith("/") else word for word in sandbox.argv)
    binds = [Bind(str(sandbox.work), root, read_only=False)]
    farms: list[dict[str, Any]] = []
    targets = [moved(_normal(mount.target)) for mount in sandbox.mounts]
    for target in targets:
        _check_input(target, root, prefix)
    home, links = _home(sandbox.variables.get("HOME", ""), root, prefix, targets)
    memory = _memory(sandbox, root, prefix, home, targets)
    tmpfs = [folder for folder in memory if folder != home]
    for number, (mount, target) in enumerate(zip(sandbox.mounts, targets, strict=True)):
        cached = not _within(target, root) and any(_within(target, cache) for cache in sandbox.caches)
        kept = cached and any(_within(target, folder) for folder in memory)
        # Below a folder in memory a link or a tree of links leaves everything else writable.
        source = f"{_FARM}/{number}"
        if _has_shape(mount) or (kept and mount.tree):
            farms.append({"source": source, "target": target, "shape": _shape(mount.shape)})
            tmpfs += [] if kept else [target]
            binds.append(Bind(str(mount.source), source, read_only=True))
        elif kept:
            source = f"{source}/{PurePosixPath(target).name}"
            links.append((target, source))
            binds.append(Bind(str(mount.source), source, read_only=True))
        else:
            binds.append(Bind(str(mount.source), target, read_only=True))
    spec: dict[str, Any] = {
        "root": root,
        "cwd": sandbox.cwd,
        "argv": argv,
        "bin": bin_folder,
        "shape": _shape(sandbox.shape),
        "farms": farms,
        "links": links,
    }
    if sandbox.stdin is not None:
        path = moved(_normal(str(PurePosixPath(sandbox.root) / sandbox.stdin.path)))
        spec["stdin"] = {"path": path, "offset": sandbox.stdin.offset}
    return Placement(
        root=root,
        argv=argv,
        binds=tuple(binds),
        tmpfs=tuple(tmpfs),
        home=home,
        spec=msgspec.json.encode(spec),
        substitutions=tuple(substitutions),
    )


def _shape(shape: Shape) -> dict[str, Any]:
    whole: dict[str, Any] = {"links": [], "executables": [], "empty_directories": []}
    return {**whole, **msgspec.to_builtins(shape)}


def _home(original: str, root: str, prefix: str, targets: list[str]) -> tuple[str, list[tuple[str, str]]]:
    """Where HOME is, in memory: at its own place if that hides nothing, else in /tmp with links to inputs."""
    original = _normal(original) if original.startswith("/") else ""
    free = original and not _taken(original, prefix) and not _within(original, root)
    if free and not any(_within(original, target) for target in targets):
        return original, []
    home = "/tmp/home"  # noqa: S108
    inside = [target for target in targets if original and target != original and _within(target, original)]
    return home, [(home + target.removeprefix(original.rstrip("/")), target) for target in inside]


def _memory(sandbox: Sandbox, root: str, prefix: str, home: str, targets: list[str]) -> list[str]:
    """The outermost folders that are in memory and writable: HOME, and where libraries keep downloads."""
    folders = [home, *map(_normal, sandbox.caches)]
    folders += [_normal(value) for name in _FOLDERS if (value := sandbox.variables.get(name, "")).startswith("/")]
    found: list[str] = []
    for folder in sorted(dict.fromkeys(folders)):
        used = folder == home or any(target != folder and _within(target, folder) for target in targets)
        free = folder == home or not (_taken(folder, prefix) or _within(folder, root))
        covered = any(_within(folder, other) for other in found) or any(_within(folder, t) for t in targets)
        if used and free and not covered:
            found.append(folder)
    return found


def _has_shape(mount: Mount) -> bool:
    return mount.shape != Shape()


def _taken(path: str, prefix: str) -> bool:
    """Whether a folder of ours there would hide something of the image."""
    system = (*_SYSTEM, *_KERNEL)
    return (
        any(_within(path, place) for place in system)
        or any(_within(place, path) for place in (*system, *_OCCUPIED))
        or _within(prefix, path)
        or _within(path, prefix)
    )


def _check_input(target: str, root: str, prefix: str) -> None:
    system = any(_within(target, place) for place in (*_SYSTEM, *_KERNEL))
    if (
        system
        or _within(prefix, target)
        or _within(root, target)
        or target in ("/", "/usr", "/opt", "/var", "/run")
    ):
        raise NeedMissing(
            "an input cannot be placed where the job looks, for the image needs that place",
            target,
            hint="move the data out of system folders and capture again",
            id="input-cannot-be-placed",
        )


def _normal(path: str) -> str:
    """The absolute path without `..`, double or trailing slashes."""
    pure = PurePosixPath("/" + path.lstrip("/"))
    parts: list[str] = []
    for part in pure.parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/" + "/".join(parts)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def variables(sandbox: Sandbox, placement: Placement, image: Mapping[str, str], bin_folder: str) -> dict[str, str]:
    """What the job's environment holds besides the image's: the recorded, and what the sandbox decides.

    Nothing of the host. Caches and settings go below HOME, unless the original named a place that is there.
    """
    original = sandbox.variables
    user = original.get("USER") or original.get("LOGNAME") or "runbook"
    path = image.get("PATH", "")
    decided = {
        "PATH": path if path.split(":")[0] == bin_folder else f"{bin_folder}:{path}",
        "VIRTUAL_ENV": bin_folder.rpartition("/")[0],
        "HOME": placement.home,
        "USER": user,
        "LOGNAME": original.get("LOGNAME") or user,
    }
    there = (placement.home, *placement.tmpfs, *(bind.target for bind in placement.binds))
    for name, default in _FOLDERS.items():
        value = original.get(name, "")
        if value and not any(_within(value, place) for place in there):
            decided[name] = default if default.startswith("/") else f"{placement.home}/{default}"
    return {**original, **decided}


_FOLDERS = {
    "TMPDIR": "/tmp",  # noqa: S108 - the container's own, in memory
    "MPLCONFIGDIR": ".config/matplotlib",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}
"""Variables that name folders to write to, and where those are when the original's place does not exist."""
