"""Seeds that are visible without watching the job: PYTHONHASHSEED and its like, and the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runbook.model.record import Seed
from runbook.observe.interface import Context
from runbook.observe.parameters import Given, given
from runbook.observe.shell import script

_SEED = re.compile(r"(.*[-_.])?(seeds?|random[-_]?(seed|state)|rng[-_]?seed)", re.IGNORECASE)
_INTEGER = re.compile(r"[0-9]{1,19}")
_VARIABLES = ("PYTHONHASHSEED", "PL_GLOBAL_SEED", "SEED", "RANDOM_SEED", "GLOBAL_SEED")


TRAINING_VARIABLES = tuple(name for name in _VARIABLES if name != "PYTHONHASHSEED")
"""Variables that seed a training; the hash seed only orders sets."""


def flags(argv: Sequence[str]) -> list[Given]:
    """The seeds that a command line gives, each as it is written there."""
    return [one for one in given(argv) if _SEED.fullmatch(one.name) and one.value != "true"]


def with_seed(argv: Sequence[str], one: Given, value: str) -> tuple[str, ...] | None:
    """The command with another value for one of its `flags`; None where the old one cannot be found, or is no int.

    Of a shell line the text is changed, where it stands as a word of its own.
    """
    if not _INTEGER.fullmatch(one.value):
        return None
    words = list(argv)
    if script(argv) is not None:
        return _in_script(words, one, value)
    found = False
    for at, word in enumerate(words):
        if word == one.written and words[at + 1 : at + 2] == [one.value]:
            words[at + 1], found = value, True
        elif word in (f"{one.written}={one.value}", f"{one.written}{one.value}") and word != one.value:
            words[at], found = word[: -len(one.value)] + value, True
    return tuple(words) if found else None


def _in_script(words: list[str], one: Given, value: str) -> tuple[str, ...] | None:
    place = re.compile(
        rf"(?<![^\s'\"])({re.escape(one.written)}(?:=|\s+)?)(['\"]?){re.escape(one.value)}(?![^\s'\";&|)])"
    )
    changed = [place.sub(lambda m: f"{m[1]}{m[2]}{value}", word) for word in words]
    return tuple(changed) if changed != words else None


class Seeds:
    """Fills `seeds`; an empty tuple says that none was seen."""

    name = "seeds"

    def collect(self, context: Context) -> tuple[Seed, ...]:
        """Seeds of the environment (observed) and of the argv (declared: the job may not heed them)."""
        found = [
            Seed(name=name, value=context.env[name], evidence="observed")
            for name in _VARIABLES
            if context.env.get(name, "random") not in ("random", "")
        ]
        found += [
            Seed(name=f"argv {one.written}", value=one.value, evidence="declared") for one in flags(context.argv)
        ]
        return tuple(found)


MEMBER = Seeds()
