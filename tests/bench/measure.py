"""Paired measurements: ours and its peers take turns within one run, so that what holds is the ratio."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

Command = Sequence[str | Path]
Prepare = Callable[[], None]


@dataclass(frozen=True)
class Contender:
    """A command to time as a whole process."""

    name: str
    command: Command
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Prepare | None = None
    """Called before each run, outside of the clock."""
    expect: frozenset[int] = frozenset((0,))


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    """Median of the ratios within each pair; for a budget, ours minus theirs."""
    goal: float | None
    unit: str = "s"
    runs: int = 1
    budget: bool = False
    """The goal bounds the difference in `unit`, not the ratio."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.ratio <= self.goal

    def line(self) -> str:
        """The figure for a person."""
        met = {True: "met", False: "MISSED", None: "-"}[self.met]
        sign = "+" if self.budget else "x"
        ratio = f"{self.ratio:+.2f}{self.unit}" if self.budget else f"{self.ratio:.2f}x"
        goal = "-" if self.goal is None else f"{sign}{self.goal:g}"
        return f"{self.what:46} {self.ours:9.3f} {self.peer:34} {self.theirs:9.3f} {ratio:>9} {goal:>7} {met}"

    def value(self) -> dict[str, object]:
        """The figure for a machine."""
        return {**asdict(self), "met": self.met}


HEAD = f"{'what':46} {'ours':>9} {'peer':34} {'peer':>9} {'ratio':>9} {'goal':>7}"


def seconds(contender: Contender) -> float:
    """Run it once; wall-clock seconds. Raises RuntimeError when it fails, so that no figure is a failure's."""
    if contender.prepare:
        contender.prepare()
    began = time.perf_counter()
    done = subprocess.run(
        list(map(str, contender.command)),
        cwd=contender.cwd,
        env={**os.environ, **contender.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode not in contender.expect:
        said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        raise RuntimeError(f"{contender.name} ended with {done.returncode}: {said}")
    return took


def pairs(
    what: str,
    ours: Contender,
    peers: Sequence[tuple[Contender, float | None]],
    runs: int,
    *,
    budget: bool = False,
) -> list[Figure]:
    """Ours against each peer, taking turns; a peer comes with its goal."""
    print(f"  {what} …", file=sys.stderr, flush=True)
    mine: list[float] = []
    theirs: list[list[float]] = [[] for _ in peers]
    for _ in range(runs):
        mine.append(seconds(ours))
        for taken, (peer, _goal) in zip(theirs, peers, strict=True):
            taken.append(seconds(peer))
    return [
        Figure(
            what=what,
            peer=peer.name,
            ours=statistics.median(mine),
            theirs=statistics.median(taken),
            ratio=statistics.median(a - b if budget else a / b for a, b in zip(mine, taken, strict=True)),
            goal=goal,
            runs=runs,
            budget=budget,
        )
        for taken, (peer, goal) in zip(theirs, peers, strict=True)
    ]


def peak_mib(contender: Contender) -> float:
    """Largest resident set of the process and any one of its children, in MiB."""
    probe = (
        "import resource,subprocess,sys;"
        "subprocess.run(sys.argv[1:],check=True,stdin=subprocess.DEVNULL,stdout=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, *map(str, contender.command)],
        cwd=contender.cwd,
        env={**os.environ, **contender.env},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1]) / 1024
