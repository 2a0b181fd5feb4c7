"""Podman's profile of system calls without what Docker's withholds: its default lets a job make user namespaces.

Inside one, a job has every capability over a part of the kernel that it could not reach before, and could mount.
Source: the profiles of containers/common (`/usr/share/containers/seccomp.json`) and of moby (`default.json`).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from runbook.digest.atomic import write_atomic
from runbook.engine.daemon import PODMAN

_PLACES = ("/etc/containers/seccomp.json", "/usr/share/containers/seccomp.json")
"""Where Podman itself looks, its first choice first."""
_WITHHELD = (
    *("unshare", "setns", "mount", "mount_setattr", "umount", "umount2", "pivot_root", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "keyctl", "add_key", "request_key"),
)
_NAMESPACES = 0x7E020000
"""The flags of `clone` that make a namespace."""
_EPERM, _ENOSYS = 1, 38


def options(product: str) -> list[str]:
    """What a container's security options need besides; nothing where the engine's own profile is the stricter."""
    if product != PODMAN or (path := _profile()) is None:
        return []
    return [f"seccomp={path}"]


def missing(product: str) -> bool:
    """Whether jobs here may make user namespaces, for there is no profile to start from."""
    return product == PODMAN and _profile() is None


@cache
def _profile() -> Path | None:
    for place in _PLACES:
        try:
            stricter = withhold(json.loads(Path(place).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        path = platformdirs.user_cache_path("runbook") / "seccomp-podman.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(stricter).encode())
        return path
    return None


def withhold(profile: dict[str, Any]) -> dict[str, Any]:
    """The profile with these calls refused; `clone` stays for processes.

    `clone3`, whose flags a filter cannot see, is said not to exist, so that the C library takes `clone`.
    """
    gone = {*_WITHHELD, "clone", "clone3"}
    rules = [
        {**rule, "names": [name for name in rule["names"] if name not in gone]} for rule in profile["syscalls"]
    ]
    plain = {"index": 0, "value": _NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules += [
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [plain]},
        {"names": list(_WITHHELD), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
    ]
    return {**profile, "syscalls": [rule for rule in rules if rule["names"]]}
