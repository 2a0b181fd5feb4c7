"""What a replay would need here, what is there, and what would happen: `replay --plan`."""

from __future__ import annotations

from typing import Final, Literal

from runbook.model.fact import Fact, Value

SCHEMA: Final = "runbook/preflight/1"

State = Literal["ok", "warning", "missing", "not rebuildable", "not comparable"]
"""`missing` ends a replay with exit code 6, `not rebuildable` with 4, `not comparable` with 7."""


class Check(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One thing looked at before a replay."""

    id: str
    """Kebab-case and stable: `memory`, `gpu-driver`, `input:NAME`."""
    what: str
    needed: str = ""
    """What the original had or needs; empty where that says nothing."""
    found: str
    state: State
    hint: str = ""
    """The command or action that mends it."""


class Size(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One thing that has to be in place."""

    what: str
    action: Literal["here", "unpack", "fetch", "build"]
    """`here`: nothing is to be done; `unpack` from the bundle; `fetch` from elsewhere; `build`."""
    bytes: int | None
    """None: not known before it is done."""
    source: str = ""
    """Where from: `the package index`, a URL, an image reference."""


class Preflight(Value, frozen=True, kw_only=True, omit_defaults=False):
    """Whether this machine can replay a bundle, and what that takes."""

    schema: Literal["runbook/preflight/1"] = SCHEMA
    bundle_id: str
    name: str
    engine: str
    """`docker`, `local` …"""
    steps: tuple[str, ...]
    """What would happen, in order, for a person."""
    sizes: tuple[Size, ...]
    job_s: Fact[float]
    """Seconds that the job may take: what the original took."""
    checks: tuple[Check, ...]
    exit_code: int
    """0 when the replay can be done, else the exit code that it would end with."""
