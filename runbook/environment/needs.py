"""What the packages of an environment need of a machine: driver, GPU and CPU. From a dated table. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from packaging.version import InvalidVersion, Version

from runbook.model.environment import Package


@dataclass(frozen=True)
class CudaNeed:
    """What a CUDA toolkit needs; empty where the table does not say."""

    driver: str
    """The driver that it came with."""
    least: str
    """The oldest driver that runs it, with limited features."""
    capability: str
    """The lowest compute capability that its libraries have kernels for."""


@dataclass(frozen=True)
class CpuNeed:
    """CPU flags without which a package does not start."""

    package: str
    """`name version`."""
    flags: tuple[str, ...]


def cuda_need(version: str) -> CudaNeed | None:
    """What CUDA `12.8`, or `12.8.90`, needs; None for a version that the table does not know."""
    major, _, rest = version.partition(".")
    table = _table()["cuda"]
    row = table["driver"].get(f"{major}.{rest.partition('.')[0]}")
    capability = table["capability"].get(major, "")
    return CudaNeed(row["driver"], row["least"], capability) if row else None


def cpu_needs(packages: Iterable[Package]) -> Iterator[CpuNeed]:
    """What the packages from an index need of an x86-64 CPU."""
    rows = {row["package"]: row for row in _table()["cpu"]}
    for one in packages:
        row = rows.get(one.name)
        if row is not None and one.origin == "index" and not older(one.version, row["since"]):
            yield CpuNeed(f"{one.name} {one.version}", tuple(row["flags"]))


def older(version: str, than: str) -> bool:
    """Whether a version comes before another; False for what is no version."""
    try:
        return Version(version) < Version(than)
    except InvalidVersion:
        return False


def dated() -> str:
    """The day that the table is of."""
    return str(_table()["dated"])


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files("runbook.environment") / "needs.toml").read_text(encoding="utf-8"))
