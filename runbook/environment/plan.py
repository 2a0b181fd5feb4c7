"""What names an environment, and what an engine needs to rebuild it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.model.environment import Lock, Package

REPOSITORY = "runbook/env"
"""What engines call a rebuilt environment."""

PREFIX = "/opt/runbook/env"
"""Where the virtual environment lies inside, on every road."""


def image_tag(environment_id: str) -> str:
    """`runbook/env:<24 hex>` of an environment id `sha256:…`."""
    return f"{REPOSITORY}:{environment_id.removeprefix('sha256:')[:24]}"


def frozen_pins(packages: Sequence[Package], lock: Lock) -> tuple[str, ...]:
    """`name==version` of what must be installed afterwards: every package but those that the lock calls absent."""
    return tuple(sorted(f"{p.name}=={p.version}" for p in packages if p.name not in lock.absent))
