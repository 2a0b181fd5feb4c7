"""`make bench`: ratios to the best peers, from one run, with the goal beside each. Never fails on timing.

Absolute times move from machine to machine; ratios within one run hold.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))

from carrying import carrying  # noqa: E402
from comparing import comparing  # noqa: E402
from digests import hashing, start_up, unchanged, verifying  # noqa: E402
from environments import locking, prepare, replaying  # noqa: E402
from jobs import BUILD  # noqa: E402
from measure import HEAD, Figure  # noqa: E402
from trees import FULL, QUICK, Size, parse_size  # noqa: E402
from watching import watching  # noqa: E402

CHOICES = ("start", "hash", "unchanged", "verify", "watching", "environment", "carrying", "comparing")


def figures(sizes: tuple[Size, ...], runs: int, only: str, under: Path, *, full: bool) -> Iterator[Figure]:
    """Every figure, as it is measured."""
    if only in ("", "start"):
        yield from start_up(max(runs, 9))
    if only in ("", "hash"):
        for size in sizes:
            yield from hashing(size, under, runs)
    if only in ("", "unchanged"):
        for size in sizes:
            yield from unchanged(size, under, runs)
    if only in ("", "verify"):
        for size in sizes:
            yield from verifying(size, under, runs)
    if only in ("", "watching"):
        yield from watching(under, runs)
    if only in ("", "environment"):
        prepared = prepare(under)
        yield from locking(prepared, runs)
        yield from replaying(prepared, runs)
    if only in ("", "carrying"):
        yield from carrying(under, runs, 1024 if full else 512)
    if only in ("", "comparing"):
        yield from comparing(under, runs, full=full)


def main() -> int:
    """Measure, print the table, write build/bench/figures.json."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--full", action="store_true", help="1 x 4 GiB, 20,000 x 50 KiB, 200,000 x 1 KiB")
    parser.add_argument("--size", action="append", type=parse_size, metavar="FILESxBYTES", help="20000x51200")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("BENCH_RUNS", "3")), help="pairs [3]")
    parser.add_argument("--only", default="", choices=CHOICES)
    parser.add_argument("--under", type=Path, default=BUILD / "bench", help="where the trees are made")
    parser.add_argument("--keep", action="store_true", help="keep the trees for the next time")
    options = parser.parse_args()
    under = options.under.resolve()
    under.mkdir(parents=True, exist_ok=True)
    sizes = tuple(options.size or (FULL if options.full else QUICK))
    found: list[Figure] = []
    print(HEAD, flush=True)
    try:
        for figure in figures(sizes, options.runs, options.only, under, full=options.full):
            found.append(figure)
            print(figure.line(), flush=True)
    finally:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        document = {"machine": machine, "figures": [figure.value() for figure in found]}
        (under / "figures.json").write_text(json.dumps(document, indent=2) + "\n")
        for size in () if options.keep else sizes:
            shutil.rmtree(under / f"{size.files}x{size.bytes}", ignore_errors=True)
            shutil.rmtree(under / f"job-{size.files}x{size.bytes}", ignore_errors=True)
    missed = [figure.what for figure in found if figure.met is False]
    print(f"\n{sum(f.met is True for f in found)} goals met, {len(missed)} missed; {under / 'figures.json'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
