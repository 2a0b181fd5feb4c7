"""A planted cause for real: both sides run, watched and frozen, and what a verb says held against the truth."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.causes.side import Side
from tests.causes.table import Cause, Factor
from tests.support.jobs import runbook


@dataclass(frozen=True)
class Tried:
    """What came of one cause."""

    said: str
    """What the verb names first, in a line."""
    wrong: tuple[str, ...] = ()
    """Empty where it is right."""


@contextmanager
def pair(cause: Cause, folder: Path) -> Iterator[tuple[Path, Path]]:
    """The bundles of side A and side B, made in `folder`."""
    bundles, sides = [], []
    try:
        for name in ("a", "b"):
            side = Side(cause.job, folder / name / cause.job)
            if cause.both:
                cause.both(side)
            if name == "b":
                cause.plant(side)
            sides.append(side)
            bundles.append(side.capture(folder / f"{name}.runbook"))
        yield bundles[0], bundles[1]
    finally:
        for side in sides:
            shutil.rmtree(side.folder, ignore_errors=True)


def is_of(told: dict[str, Any], factor: Factor) -> bool:
    """Whether what a verb names is this factor."""
    return bool(told["family"] == factor.family and factor.what in told["what"])


def explained(cause: Cause, a: Path, b: Path) -> Tried:
    """`runbook explain`, held against what was planted."""
    done = runbook("explain", a, b, "--json", cwd=a.parent, expect=None)
    if done.returncode != 0:
        return Tried("", (f"exit {done.returncode}: {done.stderr.strip()}",))
    answer = json.loads(done.stdout)
    named = answer["causes"]
    said = [f"{one['weight']}: {one['what']}" for one in named[: max(1, len(cause.causes))]]
    first = "; ".join(said) or next(iter(answer["advice"]), answer["sentence"])
    return Tried(first, tuple(_wrong(cause, answer["moved"], named)))


def _wrong(cause: Cause, moved: bool, named: list[dict[str, Any]]) -> Iterator[str]:
    if moved != cause.moves:
        yield f"the result {'moved' if moved else 'did not move'}"
    left, first = list(cause.causes), []
    for one in named:
        if not left:
            break
        met = next((factor for factor in left if is_of(one, factor)), None)
        if met:
            left.remove(met)
        elif not any(is_of(one, sign) for sign in cause.signs):
            first.append(one["what"])
    if left or first:
        yield f"not first: {', '.join(f.what or f.family for f in cause.causes)}; before it: {', '.join(first)}"
    truth = (*cause.causes, *cause.signs)
    for one in named:
        if one["weight"] in ("likely", "possible") and not any(is_of(one, factor) for factor in truth):
            yield f"invented: {one['what']} is {one['weight']}"
    for decoy in cause.decoys:
        if not any(is_of(one, decoy) for one in named):
            yield f"not named at all: {decoy.family} {decoy.what}"
