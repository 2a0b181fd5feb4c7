"""Environments for jobs, and the runbook command line, for examples, cases, benchmarks and tests."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
EXAMPLES = ROOT / "examples"


def job_python(
    name: str, requirements: Sequence[str], *, python: str | Path = sys.executable, like: Path | None = None
) -> Path:
    """The interpreter of a virtual environment of the job's own, with these requirements installed by pip.

    python: of which Python. like: the interpreter of an environment that it begins as a copy of, by hard links.
    Kept under build/venvs/ and made anew when the requirements change. Safe under parallel test workers.
    """
    requirements = [line for line in requirements if line and not line.startswith("#")]
    wanted = "\n".join([sys.version if python == sys.executable else str(python), *requirements])
    wanted += f"\n{like.parents[1].name}" if like else ""
    venv = BUILD / "venvs" / f"{name}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    made, ready = venv / "bin" / "python", venv / ".ready"
    with _locked(venv.with_suffix(".lock")):
        if not ready.exists():
            say(f"making the job's environment: {' '.join(requirements)}")
            subprocess.run([python, "-m", "venv", "--clear", venv], check=True)
            if like:
                _link_packages(like.parents[1], venv)
            if requirements:
                pip = [made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
                subprocess.run([*pip, *requirements], check=True)
            ready.touch()
    return made


def _link_packages(source: Path, target: Path) -> None:
    """Give an empty environment the packages of another, scripts and all; what is installed later is new."""
    for packages in source.glob("lib/python*/site-packages"):
        shutil.rmtree(target / packages.relative_to(source))
    for path in source.rglob("*"):
        there = target / path.relative_to(source)
        if path.is_file() and not path.is_symlink() and not there.exists() and path.name != ".ready":
            there.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, there)


def example_python(name: str) -> Path:
    """The interpreter of an example's environment, from its requirements.txt."""
    return job_python(name, (EXAMPLES / name / "requirements.txt").read_text().splitlines())


def runbook(
    *arguments: str | Path,
    cwd: Path,
    expect: int | None = 0,
    show: bool = False,
    env: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run `runbook ARGUMENTS` in `cwd` as a person would.

    expect: the exit code it must have, None for any; show: echo the command, and leave its output on the terminal;
    under: what stands before it, `unshare --net`.
    Raises SystemExit with everything it printed when the exit code is another.
    """
    command = [*under, str(Path(sys.executable).parent / "runbook"), *map(str, arguments)]
    if show:
        typed = shlex.join(["runbook", *map(_short, command[1:])])
        print(f"\n$ {typed}", flush=True)
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=not show,
        text=True,
        check=False,
    )
    if expect is not None and done.returncode != expect:
        said = f"{done.stdout or ''}{done.stderr or ''}"
        raise SystemExit(f"exit {done.returncode} instead of {expect}: {shlex.join(command)}\n{said}")
    return done


def answer(*arguments: str | Path, cwd: Path, expect: int | None = 0) -> Any:
    """What `runbook ARGUMENTS --json` answers."""
    return json.loads(runbook(*arguments, "--json", cwd=cwd, expect=expect).stdout)


def docker_reachable() -> bool:
    """Whether the Docker SDK reaches an engine."""
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=10)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def say(text: str) -> None:
    """Print a step on stderr."""
    print(f"==> {text}", file=sys.stderr, flush=True)


def _short(argument: str) -> str:
    """A path as a person in the project's folder would type it."""
    return argument.removeprefix(f"{ROOT}/")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
