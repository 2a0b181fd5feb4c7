"""What a replay in Docker may reach: the network when it is allowed to, and a registry for its base."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from interpreter_base import make_layout
from loopback_registry import registry_tool, serving

from tests.flow.conftest import Project

pytestmark = pytest.mark.docker

_CALLS = """
import http.client, sys
try:
    server = http.client.HTTPConnection(sys.argv[1], timeout=5)
    server.request("GET", "/")
    print("reached:", int(server.getresponse().status == 204))
except OSError:
    print("reached: 0")
"""


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def beyond() -> Iterator[str]:
    """A server of this machine as a container on the engine's bridge sees it; its `host:port`."""
    # An engine that has run nothing yet names no gateway: it is the first address of the network.
    subnet = _docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    gateway = str(ipaddress.ip_network(subnet)[1])
    try:
        server = ThreadingHTTPServer((gateway, 0), _Answering)
    except OSError:
        pytest.skip(f"the engine's bridge {gateway} is not an address of this machine")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"{gateway}:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_network_is_there_only_when_allowed_and_the_report_says_so(project: Project, beyond: str) -> None:
    project.write("calls.py", _CALLS)
    job = ("--", str(project.python), "calls.py", beyond)
    assert project.runbook("run", "--metric", "reached=reached: ([01])", *job).out == "reached: 1\n"
    bundle = project.capture("x.runbook")
    shut = project.folder / "shut"
    closed = project.runbook("replay", bundle, "--engine", "docker", "--json", "-o", shut)
    assert closed.json["comparison"]["verdict"] != "identical"
    assert (shut / "stdout.log").read_text() == "reached: 0\n"
    assert "the network was allowed" not in closed.json["notes"]
    target = project.folder / "report"
    opened = project.runbook("replay", bundle, "--engine", "docker", "--allow-network", "-o", target)
    assert opened.code == 0, opened.err
    for text in (opened.out, *((target / f"report.{ending}").read_text() for ending in ("html", "md", "json"))):
        assert "the network was allowed" in text


@pytest.mark.skipif(registry_tool() is None, reason="needs docker-registry: apt-get install docker-registry")
def test_a_base_that_only_a_registry_has_is_pulled_and_without_it_the_replay_exits_4(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "registry").mkdir()
    with serving(tmp_path / "registry") as host:
        reference = _push(tmp_path / "layout", f"{host}/base:1")
        project.run()
        bundle = project.capture("x.runbook", "--image", reference)
        record = json.loads((bundle / "data/record.json").read_text())
        environment = f"runbook/env:{record['environment']['id']['value'][7:31]}"
        assert record["environment"]["base"]["value"].get("layout", "") == ""
        try:
            _forget(environment, reference)
            done = project.runbook("replay", bundle, "--engine", "docker", "--json")
            assert done.code == 0, done.err
            assert done.json["environment_cached"] is False
            assert f"pulling the base {reference}" in done.err
            assert _docker("image", "inspect", reference, "--format", "{{.Id}}")
        finally:
            _forget(environment, reference)
    gone = project.runbook("replay", bundle, "--engine", "docker")
    assert gone.code == 4, gone.err
    assert "the base image cannot be pulled" in gone.err and reference in gone.err
    assert "hint: log in to its registry" in gone.err


def _push(layout: Path, name: str) -> str:
    """Have the registry keep a base with this machine's Python that the engine then lacks; `NAME@DIGEST`."""
    make_layout(layout, repo_tags=[name])
    with tarfile.open(layout.with_suffix(".tar"), "w") as archive:
        archive.add(layout, ".")
    _docker("load", "--input", str(layout.with_suffix(".tar")))
    try:
        _docker("push", "--quiet", name)
        return _docker("image", "inspect", name, "--format", "{{index .RepoDigests 0}}")
    finally:
        _forget(name)


def _forget(*images: str) -> None:
    for image in images:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)
