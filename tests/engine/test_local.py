"""What is particular to the local engine: it isolates nothing, says so, and writes only where it should."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from runbook.engine.interface import Mount, Plan
from runbook.engine.local import environments
from runbook.errors import EnvironmentNotRebuilt, NeedMissing
from runbook.model.code import Link, Shape
from runbook.progress import SILENT
from runbook.registry import members

from .conftest import ROOT, Runner, fresh_id

on_this_machine = pytest.mark.parametrize("runner", ["local"], indirect=True)


@on_this_machine
def test_it_says_plainly_that_nothing_is_isolated(runner: Runner) -> None:
    assert runner.engine.isolation.startswith("None")
    assert any("this machine stands in for the base" in s for s in runner.built.substitutions)
    assert any("instead of" in s for s in runner.python("pass").substitutions)


@on_this_machine
def test_links_that_leave_the_project_are_not_made_on_this_machine(runner: Runner) -> None:
    shape = Shape(
        links=(
            Link(path="ok", target="job.py"),
            Link(path="out", target="../../outside"),
            Link(path="abs", target="/etc"),
            Link(path="dot", target="."),
            Link(path="dot/dot/deep", target="../../x"),
            Link(path="../evil", target="job.py"),
        ),
        executables=("../stdout.log",),
        empty_directories=("../made",),
    )
    runner.python("pass", shape=shape)
    assert {p.name for p in runner.work.iterdir() if p.is_symlink()} == {"ok", "dot"}
    assert not (runner.folder / "evil").is_symlink()
    assert not (runner.folder / "made").exists()
    assert os.stat(runner.folder / "stdout.log").st_mode & 0o111 == 0


@on_this_machine
def test_an_input_outside_the_project_must_lie_there_already(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "d"
    source.write_text("x")
    assert runner.output(f"print(open({str(source)!r}).read())", mounts=(Mount(source, str(source)),)) == "x"
    with pytest.raises(NeedMissing) as caught:
        runner.python("pass", mounts=(Mount(source, str(tmp_path / "elsewhere")),))
    assert caught.value.id == "input-not-in-place"


@on_this_machine
def test_a_job_cannot_change_an_input_through_the_project(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "d"
    source.write_text("x")
    runner.output("open('d', 'w').write('changed')", mounts=(Mount(source, f"{ROOT}/d"),))
    assert source.read_text() == "x"


@on_this_machine
def test_words_that_name_the_project_point_to_the_copy(runner: Runner) -> None:
    runner.work.mkdir()
    (runner.work / "t.py").write_text("print('found')")
    assert runner.run("python", f"{ROOT}/t.py").stdout.read_text() == "found\n"


@on_this_machine
def test_a_command_that_is_not_here_is_named(runner: Runner) -> None:
    with pytest.raises(NeedMissing, match="no-such-tool"):
        runner.run("no-such-tool")


def test_a_build_that_fails_leaves_no_environment(plan: Plan, tmp_path: Path) -> None:
    changed = replace(plan, environment_id=fresh_id(), wheels=lambda: tmp_path)
    with pytest.raises(EnvironmentNotRebuilt):
        members("engine")["local"].build(changed, SILENT)
    assert not (environments() / changed.environment_id[7:31]).exists()
    assert not list(environments().glob(".cache-*"))


def test_a_torso_of_an_environment_is_made_anew(plan: Plan) -> None:
    changed = replace(plan, environment_id=fresh_id())
    torso = environments() / changed.environment_id[7:31] / "bin"
    torso.mkdir(parents=True)
    (torso / "python").write_text("half")
    engine = members("engine")["local"]
    built = engine.build(changed, SILENT)
    assert not built.cached
    with engine.probing(built, b"import greeting; print(greeting.TEXT)", {}) as probed:
        assert probed() == b"hello\n"
