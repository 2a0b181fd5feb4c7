"""`runbook bisect` over a planted cause: it names exactly what was planted, and nothing where nothing moves."""

from __future__ import annotations

import json
from pathlib import Path

from tests.causes.table import Cause
from tests.causes.trial import Tried, is_of
from tests.support.jobs import runbook

_UNSWAPPABLE = ("order",)
"""Families of what no bundle holds: in which order a folder lists its files."""


def bisected(cause: Cause, a: Path, b: Path) -> Tried:
    """Held against all that was planted, not against what comes first."""
    done = runbook("bisect", a, b, "--engine", "local", "--json", cwd=a.parent, expect=None)
    swappable = cause.moves and cause.causes and not any(f.family in _UNSWAPPABLE for f in cause.causes)
    if not swappable:
        said = done.stderr.strip().rpartition("error: ")[2].partition("\n")[0]
        return Tried(said[:120], () if done.returncode == 7 else (f"exit {done.returncode}, not 7: {said}",))
    if done.returncode != 0:
        return Tried("", (f"exit {done.returncode}: {done.stderr.strip()[-600:]}",))
    found = json.loads(done.stdout)["bisection"]
    named = [part["difference"] for one in found["causes"] for part in one["parts"]]
    wrong = [f"invented: {one['what']}" for one in named if not any(is_of(one, f) for f in cause.causes)]
    wrong += [f"not named: {f.family} {f.what}" for f in cause.causes if not any(is_of(one, f) for one in named)]
    said = ", ".join(one["what"] for one in named)
    return Tried(f"{said} ({found['replays']} replays, {len(found['factors'])} factors)", tuple(wrong))
