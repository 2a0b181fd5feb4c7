"""What watching costs a job: `runbook run`, `--trace native` and ReproZip beside plain Python, taking turns.

A job's time is the life of its process: from its start to its end for plain Python, the record's own duration for
`runbook run`, and for ReproZip the job's age at its last statement, as the job itself tells it. Processor time is
that of the job's processes, and stands beside the first because other work on the machine counts less there.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs import example_python, job_python
from measure import Figure

RUNBOOK = Path(sys.executable).parent / "runbook"
_FILES, _FOLDERS = 100_000, 100
_SECONDS = 10
_SLOW_S, _SLOW_RUNS = 5, 2
"""What has no goal and takes longer than so many seconds is run only so often."""

_TELL = """
def tell():
    import os, time
    started = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    print("age", time.clock_gettime(time.CLOCK_BOOTTIME) - started, flush=True)
"""
_FIRST = "import time\nprint('first', time.monotonic_ns())\n"
_SKLEARN = """
import sys, time
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

X, y = load_digits(return_X_y=True)
begun = time.monotonic()
for round in range(int(sys.argv[1])):
    forest = RandomForestClassifier(50, random_state=round)
    print("forest:", cross_val_score(forest, X, y, cv=3).mean())
    print("linear:", cross_val_score(LogisticRegression(max_iter=20), X[:, :32], y % 2, cv=3).mean())
print("each", (time.monotonic() - begun) / int(sys.argv[1]))
"""
_TORCH = """
import sys, time
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
torch.manual_seed(0)
X, y = torch.randn(4096, 64), torch.randint(0, 10, (4096,))
loader = DataLoader(TensorDataset(X, y), batch_size=64, shuffle=True)
model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(model.parameters())
begun = time.monotonic()
for epoch in range(int(sys.argv[1])):
    for a, b in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(a), b)
        loss.backward()
        optimizer.step()
    print("loss:", loss.item())
torch.save(model.state_dict(), "model.pt")
print("each", (time.monotonic() - begun) / int(sys.argv[1]))
"""
_OPENS = """
import sys
total = 0
for folder in range({folders}):
    for number in range({each}):
        with open(f"{{sys.argv[1]}}/{{folder}}/{{number}}.txt") as file:
            total += len(file.read())
print("total:", total)
"""


@dataclass(frozen=True)
class Sample:
    """One run of a job."""

    job_s: float
    cpu_s: float | None
    """Processor time of the job's processes; None when the tracer does not tell it."""
    whole_s: float
    """Until the prompt is back."""
    first_s: float
    """From the start of the command to the job's first statement; 0 where the job does not tell it."""


Run = Callable[[], Sample]


@dataclass(frozen=True)
class Project:
    """A small checkout with one job in it."""

    folder: Path
    python: Path
    arguments: tuple[str, ...] = ()

    def plain(self) -> Sample:
        """The job by itself."""
        wall, cpu, first, _ = self._command((self.python, "job.py", *self.arguments))
        return Sample(wall, cpu, wall, first)

    def watched(self, *options: str) -> Sample:
        """The job under `runbook run`."""
        store = self.folder / ".runbook"
        shutil.rmtree(store, ignore_errors=True)
        command = (RUNBOOK, "run", *options, "--", self.python, "job.py", *self.arguments)
        wall, _, first, _ = self._command(command)
        record = json.loads(next(store.glob("runs/*/draft.json")).read_text())
        cost = record["resources"]
        cpu = cost["cpu_user_s"]["value"] + cost["cpu_system_s"]["value"]
        return Sample(record["outcome"]["duration_s"]["value"], cpu, wall, first)

    def reprozip(self, tool: Path) -> Sample:
        """The job under `reprozip trace`, without what it does afterwards for packages and inputs."""
        shutil.rmtree(self.folder / ".reprozip-trace", ignore_errors=True)
        spare = ("--overwrite", "--dont-identify-packages", "--dont-find-inputs-outputs")
        wall, _, first, age = self._command((tool, "trace", *spare, self.python, "job.py", *self.arguments))
        return Sample(age or wall, None, wall, first)

    def each(self) -> float:
        """Seconds that one round of the job takes, by its own clock."""
        small = Project(self.folder, self.python, ("2",))
        return float(small._said((self.python, "job.py", "2"))["each"])

    def _command(self, command: Sequence[str | Path]) -> tuple[float, float, float, float]:
        """Seconds: wall, processor, until the first statement, the job's age at its last."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic_ns()
        said = self._said(command)
        ended, after = time.monotonic_ns(), resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        first = (int(said["first"]) - began) / 1e9 if "first" in said else 0.0
        return (ended - began) / 1e9, cpu, first, float(said.get("age", 0))

    def _said(self, command: Sequence[str | Path]) -> dict[str, str]:
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "REPROZIP_USAGE_STATS": "off"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{command[:3]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            )
        pairs = (line.split() for line in done.stdout.splitlines())
        return {words[0]: words[1] for words in pairs if len(words) == 2}


def watching(under: Path, runs: int) -> Iterator[Figure]:
    """The start, two jobs of ten seconds, and one that opens 100,000 files."""
    under = under / "watching"
    shutil.rmtree(under, ignore_errors=True)
    plain = job_python("plain", ())
    reprozip = _reprozip()
    yield from _starting(_project(under / "start", _FIRST, plain), reprozip, max(runs, 9))
    small = _small_files(under / "small")
    source = _OPENS.format(folders=_FOLDERS, each=_FILES // _FOLDERS)
    opens = _project(under / "opens", source, plain, str(small))
    yield from _jobs(f"{_FILES:,} small files opened", opens, reprozip, runs, 1.10)
    shutil.rmtree(small)
    for name, source, example in (("scikit-learn", _SKLEARN, "sklearn-digits"), ("PyTorch", _TORCH, "torch-cpu")):
        project = _project(under / name, source, example_python(example))
        rounds = max(1, round(_SECONDS / project.each()))
        sized = Project(project.folder, project.python, (str(rounds),))
        yield from _jobs(f"{name}, {_SECONDS} s job", sized, reprozip, runs, 1.02)


def _jobs(what: str, project: Project, tool: Path | None, runs: int, goal: float) -> Iterator[Figure]:
    """The job's own time, watched in each way, beside the plain one; then the whole command's."""
    plain, *others = _turns(what, _ways(project, tool), runs)
    for (way, samples), bound in zip(others, (goal, None, None), strict=False):
        yield _figure(f"{what}: {way}", [s.job_s for s in samples], [s.job_s for s in plain[1]], bound)
        if samples[0].cpu_s is not None:
            mine, theirs = [s.cpu_s or 0 for s in samples], [s.cpu_s or 0 for s in plain[1]]
            yield _figure("  of which processor time", mine, theirs, None)
        whole = [s.whole_s for s in samples]
        yield _figure("  until the prompt is back", whole, [s.whole_s for s in plain[1]], None, budget=True)


def _starting(project: Project, tool: Path | None, runs: int) -> Iterator[Figure]:
    """From the command to the job's first statement, and until the prompt is back."""
    plain, *others = _turns("start", _ways(project, tool), runs)
    for (way, samples), bound in zip(others, (0.150, None, None), strict=False):
        first, theirs = [s.first_s for s in samples], [s.first_s for s in plain[1]]
        yield _figure(f"to the job's first statement: {way}", first, theirs, bound, budget=True)
        whole = [s.whole_s for s in samples]
        yield _figure("  until the prompt is back", whole, [s.whole_s for s in plain[1]], None, budget=True)


def _ways(project: Project, tool: Path | None) -> dict[str, Run]:
    ways: dict[str, Run] = {"plain": project.plain, "watched": project.watched}
    if shutil.which("strace"):
        ways["--trace native"] = lambda: project.watched("--trace", "native")
    else:
        print("NOT RUN: --trace native, because strace is not installed", file=sys.stderr)
    if tool:
        ways["reprozip"] = lambda: project.reprozip(tool)
    return ways


def _turns(what: str, ways: dict[str, Run], runs: int) -> list[tuple[str, list[Sample]]]:
    """Every way in turn, `runs` times, after one round that only warms; the slow without a goal less often."""
    print(f"  {what} …", file=sys.stderr, flush=True)
    found: dict[str, list[Sample]] = {way: [] for way in ways}
    for turn in range(runs + 1):
        for way, run in ways.items():
            measured = way in ("plain", "watched")
            if measured or (turn and (len(found[way]) < _SLOW_RUNS or found[way][0].whole_s < _SLOW_S)):
                sample = run()
                found[way] += [sample] if turn else []
    return list(found.items())


def _figure(
    what: str, ours: list[float], theirs: list[float], goal: float | None, *, budget: bool = False
) -> Figure:
    return Figure(
        what=what,
        peer="plain Python",
        ours=statistics.median(ours),
        theirs=statistics.median(theirs),
        ratio=statistics.median(a - b if budget else a / b for a, b in zip(ours, theirs, strict=False)),
        goal=goal,
        runs=len(ours),
        budget=budget,
    )


def _project(folder: Path, source: str, python: Path, *arguments: str) -> Project:
    folder.mkdir(parents=True)
    (folder / "job.py").write_text(source if source == _FIRST else f"{source}{_TELL}\ntell()\n")
    (folder / "README.md").write_text("A job.\n")
    git = ("git", "-C", str(folder), "-c", "user.name=bench", "-c", "user.email=bench@localhost")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "A job"], check=True)
    return Project(folder, python, arguments)


def _small_files(top: Path) -> Path:
    for folder in range(_FOLDERS):
        (top / str(folder)).mkdir(parents=True)
        for number in range(_FILES // _FOLDERS):
            (top / str(folder) / f"{number}.txt").write_text(f"{folder} {number}\n" * 10)
    return top


def _reprozip() -> Path | None:
    """ReproZip's command; None, with the reason said, where it cannot be built."""
    try:
        return job_python("reprozip", ("reprozip>=1.3,<1.4",)).with_name("reprozip")
    except subprocess.CalledProcessError:
        needs = "it needs a C compiler and the headers of Python and SQLite"
        print(f"NOT RUN: reprozip, because it could not be installed: {needs}", file=sys.stderr)
        return None
