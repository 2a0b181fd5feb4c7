"""Another seed for a job that nobody edits: only through what is declared, a flag of its command or a variable."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from runbook.errors import UsageError
from runbook.model.calibration import Seeding
from runbook.model.record import Record
from runbook.observe import seeds
from runbook.observe.parameters import from_argv

_DRAWN = 2**31 - 1
"""Drawn seeds are from 1 to this: what NumPy, PyTorch and most flags take."""


@dataclass(frozen=True)
class Plan:
    """Which seeds the repeats have: one value for each, or none where the bundle's own are kept."""

    seeding: Seeding
    values: tuple[int | None, ...]


@dataclass(frozen=True)
class Asked:
    """A record whose job is asked with other seeds; what was set, name → value."""

    record: Record
    seeds: dict[str, str]


def plan(repeats: int, chosen: Sequence[int], draw: bool) -> Plan:
    """The seeds of so many repeats. Raises UsageError where the options contradict each other."""
    if chosen and draw:
        raise UsageError("--seeds and --draw-seeds", hint="give one of them", id="seeds")
    if chosen and len(chosen) != repeats:
        hint = f"--repeats {len(chosen)}, or as many seeds as repeats"
        raise UsageError(f"{len(chosen)} seeds for {repeats} repeats", "--seeds", hint=hint, id="seeds")
    if len(set(chosen)) != len(chosen):
        raise UsageError("a seed is given twice", "--seeds", hint="another seed for each repeat", id="seeds")
    if chosen:
        return Plan("chosen", tuple(chosen))
    if not draw:
        return Plan("frozen", (None,) * repeats)
    drawn: dict[int, None] = {}
    while len(drawn) < repeats:
        drawn[1 + secrets.randbelow(_DRAWN)] = None
    return Plan("drawn", tuple(drawn))


def seeded(record: Record, value: int | None) -> Asked:
    """The record with this seed wherever its job declares one; None leaves it as it is.

    Raises UsageError (`no-seed-to-set`) where the job declares none: seeds in its code are its own.
    """
    if value is None:
        return Asked(record, {})
    text, argv, done = str(value), record.job.argv, dict[str, str]()
    for flag in seeds.flags(argv):
        changed = seeds.with_seed(argv, flag, text)
        if changed is not None:
            argv, done[f"argv {flag.written}"] = changed, text
    variables = []
    for one in record.job.variables:
        if one.name in seeds.TRAINING_VARIABLES and not one.redacted and one.value.isdecimal():
            done[one.name] = text
            one = replace(one, value=text)
        variables.append(one)
    if not done:
        raise UsageError(
            "the job declares no seed that could be set", _seen(record), hint=_HINT, id="no-seed-to-set"
        )
    parameters = record.job.parameters
    if argv != record.job.argv:
        old = from_argv(record.job.argv)
        parameters = parameters | {k: v for k, v in from_argv(argv).items() if v != old.get(k)}
    job = replace(record.job, argv=argv, variables=tuple(variables), parameters=parameters)
    known = tuple(replace(s, value=done.get(s.name, s.value)) for s in record.seeds)
    return Asked(replace(record, job=job, seeds=known), done)


_HINT = (
    "give it a flag such as --seed, or read SEED from its environment, and capture it again; "
    "or repeat it with its own seeds"
)


def _seen(record: Record) -> str:
    """Where its seeds are set instead."""
    inside = [f"{s.name} {s.value}" + (f" ({s.where})" if s.where else "") for s in record.seeds]
    return f"only {', '.join(inside[:3])}" if inside else "no seed was seen"
