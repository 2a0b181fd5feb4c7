"""`runbook init`: a runbook.yaml from what was seen, which says the same again."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook import config, yamltext
from runbook.flow import described
from tests.flow.conftest import Project
from tests.flow.test_stages import PREPARE, TRAIN, YAML


def declared(project: Project) -> config.Declaration:
    return config.read(project.folder / "runbook.yaml")


def test_it_declares_what_was_seen_and_the_next_run_is_the_same(project: Project) -> None:
    assert project.run("--seed", "4", options=("--env", "MY_FLAG", "--experiment", "base: line")).code == 0
    before = project.runbook("show", "last", "--json").json
    done = project.runbook("init")
    assert done.code == 0, done.err
    said = declared(project)
    assert said.command == (str(project.python), "train.py", "--seed", "4")
    assert [one.path for one in said.inputs] == ["data.txt"]
    assert said.metrics == ("metrics.json",)
    assert said.patterns == {"rmse": "rmse: ([0-9.e+-]+)"}
    assert said.seeds == {"random.seed": "4"}
    assert said.experiment == "base: line"
    again = project.runbook("run")
    assert again.code == 0, again.err
    after = project.runbook("show", "last", "--json").json
    for key in ("metrics", "sources", "inputs", "outputs", "seeds", "name", "experiment"):
        assert after[key] == before[key], key
    assert after["job"]["argv"] == before["job"]["argv"]


def test_what_was_kept_and_dropped_stays_so(project: Project) -> None:
    project.write("job.py", "print('lr: 0.5')\nprint('loss: 2.0')\nprint('aux_a: 3.0')\nprint('val-x: 1.0')\n")
    project.write("runbook.yaml", "keep_metrics: [lr]\ndrop_metrics: ['aux_*', \"val-x\"]\n")
    assert project.runbook("run", "--", str(project.python), "job.py").code == 0
    before = project.runbook("show", "last", "--json").json
    assert {m["name"] for m in before["metrics"]} == {"lr", "loss"}
    assert project.runbook("init", "--force").code == 0
    assert declared(project).keep_metrics == ("lr",)
    assert declared(project).drop_metrics == ("aux_*", "val-x")
    assert project.runbook("run").code == 0
    assert project.runbook("show", "last", "--json").json["metrics"] == before["metrics"]


def test_every_key_it_writes_has_a_comment_above_it(project: Project) -> None:
    project.run()
    project.runbook("init")
    lines = (project.folder / "runbook.yaml").read_text().splitlines()
    keys = [at for at, line in enumerate(lines) if re.match(r"[a-z]", line)]
    assert len(keys) >= 5
    assert all(lines[at - 1].startswith("#") for at in keys)


def test_it_replaces_nothing_unasked_and_writes_elsewhere_relative_to_there(project: Project) -> None:
    project.write("runbook.yaml", "name: mine\n")
    project.run()
    refused = project.runbook("init")
    assert refused.code == 2
    assert "--force" in refused.err
    assert (project.folder / "runbook.yaml").read_text() == "name: mine\n"
    project.write("below/x", "")
    assert project.runbook("init", "-o", "below/other.yaml").code == 0
    assert config.read(project.folder / "below/other.yaml").inputs[0].path == "../data.txt"
    shown = project.runbook("init", "-o", "-")
    assert config.parse(shown.out.encode()).name == "mine"
    assert project.runbook("init", "--force").code == 0
    assert declared(project).command
    assert project.runbook("init", "-o", "nowhere/x.yaml").code == 2


def test_declared_stages_stay_stages(project: Project) -> None:
    project.write("prepare.py", PREPARE)
    project.write("train.py", TRAIN)
    project.write("raw.txt", "1 2\n")
    text = YAML.format(python=project.python, more="")
    project.write("runbook.yaml", text)
    assert project.runbook("run").code == 0
    assert project.runbook("init", "--force").code == 0
    again, before = declared(project).stages, config.parse(text.encode()).stages
    assert [(s.name, s.command, s.metrics) for s in again] == [(s.name, s.command, s.metrics) for s in before]
    assert [set(s.outputs) for s in again] == [set(s.outputs) for s in before]
    assert declared(project).inputs == ()
    assert project.runbook("run").code == 0


def test_a_command_with_a_secret_is_not_written(project: Project) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    project.write("plain.py", "")
    project.runbook("run", "--", project.python, "plain.py", token)
    done = project.runbook("init")
    assert done.code == 2
    assert token not in done.err
    assert not (project.folder / "runbook.yaml").exists()


def test_with_no_run_every_line_is_an_example_that_is_valid_when_uncommented(project: Project) -> None:
    assert project.runbook("init").code == 0
    text = (project.folder / "runbook.yaml").read_text()
    assert declared(project) == config.Declaration()
    examples = [
        re.sub("^# ?", "", line) for line in text.splitlines() if re.match(r"# ?( |-|[a-z_]+: ?|[a-z]+:$)", line)
    ]
    examples = [line for line in examples if re.match(r"[a-z_]+:( |$)|  ", line)]
    chosen = [line for line in examples if not line.startswith(("command:", "yaml-language"))]
    said = config.parse("\n".join(chosen).encode())
    assert len(said.stages) == 2
    assert said.tolerances and said.seeds and said.env and said.image and said.keep_metrics


@given(st.text(min_size=1))
@pytest.mark.filterwarnings("ignore")
def test_any_text_is_written_so_that_it_reads_back(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert yamltext.load(f"x: {described._scalar(text)}\n".encode())[0] == {"x": text}
