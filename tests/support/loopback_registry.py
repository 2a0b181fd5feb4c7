"""A real container registry on loopback, which Docker and runbook both talk to without TLS."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def registry_tool() -> str | None:
    """The registry's executable, None when it is not installed (apt-get install docker-registry)."""
    return shutil.which("docker-registry") or shutil.which("registry")


@contextmanager
def serving(folder: Path, *, htpasswd: str = "") -> Iterator[str]:
    """A registry that keeps its images below `folder`; yields its `host:port` and ends it afterwards.

    htpasswd: a line `user:bcrypt`, where it shall want a login.
    """
    tool = registry_tool()
    assert tool is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
    configuration = {"version": 0.1, "storage": storage, "http": {"addr": host}, "log": {"level": "error"}}
    if htpasswd:
        (folder / "htpasswd").write_text(htpasswd + "\n")
        configuration["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(configuration))
    command = [tool, "serve", folder / "config.yml"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{host}/v2/", timeout=1).close()
                break
            except urllib.error.HTTPError:
                break  # It is there, and wants a login.
            except OSError:
                time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait()
