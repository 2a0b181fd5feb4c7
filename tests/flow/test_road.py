"""The whole road: run, capture, verify, replay, verdict."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.flow.conftest import JOB, Project


def _tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_run_passes_output_and_exit_code_through(project: Project) -> None:
    done = project.run("--seed", "4")
    assert done.code == 0
    assert done.out.startswith("rmse: ")
    project.write("broken.py", "raise SystemExit(7)")
    assert project.runbook("run", "--", str(project.python), "broken.py").code == 7


def test_the_same_run_frozen_twice_is_the_same_bytes(project: Project) -> None:
    project.run()
    one, two = project.capture("one.runbook"), project.capture("two.runbook")
    assert _tree(one) == _tree(two)
    zip_one, zip_two = project.capture("one.runbook.zip"), project.capture("two.runbook.zip")
    assert zip_one.read_bytes() == zip_two.read_bytes()
    ids = [project.runbook("verify", b, "--json").json["id"] for b in (one, zip_one)]
    assert ids[0] == ids[1]


def test_capture_freezes_the_code_that_ran_not_what_was_edited_since(project: Project) -> None:
    project.run()
    ran = (project.folder / "train.py").read_text()
    project.write("train.py", ran + "\n# edited after the run\n")
    bundle = project.capture("x.runbook")
    assert (bundle / "data/code/train.py").read_text() == ran


def test_a_declared_run_is_captured_without_being_executed(project: Project) -> None:
    project.write("out.log", "rmse: 0.5\n")
    project.write("metrics.json", '{"accuracy": 0.9}')
    command = f"{project.python} train.py"
    bundle = project.folder / "x.runbook"
    options = ("--log", "out.log", "--metric", "rmse=rmse: ([0-9.]+)", "--metrics", "metrics.json")
    done = project.runbook("capture", "-o", bundle, "--command", command, *options)
    assert done.code == 0, done.err
    record = project.runbook("show", bundle, "--json").json
    assert record["outcome"]["status"] == "unobserved"
    assert {m["name"]: m["final"] for m in record["metrics"]} == {"accuracy": 0.9, "rmse": 0.5}
    assert (project.folder / "metrics.json").read_text() == '{"accuracy": 0.9}'


@pytest.mark.docker
def test_a_replay_in_docker_is_identical_and_the_second_builds_nothing(project: Project) -> None:
    project.run()
    bundle = project.capture("x.runbook")
    first = project.runbook("replay", bundle, "--engine", "docker", "--json")
    assert first.code == 0, first.err
    assert first.json["comparison"]["verdict"] == "identical"
    assert {m["name"] for m in first.json["comparison"]["metrics"]} == {"accuracy", "loss", "rmse"}
    second = project.runbook("replay", bundle, "--engine", "docker", "--json")
    assert second.code == 0
    assert second.json["environment_cached"] is True


def test_a_replay_on_this_machine_is_labelled_as_weaker(project: Project) -> None:
    project.run()
    done = project.runbook("replay", project.capture("x.runbook"), "--engine", "local")
    assert done.code == 0, done.err
    assert "identical" in done.out
    assert "isolates nothing" in done.out


def test_another_seed_differs_by_name_and_a_tolerance_covers_it(project: Project) -> None:
    project.run("--seed", "1")
    one = project.capture("one.runbook")
    project.run("--seed", "2")
    two = project.capture("two.runbook")
    done = project.runbook("diff", one, two)
    assert done.code == 1
    for word in ("seed", "accuracy", "loss", "rmse", "different"):
        assert word in done.out
    covered = project.runbook("diff", one, two, "--tolerance", "*=abs:1000")
    assert covered.code == 0, covered.out
    assert "within tolerance" in covered.out


@pytest.mark.docker
def test_a_job_that_fails_on_replay_exits_3(project: Project) -> None:
    project.run("--fail")
    done = project.runbook("replay", project.capture("x.runbook"), "--engine", "docker")
    assert done.code == 3
    assert "this job fails wherever it is replayed" in done.err


def test_an_engine_that_is_missing_exits_6(project: Project) -> None:
    project.run()
    bundle = project.capture("x.runbook")
    done = project.runbook("replay", bundle, "--engine", "docker", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert done.code == 6
    assert "hint:" in done.err


def test_referenced_data_absent_exits_6_and_altered_7(project: Project, tmp_path: Path) -> None:
    project.run()
    bundle = project.capture("x.runbook", "--embed-limit", "0", "--force")
    data = project.folder / "data.txt"
    record = project.runbook("show", bundle, "--json").json
    if record["inputs"][0]["stored"] == "code":
        pytest.fail("an input above the limit is by reference")
    moved = data.rename(tmp_path / "elsewhere.txt")
    absent = project.runbook("replay", bundle, "--engine", "local")
    assert absent.code == 6, absent.err
    given = project.runbook("replay", bundle, "--engine", "local", "--data", f"data.txt={moved}")
    assert given.code == 0, given.err
    moved.write_text("9\n")
    altered = project.runbook("replay", bundle, "--engine", "local", "--data", f"data.txt={moved}")
    assert altered.code == 7, altered.err


def test_a_secret_stops_the_capture_and_redact_masks_it(project: Project) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    project.write("settings.py", f'TOKEN = "{token}"\n')
    project.write("train.py", f"import settings\n{JOB}")
    project.run()
    stopped = project.runbook("capture", "-o", project.folder / "x.runbook")
    assert stopped.code == 2
    assert "settings.py" in stopped.err
    assert token not in stopped.err
    assert not (project.folder / "x.runbook").exists()
    bundle = project.capture("x.runbook", "--redact")
    assert all(token.encode() not in p.read_bytes() for p in bundle.rglob("*") if p.is_file())
    assert project.runbook("show", bundle, "--json").json["redactions"]


def test_a_file_with_a_secret_that_the_job_never_opened_is_left_out_by_name(project: Project) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    project.write("deploy/settings.py", f'TOKEN = "{token}"\n')
    project.run()
    bundle = project.capture("x.runbook")
    assert all(token.encode() not in p.read_bytes() for p in bundle.rglob("*") if p.is_file())
    left_out = project.runbook("show", bundle, "--json").json["code"]["left_out"]
    assert left_out == ["deploy/settings.py: it holds what looks like a secret, and the job did not read it"]
    assert project.runbook("verify", bundle).code == 0
    # Not watched, nobody knows what it read.
    project.run(options=("--trace", "none"))
    assert project.runbook("capture", "-o", project.folder / "y.runbook").code == 2


def test_a_plan_executes_nothing(project: Project) -> None:
    project.run()
    bundle = project.capture("x.runbook")
    runs = len(list((project.folder / ".runbook/runs").iterdir()))
    done = project.runbook("replay", bundle, "--plan", "--engine", "local")
    assert done.code == 0
    assert "compare: 3 metrics" in done.out
    assert len(list((project.folder / ".runbook/runs").iterdir())) == runs


def test_a_bundle_is_never_overwritten_unasked(project: Project) -> None:
    project.run()
    project.capture("x.runbook")
    again = project.runbook("capture", "-o", project.folder / "x.runbook")
    assert again.code == 2
    assert project.runbook("verify", project.folder / "x.runbook").code == 0


def test_a_replay_that_does_not_come_to_a_job_leaves_no_run_behind(project: Project) -> None:
    project.run()
    bundle = project.capture("x.runbook", "--embed-limit", "0")
    runs = project.folder / ".runbook/runs"
    before = sorted(p.name for p in runs.iterdir())
    (project.folder / "data.txt").unlink()
    assert project.runbook("replay", bundle, "--engine", "local").code == 6
    assert project.runbook("run", "--", "no-such-program").code == 2
    assert sorted(p.name for p in runs.iterdir()) == before


@pytest.mark.docker
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_replay_that_is_stopped_says_so_and_leaves_nothing(
    project: Project, number: signal.Signals, code: int
) -> None:
    sleeps = (
        "import time, os\nprint('begun', flush=True)\ntime.sleep(60 if os.path.exists('/opt/runbook') else 0)\n"
    )
    project.write("slow.py", sleeps)
    assert project.runbook("run", "--metric", "x=(begun)", "--", project.python, "slow.py").code == 0
    bundle = project.capture("x.runbook")
    before = sorted(p.name for p in (project.folder / ".runbook/runs").iterdir())
    with project.start("replay", bundle, "--engine", "docker") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "begun" in line:
                break
        process.send_signal(number)
        assert process.wait(60) == code
    assert sorted(p.name for p in (project.folder / ".runbook/runs").iterdir()) == before
    listed = ["docker", "ps", "-a", "--format", '{{.Label "org.runbook.owner"}}']
    owners = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    assert not [owner for owner in owners if f"-{process.pid}-" in owner]
    assert not [p.name for p in Path(tempfile.gettempdir()).glob(f"runbook-*-{process.pid}-*")]


def test_a_recorded_run_is_not_redeclared_at_capture(project: Project) -> None:
    project.run()
    done = project.runbook("capture", "--input", "data.txt", "-o", project.folder / "x.runbook")
    assert done.code == 2
    assert "--input" in done.err
    assert not (project.folder / "x.runbook").exists()


def test_capture_means_the_last_run_that_is_no_replay(project: Project) -> None:
    project.run()
    bundle = project.capture("one.runbook")
    assert project.runbook("replay", bundle, "--engine", "local").code == 0
    again = project.capture("two.runbook")
    assert (again / "manifest-sha256.txt").read_bytes() == (bundle / "manifest-sha256.txt").read_bytes()
    replay = max(p.name for p in (project.folder / ".runbook/runs").iterdir())
    assert project.runbook("capture", replay).code == 2


def test_a_bundle_that_cannot_appear_is_refused_before_the_job_runs(project: Project) -> None:
    project.write("mark.py", "open('ran', 'w').close()\n")
    target = project.folder / "missing/x.runbook"
    done = project.runbook("run", "--capture", "-o", target, "--", project.python, "mark.py")
    assert done.code == 2
    assert "mkdir -p" in done.err
    assert not (project.folder / "ran").exists()
