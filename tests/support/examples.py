"""`make examples`: every example captured and replayed; fails when a verdict is not `identical`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from jobs import BUILD, EXAMPLES, answer, docker_reachable, example_python, runbook, say


class Example(NamedTuple):
    """An example's folder, whose environment it runs in, and its command, the program from that environment."""

    name: str
    environment: str
    command: tuple[str, ...]


TABLE = (
    Example("sklearn-digits", "sklearn-digits", ("python", "train.py", "--seed", "7")),
    Example("torch-cpu", "torch-cpu", ("python", "train.py", "--seed", "11")),
    Example("torchrun-gloo", "torch-cpu", ("torchrun", "--nproc-per-node", "2", "train.py")),
)


def capture(example: Example, work: Path) -> Path:
    """Run the example where it lies, with nothing declared, and freeze the run; returns the bundle."""
    folder, bundle = EXAMPLES / example.name, work / f"{example.name}.runbook"
    program = example_python(example.environment).parent / example.command[0]
    runbook("run", "--name", example.name, "--code", ".", "--", program, *example.command[1:], cwd=folder)
    runbook("capture", "-o", bundle, cwd=folder)
    runbook("verify", bundle, cwd=folder)
    return bundle


def main(names: list[str]) -> int:
    """Run the named examples, or all; returns the number of wrong verdicts."""
    engine = "docker" if docker_reachable() else "local"
    work = BUILD / "examples"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    wrong = 0
    for example in TABLE:
        if names and example.name not in names:
            continue
        say(f"{example.name}: capture and replay ({engine})")
        bundle = capture(example, work)
        where = work / f"{example.name}-replay"
        comparison = answer("replay", bundle, "--engine", engine, "-o", where, cwd=work, expect=None)
        wrong += comparison.get("verdict") != "identical"
        print(f"{example.name:16} {engine:8} {comparison.get('verdict')}", flush=True)
    if not names or "in-container" in names:
        if engine == "docker":
            say("in-container: capture inside a container, replay outside")
            wrong += in_container(work)
        else:
            say("NOT RUN: in-container, because no Docker engine is reachable")
    return wrong


def in_container(work: Path) -> int:
    """Run the example that captures inside a container; 1 when its verdict is wrong."""
    sys.path.insert(0, str(EXAMPLES / "in-container"))
    import capture_inside

    verdict = capture_inside.main(work / "in-container")
    print(f"{'in-container':16} {'docker':8} {verdict}", flush=True)
    return int(verdict != "identical")


if __name__ == "__main__":
    raise SystemExit(1 if main(sys.argv[1:]) else 0)
