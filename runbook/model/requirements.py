"""The text of `data/lock/requirements.txt`: one strict grammar, written and read. Pure.

A line is `name==version --hash=sha256:… [--hash=sha256:…]`; a backslash at its end continues it. Nothing else is
allowed: no option, URL, path, marker, extra or comment ever reaches an installer from a bundle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from runbook.errors import BundleRejected

CAP = 32 << 20
"""Bytes that a requirements file may have."""

_LINE = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==(?P<version>[A-Za-z0-9.!+_-]+)"
    r"(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


@dataclass(frozen=True, order=True)
class Requirement:
    """One pin with every hash that may satisfy it."""

    name: str
    """Normalised (PEP 503)."""
    version: str
    hashes: tuple[str, ...]
    """sha256 in hex, sorted."""

    @property
    def pin(self) -> str:
        """`name==version`."""
        return f"{self.name}=={self.version}"

    @cached_property
    def parsed(self) -> Version:
        """The version as PEP 440 orders it."""
        return Version(self.version)


def render_requirements(requirements: Iterable[Requirement]) -> bytes:
    """The file: sorted, without a date, path, index or comment, so that equal locks are equal bytes."""
    lines = [
        " \\\n".join([one.pin, *(f"    --hash=sha256:{h}" for h in sorted(one.hashes))])
        for one in sorted(requirements)
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def parse_requirements(text: bytes) -> tuple[Requirement, ...]:
    """The pins of a file, sorted by name. Raises BundleRejected `lock-grammar` at the first other line."""
    if len(text) > CAP:
        raise _rejected(f"{len(text)} bytes")
    try:
        lines = re.sub(r" \\\n +", " ", text.decode("ascii")).split("\n")
    except UnicodeDecodeError:
        raise _rejected("not ASCII") from None
    if lines.pop() != "":
        raise _rejected("the last line is not ended")
    found: dict[str, Requirement] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise _rejected(f"requirement {number}: {line[:120]!r}")
        name = canonicalize_name(match["name"])
        try:
            Version(match["version"])
        except InvalidVersion:
            raise _rejected(f"requirement {number}: version {match['version'][:80]!r}") from None
        if name in found:
            raise _rejected(f"requirement {number}: {name} twice")
        hashes = {part.removeprefix("--hash=sha256:") for part in match["hashes"].split()}
        found[name] = Requirement(name, match["version"], tuple(sorted(hashes)))
    return tuple(sorted(found.values()))


def _rejected(value: str) -> BundleRejected:
    return BundleRejected(
        "the lock holds more than pins with hashes",
        value,
        hint="do not install from this bundle; ask its author for an intact one",
        id="lock-grammar",
    )
