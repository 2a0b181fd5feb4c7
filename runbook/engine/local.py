"""The machine itself: a fresh virtual environment and a plain process. Rebuilds packages, isolates nothing."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import platformdirs

from runbook.engine import owner
from runbook.engine.docker_build import not_installed, substitutions
from runbook.engine.docker_ready import minor
from runbook.engine.enter import resolve, restore, translated
from runbook.engine.interface import Built, Mount, Plan, Sandbox, Stock
from runbook.engine.lock import alone
from runbook.errors import EnvironmentNotRebuilt, NeedMissing
from runbook.launch.process import launch
from runbook.launch.watch import prepare
from runbook.model.code import Link, Shape
from runbook.model.environment import Base, Interpreter
from runbook.model.execution import Execution
from runbook.progress import Progress

_READY = ".runbook-complete"
"""Written last into an environment: without it the folder is a torso and is made anew."""
_NO_PYTHON = "this machine has no Python"
_PLAIN_PATH = "/usr/local/bin:/usr/bin:/bin"


class LocalEngine:
    """Environments lie in the user's cache, named by the environment id."""

    name = "local"
    isolation = (
        "None: a virtual environment on this machine. The job can reach the network, every file of the user and "
        "this machine's libraries; only the packages are those of the bundle."
    )

    def available(self) -> str:
        """Empty when uv, which comes with runbook, is there."""
        import uv

        try:
            uv.find_uv_bin()
        except FileNotFoundError:
            return "the executable of uv is not there"
        return ""

    def hint(self) -> str:
        """What brings uv back."""
        return "pip install --force-reinstall uv" if self.available() else ""

    def describe(self) -> str:
        """Name, and the uv that installs."""
        from importlib.metadata import version

        return f"local virtual environment (uv {version('uv')})"

    def warnings(self) -> tuple[str, ...]:
        """What a reader must know."""
        return ("the local engine isolates nothing: replay only what you trust",)

    def stock(self, environment_id: str, base: Base, interpreter: Interpreter, *, ask: bool) -> Stock:
        """Whether the environment is there, else whether this machine has a Python for it."""
        there = (_home_of(environment_id) / _READY).is_file()
        if there or any(_has_python(v) for v in (interpreter.version, minor(interpreter.version))):
            return Stock(there, True, environments())
        return Stock(False, True, environments(), f"{_NO_PYTHON} {minor(interpreter.version)}", _hint(interpreter))

    def build(self, plan: Plan, progress: Progress) -> Built:
        """Make the environment, or find it. The base of the bundle is not used: this machine stands in for it."""
        target = _home_of(plan.environment_id)
        with alone(plan.environment_id):
            cached = (target / _READY).is_file()
            if not cached:
                progress.say("building the environment, offline")
                shutil.rmtree(target, ignore_errors=True)
                try:
                    _install(plan, target)
                except BaseException:
                    shutil.rmtree(target, ignore_errors=True)
                    raise
            here = (target / _READY).read_text()
        stand_in = f"this machine stands in for the base {plan.base.reference or plan.base.kind}"
        return Built(
            engine=self.name,
            handle=str(target),
            cached=cached,
            python=str(target / "bin" / "python"),
            substitutions=(stand_in, *substitutions(plan, here)),
        )

    @contextlib.contextmanager
    def probing(self, built: Built, script: bytes, variables: Mapping[str, str]) -> Iterator[Callable[[], bytes]]:
        """Run the probe with the environment's interpreter; yields what waits for its stdout."""
        with (
            owner.scratch() as home,
            tempfile.TemporaryFile() as source,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            source.write(script)
            source.seek(0)
            process = subprocess.Popen(
                [built.python, "-B", "-"],
                stdin=source,
                stdout=out,
                stderr=err,
                cwd=home,
                env={**variables, **_clean(built, home)},
            )

            def answer() -> bytes:
                code = process.wait()
                out.seek(0)
                err.seek(0)
                if code:
                    said = err.read().decode(errors="replace").strip().rpartition("\n")[2] or f"exit code {code}"
                    raise EnvironmentNotRebuilt(
                        "the rebuilt environment's Python does not work", said, id="probe-failed"
                    )
                return out.read()

            try:
                yield answer
            finally:
                with owner.uninterrupted():
                    process.kill()
                    process.wait()

    def run(self, built: Built, sandbox: Sandbox, progress: Progress) -> Execution:
        """Run the job as a plain process in the working copy."""
        root, moved = sandbox.root.rstrip("/"), str(sandbox.work)
        restore(moved, _inside(sandbox.shape))
        said = translated(sandbox.argv, str(Path(built.python).parent))
        argv = [moved + word.removeprefix(root) if _below(word, root) else word for word in said]
        with owner.scratch() as home:
            moves = _moves(sandbox, home)
            for mount in sandbox.mounts:
                _place(mount, sandbox, moves)
            given = {name: str(moves.get(it.rstrip("/"), it)) for name, it in sandbox.variables.items()}
            env = {**given, **_clean(built, home)}
            cwd = sandbox.work / sandbox.cwd
            cwd.mkdir(parents=True, exist_ok=True)
            command = resolve(argv[0], str(Path(built.python).parent), env["PATH"])
            if command is None or not os.access(cwd / command, os.X_OK):
                raise NeedMissing(
                    "the job's command is not on this machine",
                    argv[0],
                    hint="install it, or replay with --engine docker",
                    id="command-not-here",
                )
            if sandbox.watch is not None:
                env = prepare(sandbox.watch, env, vary=sandbox.vary)
            with _standard_input(sandbox) as stdin:
                done = launch(
                    [command, *argv[1:]],
                    cwd,
                    env,
                    stdout=sandbox.stdout,
                    stderr=sandbox.stderr,
                    stdin=stdin.fileno(),
                    timeout=sandbox.limits.time_s,
                    enough=sandbox.enough,
                    tee=False,
                )
        place = f"the project lies at {moved} instead of {sandbox.root}"
        return Execution(
            outcome=done.outcome,
            resources=done.resources,
            stdout=done.stdout,
            stderr=done.stderr,
            substitutions=(place,),
            findings=done.findings,
        )

    def sweep(self) -> int:
        """Remove the scratch folders of dead owners. A torso of an environment is made anew when it is needed."""
        return owner.sweep_scratch()


def environments() -> Path:
    """Where this engine keeps environments."""
    return platformdirs.user_cache_path("runbook") / "environments"


def _home_of(environment_id: str) -> Path:
    return environments() / environment_id.removeprefix("sha256:")[:24]


def _has_python(version: str) -> bool:
    import uv

    command = [uv.find_uv_bin(), "python", "find", "--offline", "--no-config", "--no-python-downloads", "--quiet"]
    return _call([*command, "--no-project", version]).returncode == 0


def _hint(interpreter: Interpreter) -> str:
    return f"uv python install {interpreter.version}, or replay with --engine docker"


def _install(plan: Plan, target: Path) -> None:
    import uv

    wanted = plan.interpreter.version
    tool = [uv.find_uv_bin(), "--offline", "--no-config", "--no-progress", "--quiet", "--no-python-downloads"]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".cache-", dir=target.parent) as cache:
        tool += ["--cache-dir", cache]
        for version in (wanted, minor(wanted)):
            if _call([*tool, "venv", "--no-project", "--python", version, str(target)]).returncode == 0:
                break
        else:
            raise EnvironmentNotRebuilt(
                _NO_PYTHON,
                minor(wanted),
                hint=_hint(plan.interpreter),
                id="no-such-python",
            )
        python = str(target / "bin" / "python")
        command = [*tool, "pip", "install", "--python", python, "--no-build", "--link-mode", "hardlink"]
        command += ["--require-hashes", "--no-index", "--no-deps"]
        done = _call([*command, "--find-links", str(plan.wheels()), "-r", str(plan.requirements())])
    if done.returncode:
        raise not_installed(done.stderr or done.stdout, done.returncode)
    _compile(python, target)
    said = _call([python, "-I", "-S", "-c", "import platform; print(platform.python_version())"])
    (target / _READY).write_text(said.stdout.strip())


def _compile(python: str, target: Path) -> None:
    """Compile what a job may import, on all cores; a package's own tests, half of many, are left out.

    Without `site`, so that no .pth line of a package runs. A module that does not compile is left as it is.
    """
    options = ["-I", "-S", "-m", "compileall", "-q", "-q", "-j", "0", "-x", "/tests?/"]
    _call([python, *options, str(target / "lib")])


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    # A variable of the caller (UV_INDEX_URL, PYTHONPATH) must not reach the installer.
    env = {"PATH": os.environ.get("PATH", _PLAIN_PATH), "HOME": str(Path.home())}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, check=False)


def _clean(built: Built, home: Path) -> dict[str, str]:
    """What every process gets: nothing of the host but a plain PATH, and a HOME that is thrown away."""
    venv = Path(built.python).parent
    return {
        "PATH": f"{venv}:{_PLAIN_PATH}",
        "VIRTUAL_ENV": str(venv.parent),
        "HOME": str(home),
        "TMPDIR": str(home),
        "USER": "runbook",
        "LOGNAME": "runbook",
    }


def _standard_input(sandbox: Sandbox) -> BinaryIO:
    """The file that the job reads as standard input, at its place; an empty one where there is none."""
    if sandbox.stdin is None:
        return open(os.devnull, "rb")  # noqa: PTH123 - it is no path of ours
    place = Path(sandbox.root) / sandbox.stdin.path
    inside = _below(str(place), sandbox.root.rstrip("/"))
    stream = (sandbox.work / place.relative_to(sandbox.root) if inside else place).open("rb", buffering=0)
    stream.seek(sandbox.stdin.offset)
    return stream


def _moves(sandbox: Sandbox, home: Path) -> dict[str, Path]:
    """Where folders are that variables of the original name and that hold caches of libraries, inner ones first.

    Nothing is written to this user's own.
    """
    moves = {}
    for name, value in sorted(sandbox.variables.items()):
        folder = value.rstrip("/")
        if folder.startswith("/") and any(_below(cache, folder) for cache in sandbox.caches):
            moves[folder] = home if name == "HOME" else home / ".runbook" / name
    return dict(sorted(moves.items(), key=lambda move: len(move[0]), reverse=True))


def _place(mount: Mount, sandbox: Sandbox, moves: Mapping[str, Path]) -> None:
    """Put an input where the job looks: in the working folder or a cache; elsewhere it must lie there already."""
    root = sandbox.root.rstrip("/")
    cached = any(_below(mount.target, cache) for cache in sandbox.caches)
    folder = next((one for one in moves if _below(mount.target, one) and cached), None)
    if _below(mount.target, root):
        target = sandbox.work / mount.target.removeprefix(sandbox.root).lstrip("/")
    elif folder is not None:
        target = moves[folder] / mount.target.removeprefix(folder).lstrip("/")
    elif Path(mount.target).exists():
        return
    else:
        raise NeedMissing(
            "an input must lie where the job looks, and the local engine cannot put it there",
            mount.target,
            hint=f"put it there, or replay with --engine docker: cp -r {mount.source} {mount.target}",
            id="input-not-in-place",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if mount.source.is_dir():
        shutil.copytree(mount.source, target, dirs_exist_ok=True, symlinks=True)
        restore(str(target), _inside(mount.shape))
    else:
        shutil.copyfile(mount.source, target)


def _inside(shape: Shape) -> dict[str, Any]:
    """What may be restored on a host: modes, empty folders, and links that stay within the tree."""
    return {
        "links": [{"path": link.path, "target": link.target} for link in _safe_links(shape)],
        "executables": [path for path in shape.executables if _plain(path)],
        "empty_directories": [path for path in shape.empty_directories if _plain(path)],
    }


def _safe_links(shape: Shape) -> Iterator[Link]:
    """Links whose place and target lie within the tree, and whose place is not reached through another link."""
    places = {link.path for link in shape.links}
    for link in shape.links:
        parents = [parent.as_posix() for parent in PurePosixPath(link.path).parents]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), link.target))
        if _plain(link.path) and _plain(target) and places.isdisjoint(parents):
            yield link


def _plain(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/")


def _below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


MEMBER = LocalEngine()
