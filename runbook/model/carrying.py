"""What a bundle carries of what a replay needs, and what has to be had elsewhere. Pure.

Code, logs and small outputs are in every bundle. Wheels, base, system libraries and inputs are there by this rule:

| | wheels | base | system libraries | inputs |
|---|---|---|---|---|
| `needed` | those that no index has | when no registry has it | when the base may lack them | small ones |
| `none` (thin) | none | no | none | none but those among the code |
| `all` (self-contained) | all | as an OCI layout | as with `needed` | all |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from runbook.model.data import Input
from runbook.model.environment import Base, Environment, Lock, SystemLibrary
from runbook.model.manifest import Entry
from runbook.model.record import Record

Carry = Literal["needed", "none", "all"]
"""How much of what can be had elsewhere goes into a bundle."""


def carried_inputs(inputs: Iterable[Input], carry: Carry) -> tuple[Input, ...]:
    """The inputs with where each is stored. What is withheld stays out, and what is in the code stays there."""

    def stored(one: Input) -> Input:
        if carry == "none" and one.stored == "embedded":
            return msgspec.structs.replace(one, stored="reference")
        if carry == "all" and one.stored == "reference" and not one.withheld:
            return msgspec.structs.replace(one, stored="embedded")
        return one

    return tuple(map(stored, inputs))


def held_wheels(lock: Lock) -> list[Entry]:
    """The wheels inside the bundle, as files below `data/lock/wheels`."""
    unique = [Entry(wheel.file, wheel.size, wheel.sha256) for wheel in lock.carried if wheel.stored]
    return unique + [Entry(wheel.file, wheel.size, wheel.sha256) for wheel in lock.copies]


def held_libraries(environment: Environment) -> list[Entry]:
    """The system's libraries inside the bundle, as files below `data/lock/libraries`."""
    return [Entry(one.soname, one.size, one.sha256) for one in environment.libraries if one.size]


def loaded_beside(base: Base, libraries: Iterable[SystemLibrary]) -> dict[str, SystemLibrary]:
    """Soname → the library that the job's packages load and this base may lack; a host closure holds its own."""
    found: dict[str, SystemLibrary] = {}
    for one in libraries if base.kind != "host-closure" else ():
        found.setdefault(one.soname, one)
    return found


def lacks(record: Record) -> tuple[str, ...]:
    """What a replay has to find outside of the bundle, one phrase each; nothing for a self-contained one."""
    return (*_environment(record.environment), *_data(record.inputs))


def _environment(environment: Environment) -> Iterator[str]:
    lock, base = environment.lock.value, environment.base.value
    if lock is None or base is None:
        yield f"the environment ({environment.lock.reason or environment.base.reason})"
    if lock is not None:
        unique = sum(not wheel.stored for wheel in lock.carried)
        listed = lock.packages - len(lock.carried) - len(lock.copies)
        if listed > 0:
            yield f"{_count(listed, 'wheel')} of an index"
        if unique:
            yield f"{_count(unique, 'wheel')} that no index has"
    if base is not None and not base.layout:
        yield f"the base {base.reference or base.digest}"
    if base is not None:
        beside = [x.soname for x in loaded_beside(base, environment.libraries).values() if not x.size]
        if beside:
            yield f"system libraries, should the base lack them: {', '.join(sorted(beside))}"


def _data(inputs: Iterable[Input]) -> Iterator[str]:
    for one in inputs:
        if one.stored == "reference":
            yield f"the input {one.name}" + (f" ({one.withheld})" if one.withheld else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
