"""The code of a run: where its root is, what belongs to it, and its content as it was when the job started."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runbook.catalog.store import RunFolder
from runbook.config import Declaration
from runbook.digest.hashing import hash_tree
from runbook.flow.artifacts import Seen, open_cache
from runbook.model import manifest
from runbook.model.code import Code, Tree
from runbook.model.manifest import Entry
from runbook.model.record import Finding
from runbook.observe.shell import commands, script
from runbook.progress import Progress

KEPT_CAP = 256 << 20
"""Bytes of code that the run store keeps a copy of; beyond, a capture needs the working tree unchanged."""
LARGE = 100 << 20
"""Bytes of code above which a finding names the largest folders."""


@dataclass(frozen=True)
class Codebase:
    """The code as it stood: its value for the record, its files, and what to say of it."""

    value: Code
    entries: tuple[Entry, ...]
    patch: bytes
    findings: tuple[Finding, ...]


def find_root(cwd: Path) -> Path:
    """The project's root: the top of the git checkout, else the working folder itself."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(cwd), "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False
        )
    except OSError:
        return cwd
    top = Path(answer.stdout.rstrip("\n")) if answer.returncode == 0 else cwd
    return top if top.is_absolute() and cwd.is_relative_to(top) else cwd


def default_name(argv: Sequence[str]) -> str:
    """A name for the run: the script's stem, else the module's, else the program's; of a shell line, its last."""
    text = script(argv)
    if text is not None:
        argv = (commands(text) or [list(argv)])[-1]
    for before, word in zip(("", *argv), argv, strict=False):
        if word.endswith((".py", ".ipynb", ".sh")):
            return Path(word).stem
        if before == "-m":
            return word.rpartition(".")[2]
    return Path(argv[0]).name


def look(root: Path, declaration: Declaration, progress: Progress) -> Codebase:
    """List and hash the code as it stands. What the run writes is not its code."""
    from runbook.observe.code import read_code  # A replay asks only for the root.

    apart = [*declaration.outputs, *declaration.metrics]
    listing = read_code(root, narrow=declaration.code, exclude=[f"/{_escaped(path)}" for path in apart])
    with open_cache(root) as cache:
        entries = hash_tree(root, listing.files, cache=cache, progress=progress)
    text = manifest.render(entries)
    tree = Tree(
        digest=manifest.digest(text), files=len(entries), bytes=sum(e.size for e in entries), shape=listing.shape
    )
    findings = list(listing.findings)
    if tree.bytes > LARGE:
        biggest = ", ".join(f"{name} {size >> 20} MiB" for name, _, size in listing.largest_folders())
        text_ = f"the code weighs {tree.bytes >> 20} MiB ({biggest}): --code PATH or .runbookignore narrows it"
        findings.append(Finding(id="code-large", level="note", text=text_))
    value = Code(
        git=listing.git,
        tree=tree,
        narrowed_to=listing.narrowed_to,
        left_out=listing.left_out,
        patch="data/code.patch" if listing.patch else "",
    )
    return Codebase(value, tuple(entries), listing.patch, tuple(findings))


def narrowed(code: Codebase, entries: tuple[Entry, ...]) -> Codebase:
    """The same code with these of its files only."""
    if entries == code.entries:
        return code
    tree = Tree(
        digest=manifest.digest(manifest.render(entries)),
        files=len(entries),
        bytes=sum(e.size for e in entries),
        shape=msgspec.structs.replace(
            code.value.tree.shape,
            executables=tuple(p for p in code.value.tree.shape.executables if p in {e.path for e in entries}),
        ),
    )
    gone = sorted({e.path for e in code.entries} - {e.path for e in entries})
    named = ", ".join(gone[:3]) + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
    left_out = (*code.value.left_out, f"{named}: the job writes it")
    value = msgspec.structs.replace(code.value, tree=tree, left_out=left_out)
    return dataclasses.replace(code, value=value, entries=entries)


def keep(code: Codebase, root: Path, folder: RunFolder, inputs: Sequence[Seen]) -> None:
    """Keep the code's content, so that a later capture freezes what ran and not what was edited since.

    Declared inputs are data: they stay where they are.
    """
    data = tuple(i.value.path for i in inputs)
    (folder.path / "code.manifest").write_bytes(manifest.render(code.entries))
    (folder.path / "code.patch").write_bytes(code.patch)
    own = [e for e in code.entries if not any(e.path == d or e.path.startswith(d + "/") for d in data)]
    if sum(e.size for e in own) <= KEPT_CAP:
        folder.objects.keep(root, own)


def _escaped(path: str) -> str:
    """The path as a gitignore pattern that means just itself."""
    return "".join("\\" + c if c in "\\*?[]!# " else c for c in path)
