"""What is asked of an engine for a job that used a GPU, and what is refused. No GPU is needed."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engine_proxy import Proxy, proxied

from runbook.engine import gpu
from runbook.engine.docker_api import ApiEngine
from runbook.errors import EnvironmentNotRebuilt, NeedMissing

from .conftest import Runner


@pytest.fixture
def recorded(runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The real engine of `runner`, asked through a proxy."""
    assert isinstance(runner.engine, ApiEngine)
    found = runner.engine.find()
    with proxied(tmp_path / "engine.sock", found.address) as proxy:
        monkeypatch.setenv("DOCKER_HOST", proxy.url)
        monkeypatch.setenv("CONTAINER_HOST", proxy.url)
        yield proxy


@pytest.mark.docker
def test_a_job_with_gpus_asks_for_all_of_them_by_a_device_request(runner: Runner, recorded: Proxy) -> None:
    try:
        runner.python("pass", gpus=True)
    except NeedMissing as error:
        assert error.id == "no-gpu-in-engine"  # As on every machine without one.
        assert "nvidia-container-toolkit" in error.hint
    host = recorded.bodies("POST /containers/create")[-1]["HostConfig"]
    assert [(one["Count"], one["Capabilities"]) for one in host["DeviceRequests"]] == [(-1, [["gpu"]])]
    # A GPU weakens nothing else.
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert not host.get("Privileged") and not host.get("Devices")


@pytest.mark.docker
def test_a_job_without_gpus_asks_for_no_device(runner: Runner, recorded: Proxy) -> None:
    runner.python("pass")
    host = recorded.bodies("POST /containers/create")[-1]["HostConfig"]
    assert not host.get("DeviceRequests") and not host.get("Devices")


@pytest.mark.podman
@pytest.mark.parametrize("runner", ["podman"], indirect=True)
def test_podman_which_would_ignore_the_request_is_refused_before_anything_is_made(
    runner: Runner, recorded: Proxy
) -> None:
    with pytest.raises(NeedMissing) as caught:
        runner.python("pass", gpus=True)
    assert (caught.value.id, caught.value.hint) == ("no-gpu-in-engine", "replay with --engine docker")
    assert not recorded.bodies("POST /containers/create")


Tool = Callable[[str], None]


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts an `nvidia-ctk` that says this into the PATH."""

    def install(said: str) -> None:
        path = tmp_path / "nvidia-ctk"
        path.write_text(f"#!/bin/sh\necho '{said}'\n")
        path.chmod(0o755)
        assert subprocess.run([path], capture_output=True, text=True, check=True).stdout == said + "\n"
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return install


def test_a_toolkit_that_lets_an_image_take_over_the_host_is_refused(toolkit: Tool) -> None:
    toolkit("NVIDIA Container Toolkit CLI version 1.17.7")
    with pytest.raises(NeedMissing, match=r"1\.17\.7") as caught:
        gpu.check({})
    assert caught.value.id == "gpu-toolkit-unsafe"


def test_a_newer_toolkit_and_plain_variables_pass(toolkit: Tool) -> None:
    toolkit("NVIDIA Container Toolkit CLI version 1.17.8")
    gpu.check(
        {
            "NVIDIA_VISIBLE_DEVICES": "all",
            "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
            "LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/cuda-12.4/lib64",
        }
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LD_LIBRARY_PATH", "/evil"),
        ("LD_LIBRARY_PATH", "/usr/local/cuda/../../evil"),
        ("NVIDIA_MOUNT", "/etc"),
        ("NVIDIA_VISIBLE_DEVICES", "/var/run"),
        ("NVIDIA_DRIVER_CAPABILITIES", "all;evil"),
    ],
)
def test_a_variable_of_the_image_that_would_reach_privileged_hooks_is_refused(
    toolkit: Tool, name: str, value: str
) -> None:
    toolkit("version: 1.18.0")
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        gpu.check({name: value})
    assert caught.value.id == "base-gpu-variable"
