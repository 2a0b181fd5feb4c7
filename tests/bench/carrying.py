"""What a self-contained bundle weighs beside its parts, how fast it is read, and what ten bundles build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from jobs import docker_reachable, example_python
from measure import Contender, Figure, pairs, seconds

BIN = Path(sys.executable).parent
EXAMPLE = "sklearn-digits"
BUNDLES = 10
_FILES = 8
_JOB = """
import sys
import numpy
numpy.random.seed(int(sys.argv[1]))
print("loss:", numpy.random.random())
"""
_UNPACK = (
    "import sys; from pathlib import Path; from runbook.bundle.read import open_bundle\n"
    "with open_bundle(Path(sys.argv[1])) as bundle: bundle.unpack('data', Path(sys.argv[2]))"
)
_READ_AND_HASH = "find data -type f -print0 | xargs -0 -P 2 -n 4 openssl sha256 >/dev/null"
_COPY_AND_HASH = (
    "cp -r data {target} && cd {target} && find . -type f -print0 | xargs -0 openssl sha256 >/dev/null"
)


def carrying(under: Path, runs: int, mib: int) -> Iterator[Figure]:
    """Every figure. mib: what the input weighs that the bundles carry."""
    work = under / "carrying"
    shutil.rmtree(work, ignore_errors=True)
    (work / "big").mkdir(parents=True)
    (work / "train.py").write_text(_JOB)
    for number in range(_FILES):
        (work / "big" / f"{number}.bin").write_bytes(os.urandom((mib << 20) // _FILES))
    try:
        yield from _whole(work, runs)
        yield from _images(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _capture(work: Path, name: str, seed: int, *options: str) -> Path:
    """Run the job with this seed and freeze it."""
    bundle = work / f"{name}.runbook"
    job = (example_python(EXAMPLE), "train.py", str(seed))
    command = (BIN / "runbook", "run", "--code", "train.py", "--capture", *options, "-o", bundle, "--", *job)
    seconds(Contender("capture", command, cwd=work))
    return bundle


def _whole(work: Path, runs: int) -> Iterator[Figure]:
    """Size, reading and unpacking of a self-contained bundle."""
    bundle = _capture(work, "whole", 1, "--self-contained", "--input", "big")
    parts = sum(_weight(bundle / "data" / part) for part in ("lock/wheels", "image", "inputs"))
    total = _weight(bundle)
    yield Figure(
        what="size of a self-contained bundle",
        peer="its wheels, base and inputs",
        ours=total / (1 << 20),
        theirs=parts / (1 << 20),
        ratio=total / parts,
        goal=1.1,
        unit="MiB",
    )
    size = f"{total >> 20} MiB"
    ours = Contender("runbook verify", (BIN / "runbook", "verify", bundle))
    peer = Contender("read, and sha256 of openssl, 2 at once", ("sh", "-ec", _READ_AND_HASH), cwd=bundle)
    yield from pairs(f"verify a self-contained bundle, {size}", ours, [(peer, 1.3)], runs)
    places = [work / "unpacked", work / "copied"]

    def clear() -> None:
        for place in places:
            shutil.rmtree(place, ignore_errors=True)

    ours = Contender("unpack", (sys.executable, "-c", _UNPACK, bundle, places[0]), prepare=clear)
    copy = ("sh", "-ec", _COPY_AND_HASH.format(target=places[1]))
    peer = Contender("cp, and sha256 of openssl", copy, cwd=bundle, prepare=clear)
    yield from pairs(f"unpack a self-contained bundle, {size}", ours, [(peer, 1.3)], runs)
    clear()


def _images(work: Path) -> Iterator[Figure]:
    """Images that replaying ten bundles of one lock builds."""
    if not docker_reachable():
        print("NOT RUN: ten bundles, one image, because no Docker engine is reachable", file=sys.stderr)
        return
    bundles = [_capture(work, f"run-{seed}", seed) for seed in range(BUNDLES)]
    environment = json.loads((bundles[0] / "data" / "record.json").read_text())["environment"]["id"]["value"]
    image = f"runbook/env:{environment.removeprefix('sha256:')[:24]}"
    subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)
    built = 0
    for bundle in bundles:
        command = [BIN / "runbook", "replay", bundle, "--engine", "docker", "--json"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=True)
        built += not json.loads(done.stdout)["environment_cached"]
        shutil.rmtree(bundle)
    yield Figure(
        what=f"images built by {BUNDLES} bundles of one lock",
        peer="goal: one",
        ours=built,
        theirs=1,
        ratio=built,
        goal=1.0,
        unit="",
    )


def _weight(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
