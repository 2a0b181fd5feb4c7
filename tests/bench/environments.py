"""Locking, building and replaying: beside uv, and beside what Docker takes to do nothing."""

from __future__ import annotations

import json
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from jobs import EXAMPLES, docker_reachable, example_python
from measure import Contender, Figure, pairs, peak_mib, seconds

BIN = Path(sys.executable).parent
UV = BIN / "uv"
EXAMPLE = "sklearn-digits"


@dataclass(frozen=True)
class Prepared:
    """The example, captured."""

    work: Path
    bundle: Path
    python: Path
    run: Path
    """The recorded run's folder."""

    @property
    def requirements(self) -> Path:
        """The hashed lock in the bundle."""
        return self.bundle / "data" / "lock" / "requirements.txt"


def prepare(under: Path) -> Prepared:
    """Run and capture the example afresh, outside of any git checkout."""
    work = under / "environments"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(EXAMPLES / EXAMPLE, work, ignore=shutil.ignore_patterns("metrics.json"))
    python, bundle = example_python(EXAMPLE), work / "digits.runbook"
    subprocess.run(["git", "init", "--quiet", work], check=True)
    job = (python, "train.py", "--seed", "7")
    options = ("--capture", "-o", bundle, "--metrics", "metrics.json", "--code", "train.py")
    seconds(Contender("capture", (BIN / "runbook", "run", *options, "--", *job), cwd=work))
    run = next((work / ".runbook" / "runs").iterdir())
    return Prepared(work, bundle, python, run)


def locking(prepared: Prepared, runs: int) -> Iterator[Figure]:
    """Hashes for the installed pins: warm, and with empty caches."""
    pins = prepared.work / "pins.in"
    names = json.loads((prepared.run / "draft.json").read_text())["environment"]["packages"]
    pins.write_text("".join(f"{p['name']}=={p['version']}\n" for p in names))
    target, ours_cache, uv_cache = (prepared.work / name for name in ("locked", "cache-ours", "cache-uv"))

    def forget(*folders: Path) -> None:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    script = Path(__file__).with_name("lock_once.py")
    ours_command = (sys.executable, script, prepared.run, target)
    compile_ = ("pip", "compile", "--quiet", "--no-header", "--generate-hashes", "--python", prepared.python)
    uv_command = (UV, *compile_, pins, "--output-file", prepared.work / "uv.txt")
    for label, cold, goal in (("warm", False, 3.0), ("cold", True, 3.0)):
        gone = (ours_cache, uv_cache) if cold else (Path("/nonexistent"),) * 2
        ours = Contender(
            "make_lock",
            ours_command,
            env={"XDG_CACHE_HOME": str(ours_cache)},
            prepare=lambda gone=gone: forget(gone[0], target),
        )
        uv = Contender(
            "uv pip compile --generate-hashes",
            uv_command,
            env={"UV_CACHE_DIR": str(uv_cache)},
            prepare=lambda gone=gone: forget(gone[1], prepared.work / "uv.txt"),
        )
        if not cold:
            pairs("  (warming)", ours, [(uv, None)], 1)
        yield from pairs(f"lock {len(names)} packages, {label}", ours, [(uv, goal)], runs)


def replaying(prepared: Prepared, runs: int) -> Iterator[Figure]:
    """A replay with its environment cached, beside the container floor plus the job; then without."""
    if not docker_reachable():
        print("NOT RUN: replay in Docker, because no engine is reachable", file=sys.stderr)
        return
    command = (BIN / "runbook", "replay", prepared.bundle, "--engine", "docker", "--json")
    image, python = _image(command, prepared)
    ours = Contender("runbook replay", command, cwd=prepared.work)
    job = shlex.join([str(prepared.python), "train.py", "--seed", "7"])
    nothing = f"docker run --rm --network none --entrypoint {shlex.quote(python)} {image} -c pass"
    floor = Contender("docker run BASE nothing, + the job", ("sh", "-ec", f"{nothing}; {job}"), cwd=prepared.work)
    cached = pairs("replay, environment cached", ours, [(floor, 1.5)], runs, budget=True)
    yield from cached

    def remove() -> None:
        subprocess.run(["docker", "rmi", "--force", image], check=True, capture_output=True)
        for folder in (platformdirs.user_cache_path("runbook") / "linked").glob(f"{image.partition(':')[2]}*"):
            shutil.rmtree(folder)

    uv = _uv_sync(prepared)
    seconds(uv)
    cold = Contender("runbook replay", command, cwd=prepared.work, prepare=remove)
    built, synced = [], []
    for _ in range(max(3, runs)):
        built.append(seconds(cold) - seconds(ours))
        synced.append(seconds(uv))
    yield Figure(
        what="build the environment, wheels cached",
        peer="uv venv, uv pip sync, wheels cached",
        ours=statistics.median(built),
        theirs=statistics.median(synced),
        ratio=statistics.median(a / b for a, b in zip(built, synced, strict=True)),
        goal=2.0,
        runs=len(built),
    )
    peak = peak_mib(ours)
    yield Figure(
        what="peak memory, replay", peer="goal: under 200 MiB", ours=peak, theirs=200, ratio=peak / 200, goal=1.0
    )


def _image(command: tuple[str | Path, ...], prepared: Prepared) -> tuple[str, str]:
    """The rebuilt environment's image and its Python, after one replay has made it."""
    seconds(Contender("first replay", command, cwd=prepared.work))
    environment = json.loads((prepared.bundle / "data" / "record.json").read_text())["environment"]
    name = f"runbook/env:{environment['id']['value'].removeprefix('sha256:')[:24]}"
    subprocess.run(["docker", "image", "inspect", name], check=True, capture_output=True)
    return name, environment["base"]["value"]["python"]


def _uv_sync(prepared: Prepared) -> Contender:
    venv = prepared.work / "uv-venv"
    make = shlex.join(map(str, (UV, "venv", "--quiet", "--clear", "--python", prepared.python, venv)))
    sync = ("pip", "sync", "--quiet", "--require-hashes", "--python", venv / "bin/python", prepared.requirements)
    return Contender("uv", ("sh", "-ec", f"{make}; {shlex.join(map(str, (UV, *sync)))}"), cwd=prepared.work)
