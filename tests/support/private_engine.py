"""A Docker engine of its own that has no image, and a network namespace without a route: nothing to lean on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
from docker.errors import DockerException

NO_ROUTE = ("unshare", "--net", "--")
"""What stands before a command that shall see no network: not even loopback is up."""
_PATIENCE_S = 60


def missing() -> str:
    """Why there can be no such engine here; empty when there can."""
    if os.geteuid() != 0:
        return "only root starts an engine of its own"
    absent = [tool for tool in ("dockerd", "unshare") if shutil.which(tool) is None]
    if absent:
        return f"{' and '.join(absent)} not installed"
    done = subprocess.run([*NO_ROUTE, "true"], capture_output=True, text=True, check=False)
    return f"no network namespace can be made: {done.stderr.strip()}" if done.returncode else ""


@contextmanager
def private_engine(log: Path, *, apart: bool = False) -> Iterator[str]:
    """Start an engine without any image; yields its DOCKER_HOST, and removes all of it afterwards.

    apart: it has a network of its own and reaches no registry, not even on loopback. An engine without a bridge
    that is not apart takes away the bridge that another engine made.
    """
    folder = Path(tempfile.mkdtemp(prefix="runbook-engine-"))
    host = f"unix://{folder}/docker.sock"
    places = ("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid")
    network = NO_ROUTE if apart else ()
    command = [
        *network,
        "dockerd",
        *places,
        "-H",
        host,
        "--bridge",
        "none",
        "--iptables=false",
        "--ip6tables=false",
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        _wait(host, process, log)
        yield host
    finally:
        process.terminate()
        process.wait()
        for mount in sorted(_mounts(folder), reverse=True):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def empty(host: str) -> None:
    """Remove every container and image of the engine, and make sure that none is left."""
    client = docker.DockerClient(base_url=host)
    try:
        for container in client.containers.list(all=True):
            container.remove(force=True)
        for image in client.images.list(all=True):
            try:
                client.images.remove(image.id, force=True)
            except DockerException:  # Gone with another one.
                continue
        left = client.images.list(all=True)
        if left:
            raise RuntimeError(f"images are left: {left}")
    finally:
        client.close()


def _wait(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        if not subprocess.run(["docker", "--host", host, "info"], capture_output=True, check=False).returncode:
            return
        time.sleep(0.2)
    raise RuntimeError(f"dockerd did not start: {log.read_text()[-2000:]}")


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
