"""Docker Engine."""

from __future__ import annotations

import os
from pathlib import Path

from runbook.engine import daemon
from runbook.engine.docker_api import ApiEngine


def _places() -> list[daemon.Place]:
    """Addresses in the order in which Docker's own client looks, then the places where engines usually listen."""
    if host := os.environ.get("DOCKER_HOST"):
        return [(host, "DOCKER_HOST")]
    sockets = ["/var/run/docker.sock"]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        sockets.append(f"{runtime}/docker.sock")
    sockets.append(f"/run/user/{os.getuid()}/docker.sock")
    sockets += [str(Path.home() / p) for p in (".docker/run/docker.sock", ".docker/desktop/docker.sock")]
    chosen = daemon.context()
    return [*([] if chosen is None else [chosen]), *daemon.default_places(sockets)]


PRODUCT = daemon.Product(
    name=daemon.DOCKER,
    places=_places,
    hints={
        "denied": "sudo usermod -aG docker $USER   (then log in again), or start rootless Docker",
        "remote": "unset DOCKER_HOST, or run runbook on that machine",
        "other": "replay --engine podman, or unset DOCKER_HOST",
        "silent": "sudo systemctl start docker",
        "absent": "sudo apt-get install docker.io && sudo systemctl start docker, or: replay --engine local",
    },
)
MEMBER = ApiEngine("docker", PRODUCT, stronger="dockerd-rootless-setuptool.sh install")
