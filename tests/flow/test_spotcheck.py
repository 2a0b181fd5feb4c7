"""Spot checks of real jobs: stopped where they were asked to stop, compared up to there, and no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.conftest import Project

pytestmark = pytest.mark.docker

JOB = """
import csv, os, sys, time
bad, pause, late = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
again = os.path.exists("/opt/runbook")
table = open("log.csv", "w")
rows = csv.writer(table)
rows.writerow(["step", "score"])
if again:
    time.sleep(late)
for step in range(0, 1000, 10):
    print(f"step {step} loss: {1 / (step + 1) + (again and step >= bad)}", flush=True)
    rows.writerow([step, step / 2])
    if step % 50 == 0:
        table.flush()
    if again:
        time.sleep(pause)
print("accuracy: 0.9")
open("model.txt", "w").write("m")
"""


def bundle(project: Project, bad: int, pause: float = 0.05, late: float = 0) -> Path:
    project.write("train.py", "import random\nrandom.seed(1)\n" + JOB)
    path = project.folder / "x.runbook"
    job = ("--", project.python, "train.py", str(bad), str(pause), str(late))
    done = project.runbook("run", "--capture", "-o", path, *job)
    assert done.code == 0, done.err
    return path


@pytest.mark.parametrize(("bad", "verdict", "code"), [(500, "partial", 0), (30, "different", 1)])
def test_the_job_is_stopped_at_the_step_and_only_what_came_before_is_judged(
    bad: int, verdict: str, code: int, project: Project
) -> None:
    done = project.runbook("replay", bundle(project, bad), "--engine", "docker", "--until", "100", "--json")
    assert done.code == code, done.err
    told = done.json
    assert (told["verdict"], told["exit_code"]) == (verdict, code)
    partial = told["comparison"]["partial"]
    assert (partial["first"], partial["last"], partial["of"]) == (0, 100, 990)
    assert (partial["points"], partial["of_points"]) == (22, 200)
    assert partial["left_out"] == ["accuracy"]
    assert told["replay"]["outcome"]["status"] == "stopped"
    assert told["replay"]["outcome"]["reason"] == "step 100 was reached"
    folder = Path(done.err.rpartition("report: ")[2].strip()).parent
    text = "steps 0-100 of 990 (22 of 200 points, 11 %)"
    for name in ("report.md", "report.html", "report.json"):
        assert text in (folder / name).read_text().replace("\\", ""), name
    # What it had written is kept, what it buffered too: it was interrupted, not killed.
    assert "accuracy" not in (folder / "stdout.log").read_text()
    assert len((folder / "outputs/log.csv").read_text().splitlines()) >= 12
    assert not (folder / "outputs/model.txt").exists()


def test_a_time_limit_compares_what_was_reached_until_then(project: Project) -> None:
    done = project.runbook("replay", bundle(project, 5000, 0.2), "--engine", "docker", "--time-limit", "4")
    assert done.code == 0, done.err
    assert "Spot check: agrees as far as it went." in done.out
    assert "of 990 (" in " ".join(done.out.split())


def test_a_time_limit_before_any_point_is_inconclusive(project: Project) -> None:
    found = bundle(project, 5000, late=600)
    done = project.runbook("replay", found, "--engine", "docker", "--time-limit", "1", "--json")
    assert done.code == 7, done.err
    assert done.json["verdict"] == "inconclusive"
    assert "before there was anything to compare: its time was up after 1 s" in done.json["reason"]
    done = project.runbook("replay", found, "--engine", "docker", "--until", "-1")
    assert done.code == 2
    assert "no series of the bundle can be followed up to this step: -1" in done.err
    assert "loss 0-990" in done.err


def test_a_job_that_ignores_the_interrupt_is_ended_all_the_same_on_both_engines(project: Project) -> None:
    project.write(
        "train.py",
        """
import multiprocessing, os, signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
stay = os.environ.get("RUNBOOK_WATCH", "").startswith("/run/") or "runbook-replay" in os.getcwd()
def idle():
    time.sleep(600)
if __name__ == "__main__":
    if stay:
        multiprocessing.get_context("fork").Process(target=idle, daemon=True).start()
    for step in range(40):
        print(f"step {step} loss: {step / 3}", flush=True)
        time.sleep(0.5 if stay else 0)
""",
    )
    path = project.folder / "x.runbook"
    assert project.runbook("run", "--capture", "-o", path, "--", project.python, "train.py").code == 0
    for engine in ("docker", "local"):
        done = project.runbook("replay", path, "--engine", engine, "--until", "3", "--json")
        assert done.code == 0, done.err
        assert done.json["replay"]["outcome"]["status"] == "stopped"
        assert done.json["comparison"]["partial"]["last"] == 3
