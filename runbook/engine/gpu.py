"""GPUs in a container: what is asked of the engine, and what is refused because it would give the host away."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from typing import TYPE_CHECKING

from packaging.version import Version

from runbook.engine.daemon import PODMAN
from runbook.errors import EnvironmentNotRebuilt, NeedMissing

if TYPE_CHECKING:
    from docker.types import DeviceRequest

WARNING = (
    "a GPU container is not a security boundary: replay what you do not trust on a machine that you can throw away"
)
_SAFE = Version("1.17.8")
"""NVIDIA container toolkit that closes CVE-2025-23266: a hook ran as root with the image's own variables."""
_LIBRARY_FOLDERS = re.compile(
    r"(/usr/local/nvidia/lib(64)?|/usr/local/cuda[0-9.-]*/[a-z0-9_/.-]*|/opt/conda/lib|)"
)
_NVIDIA = re.compile(
    r"NVIDIA_(VISIBLE_DEVICES=(all|void|none|[0-9,]+)|DRIVER_CAPABILITIES=[a-z,]+"
    r"|REQUIRE_CUDA=[^/]*|PRODUCT_NAME=.*|[A-Z0-9_]*VERSION=[0-9A-Za-z.+-]*)"
)


def check_engine(product: str) -> None:
    """Refuse an engine that would run the job without a GPU and say nothing."""
    if product == PODMAN:
        raise NeedMissing(
            "Podman gives no GPU to a container that is made through its Docker API",
            "its DeviceRequests are ignored",
            hint="replay with --engine docker",
            id="no-gpu-in-engine",
        )


def request() -> list[DeviceRequest]:
    """Every GPU of the machine."""
    from docker.types import DeviceRequest

    return [DeviceRequest(count=-1, capabilities=[["gpu"]])]


def check(variables: Mapping[str, str]) -> None:
    """Refuse an old toolkit, and an image whose variables reach the toolkit's privileged hooks with odd values."""
    installed = toolkit_version()
    if installed is not None and installed < _SAFE:
        raise NeedMissing(
            f"the NVIDIA container toolkit is older than {_SAFE}, which lets an image take over the host",
            installed,
            hint="sudo apt-get install --only-upgrade nvidia-container-toolkit",
            id="gpu-toolkit-unsafe",
        )
    for name, value in variables.items():
        folders = value.split(":") if name == "LD_LIBRARY_PATH" else []
        odd = not all(_LIBRARY_FOLDERS.fullmatch(folder) and ".." not in folder for folder in folders)
        if odd or (name.startswith("NVIDIA_") and not _NVIDIA.fullmatch(f"{name}={value}")):
            raise EnvironmentNotRebuilt(
                "the base image sets a variable that must not reach a GPU container",
                f"{name}={value}",
                hint="replay without GPUs, or capture again on another base",
                id="base-gpu-variable",
            )


def toolkit_version() -> Version | None:
    """Version of the NVIDIA container toolkit on this machine; None where it cannot be told."""
    for command in ("nvidia-ctk", "nvidia-container-cli"):
        if (path := shutil.which(command)) is None:
            continue
        try:
            said = subprocess.run(
                [path, "--version"], capture_output=True, text=True, timeout=10, check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            continue
        if found := re.search(r"version:?\s+([0-9]+\.[0-9]+\.[0-9]+)", said):
            return Version(found[1])
    return None
