"""Which container this process is in, and by which image, as far as it can be known from inside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runbook.model.fact import Fact, Value, declared, missing, observed
from runbook.observe.interface import Context

_ID = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_DIGEST = re.compile(r"[^\s@]*@?sha256:[0-9a-f]{64}")
_SOCKETS = ("var/run/docker.sock", "run/docker.sock", "run/podman/podman.sock")


class Container(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The container that a process runs in."""

    runtime: str
    """`docker`, `podman`, `kubernetes`, `apptainer`, `lxc` …"""
    id: Fact[str]
    """The engine's id, 64 hex digits where it is known whole."""
    image: Fact[str]
    """`name@sha256:…`: from the engine when its socket answers, else what RUNBOOK_IMAGE declares."""


def detect_container(env: Mapping[str, str], root: Path = Path("/")) -> Container | None:
    """The container this process is in, or None outside of one.

    root: where `/proc`, `/run` and the engine's socket are looked for.
    """
    podman = _settings(_text(root / "run/.containerenv"))
    groups = _text(root / "proc/self/cgroup")
    runtime = _runtime(env, root, groups)
    if not runtime:
        return None
    found = podman.get("id") or _first_id(groups) or _first_id(_hostname_mount(root))
    identity: Fact[str] = observed(found) if found else missing("the container's id is not visible from inside")
    return Container(runtime=runtime, id=identity, image=_image(env, root, found, podman.get("image", "")))


def _runtime(env: Mapping[str, str], root: Path, groups: str) -> str:
    if env.get("APPTAINER_CONTAINER") or env.get("SINGULARITY_CONTAINER"):
        return "apptainer"
    if env.get("KUBERNETES_SERVICE_HOST") or "kubepods" in groups:
        return "kubernetes"
    if (root / "run/.containerenv").exists() or "libpod-" in groups:
        return "podman"
    if "/docker/" in groups or "docker-" in groups or ((root / ".dockerenv").exists() and _engine_mounts(root)):
        return "docker"
    started = _text(root / "proc/1/environ").split("\0")
    named = next((v.partition("=")[2] for v in started if v.startswith("container=")), "")
    return named or ("lxc" if "/lxc/" in groups else "")


def _image(env: Mapping[str, str], root: Path, identity: str, named: str) -> Fact[str]:
    why = "no engine socket tells it and RUNBOOK_IMAGE is not set"
    if identity:
        for socket in _SOCKETS:
            if (root / socket).is_socket():
                told = _ask_engine(root / socket, identity)
                if told:
                    return observed(told)
                why = "the engine that answers does not know this container's image by a digest"
    stated = env.get("RUNBOOK_IMAGE", "")
    if stated:
        return declared(stated) if _DIGEST.fullmatch(stated) else missing(f"RUNBOOK_IMAGE has no digest: {stated}")
    return missing(f"{named} without its digest: {why}" if named else why)


def _ask_engine(socket: Path, identity: str) -> str:
    """The repository digest of the container's image, from its own engine; empty when it does not tell."""
    import docker
    import requests

    try:
        client = docker.APIClient(base_url=f"unix://{socket}", timeout=5)
    except docker.errors.DockerException:
        return ""
    try:
        image: dict[str, Any] = client.inspect_image(client.inspect_container(identity)["Image"])
        digests = image.get("RepoDigests") or []
        return str(digests[0]) if digests else ""
    except (docker.errors.DockerException, requests.RequestException, KeyError):
        return ""
    finally:
        client.close()


def _engine_mounts(root: Path) -> bool:
    """Whether an engine mounted its own files here; a machine made from an image may have kept only the marker."""
    mounts = [line.split(" ") for line in _text(root / "proc/self/mountinfo").splitlines()]
    return any(len(m) > 4 and m[4] in ("/etc/hostname", "/etc/resolv.conf", "/etc/hosts") for m in mounts)


def _hostname_mount(root: Path) -> str:
    """The line of mountinfo by which an engine mounts its container's hostname file."""
    lines = _text(root / "proc/self/mountinfo").splitlines()
    return next((line for line in lines if "/containers/" in line and "/hostname" in line), "")


def _first_id(text: str) -> str:
    match = _ID.search(text) if text else None
    return match[1] if match else ""


def _settings(text: str) -> dict[str, str]:
    return {k: v.strip('"') for k, _, v in (line.partition("=") for line in text.splitlines()) if v}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


class ContainerCollector:
    """Fills `extra.container`."""

    name = "container"

    def collect(self, context: Context) -> Fact[Container]:
        """The container of this process, which is the job's, or missing with `not in a container`."""
        found = detect_container(context.env)
        return observed(found) if found else missing("not in a container")


MEMBER = ContainerCollector()
