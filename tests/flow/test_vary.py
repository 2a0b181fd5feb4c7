"""`replay --twice` and `--vary` through the real executable: planted sensitivities, each found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook.errors import UsageError
from runbook.flow.variations import Impossible, Setting, Variation, chosen, variations
from runbook.model.job import Job
from runbook.model.job import Variable as V
from tests.factories import make_record
from tests.flow.conftest import Project

PLANTED = """
import json, os, sys, time
words = {"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}
metrics = {
    "calm": 3,
    "hashseed": [i * len(word) for i, word in enumerate(words)][-3:],
    "order": int(os.listdir("data") == list("cedbaf")),
    "threads": int(os.environ.get("OMP_NUM_THREADS", "64")),
    "time": time.gmtime().tm_year,
    "timezone": time.localtime(0).tm_hour,
    "locale": int(sys.stdout.encoding.lower() == "utf-8"),
    "user": int(os.environ.get("USER") == "somebody-else"),
    "environment": int("RUNBOOK_UNKNOWN_VARIABLE" in os.environ),
    "path": int(os.getcwd() == "/workspace"),
}
json.dump(metrics, open("metrics.json", "w"))
open("model.txt", "w").write("weights")
"""
NAMES = ("threads", "hashseed", "order", "time", "timezone", "locale", "user", "environment", "path")

CHANCE = """
import json
value = 0.0
for number, word in enumerate({"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota"}):
    value = value * 1.01 + number * len(word)
json.dump({"calm": 3, "loss": [1.0, 0.5 + value / 1e6]}, open("metrics.json", "w"))
"""


def freeze(project: Project, job: str, *options: str, **env: str) -> Path:
    """A bundle of this job, whose metrics are all in one file."""
    project.write("train.py", job)
    for name in "abcdef":
        project.write(f"data/{name}", name)
    declared = ("--metrics", "metrics.json", "--no-metric", "*", "--input", "data", *options)
    done = project.runbook("run", *declared, "--", str(project.python), "train.py", env=env)
    assert done.code == 0, done.err
    return project.capture("job.runbook")


def verdicts(report: Any) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in report["comparison"]["determinism"]["sensitivities"]}


@pytest.mark.docker
def test_each_thing_that_is_changed_is_named_and_nothing_else(project: Project) -> None:
    bundle = freeze(project, PLANTED, "--trace", "none", PYTHONHASHSEED="0")
    folder = project.folder / "out"
    done = project.runbook("replay", bundle, "--vary", "all", "--engine", "docker", "-o", folder, "--json")
    assert done.code == 0, done.err  # Sensitivity is no failure.
    found = done.json["comparison"]["determinism"]
    assert (found["verdict"], found["runs"], found["metrics"]) == ("deterministic", 2, 10)
    assert verdicts(done.json) == dict.fromkeys(NAMES, "sensitive")
    for one in found["sensitivities"]:
        assert [c["name"] for c in one["changes"] if c["kind"] == "metric"] == [one["name"]], one
        assert [c["name"] for c in one["changes"] if c["kind"] == "output"] == ["metrics.json"]
    assert done.json["verdict"] == "identical"
    text = "sensitive to threads, hashseed, order, time, timezone, locale, user, environment and path"
    for name in ("report.html", "report.md"):
        page = (folder / name).read_text()
        assert "Does it repeat itself?" in page
        assert text in page
    changed = (folder / "vary-hashseed" / "report.md").read_text()
    assert "changed on purpose: PYTHONHASHSEED: 0 → 4242" in changed


@pytest.mark.docker
def test_a_job_of_chance_is_said_to_be_one_before_anything_is_blamed(project: Project) -> None:
    bundle = freeze(project, CHANCE)
    done = project.runbook("replay", bundle, "--vary", "threads,hashseed,order", "--engine", "docker")
    assert done.code == 1, done.err
    said = " ".join(done.out.split())
    assert said.startswith("Different: not reproduced. The job is not deterministic here: two runs in the same")
    assert "needs no other cause" in said
    assert "it varies because of hashseed; nothing can be said of threads; not tried: order" in said
    assert done.err.count("replay with other hashseed") == 2


def test_twice_says_which_metric_from_which_step_and_which_output(project: Project) -> None:
    bundle = freeze(project, CHANCE)
    options = ("--engine", "local", "--json")
    done = project.runbook("replay", bundle, "--twice", *options)
    found = done.json["comparison"]["determinism"]
    assert (found["verdict"], found["runs"]) == ("not deterministic", 2)
    changes = {(c["kind"], c["name"]): c["step"] for c in found["changes"]}
    assert changes == {("metric", "loss"): 1, ("output", "metrics.json"): None}
    assert len(done.json["comparison"]["repeats"]) == 2

    often = project.runbook("replay", bundle, "--repeats", "3", *options)  # The same answer by the same road.
    assert often.json["comparison"]["determinism"]["runs"] == 3

    # What contradicts itself is refused before anything runs.
    for wrong, said in (
        (("--twice", "--repeats", "3"), "--twice with --repeats: 3"),
        (("--vary", "time", "--repeats", "1"), "--vary with --repeats: 1"),
        (("--twice", "--draw-seeds"), "--twice with other seeds"),
        (("--vary", "time", "--seeds", "1,2"), "--vary with other seeds"),
        (("--vary", "moon"), "nothing that can be varied: moon"),
        (("--vary", ","), "nothing that can be varied"),
        (("--twice", "--until", "3"), "a spot check is one replay"),
    ):
        done = project.runbook("replay", bundle, "--engine", "local", *wrong)
        assert (done.code, said in done.err, "verifying" in done.err) == (2, True, False), done.err


def test_on_the_local_engine_what_cannot_be_changed_is_not_tried(project: Project) -> None:
    stern = "import time, json\nassert time.gmtime().tm_year < 2027, 'licence expired'\n"
    bundle = freeze(project, stern + "json.dump({'a': 1}, open('metrics.json', 'w'))")
    done = project.runbook("replay", bundle, "--vary", "time,user,path,timezone", "--engine", "local", "--json")
    assert done.code == 0, done.err
    want = {"time": "fails", "user": "not tried", "path": "not tried", "timezone": "insensitive"}
    assert verdicts(done.json) == want
    failed = done.json["comparison"]["determinism"]["sensitivities"][0]
    assert "licence expired" in failed["words"]


def setting(engine: str = "docker", cpus: float | None = None, **variables: str) -> Setting:
    named = tuple(V(name=name, value=value) for name, value in variables.items())
    return Setting(make_record(job=Job(argv=("python",), root="/p", cwd=".", variables=named)), engine, cpus)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "where",
    [
        setting(),
        setting("local"),
        setting(cpus=1.0),
        setting(
            OMP_NUM_THREADS="1",
            PYTHONHASHSEED="4242",
            TZ="<+0545>-5:45",
            LC_ALL="C",
            LANG="C",
            LANGUAGE="",
            PYTHONUTF8="0",
            PYTHONCOERCECLOCALE="0",
            HOME="/home/ada",
        ),
        setting(OMP_NUM_THREADS="many", PYTHONHASHSEED="random"),
    ],
)
def test_a_change_is_always_another_than_what_was_recorded(name: str, where: Setting) -> None:
    (found,) = variations([name], where)
    if isinstance(found, Impossible):
        assert where.engine == "local"
        return
    assert isinstance(found, Variation)
    assert found.name == name
    assert bool(found.variables) + bool(found.inside) + found.elsewhere == 1  # One thing at a time.
    assert all(where.variable(key) != value for key, value in found.variables.items()) or name == "locale"
    asked = found.of(where.record)
    assert {v.name: v.value for v in asked.job.variables}.items() >= dict(found.variables).items()
    assert asked.job.variables != where.record.job.variables or not found.variables
    assert "HOME" not in found.variables or not where.variable("HOME")


def test_threads_are_one_or_two_and_never_what_they_were() -> None:
    for declared, after in (("1", "2"), ("8", "1")):
        (found,) = variations(["threads"], setting(OMP_NUM_THREADS=declared))
        assert isinstance(found, Variation)
        assert found.variables["OMP_NUM_THREADS"] == found.variables["MKL_NUM_THREADS"] == after
        assert found.cpus == (1.0 if declared == "8" else None)


def test_names_are_read_once_each_in_the_order_given() -> None:
    assert chosen("time, threads,time") == ("time", "threads")
    assert chosen("all") == NAMES
    with pytest.raises(UsageError):
        chosen("all,time")
