"""Whole roads through the real executable: a project, its job's own interpreter, and isolated caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

JOB = """
import argparse, json, random
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--fail", action="store_true")
arguments = parser.parse_args()
random.seed(arguments.seed)
rows = [float(x) for x in Path("data.txt").read_text().split()]
curve = [sum(rows) * random.random() for _ in range(5)]
print("rmse:", curve[-1])
Path("metrics.json").write_text(json.dumps({"accuracy": random.random(), "loss": curve}))
if arguments.fail and Path("/opt/runbook").exists():
    raise SystemExit("this job fails wherever it is replayed")
"""


@dataclass(frozen=True)
class Done:
    """One finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


class Project:
    """A folder with a job, and runbook run in it as a person would."""

    def __init__(self, folder: Path, python: Path, home: Path) -> None:
        self.folder, self.python, self.home = folder, python, home

    def write(self, name: str, text: str) -> Path:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def runbook(
        self,
        *arguments: str | Path,
        env: dict[str, str] | None = None,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
    ) -> Done:
        """Run the real executable."""
        done = subprocess.run(**self._call(arguments, env), stdin=stdin, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Start the real executable."""
        call = self._call(arguments, env)
        del call["capture_output"]
        return subprocess.Popen(**call, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def _call(self, arguments: tuple[str | Path, ...], env: dict[str, str] | None) -> dict[str, Any]:
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE"))}
        variables |= {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / "cache"), "NO_COLOR": "1"}
        variables |= {"TZ": "UTC", "LANG": "C.UTF-8"} | (env or {})
        return {
            "args": [sys.executable, "-m", "runbook", *map(str, arguments)],
            "cwd": self.folder,
            "env": variables,
            "capture_output": True,
            "text": True,
        }

    def run(self, *job: str, options: tuple[str | Path, ...] = ()) -> Done:
        """`runbook run` of the job with its metrics declared."""
        declared = ("--metrics", "metrics.json", "--metric", "rmse=rmse: ([0-9.e+-]+)", "--input", "data.txt")
        return self.runbook("run", *declared, *options, "--", str(self.python), "train.py", *job)

    def capture(self, name: str, *options: str | Path) -> Path:
        """`runbook capture` of the last run; the bundle."""
        bundle = self.folder / name
        done = self.runbook("capture", "-o", bundle, *options)
        assert done.code == 0, done.err
        return bundle


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own, so that no cache of the machine's user is read or written."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def job_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The job's own interpreter: another environment than runbook's, with nothing installed."""
    venv = tmp_path_factory.mktemp("job") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    return venv / "bin" / "python"


@pytest.fixture
def project(tmp_path: Path, job_python: Path, home: Path) -> Project:
    """A small job with data, metrics on stdout and in a file, and no packages."""
    made = Project(tmp_path / "project", job_python, home)
    made.write("train.py", JOB)
    made.write("data.txt", "1.5\n2.5\n3.25\n")
    return made
