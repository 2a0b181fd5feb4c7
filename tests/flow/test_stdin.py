"""A job that reads its standard input: a replay feeds it the file again; a pipe is said to be lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Project

JOB = """import random, sys
random.seed(1)
print("sum:", sum(map(float, sys.stdin.read().split())) * random.random())
"""


def record(project: Project) -> dict[str, Any]:
    found: dict[str, Any] = project.runbook("show", "last", "--json").json
    return found


def fed(project: Project, path: Path, *options: str, offset: int = 0) -> dict[str, Any]:
    """The record of the job, fed with the file from there on."""
    project.write("job.py", JOB)
    with path.open("rb", buffering=0) as stream:
        stream.seek(offset)
        done = project.runbook("run", *options, "--", str(project.python), "job.py", stdin=stream)
    assert done.code == 0, done.err
    return record(project)


@pytest.mark.docker
def test_a_file_on_standard_input_is_fed_again_on_every_road(project: Project, tmp_path: Path) -> None:
    told = fed(project, project.write("data.txt", "header 1.5\n2.5\n"), offset=7)
    assert told["job"]["stdin"] == {"path": "data.txt", "offset": 7}
    assert [i["path"] for i in told["inputs"]] == ["data.txt"]
    assert [(f["kind"], f["read"]) for f in told["files"] if f["path"] == "data.txt"] == [("input", True)]
    assert "data.txt" in project.runbook("show").out
    bundle = project.capture("x.runbook")
    assert "job.py < data.txt" in (bundle / "data/RUNBOOK.md").read_text()
    for engine in ("docker", "local"):
        replay = project.runbook("replay", bundle, "--engine", engine, "--json")
        assert replay.code == 0, replay.err
        assert replay.json["comparison"]["verdict"] == "identical"
        assert record(project)["job"]["stdin"] == told["job"]["stdin"]
    plain = subprocess.run(
        ["sh", bundle / "data/replay.sh", tmp_path / "plain"], capture_output=True, text=True, check=False
    )
    assert plain.returncode == 0, plain.stderr
    assert f"sum: {told['metrics'][0]['final']!r}" in plain.stdout


@pytest.mark.docker
@pytest.mark.parametrize("trace", ["python", "none"])
def test_the_file_may_lie_elsewhere_and_the_job_be_unwatched(project: Project, tmp_path: Path, trace: str) -> None:
    far = tmp_path / "far" / "rows.txt"
    far.parent.mkdir()
    far.write_text("1.25 3\n")
    told = fed(project, far, "--trace", trace, "--metric", "sum")
    assert (told["job"]["stdin"], [i["path"] for i in told["inputs"]]) == ({"path": str(far)}, [str(far)])
    bundle = project.capture("x.runbook")
    far.unlink()
    replay = project.runbook("replay", bundle, "--engine", "docker", "--json")
    assert replay.code == 0, replay.err


def test_what_a_shell_line_feeds_a_step_is_an_input_too(project: Project) -> None:
    project.write("job.py", JOB)
    project.write("data.txt", "1.5\n")
    done = project.runbook("run", "--", "sh", "-c", f"{project.python} job.py < data.txt && echo done")
    assert done.code == 0, done.err
    told = record(project)
    assert [i["path"] for i in told["inputs"]] == ["data.txt"]
    assert told["job"].get("stdin") is None


def test_a_file_that_the_job_leaves_alone_is_none_of_its_inputs(project: Project) -> None:
    project.write("idle.py", "print('sum: 1')\n")
    with project.write("list.txt", "one\ntwo\n").open("rb") as stream:
        assert project.runbook("run", "--", str(project.python), "idle.py", stdin=stream).code == 0
        assert stream.tell() == 0  # A loop that reads the list goes on with it.
    assert record(project)["inputs"] == []


def test_a_pipe_that_was_read_is_said_to_be_lost(project: Project) -> None:
    project.write("job.py", JOB)
    project.write("idle.py", "print('sum: 1')\n")
    for script, lost in (("job.py", True), ("idle.py", False)):
        reading, writing = os.pipe()
        os.write(writing, b"1.5\n")
        os.close(writing)
        done = project.runbook("run", "--", str(project.python), script, stdin=reading)
        os.close(reading)
        assert done.code == 0, done.err
        assert ("standard input, which was a pipe: its content is not kept" in done.err) is lost
    with project.write("gone.txt", "2.5\n").open("rb") as stream:
        (project.folder / "gone.txt").unlink()
        done = project.runbook("run", "--", str(project.python), "job.py", stdin=stream)
    assert "standard input, which was a file without a name" in done.err
