"""The base of a thin bundle that no registry has, as it is kept in the cache of the machine that captured it."""

from __future__ import annotations

from pathlib import Path

import platformdirs

from runbook.model.environment import Base


def kept_layout(base: Base) -> Path | None:
    """The layout of a base that is neither in its bundle nor in a registry, where an earlier capture left it."""
    if base.layout or base.reference:
        return None
    from runbook.environment.images import find_layout

    return find_layout(platformdirs.user_cache_path("runbook"), base.digest)
