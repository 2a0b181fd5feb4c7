"""The sandbox proven from inside: a bundled job that tries to get out of it, or to use it up."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.flow.conftest import Project

JOB = Path(__file__).parents[1] / "jobs/prisoner/escape.py"
_METRICS = ("--metric", "tried=tried: ([0-9]+)", "--metric", "escapes=escapes: ([0-9]+)")
engines = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("docker", "podman")]
)


@pytest.fixture
def prisoner(project: Project, tmp_path: Path) -> Project:
    """A project whose job is the prisoner; beside it lie an input, and a file of the host that is none."""
    shutil.copyfile(JOB, project.folder / "escape.py")
    (tmp_path / "data.csv").write_text("1,2\n")
    for name in ("data.csv", "secret"):
        (tmp_path / name).write_text("of the host")
        (tmp_path / name).chmod(0o666)
    return project


def _captured(prisoner: Project, *more: str) -> Path:
    beside = prisoner.folder.parent
    job = ("escape.py", str(beside / "secret"), str(beside / "data.csv"), str(os.getpid()), *more)
    done = prisoner.runbook("run", *_METRICS, "--input", beside / "data.csv", "--", prisoner.python, *job)
    assert done.code == 0, done.err
    return prisoner.capture("prisoner.runbook")


@engines
def test_whatever_a_job_tries_is_refused_or_bounded_and_the_report_says_what_was_seen(
    prisoner: Project, engine: str
) -> None:
    bundle, target = _captured(prisoner), prisoner.folder / "report"
    options = ("--engine", engine, "--memory", "1500m", "-o", target, "--json")
    done = prisoner.runbook("replay", bundle, *options)
    lines = (target / "stdout.log").read_text().splitlines()
    table = dict(line.split(": ", 1) for line in lines)
    assert done.code == 0, done.err
    assert not [line for line in lines if "ESCAPED" in line or "broken" in line]
    assert int(table.pop("escapes")) == 0
    assert int(table.pop("tried")) == len(table) == 66
    how = Counter(said.partition(" ")[0] for said in table.values())
    assert how == {"refused": 62, "bounded": 4}
    assert table["fork_without_end"] == "bounded (processes)"

    found = {finding["id"]: finding["text"] for finding in done.json["replay"]["findings"]}
    assert {"192.0.2.1", "example.org", "169.254.169.254"} <= set(re.split("[ ,:]+", found["tried-network"]))
    assert "/var/run/docker.sock" in found["tried-engine"]
    assert "/etc/passwd" in found["tried-write"]
    assert "/etc/shadow" in found["tried-read"]
    assert "4096 processes" in found["processes-ran-out"]
    if engine == "docker":  # Podman does not say.
        assert "memory" in found["memory-ran-out"]
    for ending in ("html", "md"):
        assert "192.0.2.1" in (target / f"report.{ending}").read_text()

    assert (prisoner.folder.parent / "data.csv").read_text() == "of the host"
    # By a word of its own command line: another engine's prisoner may run at the same time.
    mine = str(prisoner.folder.parent / "secret")
    assert not [p for p in psutil.process_iter(["cmdline"]) if mine in (p.info["cmdline"] or ())]


@pytest.mark.docker
def test_a_job_that_fills_the_disk_is_ended_and_the_error_says_why(prisoner: Project) -> None:
    done = prisoner.runbook("replay", _captured(prisoner, "fill"), "--engine", "docker")
    assert done.code == 3, done.err
    assert "error: the job was killed on replay, exit code 137: the working folder grew by more than" in done.err
