"""Inputs and outputs of a run: found where they were declared, known by their content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import platformdirs

from runbook.config import Declaration, DeclaredInput
from runbook.digest.hashing import hash_tree
from runbook.digest.statcache import StatCache
from runbook.digest.tree import digest_tree
from runbook.errors import NeedMissing, SecretFound, UsageError
from runbook.model import manifest
from runbook.model.code import Shape
from runbook.model.data import Input, Output
from runbook.model.fact import Fact, declared, inferred, missing, observed
from runbook.model.manifest import Entry
from runbook.model.record import Finding, Record
from runbook.observe.urls import without_credentials
from runbook.progress import SILENT, Progress

_LAY = "where it lay"
OUTPUTS_CAP = 500
"""Files that the job wrote unasked, which a record lists."""


@dataclass(frozen=True)
class Seen:
    """An input with its files. For a single file, `entries` holds that one, named by its basename."""

    value: Input
    path: Path
    entries: tuple[Entry, ...]


def place(path: Path, root: Path) -> str:
    """How a record names a path: relative to the root when inside it, else absolute."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def look_at_inputs(root: Path, inputs: Sequence[DeclaredInput], progress: Progress) -> tuple[Seen, ...]:
    """Hash every declared input, sparing files whose stat did not change since they were last hashed."""
    names: set[str] = set()
    return tuple(look_at_input(root, one, names, progress) for one in inputs)


def look_again(before: Sequence[Seen], progress: Progress) -> tuple[Seen, ...]:
    """The same inputs after the run, each with whether its content is still the same."""
    after = []
    for one in before:
        try:
            digest = _digest(one.path, progress)[0]
            changed: Fact[bool] = observed(digest != one.value.digest)
        except OSError:
            changed = observed(True)
        after.append(Seen(msgspec.structs.replace(one.value, changed=changed), one.path, one.entries))
    return tuple(after)


def changed_inputs(inputs: Iterable[Seen]) -> list[Finding]:
    """A finding for every input that the job, or anything else, changed meanwhile."""
    return [
        Finding(id="input-changed", level="warning", text=f"the input {i.value.path} changed while the job ran")
        for i in inputs
        if i.value.changed.value
    ]


def look_at_outputs(
    root: Path, declaration: Declaration, progress: Progress, written: Sequence[Path] = ()
) -> tuple[list[Output], list[Finding]]:
    """Declared files that are there, and what else was written; what is declared and absent is a finding."""
    outputs, findings = [], []
    wanted = [(p, "metrics") for p in declaration.metrics] + [(p, "artifact") for p in declaration.outputs]
    wanted += [(str(path), "artifact") for path in written[:OUTPUTS_CAP]]
    if len(written) > OUTPUTS_CAP:
        text = f"the job wrote {len(written)} files; the record holds {OUTPUTS_CAP}: --output PATH names others"
        findings.append(Finding(id="outputs-not-listed", level="note", text=text))
    known: set[str] = set()
    for text, role in wanted:
        path = root / text
        try:
            files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        except OSError:
            files = []
        if not files:
            findings.append(Finding(id="output-absent", level="warning", text=f"{text} was not written"))
        for file in files:
            if place(file, root) in known:
                continue
            known.add(place(file, root))
            digest, entries, _ = _digest(file, progress)
            outputs.append(
                Output(
                    path=place(file, root),
                    digest=digest,
                    bytes=entries[0].size,
                    stored="reference",
                    role="metrics" if role == "metrics" else "artifact",
                    evidence="observed",
                )
            )
    return outputs, findings


def look_at_input(
    root: Path,
    one: DeclaredInput,
    names: set[str],
    progress: Progress,
    *,
    content: Path | None = None,
    seen: bool = False,
) -> Seen:
    """Hash one input and give it a name that is not in `names` yet.

    content: where its bytes lie, when no longer at its path. seen: it was not declared but seen to be read.
    """
    path = Path(one.path) if one.path.startswith("/") else root / one.path
    if not (content or path).exists():
        raise NeedMissing(
            "the input is not there", one.path, hint="name an existing file or folder", id="input-absent"
        )
    name = _name(one, names)
    digest, entries, shape = _digest(content or path, progress)
    if not path.is_dir():  # What lies behind a link, or was kept, goes by the name that the job used.
        entries = tuple(entry._replace(path=path.name) for entry in entries)
    value = Input(
        name=name,
        path=place(path, root),
        kind="tree" if path.is_dir() else "file",
        digest=digest,
        bytes=sum(e.size for e in entries),
        files=len(entries),
        stored="reference",
        manifest=f"data/inputs/{name}.manifest",
        source=declared(checked_source(one.source)) if one.source else inferred(path.resolve().as_uri(), _LAY),
        version=declared(one.version) if one.version else missing("no version was declared"),
        changed=missing("the run was not observed"),
        evidence="observed" if seen else "declared",
        shape=shape,
    )
    return Seen(value, content or path, entries)


def checked_source(source: str) -> str:
    """The source as a record may hold it. Raises SecretFound for credentials in a URL."""
    plain = without_credentials(source)
    if plain != source:
        raise SecretFound(
            "the source of an input holds credentials",
            plain,
            hint="leave them out: whoever replays has their own",
            id="source-credentials",
        )
    return source


def with_sources(record: Record, sources: Mapping[str, str]) -> Record:
    """The record with where some of its inputs can be had from. Raises UsageError for a name that it lacks."""
    names = [one.name for one in record.inputs]
    if unknown := sorted(set(sources) - set(names)):
        hint = f"its inputs: {', '.join(names) or 'none'}"
        raise UsageError("the run has no such input", ", ".join(unknown), hint=hint, id="no-such-input")
    inputs = [
        msgspec.structs.replace(one, source=declared(checked_source(sources[one.name])))
        if one.name in sources
        else one
        for one in record.inputs
    ]
    return msgspec.structs.replace(record, inputs=tuple(inputs))


def digest_of(path: Path) -> str:
    """The digest of a file, from the stat cache where the file is as it was when it was last hashed."""
    return _digest(path, SILENT)[0]


def _digest(path: Path, progress: Progress) -> tuple[str, tuple[Entry, ...], Shape]:
    if path.is_dir():
        with open_cache(path) as cache:
            tree, entries = digest_tree(path, cache=cache, progress=progress)
        return tree.digest, tuple(entries), tree.shape
    path = path.resolve()
    with open_cache(path.parent) as cache:
        entries = hash_tree(path.parent, [path.name], cache=cache, progress=progress)
    return entries[0].sha256, tuple(entries), Shape()


@contextmanager
def open_cache(root: Path) -> Iterator[StatCache]:
    """The user's stat cache of this tree; saved when the block ends well."""
    cache = StatCache.of_tree(platformdirs.user_cache_path("runbook") / "stat-caches", root)
    yield cache
    if cache.save():
        cache.forget_others()


def manifest_of(seen: Seen) -> bytes:
    """The manifest text of an input."""
    return manifest.render(seen.entries)


def _name(one: DeclaredInput, names: set[str]) -> str:
    base = one.name or re.sub(r"[^A-Za-z0-9._-]+", "-", Path(one.path).name).strip(".-") or "input"
    name, number = base, 1
    while name in names:
        number += 1
        name = f"{base}-{number}"
    names.add(name)
    return name
