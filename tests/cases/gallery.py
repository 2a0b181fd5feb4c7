"""`make gallery`: scripts of somebody else's, each run plain twice and watched once: what differs?

usage: SCRIPTS_DIR=FOLDER [SCRIPTS_PYTHON=INTERPRETER] python tests/cases/gallery.py [options] [NAME-PART…]

Every run starts in a fresh copy of the script's own folder, at the same path; of SCRIPTS_DIR whole with --whole,
for scripts that read beside their folder. --list FILE names the scripts, one a line, each with its arguments.
Compared: exit code, standard output and standard error byte for byte, and the files written. Where the two plain
runs differ from each other, only what they share is asked of the watched one: the text without its numbers, or the
exit code. What seems to differ is run again, and counts when it differs each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from jobs import BUILD, say

RUNBOOK = Path(sys.executable).parent / "runbook"
OURS = ".runbook"
LARGE = 64 << 20
"""Bytes beside a script that are copied with it; beyond, the script goes alone."""
_DOUBTS = 2
"""How often a script that seems to differ is run again, plain and watched."""
_NUMBER = re.compile(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_BLANK = re.compile(rb"[ \t=\-_.#%|/\\]+")


@dataclass(frozen=True)
class Job:
    """A script and what it is called with."""

    script: Path
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ran:
    """One run of a script, and what it left."""

    code: int | None
    """Exit code; None when its time was up."""
    stdout: bytes
    stderr: bytes
    files: dict[str, str]
    """Path → sha256 of every file in the working folder afterwards."""
    wall_s: float
    cpu_s: float = 0.0
    trouble: str = ""
    """What runbook itself said instead of running the script."""


@dataclass(frozen=True)
class Row:
    """One script of the table."""

    script: str
    verdict: str
    """same | same shape | DIFFERENT | HANG | too long"""
    exit: int | None = None
    differs: tuple[str, ...] = ()
    plain_differ: tuple[str, ...] = ()
    """In what the two plain runs differ from each other."""
    plain_s: float = 0.0
    watched_s: float = 0.0
    plain_cpu_s: float = 0.0
    watched_cpu_s: float = 0.0
    seen: dict[str, int] = field(default_factory=dict)
    """How many inputs, seeds and findings the record has."""

    @property
    def ratio(self) -> float:
        """Watched to plain, by processor time: other work on the machine counts less there."""
        return self.watched_cpu_s / self.plain_cpu_s if self.plain_cpu_s else 0.0

    def line(self) -> str:
        """The row for a person."""
        times = f"{self.plain_s:7.1f}s {self.watched_s:7.1f}s {self.ratio:6.2f}x"
        more = f"   {'; '.join(self.differs)}" if self.differs else ""
        plain = f"   plain runs differ in {', '.join(self.plain_differ)}" if self.plain_differ else ""
        return f"{self.script[-52:]:52} {self.verdict:10} {self.exit!s:>4} {times}{more}{plain}"


class Place:
    """A working folder, the same path for every run of one worker, laid anew each time."""

    def __init__(self, folder: Path, python: Path, seconds: float, whole: Path | None = None) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.python = python
        self.seconds = seconds
        self.whole = whole
        """What is copied for every run, instead of the script's own folder."""
        self.env = {
            **os.environ,
            "MPLBACKEND": "Agg",
            "MPLCONFIGDIR": str(folder / "matplotlib"),
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),  # What runbook remembers of the packages, as at home.
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def lay(self, script: Path) -> None:
        """A fresh home, and a fresh copy of the script's folder, or of the script alone when it is a large one."""
        for one in (self.work, self.folder / "home"):
            shutil.rmtree(one, ignore_errors=True)
        (self.folder / "home").mkdir(parents=True)
        if self.whole:
            shutil.copytree(self.whole, self.work, symlinks=True, ignore=shutil.ignore_patterns(".git"))
            return
        beside = [path for path in script.parent.iterdir() if path.is_file()]
        self.work.mkdir()
        for path in beside if sum(p.stat().st_size for p in beside) <= LARGE else [script]:
            shutil.copy2(path, self.work / path.name)

    def cwd(self, script: Path) -> Path:
        """Where it runs."""
        return self.work / script.parent.relative_to(self.whole) if self.whole else self.work

    def plain(self, job: Job) -> Ran:
        """Run it as anybody would."""
        self.lay(job.script)
        return self._run(job.script, [self.python, job.script.name, *job.arguments], self.seconds)

    def watched(self, job: Job, patience: float) -> Ran:
        """Run it under `runbook run`; the job's own output, time and exit code."""
        self.lay(job.script)
        command = [RUNBOOK, "run", "--", self.python, job.script.name, *job.arguments]
        ran = self._run(job.script, command, patience)
        runs = sorted(self.work.rglob(f"{OURS}/runs/*/draft.json"))
        if not runs or ran.code is None:
            return ran if ran.code is None else replace(ran, trouble=f"no record: {_text(ran.stderr[-500:])}")
        record = json.loads(runs[0].read_text())
        kept = runs[0].parent / "stderr.log"
        trouble = "" if ran.stderr.startswith(kept.read_bytes()) else "stderr was not passed through as it was"
        cost = record["resources"]
        return Ran(
            code=ran.code,
            stdout=ran.stdout,
            stderr=kept.read_bytes(),
            files=ran.files,
            wall_s=record["outcome"]["duration_s"]["value"],
            cpu_s=cost["cpu_user_s"]["value"] + cost["cpu_system_s"]["value"],
            trouble=trouble,
        )

    def seen(self) -> dict[str, int]:
        """What the record of the watched run holds, in numbers."""
        for path in self.work.rglob(f"{OURS}/runs/*/draft.json"):
            record = json.loads(path.read_text())
            return {name: len(record[name]) for name in ("inputs", "outputs", "seeds", "metrics", "findings")}
        return {}

    def _run(self, script: Path, command: Sequence[str | Path], patience: float) -> Ran:
        outputs = [self.folder / "stdout", self.folder / "stderr"]
        with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
            began = time.monotonic()
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=self.cwd(script),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            late = threading.Event()
            timer = threading.Timer(patience, lambda: (late.set(), _end(process.pid)))
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            timer.cancel()
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        return Ran(
            code=None if late.is_set() else code,
            stdout=outputs[0].read_bytes(),
            stderr=outputs[1].read_bytes(),
            files=_files(self.work),
            wall_s=time.monotonic() - began,
            cpu_s=_cpu(usage),
        )


def compare(first: Ran, second: Ran, watched: Ran) -> tuple[list[str], list[str]]:
    """What differs in the watched run although the plain ones agree; and what differs between the plain ones."""
    wrong = [watched.trouble] if watched.trouble else []
    unsteady = []
    if watched.code not in (first.code, second.code):
        wrong.append(f"exit code {first.code} → {watched.code}")
    if first.code != second.code:
        unsteady.append("exit code")
    for name in ("stdout", "stderr"):
        a, b, c = getattr(first, name), getattr(second, name), getattr(watched, name)
        if a == b:
            wrong += [] if c == a else [f"{name}: {_difference(a, c)}"]
            continue
        unsteady.append(name)
        if _shape(a) == _shape(b) and _shape(c) != _shape(a):
            wrong.append(f"{name} without its numbers: {_difference(_shape(a), _shape(c))}")
    if first.files.keys() != second.files.keys():
        unsteady.append("names of files")
    elif watched.files.keys() != first.files.keys():
        odd = sorted(watched.files.keys() ^ first.files.keys())
        wrong.append(f"files: {', '.join(odd[:3])}")
    steady = {path for path, digest in first.files.items() if second.files.get(path) == digest}
    unsteady += ["files"] if steady != first.files.keys() & second.files.keys() else []
    other = sorted(path for path in steady if path in watched.files and watched.files[path] != first.files[path])
    wrong += [f"contents of {', '.join(other[:3])}"] if other else []
    return wrong, unsteady


def look(job: Job, name: str, place: Place) -> Row:
    """Run one script three times and compare."""
    first = place.plain(job)
    if first.code is None:
        return Row(name, "too long", plain_s=first.wall_s)
    second = place.plain(job)
    if second.code is None:
        return Row(name, "too long", plain_s=second.wall_s)
    patience = 60 + 3 * max(first.wall_s, second.wall_s)
    watched = place.watched(job, patience)
    times = {
        "plain_s": min(first.wall_s, second.wall_s),
        "watched_s": watched.wall_s,
        "plain_cpu_s": min(first.cpu_s, second.cpu_s),
        "watched_cpu_s": watched.cpu_s,
    }
    if watched.code is None:
        return Row(name, "HANG", **times)
    wrong, unsteady = compare(first, second, watched)
    for _ in range(_DOUBTS):
        if not wrong or watched.code is None:
            break
        # A time that a script prints may be the same twice, and another the third time.
        second, again = place.plain(job), place.watched(job, patience)
        wrong = [] if not compare(first, second, watched)[0] else compare(first, second, again)[0]
        unsteady = unsteady or ["some runs only"]
    verdict = "DIFFERENT" if wrong else "same shape" if unsteady else "same"
    return Row(name, verdict, first.code, tuple(wrong), tuple(unsteady), seen=place.seen(), **times)


def main(arguments: Sequence[str]) -> int:
    """Run them, print the table and the count; 1 when anything differs or hangs."""
    parser = argparse.ArgumentParser(prog="make gallery SCRIPTS_DIR=… ARGS=…", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME-PART", help="only scripts with this in their path")
    parser.add_argument("--seconds", type=float, default=60, help="a plain run that takes longer is left out [60]")
    parser.add_argument(
        "--without", action="append", default=[], metavar="TEXT", help="nor scripts that hold this"
    )
    parser.add_argument("--limit", type=int, default=0, help="no more scripts than this")
    parser.add_argument("--parallel", type=int, default=max(1, (os.cpu_count() or 2) // 2), metavar="N")
    parser.add_argument("--any", action="store_true", help="every .py file, not only those without `_` in front")
    parser.add_argument("--list", type=Path, metavar="FILE", help="scripts and their arguments, one a line")
    parser.add_argument("--whole", action="store_true", help="copy all of SCRIPTS_DIR for every run")
    options = parser.parse_args(arguments)
    given = os.environ.get("SCRIPTS_DIR")
    if not given:
        say("error: SCRIPTS_DIR names the folder of scripts; SCRIPTS_PYTHON the Python for them")
        return 2
    top, python = Path(given).resolve(), Path(os.environ.get("SCRIPTS_PYTHON", sys.executable)).absolute()
    scripts = [
        path
        for path in sorted(top.rglob("*.py"))
        if (options.any or not path.name.startswith("_"))
        and (not options.only or any(part in str(path.relative_to(top)) for part in options.only))
        and not any(text in path.read_text("utf-8", "replace") for text in options.without)
    ]
    jobs = [Job(path) for path in scripts]
    if options.list:
        lines = [shlex.split(line, comments=True) for line in options.list.read_text().splitlines()]
        jobs = [Job(top / words[0], tuple(words[1:])) for words in lines if words]
    jobs = jobs[: options.limit or None]
    whole = top if options.whole else None
    with tempfile.TemporaryDirectory(prefix="gallery-") as folder:  # Outside of any checkout, as a user's folder.
        places = [
            Place(Path(folder) / str(number), python, options.seconds, whole) for number in range(options.parallel)
        ]
        rows = _rows(jobs, top, places)
    results = BUILD / "gallery.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return _sum_up(rows, results)


def _rows(jobs: Sequence[Job], top: Path, places: Sequence[Place]) -> list[Row]:
    """Each script in a place that is free, and its line as soon as it is known."""
    free = list(places)
    for place in places:
        place.folder.mkdir()
        warm = "import matplotlib.font_manager"  # It writes a cache, which must not differ between the runs.
        subprocess.run([place.python, "-c", warm], env=place.env, capture_output=True, check=False)
    print(f"{'script':52} {'verdict':10} {'exit':>4} {'plain':>8} {'watched':>8} {'cpu':>7}", flush=True)

    def one(job: Job) -> Row:
        place = free.pop()
        try:
            row = look(job, " ".join([str(job.script.relative_to(top)), *job.arguments]), place)
        finally:
            free.append(place)
        print(row.line(), flush=True)
        return row

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(one, jobs))


def _sum_up(rows: Sequence[Row], results: Path) -> int:
    compared = [row for row in rows if row.verdict != "too long"]
    counts = {
        what: sum(row.verdict == what for row in rows) for what in ("same", "same shape", "DIFFERENT", "HANG")
    }
    failed = sum(row.exit not in (0, None) for row in compared)
    print(f"\n{len(compared)} scripts compared, {len(rows) - len(compared)} left out as too long")
    print(f"  {counts['same']} byte for byte the same")
    print(f"  {counts['same shape']} the same but for what differs between two plain runs as well")
    print(f"  {counts['DIFFERENT']} different, {counts['HANG']} hung; {failed} fail, watched or not")
    slow = sorted((row for row in compared if row.plain_cpu_s), key=lambda row: row.ratio, reverse=True)
    if slow:
        total = sum(row.watched_cpu_s for row in slow) / sum(row.plain_cpu_s for row in slow)
        print(f"  processor time of all: {total:.3f} x plain; most: {slow[0].ratio:.2f} x ({slow[0].script})")
    print(f"  {results}")
    return 1 if counts["DIFFERENT"] or counts["HANG"] or not compared else 0


def _files(work: Path) -> dict[str, str]:
    """Digest of every file, but for runbook's own and compiled Python, which has the time in it."""
    found = {}
    for path in sorted(work.rglob("*")):
        inside = path.relative_to(work)
        if OURS in inside.parts or "__pycache__" in inside.parts or path.is_symlink() or not path.is_file():
            continue
        found[inside.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _shape(text: bytes) -> bytes:
    """The text without numbers, and without the lengths of bars and gaps."""
    lines = [_BLANK.sub(b" ", _NUMBER.sub(b"#", line)).strip() for line in re.split(rb"[\r\n]+", text)]
    return b"\n".join(line for line in lines if line)


def _difference(one: bytes, other: bytes) -> str:
    """The first line that differs."""
    before, after = one.splitlines(), other.splitlines()
    for number, (a, b) in enumerate(zip(before, after, strict=False), 1):
        if a != b:
            return f"line {number}: {_text(a)[:90]!r} → {_text(b)[:90]!r}"
    return f"{len(before)} → {len(after)} lines"


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _cpu(usage: resource.struct_rusage) -> float:
    return usage.ru_utime + usage.ru_stime


def _end(pid: int) -> None:
    """End the whole session: SIGTERM first, so that runbook can end the job it started."""
    for number, pause in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 0.0)):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        time.sleep(pause)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
