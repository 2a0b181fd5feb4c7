"""Podman, through the socket on which it speaks Docker's API (`podman system service`)."""

from __future__ import annotations

import os

from runbook.engine import daemon
from runbook.engine.docker_api import ApiEngine


def _places() -> list[daemon.Place]:
    """What the caller names, for Podman's own client or for Docker's; then the sockets of systemd's units."""
    named = [(os.environ[name], name) for name in ("CONTAINER_HOST", "DOCKER_HOST") if os.environ.get(name)]
    sockets = []
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        sockets.append(f"{runtime}/podman/podman.sock")
    # Without a root of its own before the machine's: what needs no root is the stronger sandbox.
    sockets += [f"/run/user/{os.getuid()}/podman/podman.sock", "/run/podman/podman.sock"]
    if os.environ.get("CONTAINER_HOST"):
        return named
    # Debian's podman-docker puts it where Docker's clients look.
    return named + daemon.default_places([*sockets, "/var/run/docker.sock"])


_SYSTEMCTL = "systemctl" if os.getuid() == 0 else "systemctl --user"
_INSTALL = f"sudo apt-get install podman catatonit && {_SYSTEMCTL} start podman.socket"
PRODUCT = daemon.Product(
    name=daemon.PODMAN,
    places=_places,
    hints={
        "denied": "systemctl --user start podman.socket   (a socket of your own needs no root)",
        "remote": "unset CONTAINER_HOST, or run runbook on that machine",
        "other": _INSTALL,
        "silent": f"{_SYSTEMCTL} restart podman.socket",
        "absent": _INSTALL,
    },
)
MEMBER = ApiEngine("podman", PRODUCT, stronger="systemctl --user start podman.socket   (not as root)")
