"""Nothing declared: what a watched job read, wrote and seeded is found, frozen, and there when it is replayed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import Project

SUM = """
import sys
print("sum:", sum(float(x) for path in sys.argv[1:] for x in open(path)))
"""


def record(project: Project, what: str | Path = "last") -> Any:
    return project.runbook("show", what, "--json").json


def run(project: Project, script: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> Any:
    """Write the script, run it with no declaration but for a metric, and give its record."""
    project.write("job.py", script)
    declared = ("--metric", "sum=sum: ([0-9.e+-]+)", *options)
    done = project.runbook("run", *declared, "--", str(project.python), "job.py", *map(str, arguments))
    assert done.code == 0, done.err
    return record(project)


def inputs(told: Any) -> dict[str, Any]:
    return {one["path"]: one for one in told["inputs"]}


def git(project: Project, *words: str) -> None:
    name = ("-c", "user.name=t", "-c", "user.email=t@test.example")
    subprocess.run(["git", "-C", project.folder, *name, *words], check=True, capture_output=True)


@pytest.mark.docker
def test_data_that_nobody_declared_is_found_frozen_and_there_on_replay(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "far.txt"
    outside.parent.mkdir()
    outside.write_text("4\n5\n")
    project.write("ignored/near.txt", "1\n2\n")
    project.write(".gitignore", "ignored/\n")
    git(project, "init", "--quiet")
    told = run(project, SUM, "ignored/near.txt", outside, "data.txt")
    assert set(inputs(told)) == {"ignored/near.txt", str(outside), "data.txt"}
    assert all(one["evidence"] == "observed" for one in told["inputs"])
    bundle = project.capture("x.runbook")
    assert {p: i["stored"] for p, i in inputs(record(project, bundle)).items()} == {
        "ignored/near.txt": "embedded",
        str(outside): "embedded",
        "data.txt": "code",
    }
    outside.unlink()
    project.write("ignored/near.txt", "changed\n")
    replayed = project.runbook("replay", bundle, "--engine", "docker", "--json")
    assert replayed.code == 0, replayed.err
    (metric,) = replayed.json["comparison"]["metrics"]
    assert (metric["original"], metric["replay"], metric["verdict"]) == (19.25, 19.25, "identical")


@pytest.mark.docker
def test_an_input_that_the_job_overwrites_is_kept_as_it_was_read(project: Project) -> None:
    script = SUM + "open('state.txt', 'w').write('1000\\n')\n"
    project.write("state.txt", "7\n")
    git(project, "init", "--quiet")
    project.write(".gitignore", "state.txt\n")
    time.sleep(0.05)
    told = run(project, script, "state.txt")
    assert inputs(told)["state.txt"]["changed"]["value"] is True
    assert any(f["id"] == "input-changed" for f in told["findings"])
    assert (project.folder / "state.txt").read_text() == "1000\n"
    bundle = project.capture("x.runbook")
    assert (bundle / "data/inputs/state.txt/state.txt").read_text() == "7\n"
    for engine in ("docker", "local"):
        done = project.runbook("replay", bundle, "--engine", engine, "--json")
        assert done.code == 0, done.err
        assert done.json["comparison"]["metrics"][0]["replay"] == 7.0


def test_what_a_run_writes_is_no_code_of_the_next(project: Project) -> None:
    script = SUM + "open('model.txt', 'w').write('m')\n"
    first = run(project, script, "data.txt")
    second = run(project, script, "data.txt")
    assert (project.folder / "model.txt").exists()
    assert first["code"]["tree"]["digest"] == second["code"]["tree"]["digest"]
    assert "model.txt: the job writes it" in second["code"]["left_out"]
    assert [o["path"] for o in second["outputs"]] == ["model.txt"]


def test_a_checkpoint_that_the_job_resumes_from_is_an_input_and_an_output(project: Project) -> None:
    script = """
from pathlib import Path
state = Path("checkpoint.txt")
step = int(state.read_text()) if state.exists() else 0
state.write_text(str(step + 1))
print("sum:", step)
"""
    first = run(project, script)
    assert first["inputs"] == []
    time.sleep(0.05)
    second = run(project, script)
    assert set(inputs(second)) == {"checkpoint.txt"}
    assert [o["path"] for o in second["outputs"]] == ["checkpoint.txt"]
    bundle = project.capture("x.runbook")
    done = project.runbook("replay", bundle, "--engine", "local", "--json")
    assert done.code == 0, done.err
    assert done.json["comparison"]["metrics"][0]["replay"] == 1.0


def test_many_files_of_one_folder_are_one_input_and_the_record_stays_small(project: Project) -> None:
    for number in range(3000):
        project.write(f"corpus/{number // 1000}/{number}.txt", f"{number}\n")
    git(project, "init", "--quiet")
    project.write(".gitignore", "corpus/\n")
    script = (
        "from pathlib import Path\nprint('sum:', sum(int(p.read_text()) for p in Path('corpus').rglob('*.txt')))"
    )
    told = run(project, script)
    assert [(p, i["kind"], i["files"]) for p, i in inputs(told).items()] == [
        (f"corpus/{n}", "tree", 1000) for n in range(3)
    ]
    assert len(told["files"]) <= 2000
    assert sum(f.get("files", 1) for f in told["files"] if f["kind"] == "input") == 3000


def test_credentials_are_named_and_never_kept(project: Project, home: Path) -> None:
    (home / ".netrc").touch(mode=0o600)
    (home / ".netrc").write_text("machine test.example login me password hunter2hunter2\n")
    script = SUM + "import netrc; netrc.netrc()\n"
    told = run(project, script, "data.txt")
    assert set(inputs(told)) == {"data.txt"}
    assert any(f["id"] == "credentials-read" and ".netrc" in f["text"] for f in told["findings"])
    bundle = project.capture("x.runbook")
    assert all(b"hunter2" not in p.read_bytes() for p in bundle.rglob("*") if p.is_file())


def test_every_path_is_shown_with_the_reason_for_what_it_is_taken_for(project: Project) -> None:
    project.write("settings.json", "{}")
    script = SUM + "import json, tempfile\njson.load(open('settings.json'))\n"
    script += "tempfile.TemporaryFile('w').write('x')\nopen('out.csv', 'w').write('x')\n"
    run(project, script, "data.txt")
    shown = project.runbook("show", "--files").out
    for kind, path, why in (
        ("input", "data.txt", "data of the project"),
        ("output", "out.csv", "the job wrote it"),
        ("code", "settings.json", "settings of the project"),
        ("code", "job.py", "source or settings of the project"),
        ("package", "the interpreter", "its own files"),
    ):
        (line,) = [one for one in shown.splitlines() if one.split()[:1] == [kind] and path in one]
        assert why in line
    assert "not seen: files that native code reads" in shown


@pytest.mark.docker
def test_seeds_are_seen_where_they_are_set_in_the_run_and_in_its_replay(project: Project) -> None:
    script = "import random\nrandom.seed(42)\nprint('sum:', random.random())\n"
    told = run(project, script)
    seen = {"name": "random.seed", "value": "42", "evidence": "observed", "where": "job.py:2"}
    assert told["seeds"] == [seen]
    bundle = project.capture("x.runbook")
    for engine in ("docker", "local"):
        done = project.runbook("replay", bundle, "--engine", engine)
        assert done.code == 0, done.err
        assert [s["value"] for s in record(project)["seeds"]] == ["42"]
        assert record(project)["watch"]["evidence"] == "observed"


def test_another_seed_inside_the_script_is_named_when_two_runs_differ(project: Project) -> None:
    for seed in (1, 2):
        run(project, f"import random\nrandom.seed({seed})\nprint('sum:', random.random())\n")
    one, two = sorted(p.name for p in (project.folder / ".runbook/runs").iterdir())
    done = project.runbook("diff", one, two)
    assert done.code == 1
    assert [line.split()[:4] for line in done.out.splitlines() if "random.seed" in line][-1][1] == "random.seed"


def test_random_numbers_without_a_seed_are_a_finding_and_never_reproduced(project: Project) -> None:
    told = run(project, "import random\nprint('sum:', random.random())\n")
    said = {f["id"]: f["text"] for f in told["findings"]}
    assert "random gave random numbers, and was never seeded" in said["used-unseeded"]
    assert "no-seed-seen" in said
    done = project.runbook("replay", project.capture("x.runbook"), "--engine", "local")
    assert done.code in (1, 7)
    assert "no seed" in done.out


@pytest.mark.parametrize(
    "end", ["raise SystemExit(3)", "import os; os._exit(3)", "import os; os.kill(os.getpid(), 9)"]
)
def test_a_run_that_ends_badly_is_whole_and_can_be_captured(end: str, project: Project) -> None:
    project.write(
        "job.py", f"print('sum:', float(open('data.txt').readline()))\nopen('out', 'w').write('x')\n{end}\n"
    )
    bundle = project.folder / "failed.runbook"
    declared = ("--metric", "sum=sum: ([0-9.]+)", "--capture", "-o", str(bundle))
    done = project.runbook("run", *declared, "--", str(project.python), "-u", "job.py")
    killed = "kill" in end
    assert done.code == (137 if killed else 3), done.err
    told = record(project, bundle)
    assert told["outcome"]["status"] == ("killed" if killed else "failed")
    assert set(inputs(told)) == {"data.txt"}
    assert project.runbook("verify", bundle).code == 0
    assert project.runbook("replay", bundle, "--engine", "local").code == 3


def test_a_run_whose_time_is_up_says_so_and_knows_what_was_read_until_then(project: Project) -> None:
    project.write("job.py", "import time\nopen('data.txt').read()\ntime.sleep(60)\n")
    done = project.runbook("run", "--timeout", "1", "--", str(project.python), "job.py")
    assert done.code == 143
    told = record(project)
    assert told["outcome"]["status"] == "timeout"
    assert set(inputs(told)) == {"data.txt"}


def test_two_runs_at_once_in_one_folder_do_not_mix(project: Project) -> None:
    project.write("a.txt", "1\n")
    project.write("b.txt", "2\n")
    project.write(
        "job.py",
        "import sys, time, random\nrandom.seed(int(sys.argv[2]))\nopen(sys.argv[1]).read()\ntime.sleep(1)\n",
    )
    started = [
        project.start("run", "--name", name, "--", str(project.python), "job.py", f"{name}.txt", seed)
        for name, seed in (("a", "1"), ("b", "2"))
    ]
    for one in started:
        one.communicate()
    assert [one.returncode for one in started] == [0, 0]
    for run_id in sorted(p.name for p in (project.folder / ".runbook/runs").iterdir()):
        told = record(project, run_id)
        assert set(inputs(told)) == {f"{told['name']}.txt"}
        assert [s["value"] for s in told["seeds"] if s["name"] == "random.seed"] == [
            "1" if told["name"] == "a" else "2"
        ]


@pytest.mark.docker
def test_a_job_of_two_steps_shows_what_each_read_and_wrote(project: Project) -> None:
    project.write("prepare.py", "open('clean.txt', 'w').write(open('data.txt').read().replace('1.5', '2'))\n")
    project.write(
        "train.py", "print('sum:', sum(map(float, open('clean.txt'))))\nopen('model.txt', 'w').write('m')\n"
    )
    both = f"{project.python} prepare.py && {project.python} train.py"
    done = project.runbook("run", "--metric", "sum=sum: ([0-9.]+)", "--", "sh", "-c", both)
    assert done.code == 0, done.err
    told = record(project)
    steps = [(s["name"], s.get("inputs", []), s.get("outputs", [])) for s in told["stages"]]
    assert steps == [("prepare.py", ["data.txt"], ["clean.txt"]), ("train.py", ["clean.txt"], ["model.txt"])]
    assert set(inputs(told)) == {"data.txt"}
    assert "steps    prepare.py → train.py" in done.err


def test_packages_that_are_imported_and_not_declared_are_named(tmp_path: Path, home: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run(["python3", "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    for name, requires in (("asked", ("brought",)), ("brought", ()), ("forgotten", ("dragged",)), ("dragged", ())):
        (site / f"{name}.py").write_text("".join(f"import {one}\n" for one in requires))
        folder = site / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{lines}")
        (folder / "RECORD").write_text(f"{name}.py,,\n{folder.name}/METADATA,,\n{folder.name}/RECORD,,\n")
        (folder / "top_level.txt").write_text(f"{name}\n")
    project = Project(tmp_path / "project", venv / "bin/python", home)
    project.write("requirements.txt", "asked>=1\n")
    told = run(project, "import asked, forgotten\nprint('sum: 1')\n")
    (found,) = [f for f in told["findings"] if f["id"] == "package-undeclared"]
    assert found["text"] == "imported, and not in requirements.txt: forgotten"


@pytest.mark.strace
def test_a_native_readers_file_is_missed_without_and_found_with_the_native_tracer(project: Project) -> None:
    script = (
        "import subprocess\nsubprocess.run(['cat', 'hidden.bin'], stdout=subprocess.DEVNULL)\nprint('sum: 1')\n"
    )
    project.write("hidden.bin", "x")
    assert inputs(run(project, script)) == {}
    without = project.runbook("show", "--files").out
    assert "cat, not in Python: what that reads is not seen: --trace native" in without
    told = run(project, script, options=("--trace", "native"))
    assert set(inputs(told)) == {"hidden.bin"}
    assert told["watch"]["value"]["tracers"] == ["python", "native"]
    assert "not seen" not in project.runbook("show", "--files").out


def test_what_the_job_reads_or_writes_with_a_secret_in_it_goes_by_digest_only(project: Project) -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    (project.folder.parent / "settings.ini").write_text(f"token = {token}\n")
    script = "text = open('../settings.ini').read()\nopen('dump.txt', 'w').write(text)\nprint('sum: 1')\n"
    told = run(project, script)
    assert [o["path"] for o in told["outputs"]] == ["dump.txt"]
    bundle = project.capture("x.runbook")
    frozen = record(project, bundle)
    assert [one["stored"] for one in (*frozen["inputs"], *frozen["outputs"])] == ["reference", "reference"]
    assert sum(f["id"] == "withheld" for f in frozen["findings"]) == 2
    assert all(token.encode() not in p.read_bytes() for p in bundle.rglob("*") if p.is_file())


def test_what_native_code_writes_in_the_project_is_an_output_though_nobody_saw_it(project: Project) -> None:
    script = "import subprocess\nsubprocess.run(['cp', 'data.txt', 'copied.bin'])\nprint('sum: 1')\n"
    told = run(project, script)
    assert [o["path"] for o in told["outputs"]] == ["copied.bin"]
    (seen,) = [f for f in told["files"] if f["path"] == "copied.bin"]
    assert seen["why"] == "it appeared or changed while the job ran, written by native code"


@pytest.mark.docker
def test_processes_of_a_job_find_each_other_by_their_hosts_name_without_a_network(project: Project) -> None:
    script = """
import socket
server = socket.create_server(("", 0))
socket.create_connection((socket.gethostname(), server.getsockname()[1]), timeout=20)
print("sum: 1")
"""
    run(project, script)
    done = project.runbook("replay", project.capture("x.runbook"), "--engine", "docker")
    assert done.code == 0, done.err
