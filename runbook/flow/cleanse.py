"""Nothing secret is sealed: all text is scanned before it is hashed; a hit stops, or is masked on request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from runbook.catalog.store import RunFolder
from runbook.digest.tree import tree_of
from runbook.model.fact import Fact
from runbook.model.job import Job
from runbook.model.manifest import Entry
from runbook.model.record import Finding, Record, Redaction
from runbook.model.watch import Process, Stage, Subprocess, Watched
from runbook.progress import Progress
from runbook.trust.secrets import SecretHit, as_error, mask, mask_argv, mask_text, mask_value, scan_files

_SEARCHED = 1 << 20
"""Bytes of a file beyond which it is data and not settings."""
_WITHHELD = "it holds what looks like a secret"


@dataclass(frozen=True)
class Materials:
    """What a bundle takes from the project besides its data."""

    code: tuple[Entry, ...]
    content: Callable[[Entry], Path]
    """Where a code file's bytes lie."""
    patch: bytes
    texts: dict[str, bytes]
    """Logs and other outputs by bundle path."""


@dataclass(frozen=True)
class Cleansed:
    """The record and materials as they may be sealed."""

    record: Record
    code: tuple[Entry, ...]
    replaced: dict[str, bytes]
    """Masked code files: path → bytes."""
    patch: bytes
    texts: dict[str, bytes] = field(default_factory=dict)


def cleanse(record: Record, materials: Materials, *, redact: bool, progress: Progress) -> Cleansed:
    """Scan everything; raise SecretFound with the list, or mask it all and record what was masked."""
    hits: list[SecretHit] = []
    job = _job(record.job, hits)
    sources = tuple(_text(text, "metric source", hits) for text in record.sources)
    git = record.code.git
    if git.value is not None:
        remote = git.value.remote
        if remote.value is not None:
            clean = Fact(evidence=remote.evidence, value=_text(remote.value, "git remote", hits))
            git = Fact(evidence=git.evidence, value=msgspec.structs.replace(git.value, remote=clean))
    packages = tuple(
        msgspec.structs.replace(p, source=_text(p.source, f"source of {p.name}", hits)) if p.source else p
        for p in record.environment.packages
    )
    patch = _bytes(materials.patch, "data/code.patch", hits)
    texts = {name: _bytes(data, name, hits) for name, data in materials.texts.items()}
    watch, stages = _watch(record.watch, hits), tuple(_masked(one, hits) for one in record.stages)
    found, _ = scan_files(((e.path, materials.content(e)) for e in materials.code), progress=progress)
    untouched = _untouched(record, found) if not redact else set()
    found = [hit for hit in found if hit.where not in untouched]
    hits += found
    if hits and not redact:
        raise as_error(hits)
    replaced = {}
    entries = {e.path: e for e in materials.code}
    for path in sorted({hit.where for hit in found}):
        data, _ = mask(materials.content(entries[path]).read_bytes(), path)
        replaced[path] = data
        entries[path] = Entry(path, len(data), _sha256(data))
    code = tuple(entries[e.path] for e in materials.code if e.path not in untouched)
    tree = tree_of(list(code), record.code.tree.shape)
    left_out = tuple(
        f"{path}: it holds what looks like a secret, and the job did not read it" for path in sorted(untouched)
    )
    clean_record = msgspec.structs.replace(
        record,
        job=job,
        watch=watch,
        stages=stages,
        sources=sources,
        code=msgspec.structs.replace(record.code, git=git, tree=tree, left_out=(*record.code.left_out, *left_out)),
        environment=msgspec.structs.replace(record.environment, packages=packages),
        redactions=(*record.redactions, *_redactions(hits)),
    )
    return Cleansed(clean_record, code, replaced, patch, texts)


def without_secrets(record: Record, folder: RunFolder) -> Record:
    """Withhold inputs that nobody declared, and outputs, that look as if they held a secret: they go by digest.

    Only small files are searched: data is large, settings are small.
    """
    root = Path(record.job.root)

    def hit(path: str, digest: str, size: int) -> bool:
        kept = folder.objects.at(digest)
        here = kept if kept.is_file() else root / path
        if size > _SEARCHED or not here.is_file():
            return False
        try:
            return bool(scan_files([(path, here)])[0])
        except OSError:
            return False

    inputs = tuple(
        msgspec.structs.replace(one, withheld=_WITHHELD)
        if one.evidence == "observed" and one.kind == "file" and hit(one.path, one.digest, one.bytes)
        else one
        for one in record.inputs
    )
    outputs = tuple(
        msgspec.structs.replace(one, withheld=_WITHHELD)
        if one.role == "artifact" and hit(one.path, one.digest, one.bytes)
        else one
        for one in record.outputs
    )
    withheld = [i.path for i in inputs if i.withheld] + [o.path for o in outputs if o.withheld]
    findings = [
        Finding(id="withheld", level="warning", text=f"{path} is not in the bundle: {_WITHHELD}")
        for path in dict.fromkeys(withheld)
    ]
    return msgspec.structs.replace(record, inputs=inputs, outputs=outputs, findings=(*record.findings, *findings))


def _untouched(record: Record, found: Sequence[SecretHit]) -> set[str]:
    """Files with a hit that a watched job never opened: a replay does without them, so they are not sealed."""
    if record.watch.value is None or not record.watch.value.processes:
        return set()
    opened = {one.path for one in record.files if one.files == 1}
    folded = {one.path for one in record.files if one.files > 1}
    paths = {hit.where for hit in found}
    return {path for path in paths if path not in opened and path.rpartition("/")[0] not in folded}


def _job(job: Job, hits: list[SecretHit]) -> Job:
    argv, found = mask_argv(job.argv)
    hits += found
    variables = []
    for variable in job.variables:
        value, found = mask_value(variable.name, variable.value, f"variable {variable.name}")
        hits += found
        variables.append(msgspec.structs.replace(variable, value=value, redacted=bool(found)))
    parameters = {name: mask_value(name, value, f"parameter {name}")[0] for name, value in job.parameters.items()}
    return msgspec.structs.replace(job, argv=argv, variables=tuple(variables), parameters=parameters)


T = TypeVar("T", Process, Subprocess, Stage)


def _masked(one: T, hits: list[SecretHit]) -> T:
    argv, found = mask_argv(one.argv)
    hits += found
    return msgspec.structs.replace(one, argv=argv)


def _watch(watch: Fact[Watched], hits: list[SecretHit]) -> Fact[Watched]:
    """Every command line that was seen, and what was written into it."""
    if watch.value is None:
        return watch
    value = msgspec.structs.replace(
        watch.value,
        processes=tuple(_masked(one, hits) for one in watch.value.processes),
        subprocesses=tuple(_masked(one, hits) for one in watch.value.subprocesses),
    )
    return msgspec.structs.replace(watch, value=value)


def _text(text: str, where: str, hits: list[SecretHit]) -> str:
    masked, found = mask_text(text, where)
    hits += found
    return masked


def _bytes(data: bytes, where: str, hits: list[SecretHit]) -> bytes:
    masked, found = mask(data, where)
    hits += found
    return masked


def _redactions(hits: Sequence[SecretHit]) -> tuple[Redaction, ...]:
    return tuple(dict.fromkeys(Redaction(where=f"{h.where}, line {h.line}", kind=h.kind) for h in hits))


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
