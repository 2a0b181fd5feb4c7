"""A tree by content in one call: walked, hashed, named by the digest of its manifest."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

from runbook.digest.hashing import hash_folders
from runbook.digest.statcache import StatCache
from runbook.digest.walk import Walk
from runbook.model import manifest
from runbook.model.code import Shape, Tree
from runbook.model.manifest import Entry
from runbook.progress import SILENT, Progress


def digest_tree(
    root: Path, *, cache: StatCache | None = None, progress: Progress = SILENT
) -> tuple[Tree, list[Entry]]:
    """The tree's value and the entries of its manifest. Raises UsageError for a name that no manifest can hold."""
    walk = Walk(root)
    entries, executables = hash_folders(root, walk.folders(), cache=cache, progress=progress)
    entries.sort(key=itemgetter(0))  # Strings sort by code point, which is how their UTF-8 bytes sort.
    shape = Shape(
        links=walk.links, executables=tuple(sorted(executables)), empty_directories=walk.empty_directories
    )
    return tree_of(entries, shape), entries


def tree_of(entries: list[Entry], shape: Shape = Shape()) -> Tree:
    """The value of a tree with these files."""
    return Tree(
        digest=manifest.tree_digest(entries),
        files=len(entries),
        bytes=sum(entry.size for entry in entries),
        shape=shape,
    )
