"""An environment of one tiny package on a tiny base, built once, and a sandbox to run one-line jobs in."""

import base64
import contextlib
import hashlib
import os
import platform
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from interpreter_base import base_tag, make_layout, python_path

from runbook.engine.docker_api import ApiEngine
from runbook.engine.interface import Built, Engine, Limits, Plan, Sandbox, Tree
from runbook.environment import trees
from runbook.model.code import Shape
from runbook.model.environment import Base, Interpreter
from runbook.model.execution import Execution
from runbook.progress import SILENT
from runbook.registry import members

ROOT = "/home/alice/project"


def engine_names() -> list[Any]:
    """Every engine of the family; one that needs a daemon is marked by its name, any other runs everywhere."""
    return [
        pytest.param(name, marks=getattr(pytest.mark, name) if isinstance(engine, ApiEngine) else ())
        for name, engine in members("engine").items()
    ]


def container_engines() -> list[Any]:
    """Engines whose sandbox is a container."""
    return [parameter for parameter in engine_names() if parameter.marks]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Locks and local environments lie in a cache of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A base as an OCI layout, and its digest."""
    folder = tmp_path_factory.mktemp("layout")
    return folder, make_layout(folder)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel of `greeting`, a package with a console script."""
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(
        folder, "greeting", {"greeting.py": "TEXT = 'hello'\ndef main():\n    print(TEXT, 'from the script')\n"}
    )
    return folder


def write_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A pure wheel, version 1.0, with a console script of its own name."""
    info = f"{name}-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record += f"{file},sha256={digest},{len(text.encode())}\n"
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


@pytest.fixture(scope="session")
def plan(layout: tuple[Path, str], wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan whose environment id no other run of the tests has."""
    requirements = write_lock(next(wheels.iterdir()), tmp_path_factory.mktemp("lock") / "requirements.txt")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    return Plan(
        environment_id=fresh_id(),
        base=Base(
            kind="host-closure",
            requested="automatic",
            digest=layout[1],
            platform=f"linux/{machine}",
            python=python_path(),
            why="test",
        ),
        layout=lambda: layout[0],
        interpreter=interpreter(),
        requirements=lambda: requirements,
        wheels=lambda: wheels,
        trees=partial(trees_of, wheels, requirements),
    )


def trees_of(wheels: Path, requirements: Path, python: str) -> list[Tree]:
    """The trees of a lock and the folder of its wheels, as a replay has them made."""
    cache = platformdirs.user_cache_path("runbook")
    found = trees.have(requirements.read_bytes(), interpreter(), {}, lambda: wheels, python=python, cache=cache)
    return [
        Tree(key, one / trees.FILES, tuple(name for name, _ in trees.listing(one))) for key, one in found.items()
    ]


def write_lock(wheel: Path, target: Path) -> Path:
    """The lock of one wheel."""
    name, version, *_ = wheel.name.split("-")
    target.write_text(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return target


def interpreter() -> Interpreter:
    """The one that runs the tests."""
    return Interpreter(
        implementation="cpython",
        version=platform.python_version(),
        abi=f"cp{sys.version_info.major}{sys.version_info.minor}",
        machine=platform.machine(),
        system="linux",
        executable=python_path(),
        prefix=sys.base_prefix,
        base_prefix=sys.base_prefix,
    )


def fresh_id() -> str:
    """An environment id that exists nowhere yet."""
    return f"sha256:{hashlib.sha256(os.urandom(16)).hexdigest()}"


class Builds:
    """Built environments, by engine; images are removed with the session."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._built: dict[str, Built] = {}

    def get(self, engine: str) -> Built:
        """The environment of the session on this engine."""
        if engine not in self._built:
            self._built[engine] = members("engine")[engine].build(self._plan, SILENT)
        return self._built[engine]


@pytest.fixture(scope="session")
def builds(plan: Plan) -> Iterator[Builds]:
    """See Builds."""
    found = Builds(plan)
    yield found
    remove_image(f"runbook/env:{plan.environment_id[7:31]}")
    assert plan.layout is not None
    remove_image(base_tag(plan.layout()))


def remove_image(name: str) -> None:
    """Remove an image from every engine that has it."""
    from docker.errors import NotFound

    from runbook.engine.daemon import Daemon

    for engine in members("engine").values():
        if isinstance(engine, ApiEngine) and isinstance(found := engine.find(), Daemon):
            with contextlib.suppress(NotFound):
                found.api.remove_image(name, force=True)


@dataclass
class Runner:
    """Runs jobs in one engine's environment."""

    engine: Engine
    built: Built
    folder: Path

    @property
    def work(self) -> Path:
        """The working copy."""
        return self.folder / "work"

    def sandbox(self, *argv: str, **changes: Any) -> Sandbox:
        """A sandbox for this command; `limits` and the rest as keywords."""
        self.work.mkdir(exist_ok=True)
        base = Sandbox(
            argv=argv,
            root=ROOT,
            cwd=".",
            work=self.work,
            shape=Shape(),
            mounts=(),
            variables={},
            stdout=self.folder / "stdout.log",
            stderr=self.folder / "stderr.log",
            limits=Limits(memory_bytes=512 << 20, pids=256),
        )
        return replace(base, **changes)

    def run(self, *argv: str, **changes: Any) -> Execution:
        """Run a command."""
        return self.engine.run(self.built, self.sandbox(*argv, **changes), SILENT)

    def python(self, code: str, **changes: Any) -> Execution:
        """Run a line of Python as the job; the text is a file of the project."""
        self.work.mkdir(exist_ok=True)
        (self.work / "job.py").write_text(code)
        return self.run("python", "job.py", **changes)

    def output(self, code: str, **changes: Any) -> str:
        """What a line of Python prints; it must succeed."""
        execution = self.python(code, **changes)
        assert execution.outcome.exit_code.value == 0, execution.stderr.read_text()
        return execution.stdout.read_text().strip()


@pytest.fixture
def runner(request: pytest.FixtureRequest, builds: Builds, tmp_path: Path) -> Runner:
    """A runner on the engine that the test is parametrised with, Docker when it is not."""
    name = getattr(request, "param", "docker")
    return Runner(members("engine")[name], builds.get(name), tmp_path)


@pytest.fixture
def copied_layout(layout: tuple[Path, str], tmp_path: Path) -> Callable[[], Path]:
    """A copy of the base's layout to break."""

    def copy() -> Path:
        return Path(shutil.copytree(layout[0], tmp_path / "broken"))

    return copy
