"""Faults on the road of a replay: each ends with the right exit code, leaves nothing, and the next succeeds.

The bundle's one package comes from an index on loopback, so that the road has every stage; its environment is of
this session alone. All replays share one cache: one that a fault had poisoned would spoil the last of each table.
The engine is a private one where that can be: a fault begins without the base's image, which other tests run on.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uv
from engine_proxy import proxied
from private_engine import missing, private_engine

from runbook.engine import owner
from runbook.engine.daemon import Daemon
from runbook.engine.docker_api import ApiEngine
from runbook.registry import members
from tests.environment.conftest import OwnIndex, serving
from tests.flow.conftest import Done, Project
from tests.observe.wheelmaker import make_wheel

pytestmark = pytest.mark.docker

_JOB = """
import fault, os, time
from pathlib import Path
print("value:", fault.VALUE, flush=True)
Path("out.txt").write_text("done")
if os.path.exists("/opt/runbook"):
    time.sleep(0.3)
"""


@dataclass
class Road:
    """A captured bundle, where its package is to be had, and what must be gone after a fault."""

    project: Project
    index: OwnIndex
    bundle: Path
    image: str
    api: Any
    address: str
    env: dict[str, str] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    """What the engine calls the bundle's base once its Python is ready."""

    def replay(self, **env: str) -> Done:
        """A whole replay, in Docker."""
        return self.project.runbook("replay", self.bundle, "--engine", "docker", env=self.env | env)

    def start(self, **env: str) -> subprocess.Popen[str]:
        """A replay to be interrupted or killed."""
        return self.project.start("replay", self.bundle, "--engine", "docker", env=self.env | env)

    def forget(self) -> None:
        """Have the engine and the cache lose the environment, and what it was made of but its wheel."""
        from docker.errors import NotFound

        for folder in ("trees", "bytecode", "linked"):
            shutil.rmtree(Path(self.env["XDG_CACHE_HOME"]) / "runbook" / folder, ignore_errors=True)
        for tag in (self.image, *self.ready):
            with contextlib.suppress(NotFound):
                self.api.remove_image(tag, force=True)

    def left(self, pid: int) -> list[str]:
        """What the process of this number left: containers, folders, half-made runs and reports."""
        part = f"-{pid}-"
        listed = self.api.containers(all=True, filters={"label": owner.LABEL})
        found = [one["Names"][0] for one in listed if part in one["Labels"][owner.LABEL]]
        found += [p.name for p in Path(tempfile.gettempdir()).glob(f"runbook-*{part}*")]
        found += [str(p) for p in Path(self.env["XDG_CACHE_HOME"]).glob("runbook/*/**/.partial-*")]
        return found

    def runs(self) -> list[str]:
        """The runs that the project's store holds."""
        return sorted(path.name for path in (self.project.folder / ".runbook/runs").iterdir())

    def recovers(self) -> None:
        """The next replay succeeds, from the same caches, and has swept what killed ones left."""
        done = self.replay()
        assert done.code == 0, done.err
        for container in self.api.containers(all=True, filters={"label": owner.LABEL}):
            assert not owner.is_dead(container["Labels"][owner.LABEL])


@contextlib.contextmanager
def _engine(folder: Path) -> Iterator[tuple[Daemon, dict[str, str]]]:
    """The engine to break, and the variables that name it."""
    engine = members("engine")["docker"]
    assert isinstance(engine, ApiEngine)
    if missing():
        daemon = engine.find()
        assert isinstance(daemon, Daemon)
        yield daemon, {}
        return
    with private_engine(folder / "engine.log", apart=True) as host, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", host)
        daemon = engine.find()
        assert isinstance(daemon, Daemon)
        patch.undo()
        yield daemon, {"DOCKER_HOST": host}


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Road]:
    """See Road."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "project").mkdir()
    (folder / "wheels").mkdir()
    python = folder / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    text = f"VALUE = 4\nMARK = '{secrets.token_hex(8)}'\nFILLER = '{'x' * 100_000}'\n"
    with serving(OwnIndex()) as index, _engine(folder) as (daemon, host):
        index.add(make_wheel(folder / "wheels", "fault", "1.0", {"fault.py": text}))
        # From the index itself, so that it is locked and not carried.
        command = [uv.find_uv_bin(), "pip", "install", "-q", "--no-cache", "--python", python, "--index-url"]
        subprocess.run([*command, f"{index.url}/simple/", "fault==1.0"], check=True)
        project = Project(folder / "project", python, home)
        project.write("train.py", _JOB)
        env = {
            "PIP_INDEX_URL": f"{index.url}/simple/",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "PIP_RETRIES": "0",
            "PIP_DEFAULT_TIMEOUT": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
            **host,
        }
        done = project.runbook("run", "--metric", "value=value: ([0-9]+)", "--", python, "train.py", env=env)
        assert done.code == 0, done.err
        done = project.runbook("capture", "-o", "x.runbook", env=env)
        assert done.code == 0, done.err
        # What locking kept must not stand in for the index on replay.
        env["XDG_CACHE_HOME"] = str(folder / "replays")
        record = project.runbook("show", "x.runbook", "--json").json
        assert [p["shipped"] for p in record["environment"]["packages"] if p["name"] == "fault"] == ["locked"]
        image = f"runbook/env:{record['environment']['id']['value'][7:31]}"
        made = Road(project, index, project.folder / "x.runbook", image, daemon.api, daemon.address, env)
        done = made.replay(XDG_CACHE_HOME=str(folder / "first"))
        assert done.code == 0, done.err
        made.ready += [
            tag for tag in made.api.inspect_image(image)["RepoTags"] if tag.startswith("runbook/python:")
        ]
        yield made
        made.forget()


@contextlib.contextmanager
def _of_index(index: OwnIndex, **behaviour: Any) -> Iterator[None]:
    before = {name: getattr(index, name) for name in behaviour}
    for name, value in behaviour.items():
        setattr(index, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(index, name, value)


def test_whatever_the_index_does_wrong_the_replay_exits_4_and_the_cache_is_never_poisoned(road: Road) -> None:
    wheel = "fault-1.0-py3-none-any.whl"
    content = road.index.files["fault"][0].read_bytes()
    table: dict[str, dict[str, Any]] = {
        "hangs over the page": {"held": "/simple"},
        "answers 500": {"status": 500},
        "tells garbage": {"garbage": True},
        "does not know the package": {"files": {}},
        "gives other bytes": {"replaced": {wheel: b"PK\5\6" + bytes(18)}},
        "gives half": {"replaced": {wheel: content[: len(content) // 2]}},
        "hangs over the file": {"held": "/files"},
        "breaks off": {"cut": {wheel: 1000}},
    }
    wrong = {}
    runs = road.runs()
    for name, behaviour in table.items():
        road.forget()
        with _of_index(road.index, **behaviour):
            done = road.replay()
        # A download that broke off once goes on where it was: that is no failure.
        expected = 0 if name == "breaks off" else 4
        if done.code != expected or (expected and not done.err.count("error: ") == done.err.count("hint: ") == 1):
            wrong[name] = (done.code, done.err)
    assert wrong == {}
    assert len(road.runs()) == len(runs) + 1
    road.recovers()
    assert len(table) == 8


_STAGES = {
    "before anything": (r"GET /images/runbook/env", 1),
    "the base's Python is asked": (r"POST /containers/create", 1),
    "the base's Python starts": (r"POST /containers/\S+/start", 1),
    "the base's Python is kept": (r"POST /commit", 1),
    "modules are compiled": (r"POST /containers/\S+/start", 2),
    "the environment is named": (r"POST /images/\S+/tag", 1),
    "the probe is made": (r"POST /containers/create", 3),
    "the job starts": (r"POST /containers/\S+/start", 4),
}
"""A stage of a replay that builds, by what the engine is asked then."""
_INTERRUPTED = (
    "the base's Python starts",
    "the base's Python is kept",
    "modules are compiled",
    "the probe is made",
    "the job starts",
)


def test_an_engine_that_dies_at_any_stage_is_what_is_missing_and_what_it_kept_is_swept(
    road: Road, tmp_path: Path
) -> None:
    wrong = {}
    runs = road.runs()
    for number, (name, stage) in enumerate(_STAGES.items()):
        road.forget()
        with proxied(tmp_path / f"{number}.sock", road.address, stage=stage) as proxy:
            done = road.replay(DOCKER_HOST=proxy.url)
            assert proxy.dead.is_set(), name
        said = "error: Docker Engine stopped answering" in done.err and "hint: sudo systemctl start" in done.err
        if done.code != 6 or not said:
            wrong[name] = (done.code, done.err)
    assert wrong == {}
    assert road.runs() == runs
    road.recovers()


_HANGS = ("before anything", "modules are compiled", "the job starts")


@pytest.mark.parametrize("interrupted", [False, True], ids=["waited for", "interrupted"])
def test_an_engine_that_takes_requests_and_answers_none_is_given_up_or_left_at_once(
    road: Road, tmp_path: Path, interrupted: bool
) -> None:
    wrong = {}
    runs = road.runs()
    patience = "600" if interrupted else "3"
    for at, name in enumerate(_HANGS):
        road.forget()
        with (
            proxied(tmp_path / f"{at}.sock", road.address, stage=_STAGES[name]) as proxy,
            road.start(DOCKER_HOST=proxy.url, DOCKER_CLIENT_TIMEOUT=patience) as process,
        ):
            proxy.act = proxy.stall
            if interrupted:
                assert proxy.stalled.wait(120), name
                process.send_signal(signal.SIGINT)
            err = process.communicate(timeout=120)[1]
        good = "error: interrupted" in err if interrupted else "error: Docker Engine stopped answering" in err
        if process.returncode != (130 if interrupted else 6) or not good:
            wrong[name] = (process.returncode, err)
    assert wrong == {}
    assert road.runs() == runs
    road.recovers()


_FULL = {"the cache": "XDG_CACHE_HOME", "the scratch folder": "TMPDIR", "the run store": ""}


@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.parametrize("name", _FULL)
def test_a_full_disk_of_this_machine_is_named_and_nothing_half_made_is_left(
    road: Road, tmp_path: Path, name: str
) -> None:
    variable = _FULL[name]
    small = tmp_path if variable else road.project.folder / ".runbook/runs"
    runs = road.runs()
    road.forget()
    # Room for the first few files of a replay, and no more.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", small], check=True)
    try:
        done = road.replay(**({variable: str(small)} if variable else {}))
        left = [
            str(path) for path in small.rglob("*") if ".partial" in path.name or path.name.startswith("runbook-")
        ]
    finally:
        subprocess.run(["umount", small], check=True)
    assert (done.code, done.err.count("error: "), done.err.count("hint: ")) == (6, 1, 1), done.err
    assert "no space left" in done.err.lower() or "unexpected" not in done.err, done.err
    assert left == []
    assert road.runs() == runs
    road.recovers()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_replay_that_is_interrupted_or_killed_at_any_stage_leaves_nothing_that_the_next_does_not_sweep(
    road: Road, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    wrong = {}
    runs = road.runs()
    for at, name in enumerate(_INTERRUPTED):
        stage = _STAGES[name]
        road.forget()
        with (
            proxied(tmp_path / f"{at}.sock", road.address, stage=stage) as proxy,
            road.start(DOCKER_HOST=proxy.url) as process,
        ):
            proxy.act = partial(process.send_signal, number)
            err = process.communicate(timeout=120)[1]
        wrong |= _judged(road, name, process, code, err)
    for held in ("/simple", "/files"):
        road.forget()
        shutil.rmtree(Path(road.env["XDG_CACHE_HOME"]) / "runbook", ignore_errors=True)
        with _of_index(road.index, held=held, asked=[]), road.start(PIP_DEFAULT_TIMEOUT="5") as process:
            while process.poll() is None and not any(path.startswith(held) for path in road.index.asked):
                time.sleep(0.02)
            process.send_signal(number)
            err = process.communicate(timeout=120)[1]
        wrong |= _judged(road, f"the index is asked for {held}", process, code, err)
    assert wrong == {}
    if number == signal.SIGINT:
        assert road.runs() == runs
    road.recovers()


def _judged(
    road: Road, name: str, process: subprocess.Popen[str], code: int, err: str
) -> dict[str, tuple[int, str, list[str]]]:
    """The outcome when it is wrong. What a killed one left is for the next to sweep."""
    left = [] if code < 0 else road.left(process.pid)
    good = process.returncode == code and not left and (code < 0 or "error: interrupted" in err)
    return {} if good else {name: (process.returncode, err, left)}
