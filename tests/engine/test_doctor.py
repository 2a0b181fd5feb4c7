"""`runbook doctor`, through the real executable."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.errors import NeedMissing

Cli = Callable[..., subprocess.CompletedProcess[str]]


def checks(cli: Cli, **env: str) -> dict[str, dict[str, str]]:
    done = cli("doctor", "--json", env={"PIP_NO_INDEX": "1", **env})
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["replay"] is True
    return {check["name"]: check for check in document["checks"]}


def test_every_engine_of_the_family_is_looked_at(runbook_cli: Cli) -> None:
    from runbook.registry import members

    found = checks(runbook_cli)
    assert {f"engine {name}" for name in members("engine")} <= set(found)
    assert all(check["found"] for check in found.values())


def test_what_is_missing_comes_with_what_mends_it(runbook_cli: Cli, tmp_path: Path) -> None:
    found = checks(runbook_cli, DOCKER_HOST=f"unix://{tmp_path}/no.sock")
    assert found["engine docker"]["state"] == "missing"
    assert str(tmp_path) in found["engine docker"]["found"]
    assert "docker" in found["engine docker"]["mend"]
    assert found["engine local"]["state"] == "warning"
    assert "isolates nothing" in found["engine local"]["found"]


def test_an_engine_on_another_machine_is_not_taken_for_one_here(runbook_cli: Cli) -> None:
    found = checks(runbook_cli, DOCKER_HOST="tcp://docker.example:2375")
    assert "another machine" in found["engine docker"]["found"]


def test_a_socket_that_nobody_answers_is_named(runbook_cli: Cli, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "d.sock"))
        found = checks(runbook_cli, DOCKER_HOST=f"unix://{tmp_path}/d.sock")
    assert "does not answer" in found["engine docker"]["found"]


def test_an_index_that_cannot_be_reached_is_a_warning_and_no_failure(runbook_cli: Cli) -> None:
    assert checks(runbook_cli)["package index"]["state"] == "warning"


def test_the_table_goes_to_stdout_and_a_line_is_not_folded(runbook_cli: Cli) -> None:
    done = runbook_cli("doctor", env={"PIP_NO_INDEX": "1"})
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert any(line.startswith("warning  engine local ") and "isolates nothing" in line for line in lines)
    assert lines[-1] == "This machine can capture and replay bundles."


def test_an_engine_of_another_kind_is_named_and_not_taken(runbook_cli: Cli, tmp_path: Path) -> None:
    from engine_proxy import answering

    with answering(tmp_path / "p.sock", podman=True) as socket:
        found = checks(runbook_cli, DOCKER_HOST=f"unix://{socket}")
    assert found["engine docker"]["state"] == "missing"
    assert "answers Podman" in found["engine docker"]["found"]
    assert "--engine podman" in found["engine docker"]["mend"]
    assert "Podman 4.3.1" in found["engine podman"]["found"]


def test_what_the_engine_cannot_bound_is_said(runbook_cli: Cli, tmp_path: Path) -> None:
    from engine_proxy import answering

    with answering(tmp_path / "d.sock", PidsLimit=False, MemoryLimit=False) as socket:
        found = checks(runbook_cli, DOCKER_HOST=f"unix://{socket}")
    assert "cannot bound memory, processes here" in found["engine docker"]["found"]


@pytest.mark.podman
def test_podman_here_is_named_with_version_and_storage(runbook_cli: Cli) -> None:
    found = checks(runbook_cli)
    assert found["engine podman"]["found"].startswith("Podman ")
    assert found["environments in podman"]["state"] == "ok"


@pytest.mark.docker
def test_the_engine_here_is_named_with_version_and_storage(runbook_cli: Cli) -> None:
    assert "Docker Engine" in checks(runbook_cli)["engine docker"]["found"]


def test_a_replay_left_to_choose_takes_docker_before_podman_and_podman_before_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine_proxy import answering

    from runbook.flow.preflight import find_engine

    with answering(tmp_path / "d.sock") as docker, answering(tmp_path / "p.sock", podman=True) as podman:
        monkeypatch.setenv("CONTAINER_HOST", f"unix://{podman}")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{docker}")
        assert find_engine("auto").name == "docker"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
        assert find_engine("auto").name == "podman"
        monkeypatch.setenv("CONTAINER_HOST", f"unix://{tmp_path}/no.sock")
        assert find_engine("auto", own=True).name == "local"
        with pytest.raises(NeedMissing) as caught:
            find_engine("auto")
        assert caught.value.id == "no-sandbox"
