"""One side of a planted cause: a job in a folder of its own, its interpreter and its variables, and its bundle."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support.jobs import example_python, job_python, runbook

JOBS = Path(__file__).parent / "jobs"
TOWNS = ("Århus", "Besançon", "Delft", "Graz", "Malmö", "Trier")
SIDES = ("left", "right", "up")
EXAMPLES = {"flats": "sklearn-digits", "net": "torch-cpu"}
"""Job → the example whose environment it runs in."""
MEMORY = Path("/dev/shm")
"""A tmpfs lists files by when they were made; most other file systems list by a hash of the name."""


class Side:
    """A job as it will be run. A cause changes it, `capture` runs and freezes it."""

    def __init__(self, job: str, folder: Path) -> None:
        self.job, self.folder = job, folder
        self.python: Callable[[], Path] = lambda: example_python(EXAMPLES[job])
        self.argv = ["train.py"]
        self.env = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        # Without these Python reads text as UTF-8 whatever the locale says.
        self.env |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        self.kept = ["PRICE_CAP", "TRAIN_MOMENTUM", "TRAIN_COLOUR"]
        """Variables that the record keeps besides those of its own list."""
        shutil.copytree(JOBS / job, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for path, text in data(job).items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        """Write a file of the project."""
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Put `new` where the file says `old`, which it does exactly once."""
        text = (self.folder / path).read_text()
        assert text.count(old) == 1, (path, old)
        (self.folder / path).write_text(text.replace(old, new))

    def lines(self, path: str, change: Callable[[list[str]], None]) -> None:
        """Let `change` change the lines of a file in place."""
        lines = (self.folder / path).read_text().splitlines(keepends=True)
        change(lines)
        (self.folder / path).write_text("".join(lines))

    def remake(self, folder: str, *, backwards: bool) -> None:
        """Make the files of a folder anew, in the order of their names or against it."""
        held = {path: path.read_bytes() for path in sorted((self.folder / folder).iterdir(), reverse=backwards)}
        for path in held:
            path.unlink()
        for path, content in held.items():
            path.write_bytes(content)

    def to_memory(self) -> None:
        """Move the project to a file system that lists files by when they were made."""
        target = MEMORY / f"runbook-causes-{os.getpid()}" / self.folder.relative_to(self.folder.anchor)
        shutil.copytree(self.folder, target)
        shutil.rmtree(self.folder)
        self.folder = target

    def capture(self, bundle: Path) -> Path:
        """Run the job under observation and freeze it."""
        python = self.python()
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "LC_", "OMP_"))}
        env |= {"PATH": f"{python.parent}:{os.environ['PATH']}", **self.env}
        declared = [word for name in self.kept for word in ("--env", name)]
        runbook("run", "--capture", *declared, "-o", bundle, "--", "python", *self.argv, cwd=self.folder, env=env)
        return bundle


def data(job: str) -> dict[str, str]:
    """The files that a job reads: path → content, always the same."""
    rng = random.Random(11)
    files: dict[str, str] = {}
    if job == "flats":
        rows = ["id,rooms,area,town,price\n"]
        for number in range(420):
            rooms, area, town = rng.randint(1, 6), rng.uniform(20, 180), rng.choice(TOWNS)
            price = 40 * rooms + 3.1 * area + 25 * TOWNS.index(town) + rng.gauss(0, 20)
            rows.append(f"{number},{rooms},{area:.2f},{town},{price:.2f}\n")
        files["flats.csv"] = "".join(rows)
        files |= {f"market/{month:02}.txt": f"{rng.uniform(0.9, 1.3):.3f}\n" for month in range(1, 9)}
    else:
        for part in range(5):
            rows = [",".join([*(f"x{n}" for n in range(6)), "side"]) + "\n"]
            for _ in range(60):
                side = rng.randrange(3)
                rows.append(",".join([*(f"{rng.gauss(side, 1.5):.4f}" for _ in range(6)), SIDES[side]]) + "\n")
            files[f"parts/{part}.csv"] = "".join(rows)
    return files


def changed_packages(job: str, *requirements: str) -> Path:
    """The job's environment with other packages: a copy, of hard links, into which pip installs them."""
    return job_python(f"causes-{job}", requirements, like=example_python(EXAMPLES[job]))


def other_python(version: str) -> Path | None:
    """The packages of the flats under another release of Python; None where there is none."""
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    for python in [*filter(None, [shutil.which(f"python{version}")]), *map(str, pyenv)]:
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            freeze = [example_python(EXAMPLES["flats"]), "-m", "pip", "freeze"]
            listed = subprocess.run(freeze, capture_output=True, text=True, check=True).stdout.split()
            return job_python(f"causes-{version}", listed, python=python)
    return None
