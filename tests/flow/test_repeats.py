"""Repeats through the real executable: calibrate, replay several times, with the job's seeds or with others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import UsageError
from runbook.flow.seeding import plan, seeded
from runbook.model.job import Job, Variable
from runbook.observe.shell import staged
from tests.factories import make_record
from tests.flow.conftest import Project

NOISY = """
import argparse, json, os, random
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
arguments = parser.parse_args()
random.seed(arguments.seed)
noise = int.from_bytes(os.urandom(4), "big") / 2**32
accuracy = 0.9 + 0.01 * random.random() + 0.001 * noise
json.dump({"accuracy": accuracy, "fixed": 3}, open("metrics.json", "w"))
"""


def noisy(project: Project, tolerance: str = "accuracy=margin:0.02") -> Path:
    project.write("train.py", NOISY)
    done = project.runbook(
        *("run", "--metrics", "metrics.json", "--no-metric", "*", "--tolerance", tolerance, "--name", "noisy"),
        *("--", str(project.python), "train.py", "--seed", "3"),
    )
    assert done.code == 0, done.err
    return project.capture("noisy.runbook")


@pytest.mark.docker
def test_a_job_that_varies_is_judged_by_its_repeats(project: Project) -> None:
    bundle = noisy(project)
    before = project.runbook("verify", bundle, "--json").json["id"]
    plain = project.runbook("replay", bundle, "--engine", "docker", "--json")
    assert (plain.code, plain.json["verdict"]) == (1, "different")

    done = project.runbook("calibrate", bundle, "--repeats", "4", "--engine", "docker", "--json")
    assert done.code == 0, done.err
    made = Path(done.json["bundle"])
    assert made.name == "noisy-calibrated.runbook"
    assert project.runbook("verify", made, "--json").json["id"] == done.json["id"] != before
    assert project.runbook("verify", bundle, "--json").json["id"] == before
    kept = project.runbook("show", made, "--json").json["calibration"]["value"]
    assert (kept["of"], kept["seeding"]) == (before, "frozen")
    assert len({r["values"]["accuracy"] for r in kept["repeats"]}) == 4
    assert {r["engine"] for r in kept["repeats"]} == {"docker"}

    single = project.runbook("replay", made, "--engine", "docker", "--json")
    accuracy, fixed = single.json["comparison"]["metrics"]
    assert accuracy["verdict"] in ("inconclusive", "different")  # Nineteen in twenty, and never equivalent.
    assert accuracy["statistics"]["interval_from"] == "calibration"
    assert fixed["verdict"] == "identical"

    folder = project.folder / "out"
    several = project.runbook("replay", made, "--repeats", "4", "--engine", "docker", "-o", folder, "--json")
    assert several.code == 0, several.out
    accuracy, fixed = several.json["comparison"]["metrics"]
    assert (accuracy["verdict"], fixed["verdict"]) == ("equivalent", "identical")
    assert len(several.json["comparison"]["repeats"]) == 4
    assert accuracy["statistics"]["margin_of_value"] == pytest.approx(0.02 / accuracy["original"])
    page = (folder / "report.html").read_text()
    assert "where one more run lies" in page
    assert "equivalence (TOST)" in page
    assert "## Repeats" in (folder / "report.md").read_text()
    assert (folder / "replay-4" / "report.html").is_file()


def test_seeds_are_set_where_the_job_declares_one(project: Project) -> None:
    bundle = noisy(project)
    out = project.folder / "seeds.runbook.zip"
    options = ("--engine", "local", "--json")
    done = project.runbook("calibrate", bundle, "--repeats", "3", "--seeds", "5,6,7", "-o", out, *options)
    assert done.code == 0, done.err
    kept = done.json["calibration"]
    assert kept["seeding"] == "chosen"
    assert [r["seeds"] for r in kept["repeats"]] == [{"argv --seed": s} for s in "567"]
    values = [r["values"]["accuracy"] for r in kept["repeats"]]
    assert max(values) - min(values) > 0.001  # More than the noise of the machine.

    several = project.runbook("replay", out, "--repeats", "3", *options)
    comparison = several.json["comparison"]
    assert comparison["broken_preconditions"] == []
    drawn = [r["seeds"]["argv --seed"] for r in comparison["repeats"]]
    assert len({*drawn, "3", "5", "6", "7"}) == 7  # Where the bundle's are chosen, the replayer's are drawn.
    assert any("nobody chose" in text for text in comparison["remarks"])


def test_a_run_is_frozen_and_calibrated_at_once(project: Project) -> None:
    noisy(project)
    target = project.folder / "both.runbook"
    done = project.runbook("capture", "-o", target, "--repeats", "2", env={"DOCKER_HOST": "unix:///nowhere"})
    assert done.code == 0, done.err
    assert project.runbook("verify", target).code == 0
    record = project.runbook("show", target, "--json").json
    assert "of" not in record["calibration"]["value"]
    assert len(record["calibration"]["value"]["repeats"]) == 2
    assert "## Repeats" in project.runbook("report", target, "-o", "-", "--format", "markdown").out


@pytest.mark.docker
def test_a_run_is_observed_frozen_and_calibrated_by_one_command(project: Project) -> None:
    project.write("train.py", NOISY)
    target = project.folder / "one.runbook"
    job = ("--metrics", "metrics.json", "--no-metric", "*", "--", str(project.python), "train.py", "--seed", "3")
    wrong = project.runbook("run", "--repeats", "2", *job)
    assert (wrong.code, "add --capture" in wrong.err) == (2, True), wrong.err
    wrong = project.runbook("run", "--capture", "--seeds", "1", *job)
    assert (wrong.code, "seeds without repeats" in wrong.err) == (2, True), wrong.err
    assert not (project.folder / "metrics.json").exists()  # Before the job was spent on it.

    done = project.runbook("run", "--capture", "-o", target, "--repeats", "2", "--draw-seeds", *job)
    assert done.code == 0, done.err
    assert project.runbook("verify", target).code == 0
    kept = project.runbook("show", target, "--json").json["calibration"]["value"]
    assert kept["seeding"] == "drawn"
    assert [r["engine"] for r in kept["repeats"]] == ["docker", "docker"]
    assert done.err.count("verifying the bundle") == 1  # Once for all repeats.


def test_a_run_that_failed_is_frozen_without_repeats(project: Project) -> None:
    project.write("train.py", "raise SystemExit(4)")
    target = project.folder / "failed.runbook"
    job = ("--", str(project.python), "train.py")
    done = project.runbook("run", "--capture", "-o", target, "--repeats", "2", *job)
    assert (done.code, "without repeats" in done.err) == (4, True), done.err
    assert project.runbook("show", target, "--json").json["calibration"]["evidence"] == "missing"


def test_what_cannot_be_repeated_so_says_so_and_leaves_nothing(project: Project) -> None:
    project.write(
        "train.py", "import json, random as r; r.seed(4); json.dump({'a': 1}, open('metrics.json', 'w'))"
    )
    assert project.runbook("run", "--metrics", "metrics.json", "--", str(project.python), "train.py").code == 0
    bundle = project.capture("fixed.runbook")
    for options, id in (
        (("--draw-seeds",), "declares no seed"),
        (("--seeds", "1,2"), "2 seeds for 5 repeats"),
        (("--seeds", "1,x"), "not seeds"),
        (("--seeds", "1,2,3,4,5", "--draw-seeds"), "--seeds and --draw-seeds"),
    ):
        done = project.runbook("calibrate", bundle, "--engine", "local", *options)
        assert (done.code, id in done.err) == (2, True), done.err
    assert not list(project.folder.glob("*calibrated*"))


def job(*argv: str, **variables: str) -> Job:
    named = tuple(Variable(name=k, value=v) for k, v in variables.items())
    return Job(argv=argv, root="/p", cwd=".", variables=named)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("python", "t.py", "--seed", "7", "--n", "7"), ("python", "t.py", "--seed", "42", "--n", "7")),
        (("python", "t.py", "--seed=7"), ("python", "t.py", "--seed=42")),
        (("python", "t.py", "training.seed=7", "x=7"), ("python", "t.py", "training.seed=42", "x=7")),
        (("python", "-m", "t", "--random-state", "7"), ("python", "-m", "t", "--random-state", "42")),
        (("sh", "-c", "python t.py --seed 7 && ls"), ("sh", "-c", "python t.py --seed 42 && ls")),
        (staged([("a", ["python", "t.py", "--seed", "7"])]), staged([("a", ["python", "t.py", "--seed", "42"])])),
    ],
)
def test_another_seed_takes_the_place_of_the_declared_one(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    found = seeded(make_record(job=job(*before)), 42)
    assert found.record.job.argv == after
    assert list(found.seeds.values()) == ["42"]


def test_a_variable_that_seeds_a_training_is_set_and_the_hash_seed_is_not() -> None:
    found = seeded(make_record(job=job("python", "t.py", SEED="7", PYTHONHASHSEED="0")), 42)
    assert found.seeds == {"SEED": "42"}
    with pytest.raises(UsageError):
        seeded(make_record(job=job("python", "t.py", PYTHONHASHSEED="0")), 42)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_command_line_breaks_it(words: list[str]) -> None:
    try:
        found = seeded(make_record(job=job("python", "t.py", *words)), 42)
    except UsageError:
        return
    assert len(found.record.job.argv) == len(words) + 2


def test_drawn_seeds_are_all_different() -> None:
    assert len({*plan(200, (), True).values}) == 200
