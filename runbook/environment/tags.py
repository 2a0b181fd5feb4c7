"""Which wheels the *job's* interpreter takes, best first. Pure; runbook's own interpreter does not matter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags, generic_tags, mac_platforms
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from runbook.model.environment import Interpreter

_LEGACY_MANYLINUX = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@lru_cache(maxsize=8)
def platform_tags(interpreter: Interpreter) -> tuple[Tag, ...]:
    """Every tag that the interpreter accepts, in its order of preference (PEP 425, 600, 656)."""
    version = tuple(int(part) for part in interpreter.version.split(".")[:2])
    short = f"{version[0]}{version[1]}"
    platforms = list(_platforms(interpreter))
    if interpreter.implementation == "cpython":
        abis = [interpreter.abi]
        if interpreter.abi.endswith("d"):
            abis.append(interpreter.abi.removesuffix("d"))
        found = list(cpython_tags(version, abis=abis, platforms=platforms))
        own = f"cp{short}"
    else:
        own = f"{_short(interpreter.implementation)}{short}"
        found = list(generic_tags(own, abis=[_generic_abi(interpreter.soabi)], platforms=platforms))
    return (*found, *compatible_tags(version, interpreter=own, platforms=platforms))


def best_wheel(filenames: Iterable[str], interpreter: Interpreter) -> str | None:
    """The one of these files that the interpreter prefers; None when none is a wheel that it takes.

    Equal tags are decided by the higher build number, then by name, so that the choice is always the same.
    """
    rank = {tag: number for number, tag in enumerate(platform_tags(interpreter))}
    scored = []
    for filename in filenames:
        try:
            _, _, build, tags = parse_wheel_filename(filename)
        except (InvalidWheelFilename, ValueError):
            continue
        positions = [rank[tag] for tag in tags if tag in rank]
        if positions:
            scored.append((-min(positions), build, filename))
    return max(scored)[2] if scored else None


def _platforms(interpreter: Interpreter) -> Iterator[str]:
    machine = re.sub(r"[^a-z0-9_]", "_", interpreter.machine.lower())
    if interpreter.system == "darwin":
        yield from mac_platforms(arch=machine)
        return
    if interpreter.system == "windows":
        yield {"amd64": "win_amd64", "x86_64": "win_amd64", "arm64": "win_arm64"}.get(machine, "win32")
        return
    # A wheel for this kind of machine alone is more its own than one for all of them, as packaging has it.
    yield f"{interpreter.system}_{machine}"
    name, _, release = interpreter.libc.partition(" ")
    numbers = re.findall(r"\d+", release)
    if len(numbers) >= 2:
        major, minor = int(numbers[0]), int(numbers[1])
        if name == "musl":
            yield from (f"musllinux_{major}_{m}_{machine}" for m in range(minor, -1, -1))
        elif name == "glibc":
            # Nothing was ever tagged below 2.5 (x86) and 2.17 (everything else).
            for m in range(minor, 4 if machine in ("x86_64", "i686") else 16, -1):
                yield f"manylinux_{major}_{m}_{machine}"
                if m in _LEGACY_MANYLINUX:
                    yield f"{_LEGACY_MANYLINUX[m]}_{machine}"


def _short(implementation: str) -> str:
    return {"pypy": "pp", "graalpy": "graalpy"}.get(implementation, implementation)


def _generic_abi(soabi: str) -> str:
    # `pypy311-pp73-x86_64-linux-gnu` → `pypy311_pp73`
    return "_".join(soabi.split("-")[:2]) or "none"
