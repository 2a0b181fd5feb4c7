"""Jobs of several steps: declared, from a dvc.yaml, and as found; replayed as one."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from runbook import dvc
from runbook.errors import UsageError
from tests.flow.conftest import Project

PREPARE = """
import random
from pathlib import Path
random.seed(5)
rows = [float(x) for x in Path("raw.txt").read_text().split()]
Path("out").mkdir(exist_ok=True)
Path("out/clean.txt").write_text(" ".join(repr(x * random.random()) for x in rows))
"""
TRAIN = """
import json, sys
from pathlib import Path
rows = [float(x) for x in Path("out/clean.txt").read_text().split()]
count = int(Path("count.txt").read_text())
Path("metrics.json").write_text(json.dumps({"mean": sum(rows) / count}))
if "--fail" in sys.argv:
    raise SystemExit(9)
"""
YAML = """
stages:
  - name: prepare
    command: {python} prepare.py
    inputs: [raw.txt]
    outputs: [out/clean.txt]
  - name: count
    command: [sh, -c, "wc -w < out/clean.txt > count.txt"]
    inputs: [out]
    outputs: [count.txt]
  - name: train
    command: {python} train.py {more}
    inputs: [out/clean.txt, count.txt]
    metrics: [metrics.json]
"""
DVC = """
stages:
  train:
    cmd: {python} train.py
    deps: [train.py, count.txt, out/clean.txt]
    metrics:
      - metrics.json:
          cache: false
  count:
    cmd: wc -w < out/clean.txt > count.txt
    deps: [out/clean.txt]
    outs: [count.txt]
  prepare:
    cmd:
      - echo preparing
      - {python} prepare.py
    deps: [prepare.py, raw.txt]
    outs:
      - out/clean.txt
"""


@pytest.fixture
def steps(project: Project) -> Project:
    """A project of three steps, one of them without Python."""
    project.write("prepare.py", PREPARE)
    project.write("train.py", TRAIN)
    project.write("raw.txt", "1 2 3 4\n")
    return project


def stages(project: Project) -> dict[str, dict[str, Any]]:
    record = project.runbook("show", "last", "--json").json
    return {one["name"]: one for one in record["stages"]}


def lineage(project: Project) -> dict[str, list[str]]:
    return {name: one.get("after", []) for name, one in stages(project).items()}


def _plain(bundle: Path, target: Path) -> str:
    """The metrics of the bundle's own script, which knows no runbook."""
    script = ["sh", bundle / "data/replay.sh", target]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (target / "work/metrics.json").read_text()


@pytest.mark.docker
def test_declared_stages_run_in_order_and_are_replayed_as_one(steps: Project, tmp_path: Path) -> None:
    steps.write("runbook.yaml", YAML.format(python=steps.python, more=""))
    done = steps.runbook("run")
    assert done.code == 0, done.err
    assert "prepare → count → train" in done.err
    assert lineage(steps) == {"prepare": [], "count": ["prepare"], "train": ["prepare", "count"]}
    found = stages(steps)
    assert found["prepare"]["inputs"] == ["raw.txt"]
    assert found["count"]["argv"] == ["sh", "-c", "wc -w < out/clean.txt > count.txt"]
    assert {one["status"] for one in found.values()} == {"completed"}
    record = steps.runbook("show", "last", "--json").json
    assert [i["path"] for i in record["inputs"]] == ["raw.txt"]
    assert sorted(o["path"] for o in record["outputs"]) == ["count.txt", "metrics.json", "out/clean.txt"]
    assert "from prepare" in steps.runbook("show").out
    bundle = steps.capture("x.runbook")
    replay = steps.runbook("replay", bundle, "--engine", "docker", "--json")
    assert replay.code == 0, replay.err
    assert replay.json["comparison"]["verdict"] == "identical"
    again = stages(steps)
    assert steps.runbook("show", "last", "--json").json["kind"] == "replay"
    assert lineage(steps) == {"prepare": [], "count": ["prepare"], "train": ["prepare", "count"]}
    assert {one["status"] for one in again.values()} == {"completed"}
    assert [len(again[name]["processes"]) for name in ("prepare", "count", "train")] == [1, 0, 1]
    assert _plain(bundle, tmp_path / "plain") == (steps.folder / "metrics.json").read_text()


@pytest.mark.parametrize("trace", ["python", "none"])
def test_the_first_stage_that_fails_ends_the_run_with_its_code(steps: Project, trace: str) -> None:
    more = "--fail\n  - {name: after, command: touch never}"
    steps.write("runbook.yaml", YAML.format(python=steps.python, more="MORE").replace("MORE", "--fail") + more[7:])
    done = steps.runbook("run", "--trace", trace)
    assert done.code == 9
    assert not (steps.folder / "never").exists()
    status = {name: one["status"] for name, one in stages(steps).items()}
    assert status == {"prepare": "completed", "count": "completed", "train": "failed", "after": "not run"}
    assert "the stage train did not end well; not run: after" in done.err


def test_a_command_that_is_given_is_run_instead(steps: Project) -> None:
    steps.write("runbook.yaml", YAML.format(python=steps.python, more=""))
    assert steps.runbook("run", "--", steps.python, "prepare.py").code == 0
    assert stages(steps) == {}
    assert not (steps.folder / "metrics.json").exists()


def test_an_input_that_no_stage_makes_must_be_there(steps: Project) -> None:
    steps.write("runbook.yaml", YAML.format(python=steps.python, more=""))
    (steps.folder / "raw.txt").unlink()
    done = steps.runbook("run")
    assert done.code == 6
    assert "raw.txt" in done.err


def test_the_stages_of_a_dvc_yaml_run_where_it_lies_and_in_the_order_of_their_needs(steps: Project) -> None:
    steps.write("dvc.yaml", DVC.format(python=steps.python))
    asked = steps.runbook("run")
    assert asked.code == 2
    assert "--stages dvc.yaml" in asked.err
    (steps.folder / "below").mkdir()
    done = steps.runbook("run", "--stages", steps.folder / "dvc.yaml")
    assert done.code == 0, done.err
    assert lineage(steps) == {"prepare": [], "count": ["prepare"], "train": ["prepare", "count"]}
    record = steps.runbook("show", "last", "--json").json
    assert [m["name"] for m in record["metrics"]] == ["mean"]
    assert [i["path"] for i in record["inputs"]] == ["raw.txt"]


def test_steps_of_a_shell_line_are_found(steps: Project) -> None:
    line = f"{steps.python} prepare.py && wc -w < out/clean.txt > count.txt && {steps.python} train.py"
    assert steps.runbook("run", "--", "sh", "-c", line).code == 0
    assert lineage(steps) == {"prepare.py": [], "train.py": ["prepare.py"]}
    assert steps.runbook("show", "last", "--json").json["name"] == "train"


@pytest.mark.docker
def test_a_shell_line_whose_steps_nobody_saw_is_replayed(steps: Project, tmp_path: Path) -> None:
    line = f"{steps.python} prepare.py && wc -w < out/clean.txt > count.txt && {steps.python} train.py"
    assert steps.runbook("run", "--", "sh", "-c", line).code == 0
    bundle = steps.capture("x.runbook")
    replay = steps.runbook("replay", bundle, "--engine", "docker", "--json")
    assert replay.code == 0, replay.err
    assert replay.json["comparison"]["verdict"] == "identical"
    assert lineage(steps) == {"prepare.py": [], "train.py": ["prepare.py"]}
    assert stages(steps)["train.py"]["outputs"] == ["metrics.json"]
    assert steps.runbook("replay", bundle, "--engine", "local").code == 0
    assert lineage(steps) == {"prepare.py": [], "train.py": ["prepare.py"]}
    assert _plain(bundle, tmp_path / "plain") == (steps.folder / "metrics.json").read_text()


@pytest.mark.strace
@pytest.mark.parametrize("how", ["sh", "make"])
def test_steps_without_python_are_found_by_the_native_tracer(steps: Project, how: str) -> None:
    lines = [f"{steps.python} prepare.py", "cp out/clean.txt copy.txt", "wc -w < copy.txt > count.txt"]
    lines.append(f"{steps.python} train.py")
    steps.write("Makefile", "all:\n" + "".join(f"\t{line}\n" for line in lines))
    job = ["make"] if how == "make" else ["sh", "-c", " && ".join(lines)]
    done = steps.runbook("run", "--trace", "native", "--", *job)
    assert done.code == 0, done.err
    found = lineage(steps)
    assert found["cp"] == ["prepare.py"]
    assert "prepare.py" in found["train.py"]
    assert stages(steps)["cp"]["outputs"] == ["copy.txt"]
    assert [name for name in found if name.endswith(".py")] == ["prepare.py", "train.py"]


@pytest.mark.strace
def test_declared_stages_have_what_the_native_tracer_saw_of_them(steps: Project) -> None:
    text = YAML.format(python=steps.python, more="").replace("    inputs: [out]\n    outputs: [count.txt]\n", "")
    text = text.replace(", count.txt", "")
    steps.write("runbook.yaml", text)
    assert steps.runbook("run", "--trace", "native").code == 0
    count = stages(steps)["count"]
    assert (count["inputs"], count["outputs"]) == (["out/clean.txt"], ["count.txt"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("stages: {a: {cmd: 'x ${item}'}}", "only DVC resolves"),
        ("stages: {a: {foreach: [1], do: {cmd: x}}}", "only DVC resolves"),
        ("stages: {a: {deps: [x]}}", "no cmd"),
        ("stages: {a: {cmd: []}}", "no cmd"),
        ("stages: {'a b': {cmd: x}}", "other characters"),
        ("stages: {a: {cmd: x, deps: [c], outs: [b]}, d: {cmd: y, deps: [b], outs: [c]}}", "need each other"),
        ("stages: []", "without stages"),
        ("", "without stages"),
        ("stages: [", "line 1"),
    ],
)
def test_a_dvc_yaml_that_cannot_be_run_as_it_stands_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(UsageError, match=why) as caught:
        dvc.read(tmp_path / "dvc.yaml")
    assert caught.value.hint


def test_a_dvc_yaml_is_read_with_its_working_folder_parameters_and_metrics(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  a:\n    wdir: src\n    cmd: python a.py > b.txt\n    deps: [../raw, 'https://x/y']\n"
        "    params: [lr, other.yaml: [x]]\n    outs: [b.txt: {cache: false}]\n    metrics: [m.json, m.txt]\n"
    )
    [stage] = dvc.read(tmp_path / "dvc.yaml")
    assert stage.command == ("sh", "-ec", "cd src\npython a.py > b.txt")
    assert stage.inputs == ("raw", "src/params.yaml", "src/other.yaml")
    assert (stage.outputs, stage.metrics) == (("src/b.txt", "src/m.txt"), ("src/m.json",))
