"""`bisect` through the real command line: planted causes are named exactly, within a counted number of replays."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uv

from runbook.bundle.read import open_bundle
from runbook.bundle.verify import verify
from runbook.compare.factors import differing
from runbook.errors import NotComparable
from runbook.flow.hybrid import Mixture, side
from runbook.model.record import Record
from tests.environment.conftest import OwnIndex, serving
from tests.flow.conftest import Done, Project
from tests.observe.wheelmaker import make_wheel

_MODULES = [f"part{n:02}" for n in range(1, 13)]
_SUM = f"import {', '.join(_MODULES)}\nprint('total:', {' + '.join(f'{m}.VALUE' for m in _MODULES)})\n"
_TIED = "import rod\nassert rod.MAJOR == {0}, 'rod and reel of one release only'\nVALUE = {0} * 100\n"

_JOB = """
import argparse, os, random
from pathlib import Path
from scale import FACTOR
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int)
parser.add_argument("--depth", type=int, default=3)
arguments = parser.parse_args()
random.seed(arguments.seed)
rows = [float(x) for x in Path("data.txt").read_text().split()]
offset = float(os.environ.get("TORCH_OFFSET", 0))
loss = FACTOR * sum(rows) + offset + random.random() / 100
print("loss:", loss)
print("seeded:", random.random())
"""


class Shelf:
    """Packages on an index of one's own, and bundles of jobs that use them."""

    def __init__(self, folder: Path, home: Path, index: OwnIndex) -> None:
        self.folder, self.home, self.index = folder, home, index
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.env = {
            "PIP_INDEX_URL": f"{index.url}/simple/",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def publish(self, name: str, version: str, text: str, requires: Sequence[str] = ()) -> None:
        self.index.add(make_wheel(self.wheels, name, version, {f"{name}.py": text}, requires))

    def bundle(self, name: str, pins: Sequence[str], job: str, metric: str) -> Path:
        """The bundle of a job that ran with these packages."""
        venv = self.folder / f"venv-{name}"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
        command = [
            uv.find_uv_bin(),
            "pip",
            "install",
            "-q",
            "--no-cache",
            "--no-deps",
            "--python",
            venv / "bin/python",
        ]
        subprocess.run([*command, "--index-url", f"{self.index.url}/simple/", *pins], check=True)
        project = Project(self.folder / name, venv / "bin/python", self.home)
        project.write("train.py", job)
        return _captured(project, "--metric", f"{metric}={metric}: ([0-9.]+)", job=("train.py",), env=self.env)


def _captured(project: Project, *options: str, job: Sequence[str], env: dict[str, str] | None = None) -> Path:
    target = project.folder.parent / f"{project.folder.name}.runbook"
    done = project.runbook("run", "--capture", "-o", target, *options, "--", project.python, *job, env=env)
    assert done.code == 0, done.err
    return target


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Shelf]:
    with serving(OwnIndex()) as index:
        yield Shelf(tmp_path_factory.mktemp("shelf"), home, index)


@pytest.fixture
def desk(tmp_path: Path, job_python: Path, home: Path) -> Project:
    """Where bisect is run: a folder of its own."""
    (tmp_path / "desk").mkdir()
    return Project(tmp_path / "desk", job_python, home)


def _bisect(desk: Project, a: Path, b: Path, *options: str, env: dict[str, str] | None = None) -> Done:
    return desk.runbook("bisect", a, b, "--engine", "local", "--json", *options, env=env)


def _causes(done: Done) -> list[list[str]]:
    return [[part["id"] for part in cause["parts"]] for cause in done.json["bisection"]["causes"]]


def _replayed(desk: Project) -> int:
    """How many runs the run store has: what was really replayed."""
    return len(list((desk.folder / ".runbook/runs").iterdir()))


def test_one_guilty_of_12_packages_is_found_by_8_replays_across_an_ended_budget(
    shelf: Shelf, desk: Project
) -> None:
    for module in _MODULES:
        shelf.publish(module, "1.0", "VALUE = 1\n")
        shelf.publish(module, "2.0", f"VALUE = {8 if module == 'part11' else 1}  # another file\n")
    a, b = (shelf.bundle(f"twelve-{v}", [f"{m}=={v}.0" for m in _MODULES], _SUM, "total") for v in (1, 2))
    ended = _bisect(desk, a, b, "--replays", "4", env=shelf.env)
    assert ended.code == 7, ended.err
    told = ended.json["bisection"]
    left = {part["id"] for part in told["candidates"]}
    assert told["status"] == "narrowed"
    assert "package:part11" in left
    assert len(left) <= 4
    assert f"among these {len(left)}" in told["sentence"]
    assert _replayed(desk) == 4

    done = _bisect(desk, a, b, "-o", "why.html", env=shelf.env)
    assert done.code == 0, done.err
    told = done.json["bisection"]
    assert _causes(done) == [["package:part11"]]
    assert (told["status"], told["metric"], told["value_a"], told["value_b"]) == ("found", "total", 12, 19)
    assert [t["earlier"] for t in told["trials"]] == [True] * 4 + [False] * (len(told["trials"]) - 4)
    assert told["replays"] == _replayed(desk) <= 8
    page = (desk.folder / "why.html").read_text()
    assert "part11 1.0 → 2.0" in page

    # The proof: bundles that anybody can verify and replay, and the runs that did.
    only, rest = told["proof"]
    for proof, code, value in ((only, 1, 19), (rest, 0, 12)):
        assert desk.runbook("verify", proof["path"], "--json").json["id"] == proof["bundle"]
        again = desk.runbook("replay", proof["path"], "--engine", "local", "--json", env=shelf.env)
        record = json.loads((desk.folder / ".runbook/runs" / proof["run"] / "draft.json").read_text())
        assert record["replay_of"] == proof["bundle"]
        assert again.json["replay"]["metrics"][0]["final"] == record["metrics"][0]["final"] == value
        assert again.code in (
            code,
            7,
        )  # The local engine stands in for the base, so what differs is not comparable.
    assert desk.runbook("show", only["path"], "--json").json["hybrid"]["taken"] == ["package:part11"]

    before = _replayed(desk)
    shown = desk.runbook("bisect", a, b, "--engine", "local", "-o", "why.md", env=shelf.env)
    assert shown.code == 0, shown.err
    assert _replayed(desk) == before
    assert shown.out.startswith("Found. part11 moves total from 12 to 19, alone. Everything else together leaves")
    assert "- Cause: part11 1.0 → 2.0" in (desk.folder / "why.md").read_text()


def test_packages_that_stand_only_together_are_swapped_together(shelf: Shelf, desk: Project) -> None:
    for major in (1, 2):
        shelf.publish("rod", f"{major}.0", f"MAJOR = {major}\n")
        shelf.publish("reel", f"{major}.0", _TIED.format(major), [f"rod=={major}.0"])
        shelf.publish("bait", f"{major}.0", f"VALUE = 7  # {major}\n")
        shelf.publish("boat", f"{major}.0", f"VALUE = 7  # {major}\n")
    job = "import rod, reel, bait\nprint('catch:', reel.VALUE + bait.VALUE)\n"
    pins = ["rod", "reel", "bait", "boat"]
    a, b = (shelf.bundle(f"tied-{v}", [f"{p}=={v}.0" for p in pins], job, "catch") for v in (1, 2))
    done = _bisect(desk, a, b, env=shelf.env)
    assert done.code == 0, done.err
    found = done.json["bisection"]
    assert sorted(_causes(done)[0]) == ["package:reel", "package:rod"]
    tied = next(f for f in found["factors"] if len(f["parts"]) == 2)
    assert tied["why"] == "reel asks for rod==2.0" or tied["why"] == "reel asks for rod==1.0"
    assert found["factors"][-1]["parts"][0]["id"] == "package:boat"  # It was never imported, so it comes last.
    assert not found["factors"][-1]["parts"][0]["touched"]
    assert {t["outcome"] for t in found["trials"]} >= {"A", "B", "unresolved"}


class Pair:
    """Two checkouts of one project, in folders of their own; B's is changed as a test says."""

    def __init__(self, folder: Path, python: Path, home: Path) -> None:
        self.a, self.b = (Project(folder / name, python, home) for name in ("first", "second"))
        for one in (self.a, self.b):
            one.write("train.py", _JOB)
            one.write("scale.py", "FACTOR = 2\n")
            one.write("unused.py", "WORD = 'a'\n")
            one.write("data.txt", "1.5\n2.5\n")

    def bundles(self, argv: Sequence[str] = (), env: dict[str, str] | None = None) -> tuple[Path, Path]:
        """Both captured; the command of B ends in `argv`, and its environment has `env` too."""
        options = (
            "--metric",
            "loss=loss: ([0-9.]+)",
            "--metric",
            "seeded=seeded: ([0-9.]+)",
            "--input",
            "data.txt",
        )
        own = ("train.py", "--seed", "1")
        return (
            _captured(self.a, *options, job=own, env={"OMP_NUM_THREADS": "1"}),
            _captured(self.b, *options, job=(*own, *argv), env={"OMP_NUM_THREADS": "1", **(env or {})}),
        )


@pytest.fixture
def pair(tmp_path: Path, job_python: Path, home: Path) -> Pair:
    return Pair(tmp_path, job_python, home)


def test_two_causes_that_each_add_a_part_are_named_to_the_file_and_what_does_not_matter_is_not(
    pair: Pair, desk: Project
) -> None:
    pair.b.write("scale.py", "FACTOR = 3\n")
    pair.b.write("unused.py", "WORD = 'b'\n")
    pair.b.write("train.py", _JOB + "# a remark\n")
    pair.b.write("data.txt", "1.5\n2.5\n4\n")
    a, b = pair.bundles(("--depth", "5"), {"OMP_NUM_THREADS": "2"})
    done = _bisect(desk, a, b)
    assert done.code == 0, done.err
    found = done.json["bisection"]
    assert sorted(_causes(done)[0]) == ["code:scale.py", "input:data.txt"]
    assert found["rest"] == "A"
    alone = {id: value for id, value, _ in found["causes"][0]["alone"]}
    assert {round(value) for value in alone.values()} <= {12, 16}
    ids = {part["id"] for factor in found["factors"] for part in factor["parts"]}
    assert ids == {
        *("code:scale.py", "code:unused.py", "code:train.py", "input:data.txt", "variable:OMP_NUM_THREADS"),
        *(id for id in ids if id.startswith("argv:")),
    }
    assert len(ids) == 6


def test_of_causes_that_do_it_each_alone_both_are_named(pair: Pair, desk: Project) -> None:
    for one in (pair.a, pair.b):
        job = _JOB.replace("loss = FACTOR", "loss = 50 if FACTOR > 2 or offset > 2 else FACTOR")
        one.write("train.py", job)
    pair.b.write("scale.py", "FACTOR = 3\n")
    a, b = pair.bundles(env={"TORCH_OFFSET": "3"})
    done = _bisect(desk, a, b, "--metric", "loss")
    assert done.code == 0, done.err
    assert sorted(_causes(done)) == [["code:scale.py"], ["variable:TORCH_OFFSET"]]


def test_a_mixture_is_of_the_parts_that_were_asked_for_or_there_is_none(pair: Pair, tmp_path: Path) -> None:
    job = "import sys\nprint('loss:', sum(map(float, sys.stdin)))\n"
    bundles = []
    for one, fed in ((pair.a, "1\n"), (pair.b, "2\n")):
        one.write("train.py", job)
        source = one.write(f"{one.folder.name}.txt", fed)
        with source.open("rb") as stdin:
            done = one.runbook(
                "run", "--metric", "loss=loss: ([0-9.]+)", "--", one.python, "train.py", stdin=stdin
            )
        assert done.code == 0, done.err
        bundles.append(one.capture("x.runbook"))
    with open_bundle(bundles[0]) as a, open_bundle(bundles[1]) as b:
        sides = side(a), side(b)
        parts = [part for factor in differing(*sides).factors for part in factor.parts]
        ids = frozenset(part.id for part in parts)
        assert ids == {"input:first.txt", "input:second.txt", "stdin"}

        def mixed(*taken: str) -> Record:
            target = tmp_path / "mixed.runbook"
            Mixture((a, b), sides, parts, frozenset(taken)).write(target)
            verify(target)
            with open_bundle(target) as made:
                return made.record

        nothing, everything = mixed(), mixed(*ids)
        for made, whole in ((nothing, a.record), (everything, b.record)):
            assert (made.job.stdin, made.job.argv[1:]) == (whole.job.stdin, whole.job.argv[1:])
            assert [i.digest for i in made.inputs] == [i.digest for i in whole.inputs]
            assert (made.code.tree.digest, made.environment.id.value) == (
                whole.code.tree.digest,
                whole.environment.id.value,
            )
        with pytest.raises(NotComparable, match=r"fed second\.txt, which is none of its inputs"):
            mixed("stdin")


def test_after_ctrl_c_the_same_command_goes_on_and_nothing_is_left_behind(pair: Pair, desk: Project) -> None:
    pair.b.write("scale.py", "FACTOR = 3\n")
    a, b = pair.bundles(("--depth", "5"), {"OMP_NUM_THREADS": "2"})
    scratch = desk.folder.parent / "scratch"
    scratch.mkdir()
    command = ("bisect", a, b, "--engine", "local")
    process = desk.start(*command, env={"TMPDIR": str(scratch)})
    log = next(iter(_appeared(desk.folder / ".runbook/bisect", "*/log.jsonl", lines=3)))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in err
    assert not list(scratch.iterdir())
    known = log.read_bytes().count(b"\n")
    with log.open("ab") as torn:  # As if the machine had gone down in the middle of a line.
        torn.write(b'{"taken":["code:sc')
    done = desk.runbook(*command, "--json")
    assert done.code == 0, done.err
    assert _causes(done) == [["code:scale.py"]]
    assert sum(t["earlier"] for t in done.json["bisection"]["trials"]) == known
    again = _bisect(desk, a, b)
    assert all(t["earlier"] for t in again.json["bisection"]["trials"])


def _appeared(folder: Path, pattern: str, lines: int) -> Iterator[Path]:
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        for path in folder.glob(pattern):
            if path.read_bytes().count(b"\n") >= lines:
                yield path
                return
        time.sleep(0.02)
    pytest.fail(f"{pattern} has not {lines} lines")


def test_where_there_is_nothing_to_find_it_says_why(pair: Pair, desk: Project, tmp_path: Path) -> None:
    pair.b.write("scale.py", "FACTOR = 3\n")
    a, b = pair.bundles()
    same = tmp_path / "same.runbook"
    shutil.copytree(a, same)
    table: list[tuple[tuple[Any, ...], int, str]] = [
        ((a, same), 7, "there is nothing to swap"),
        ((a, b, "--metric", "seeded"), 7, "A and B agree, so there is no cause to be found: seeded"),
        ((a, b, "--tolerance", "loss=rel:1"), 7, "A and B agree"),
        ((a, b, "--metric", "accuracy"), 2, "hint: one of: loss, seeded"),
        ((a, "20261124-120000-abcd"), 2, "runbook capture 20261124-120000-abcd"),
        ((a, b, "--data", "other=/x"), 2, "neither bundle has such an input: other"),
        ((a, b, "-o", "x.pdf"), 2, "hint: -o with an ending"),
    ]
    for arguments, code, text in table:
        done = _bisect(desk, *arguments)
        assert (done.code, text in done.err) == (code, True), (arguments, done.err)
    (b / "data/code/scale.py").write_text("FACTOR = 4\n")
    done = _bisect(desk, a, b)
    assert done.code == 5, done.err
    assert not (desk.folder / ".runbook/runs").exists()


def test_an_end_that_does_not_come_out_as_recorded_ends_it(pair: Pair, desk: Project) -> None:
    pair.b.write("train.py", _JOB.replace("random.seed(arguments.seed)", ""))
    a, b = pair.bundles()
    done = _bisect(desk, a, b, "--metric", "seeded")
    assert done.code == 7
    assert "error: B does not reproduce here itself, so no swap would tell anything: seeded: " in done.err
    assert "runbook calibrate" in done.err


@pytest.mark.docker
def test_a_seed_is_found_in_docker(pair: Pair, desk: Project) -> None:
    pair.b.write("unused.py", "WORD = 'b'\n")
    options = ("--metric", "seeded=seeded: ([0-9.]+)", "--input", "data.txt")
    a = _captured(pair.a, *options, job=("train.py", "--seed", "1"))
    b = _captured(pair.b, *options, job=("train.py", "--seed", "2"))
    done = desk.runbook("bisect", a, b, "--engine", "docker", "--json")
    assert done.code == 0, done.err
    found = done.json["bisection"]
    assert [[p["difference"]["what"] for p in c["parts"]] for c in found["causes"]] == [["--seed"]]
    only, rest = found["proof"]
    assert desk.runbook("replay", only["path"], "--engine", "docker").code == 1
    assert desk.runbook("replay", rest["path"], "--engine", "docker").code == 0
