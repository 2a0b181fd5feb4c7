"""Families (collectors, engines, reporters, exporters, metric readers) found by walking their package.

A new member is one new file in the family's package with a module-level `MEMBER`; other distributions
add theirs by an entry point in the group `runbook.<family>`. No enum, no if-chain.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import Any


@cache
def members(family: str) -> dict[str, Any]:
    """All members of a family such as `observe` or `engine`: name → member, sorted by name.

    Raises ValueError when two members claim one name.
    """
    package = importlib.import_module(f"runbook.{family}")
    found: dict[str, Any] = {}
    modules = [
        importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)
    ]
    candidates = [module.MEMBER for module in modules if hasattr(module, "MEMBER")]
    candidates += [point.load() for point in entry_points(group=f"runbook.{family}")]
    for member in candidates:
        if member.name in found:
            raise ValueError(f"two members of {family} are called {member.name}")
        found[member.name] = member
    return dict(sorted(found.items()))
