"""The code as it was when the job started."""

from __future__ import annotations

from runbook.model.fact import Fact, Value


class Link(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A symbolic link; restored inside the container only."""

    path: str
    target: str


class Shape(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What a bag cannot hold of a tree. Paths are relative, POSIX, sorted."""

    links: tuple[Link, ...] = ()
    executables: tuple[str, ...] = ()
    empty_directories: tuple[str, ...] = ()


class Submodule(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A git submodule, with the commit that was checked out."""

    path: str
    commit: Fact[str]
    remote: Fact[str]


class Git(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The state of the git checkout; credentials are stripped from remotes."""

    commit: Fact[str]
    branch: Fact[str]
    remote: Fact[str]
    dirty: bool
    modified: tuple[str, ...] = ()
    """Tracked files that differ from the commit (changed, staged or deleted)."""
    untracked: tuple[str, ...] = ()
    """Files that git neither tracks nor ignores."""
    submodules: tuple[Submodule, ...] = ()


class Tree(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A content-addressed tree. `digest` is the sha256 of its manifest file (see runbook.model.manifest)."""

    digest: str
    files: int
    bytes: int
    shape: Shape = Shape()


class Code(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Tracked files with the uncommitted state, and untracked files that are not ignored."""

    git: Fact[Git]
    tree: Tree
    narrowed_to: tuple[str, ...] = ()
    """`--code` paths, relative to the root; empty: the whole root."""
    left_out: tuple[str, ...] = ()
    """What was left out and why, one sentence each (ignore file, size, data stored elsewhere)."""
    patch: str = ""
    """Bundle path of the uncommitted patch, for reading; `data/code` already has it applied."""
