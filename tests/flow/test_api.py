"""A job that logs by itself, recorded, frozen and replayed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.conftest import Project

ROOT = Path(__file__).parents[2]
JOB = """
import argparse, os, random, signal
import runbook
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
arguments = parser.parse_args()
random.seed(3)
runbook.log_param("lr", arguments.lr / 2)
runbook.log_param("depth", 4)
with runbook.run(name="fold-1", experiment="folds") as run:
    for step in range(5):
        run.log_metric("loss", random.random(), step=step * 10)
runbook.log_metric("final", random.random())
os.mkdir("out")
open("out/model.txt", "w").write("weights")
runbook.log_artifact("out")
runbook.log_artifact("never-written.txt")
if os.environ.get("DIE"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job's interpreter that has runbook itself installed, as a wheel."""
    venv = tmp_path_factory.mktemp("with-runbook") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = venv.parent / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, ROOT], check=True)
    install = ["--python", venv / "bin/python", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, *install, *wheels.glob("*.whl")], check=True)
    return venv / "bin" / "python"


@pytest.fixture
def logging(tmp_path: Path, python: Path, home: Path) -> Project:
    """A project whose job logs."""
    made = Project(tmp_path / "project", python, home)
    made.write("train.py", JOB)
    return made


def finals(record: dict) -> dict[str, int]:
    return {m["name"]: m.get("points", 1) for m in record["metrics"]}


@pytest.mark.docker
def test_what_a_job_logs_is_recorded_and_read_again_on_replay(logging: Project) -> None:
    done = logging.runbook("run", "--", logging.python, "train.py", "--lr", "0.2")
    assert done.code == 0, done.err
    record = logging.runbook("show", "last", "--json").json
    assert finals(record) == {"fold-1/loss": 5, "final": 1}
    assert record["sources"] == ["api:"]
    assert record["experiment"] == "folds"
    assert record["job"]["parameters"] == {"lr": "0.2", "lr (logged)": "0.1", "depth": "4"}
    assert [o["path"] for o in record["outputs"]] == ["out/model.txt"]
    assert {"parameter-conflict", "output-absent"} <= {f["id"] for f in record["findings"]}
    bundle = logging.capture("x.runbook")
    replay = logging.runbook("replay", bundle, "--engine", "docker", "--json")
    assert replay.code == 0, replay.err
    assert replay.json["comparison"]["verdict"] == "identical"
    assert {m["name"] for m in replay.json["comparison"]["metrics"]} == {"fold-1/loss", "final"}
    again = logging.runbook("show", "last", "--json").json
    assert again["kind"] == "replay"
    assert again["job"]["parameters"] == record["job"]["parameters"]


def test_a_job_that_is_not_watched_may_log_all_the_same(logging: Project) -> None:
    assert logging.runbook("run", "--trace", "none", "--", logging.python, "train.py").code == 0
    record = logging.runbook("show", "last", "--json").json
    assert finals(record) == {"fold-1/loss": 5, "final": 1}
    done = logging.runbook("replay", logging.capture("x.runbook"), "--engine", "local", "--json")
    assert done.code == 0, done.err
    assert done.json["comparison"]["verdict"] == "identical"


def test_a_killed_job_keeps_what_it_logged(logging: Project) -> None:
    done = logging.runbook("run", "--", logging.python, "train.py", env={"DIE": "1"})
    assert done.code == 137
    assert finals(logging.runbook("show", "last", "--json").json) == {"fold-1/loss": 5, "final": 1}


def test_without_runbook_the_same_job_runs_and_leaves_nothing(logging: Project) -> None:
    done = subprocess.run(
        [logging.python, "train.py"], cwd=logging.folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(p.name for p in logging.folder.iterdir()) == ["out", "train.py"]
