"""Long curves and large models compared, against reading them."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Contender, Figure, pairs, peak_mib

_LIMIT_MIB = 500
_TENSOR = 4 << 20
"""Elements of one tensor, of four bytes."""
_READ = """
import sys
from pathlib import Path
from runbook.launch.metrics import decode_series
a, b = (decode_series(Path(path).read_bytes()) for path in sys.argv[1:])
"""
_COMPARE = """
from runbook.compare.metrics import compare_metrics
from runbook.model.metric import Metric
sides = [[Metric(name=n, final=s.values[-1], points=len(s.values), source="x", evidence="observed")
          for n, s in one.items()] for one in (a, b)]
(found,) = compare_metrics(*sides, a, b)
assert found.verdict == "different" and found.parting.growth == "grows"
"""
_ARTIFACTS = """
import sys
from runbook.artifacts.apart import Comparer
with Comparer() as comparer, open(sys.argv[1], "rb", 0) as a, open(sys.argv[2], "rb", 0) as b:
    found = comparer.compare("model.safetensors", a, b)
assert found.verdict == "different" and found.parts[0].differing > 1, found
"""
_ALONE = _ARTIFACTS.replace("apart import Comparer", "judge import judge").replace("Comparer() as comparer, ", "")
_ALONE = _ALONE.replace("comparer.compare(", "judge(")


def comparing(under: Path, runs: int, *, full: bool) -> Iterator[Figure]:
    """Every figure. full: models of 1 GiB instead of 256 MiB."""
    work = under / "comparing"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield from _curves(work, runs, 1_000_000)
        yield from _models(work, runs, 1024 if full else 256)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _curves(work: Path, runs: int, points: int) -> Iterator[Figure]:
    drawn = random.Random(0)
    values = [1 / (1 + step * 1e-4) + drawn.random() * 1e-2 for step in range(points)]
    for name, slope in (("a", 0.0), ("b", 1e-9)):
        grown = [v + slope * max(0, step - points // 2) for step, v in enumerate(values)]
        curve = {"loss": {"steps": list(range(points)), "values": grown}}
        (work / f"{name}.json").write_text(json.dumps(curve))
    paths = (work / "a.json", work / "b.json")
    read = Contender("reading them", (sys.executable, "-c", _READ, *paths))
    ours = Contender("runbook", (sys.executable, "-c", _READ + _COMPARE, *paths))
    what = f"two curves of {points:,} points"
    yield from pairs(what, ours, [(read, 2.0)], runs)
    yield _memory(what, ours)


def _models(work: Path, runs: int, mib: int) -> Iterator[Figure]:
    paths = (work / "a.safetensors", work / "b.safetensors")
    count = (mib << 20) // (4 * _TENSOR)
    spans = {f"layer{n:02}": [4 * _TENSOR * n, 4 * _TENSOR * (n + 1)] for n in range(count)}
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [2048, 2048], "data_offsets": span} for name, span in spans.items()}
    ).encode()
    for path, seed in zip(paths, (1, 2), strict=True):
        # Numbers near to one, all of which differ from those of the other model.
        drawn = random.Random(seed).randbytes(4 << 20)
        block = b"".join(drawn[i : i + 3] + b"\x3f" for i in range(0, len(drawn), 4))
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for _ in range(mib // 4):
                file.write(block)

    def evict() -> None:
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    cat = Contender("cat, from the disk", ("sh", "-c", 'cat "$@" >/dev/null', "sh", *paths), prepare=evict)
    ours = Contender("runbook", (sys.executable, "-c", _ARTIFACTS, *paths), prepare=evict)
    what = f"two models of {mib} MiB, every number differs"
    yield from pairs(what, ours, [(cat, 1.5)], runs)
    # The process apart is a child of a child: it is measured by itself.
    yield _memory(what, Contender("runbook", (sys.executable, "-c", _ALONE, *paths)))


def _memory(what: str, contender: Contender) -> Figure:
    peak = peak_mib(contender)
    return Figure(f"{what}: MiB", "bound", peak, _LIMIT_MIB, peak / _LIMIT_MIB, 1.0, unit="MiB")
