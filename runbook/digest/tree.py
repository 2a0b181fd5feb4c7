"""A tree by content in one call: walked, hashed, named by the digest of its manifest."""

from __future__ import annotations

from pathlib import Path

from runbook.digest.hashing import hash_tree
from runbook.digest.statcache import StatCache
from runbook.digest.walk import Skip, walk
from runbook.model import manifest
from runbook.model.code import Shape, Tree
from runbook.model.manifest import Entry
from runbook.progress import SILENT, Progress


def digest_tree(
    root: Path, *, skip: Skip | None = None, cache: StatCache | None = None, progress: Progress = SILENT
) -> tuple[Tree, list[Entry]]:
    """The tree's value and the entries of its manifest. Raises UsageError for a name that no manifest can hold."""
    listing = walk(root, skip=skip)
    entries = hash_tree(root, listing.files, fingerprints=listing.fingerprints, cache=cache, progress=progress)
    return tree_of(entries, listing.shape), entries


def tree_of(entries: list[Entry], shape: Shape = Shape()) -> Tree:
    """The value of a tree with these files."""
    return Tree(
        digest=manifest.tree_digest(entries),
        files=len(entries),
        bytes=sum(entry.size for entry in entries),
        shape=shape,
    )
