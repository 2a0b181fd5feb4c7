"""`runbook show` and `runbook completion`, through the executable."""

import json
import subprocess
import sys

import msgspec
import pytest
from records import ended, record

from runbook.catalog.store import RunStore
from runbook.model.data import Input
from runbook.model.environment import Package
from runbook.model.fact import declared, inferred, missing, observed
from runbook.model.host import Accelerator, Accelerators
from runbook.model.job import Variable
from runbook.model.metric import Metric, Tolerance
from runbook.model.record import Finding, Redaction, Seed

HOSTILE = "name\x1b[2J\u202eevil\nsecond line"


def runbook(*argv, cwd, **options):
    return subprocess.run(
        [sys.executable, "-m", "runbook", *argv], cwd=cwd, check=False, capture_output=True, text=True, **options
    )


def full(run):
    bare = record(run)
    device = {
        f: missing("NVML does not say") for f in Accelerator.__struct_fields__ if f not in ("index", "model")
    }
    job = msgspec.structs.replace(
        bare.job,
        argv=("python", "train.py", "--note", "two words"),
        variables=(Variable(name="OMP_NUM_THREADS", value="2"), Variable(name="X", value="", redacted=True)),
        variables_dropped=41,
    )
    package = Package(
        name="numpy",
        version="2.0",
        origin="index",
        record="modified",
        modified=("numpy/core.py",),
        shipped="carried",
    )
    return msgspec.structs.replace(
        bare,
        name=HOSTILE,
        job=job,
        environment=msgspec.structs.replace(bare.environment, packages=(package,)),
        host=msgspec.structs.replace(
            bare.host, memory_bytes=observed(8_000_000_000), cores_usable=inferred(2, "cgroup")
        ),
        accelerators=observed(
            Accelerators(
                driver=observed("580.1"),
                cuda=observed("13.0"),
                nvml=observed("13"),
                devices=(Accelerator(index=0, model=observed("NVIDIA H100"), **device),),
            )
        ),
        seeds=(Seed(name="numpy", value="7", evidence="declared"),),
        inputs=(
            Input(
                name="train",
                path="data/train.csv",
                kind="file",
                digest="a" * 64,
                bytes=1_500_000,
                files=1,
                stored="reference",
                manifest="",
                source=declared("https://data.example/train.csv"),
                version=missing("none was declared"),
                changed=observed(True),
                evidence="declared",
            ),
        ),
        metrics=(
            Metric(name="val.acc", final=0.4450426449744025, points=12, source="m.json", evidence="observed"),
        ),
        tolerances=(Tolerance(pattern="val.*", relative=0.001),),
        findings=(Finding(id="no-seed-seen", level="warning", text="[bold]no seed[/bold] was seen"),),
        redactions=(Redaction(where="argv", kind="github-token"),),
    )


@pytest.fixture
def project(tmp_path):
    run = RunStore(tmp_path).new()
    run.write(full(run.id))
    run.stdout.write_bytes(b"hello\n")
    return tmp_path, run


def test_a_run_is_shown_with_evidence_and_reasons(project):
    folder, run = project
    done = runbook("show", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for expected in (
        "command python train.py --note 'two words'",
        "OMP_NUM_THREADS 2 variable",
        "X (masked) variable",
        "variables dropped 41",
        "status completed",
        "exit code 0 observed",
        "duration 5 s observed",
        "memory 8.0 GB observed",
        "cores usable 2 inferred",
        "(cgroup)",
        "base missing: not looked at missing",
        "model NVIDIA H100 observed",
        "packages 1 installed: 1 carried observed",
        "numpy 2.0: files edited after installation: numpy/core.py observed",
        "numpy 7 declared",
        "source https://data.example/train.csv declared",
        "changed yes observed",
        "bytes 1.5 MB",
        "val.acc 0.4450426449744025 (12 points) from m.json observed",
        "val.* rel 0.001",
        "warning [bold]no seed[/bold] was seen no-seed-seen",
        "github-token argv",
    ):
        assert expected in lines, expected
    assert run.id in done.stdout and done.stdout.count("OMP_NUM_THREADS") == 1


def test_text_from_a_record_cannot_steer_the_terminal(project):
    done = runbook("show", "last", cwd=project[0])
    assert "\x1b" not in done.stdout and "\u202e" not in done.stdout
    assert r"name\x1b[2J\u202eevil\nsecond line" in done.stdout


def test_json_is_the_record(project):
    folder, run = project
    done = runbook("show", run.id, "--json", cwd=folder)
    assert msgspec.json.decode(done.stdout, type=type(run.read())) == run.read()


def test_files_are_listed_with_their_sizes(project):
    folder, _ = project
    done = runbook("show", "--contents", cwd=folder)
    listed = dict(reversed(line.split()) for line in done.stdout.splitlines())
    assert listed["stdout.log"] == "6" and set(listed) == {"draft.json", "stdout.log"}
    assert json.loads(runbook("show", "--contents", "--json", cwd=folder).stdout)["contents"]["stdout.log"] == 6
    refused = runbook("show", "--files", cwd=folder)
    assert refused.returncode == 2 and "the job was not watched" in refused.stderr


def test_an_empty_record_says_what_is_not_there(tmp_path):
    run = RunStore(tmp_path).new()
    run.write(record(run.id, outcome=ended(3)))
    shown = runbook("show", cwd=tmp_path).stdout
    for expected in ("no seed was recorded", "no metric was recorded", "none: equality is exact", "failed"):
        assert expected in shown


def test_what_is_not_there_is_an_error_with_a_hint(project):
    folder, run = project
    for wanted, says in (("nothing", "no such run"), ("away/x.runbook", "no such bundle")):
        done = runbook("show", wanted, cwd=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr and "hint: " in done.stderr
    assert run.id in runbook("show", "nothing", cwd=folder).stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell, tmp_path):
    done = runbook("completion", shell, cwd=tmp_path)
    assert done.returncode == 0 and "_RUNBOOK_COMPLETE" in done.stdout


def test_the_completion_script_completes_in_bash(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "runbook"],
        check=False,
        capture_output=True,
        text=True,
        env={"_RUNBOOK_COMPLETE": "bash_complete", "COMP_WORDS": "runbook completion z", "COMP_CWORD": "2"},
    )
    assert done.stdout.strip() == "plain,zsh"


def test_an_unknown_shell_is_a_usage_error(tmp_path):
    done = runbook("completion", "tcsh", cwd=tmp_path)
    assert done.returncode == 2 and "bash" in done.stderr
