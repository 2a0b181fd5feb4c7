"""Seeds that are visible without watching the job: PYTHONHASHSEED and its like, and the command line."""

from __future__ import annotations

import re

from runbook.model.record import Seed
from runbook.observe.interface import Context
from runbook.observe.parameters import given

_SEED = re.compile(r"(.*[-_.])?(seeds?|random[-_]?(seed|state)|rng[-_]?seed)", re.IGNORECASE)
_VARIABLES = ("PYTHONHASHSEED", "PL_GLOBAL_SEED", "SEED", "RANDOM_SEED", "GLOBAL_SEED")


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
            Seed(name=f"argv {one.written}", value=one.value, evidence="declared")
            for one in given(context.argv)
            if _SEED.fullmatch(one.name) and one.value != "true"
        ]
        return tuple(found)


MEMBER = Seeds()
