"""Inputs and outputs: artifacts by content."""

from __future__ import annotations

from typing import Literal

from runbook.model.code import Shape
from runbook.model.fact import Evidence, Fact, Value


class Input(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset, file or tree that the job read."""

    name: str
    """Unique in the record; `[A-Za-z0-9._-]+`."""
    path: str
    """Where the job looks: relative to the root (POSIX) when inside it, else absolute."""
    kind: Literal["file", "tree"]
    digest: str
    """sha256 of the file, or of the tree's manifest."""
    bytes: int
    files: int
    stored: Literal["embedded", "code", "package", "reference"]
    """`embedded` in data/inputs/NAME/, in data/code already, in an installed package, or only described by its
    manifest."""
    manifest: str
    """Bundle path of the manifest `SHA256 SIZE PATH`; for a file it holds one line."""
    source: Fact[str]
    """URI it can be had from."""
    version: Fact[str]
    changed: Fact[bool]
    """Whether its content after the run differs from before."""
    evidence: Evidence
    shape: Shape = Shape()
    withheld: str = ""
    """Why it is by reference though it would fit; empty when nothing kept it out."""


class Output(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A file that the job wrote."""

    path: str
    """Relative to the root, or absolute."""
    digest: str
    bytes: int
    stored: Literal["embedded", "reference"]
    bundle_path: str = ""
    role: Literal["metrics", "log", "artifact"]
    evidence: Evidence
    withheld: str = ""
    """Why it is not in the bundle though it would fit."""
