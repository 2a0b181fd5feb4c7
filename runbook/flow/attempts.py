"""What a replayed job reached for beyond its sandbox, as findings. Pure.

Watching tells what was asked for, not the answer. That it was refused follows from the sandbox: there is no
network, and nothing but the working copy and folders in memory can be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from runbook.engine.placement import ELSEWHERE, WORKSPACE
from runbook.model.record import Finding
from runbook.model.watch import Watched

_SHOWN = 5
_WRITABLE = (
    *("/tmp", "/var/tmp", "/dev", "/proc/self", "/proc/thread-self", "/run/runbook-watch"),  # noqa: S108
    *(WORKSPACE, ELSEWHERE),
)
_ENGINE = re.compile(r"(docker|podman|containerd|crio)[^/]*\.sock$")
_SECRET = re.compile(
    r"/etc/(g?shadow|sudoers)$|/proc/(1|[0-9]+/root|kcore|kallsyms|keys)(/|$)|/dev/(mem|kmem|kmsg|port|sd|vd|nvme)"
    r"|/\.(ssh|aws|gnupg|kube|netrc|pypirc|git-credentials)(/|$)|/\.docker/config\.json$"
)


def attempts(seen: Watched, root: str, variables: Mapping[str, str]) -> Iterator[Finding]:
    """Findings about a job in a container; what it asked of the network is told by `downloads.refused`."""
    files = [one for one in seen.files if not one.library]
    engines = {one.host for one in seen.connections if _ENGINE.search(one.host)}
    engines |= {one.path for one in files if _ENGINE.search(one.path)}
    if engines:
        yield _finding("engine", "the job looked for a container engine, and none is in sight", engines)
    within = (*_WRITABLE, root, *([home] if (home := variables.get("HOME")) else []))
    outside = {one.path for one in files if one.written and not _below(one.path, within) and _own(one.path)}
    if outside:
        yield _finding("write", "the job wrote to what the sandbox keeps read-only, in vain", outside)
    secrets = {one.path for one in files if _SECRET.search(one.path)} - outside
    if secrets:
        yield _finding("read", "the job looked for the machine's own secrets, which are not in sight", secrets)


def _own(path: str) -> bool:
    """Whether it is the job's doing: Python itself tries to keep what it compiled."""
    return "/__pycache__/" not in path


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _finding(kind: str, text: str, what: set[str]) -> Finding:
    names = sorted(what)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return Finding(id=f"tried-{kind}", level="warning", text=f"{text}: {', '.join(names[:_SHOWN])}{more}")
