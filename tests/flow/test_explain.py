"""`runbook explain` through the real executable: two runs of one project, two bundles, every format."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def pair(project):
    """A bundle, and the run after it, between which a row of the data and a comment changed."""
    assert project.run("--seed", "3").code == 0
    bundle = project.capture("a.runbook")
    project.write("data.txt", "1.5\n2.75\n3.25\n")
    project.write("train.py", (project.folder / "train.py").read_text() + "# the end\n")
    assert project.run("--seed", "3").code == 0
    return project, bundle, "last"


def test_a_bundle_and_a_run_are_explained_in_words_and_in_every_format(pair):
    project, a, b = pair
    done = project.runbook("explain", a, b)
    assert done.code == 0, done.err
    assert done.out.startswith("rmse is another: ")
    likely, _, rest = done.out.partition("Cannot matter")
    assert "data.txt:2: row 2: 2.5 → 2.75" in likely
    assert "in record.json: A /inputs/0, B /inputs/0" in likely
    assert "train.py" not in likely
    assert "only comments" in rest
    answer = project.runbook("explain", a, b, "--json").json
    assert answer["moved"] is True
    weights = {c["what"]: c["weight"] for c in answer["causes"]}
    assert next(iter(weights)) == "data.txt"
    assert (weights["data.txt"], weights["train.py"]) == ("likely", "cannot matter")
    for ending in ("md", "html", "json"):
        assert project.runbook("explain", a, b, "-o", f"why.{ending}").code == 0
        text = (project.folder / f"why.{ending}").read_text()
        assert "2.75" in text
        assert "train.py" in text
    assert json.loads((project.folder / "why.json").read_text()) == answer


def test_a_bundle_and_its_replay_are_a_pair_with_nothing_to_explain(project):
    assert project.run().code == 0
    bundle = project.capture("a.runbook")
    assert project.runbook("replay", bundle, "--engine", "local").code == 0
    done = project.runbook("explain", bundle, "last")
    assert done.code == 0, done.err
    assert done.out.startswith("The metrics agree (identical)")
    assert "Likely" not in done.out
    assert "Possible" not in done.out


LISTING = """
import os
from pathlib import Path
# As a file system lists them: the working copy of a replay is another place.
names = sorted(os.listdir("parts"), reverse=Path.cwd().name != "project")
level = 0.0
for name in names:
    level = 0.7 * level + float((Path("parts") / name).read_text())
print("level:", level)
"""


def test_the_order_in_which_a_replay_read_a_folder_is_the_cause_that_is_named(project):
    project.write("order.py", LISTING)
    for name in "abc":
        project.write(f"parts/{name}.dat", f"{ord(name)}\n")
    assert project.runbook("run", "--seed", "none=0", "--", str(project.python), "order.py").code == 0
    bundle = project.capture("a.runbook")
    assert project.runbook("replay", bundle, "--engine", "local").code in (1, 7)
    answer = project.runbook("explain", bundle, "last", "--json").json
    first = answer["causes"][0]
    assert (first["family"], first["what"], first["weight"]) == ("order", "parts", "likely")
    assert (first["original"], first["replay"]) == ("a.dat, b.dat, c.dat", "c.dat, b.dat, a.dat")


def test_a_job_without_a_seed_is_not_given_a_cause(project):
    project.write("train.py", (project.folder / "train.py").read_text().replace("random.seed(", "print("))
    for _ in range(2):
        assert project.run().code == 0
    done = project.runbook("explain", *_ids(project))
    assert done.code == 0, done.err
    assert "no seed was seen" in " ".join(done.out.split())
    assert "Likely" not in done.out
    assert "Possible" not in done.out


def _ids(project):
    return sorted(path.name for path in (project.folder / ".runbook" / "runs").iterdir() if path.is_dir())


def test_runs_without_a_common_metric_cannot_be_explained(project):
    assert project.run().code == 0
    first = _ids(project)[0]
    project.write("other.py", "print('hello')\n")
    assert project.runbook("run", "--", str(project.python), "other.py").code == 0
    assert project.runbook("explain", first, "last").code == 7


def test_an_unknown_ending_is_refused_before_anything_is_read(project):
    done = project.runbook("explain", "a.runbook", "b.runbook", "-o", "why.txt")
    assert done.code == 2
    assert done.err.startswith("error: no such format: why.txt\n\nhint: ")


def test_a_run_under_another_locale_can_be_captured(project):
    assert project.run().code == 0
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = project.runbook("capture", "-o", "c.runbook", env=plain)
    assert done.code == 0, done.err
