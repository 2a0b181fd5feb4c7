"""RO-Crate 1.1 metadata that follows Process Run Crate 0.5, as JSON-LD built from values.

The crate's root is the bundle's `data/`. Sources: the RO-Crate 1.1 and Process Run Crate 0.5 specifications.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

import msgspec

from runbook.export.interface import Payload
from runbook.model.data import Input, Output
from runbook.model.environment import Base
from runbook.model.manifest import Entry
from runbook.model.record import Record

Entity = dict[str, Any]

_PROFILE: Final = "https://w3id.org/ro/wfrun/process/0.5"
_SPECIFICATION: Final = "https://w3id.org/ro/crate/1.1"
_TERMS: Final = "https://w3id.org/ro/terms/workflow-run#"
_CONTEXT: Final = [
    f"{_SPECIFICATION}/context",
    {
        term: _TERMS + term
        for term in ("ContainerImage", "containerImage", "environment", "registry", "sha256", "tag")
    },
]

_DOCUMENTS: Final = {
    "record.json": ("The record: the run as one document", "application/json"),
    "record.schema.json": ("JSON Schema of the record", "application/schema+json"),
    "RUNBOOK.md": ("The run book, for reading", "text/markdown"),
    "report.html": ("The run book as a page", "text/html"),
    "Dockerfile": ("Recipe of the environment", "text/plain"),
    "replay.sh": ("Replays the run with Docker alone", "application/x-sh"),
    "lock/requirements.txt": ("Packages, pinned and hashed", "text/plain"),
    "lock/os-packages": ("Packages of the operating system", "text/plain"),
    "code.manifest": ("Digest, size and path of every file of the code", "text/plain"),
    "code.patch": ("Uncommitted changes, already applied in code/", "text/x-diff"),
}
_FOLDERS: Final = {
    "code/": "The code as it was when the run started",
    "lock/wheels/": "Packages as wheels",
    "lock/libraries/": "Shared libraries of the system that a base may lack",
    "image/": "The base image as an OCI layout",
}
_STATUS: Final = {"completed": "http://schema.org/CompletedActionStatus"}
_FAILED: Final = "http://schema.org/FailedActionStatus"
_ENCODINGS: Final = {".log": "text/plain", ".jsonl": "application/jsonl", ".yaml": "application/yaml"}
_BYTES: Final = "application/octet-stream"
_UNKNOWN_AGENT: Final = "#agent"
_NO_LICENSE: Final = "#license"
_REFERENCE: Final = re.compile(
    r"(?:(?P<registry>[^/@]+[.:][^/@]*)/)?(?P<name>[^@]+)@sha256:(?P<sha256>[0-9a-f]{64})"
)


class RoCrate:
    """The `ro-crate-metadata.json` of a bundle."""

    name = "ro-crate"
    suffix = ".json"

    def export(self, payload: Payload) -> bytes:
        """The document; the same bytes for the same payload."""
        document = {"@context": _CONTEXT, "@graph": list(_graph(payload))}
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


MEMBER = RoCrate()


def _graph(payload: Payload) -> Iterator[Entity]:
    record = payload.record
    held = {entry.path: entry for entry in payload.files}
    parts = [*_documents(held), *_inputs(record, held), *_outputs(record, held)]
    metrics = [_property(f"#metric-{n}", m.name, m.final) for n, m in enumerate(record.metrics)]
    image = _image(record.environment.base.value)
    variables = [_property(f"#env-{n}", v.name, v.value) for n, v in enumerate(record.job.variables)]
    yield {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": _SPECIFICATION},
    }
    yield _root(record, parts)
    yield {"@id": _PROFILE, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    yield {
        "@id": _NO_LICENSE,
        "@type": "CreativeWork",
        "name": "No licence stated",
        "description": "The run stated no licence for its code, data or results.",
    }
    yield _action(record, parts, metrics, image, variables)
    yield _application(record, held)
    yield {
        "@id": _UNKNOWN_AGENT,
        "@type": "Person",
        "name": "Not recorded",
        "description": "The record names no person: who ran the job is unknown unless an attestation says so.",
    }
    yield from parts
    yield from metrics
    yield from variables
    yield from image


def _root(record: Record, parts: Iterable[Entity]) -> Entity:
    ended = record.outcome.ended
    root: Entity = {
        "@id": "./",
        "@type": "Dataset",
        "conformsTo": {"@id": _PROFILE},
        "name": f"Run book of {record.name}",
        "description": f"One run of {record.name}, frozen so that it can be replayed and compared.",
        "isBasedOn": f"urn:sha256:{record.packed_from}" if record.packed_from else None,
        "datePublished": ended.value or record.outcome.started.value or "1980-01-01",
        "license": {"@id": _NO_LICENSE},
        "hasPart": _references(part["@id"] for part in parts if not part["@id"].startswith("#")),
        "mentions": {"@id": "#run"},
    }
    return {key: value for key, value in root.items() if value is not None}


def _action(
    record: Record,
    parts: Iterable[Entity],
    metrics: Iterable[Entity],
    image: Iterable[Entity],
    variables: Iterable[Entity],
) -> Entity:
    outcome = record.outcome
    identifiers = [part["@id"] for part in parts]
    wanted = {_input_id(one) for one in record.inputs}
    made = {_quoted(_inside(o.bundle_path)) for o in record.outputs if o.stored == "embedded"}
    unknown = [
        f"{what} is missing ({fact.reason})"
        for what, fact in (("start", outcome.started), ("end", outcome.ended), ("exit code", outcome.exit_code))
        if not fact.known
    ]
    action: Entity = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Run {record.run} of {record.name}",
        "description": "; ".join([_command(record), f"ended {outcome.status}", *unknown]),
        "instrument": {"@id": "#application"},
        "agent": {"@id": _UNKNOWN_AGENT},
        "object": _references(i for i in identifiers if i in wanted),
        "result": _references([*(i for i in identifiers if i in made), *(m["@id"] for m in metrics)]),
        "environment": _references(v["@id"] for v in variables),
        "containerImage": _references(i["@id"] for i in image),
        "startTime": _time(outcome.started.value),
        "endTime": _time(outcome.ended.value),
    }
    if outcome.status != "unobserved":
        action["actionStatus"] = _STATUS.get(outcome.status, _FAILED)
    if outcome.status not in ("completed", "unobserved"):
        action["error"] = outcome.reason or outcome.signal or f"exit code {outcome.exit_code.text()}"
    return {key: value for key, value in action.items() if value not in (None, [])}


def _application(record: Record, held: dict[str, Entry]) -> Entity:
    git = record.code.git.value
    application: Entity = {
        "@id": "#application",
        "@type": "SoftwareApplication",
        "name": record.name,
        "description": _command(record),
        "version": f"code tree sha256:{record.code.tree.digest}",
    }
    if any(path.startswith("code/") for path in held):
        application["hasPart"] = {"@id": "code/"}
    if "lock/requirements.txt" in held:
        application["softwareRequirements"] = {"@id": "lock/requirements.txt"}
    if git is not None and git.remote.value and git.remote.value.startswith(("https://", "http://")):
        application["url"] = git.remote.value
    if git is not None and git.commit.value:
        application["identifier"] = f"git commit {git.commit.value}" + (" with changes" if git.dirty else "")
    return application


def _documents(held: dict[str, Entry]) -> Iterator[Entity]:
    for path, (name, kind) in _DOCUMENTS.items():
        if path in held:
            yield _file(held[path], name=name, encodingFormat=kind)
    for folder, name in _FOLDERS.items():
        if any(path.startswith(folder) for path in held):
            yield {"@id": folder, "@type": "Dataset", "name": name, "description": name}


def _inputs(record: Record, held: dict[str, Entry]) -> Iterator[Entity]:
    for one in record.inputs:
        entity: Entity = {
            "@id": _input_id(one),
            "@type": "File" if one.kind == "file" else "Dataset",
            "name": one.name,
            "description": f"Input that the job read at {one.path}; {one.stored}",
            "contentSize": str(one.bytes),
        }
        if one.kind == "file":
            entity |= {"sha256": one.digest, "encodingFormat": _encoding(one.path)}
        if one.stored in ("reference", "package") and entity["@id"].startswith("#"):
            entity["@type"] = "CreativeWork"
        if one.source.value:
            entity["isBasedOn"] = one.source.value
        yield {key: value for key, value in entity.items() if not (key == "isBasedOn" and value == entity["@id"])}
        if (manifest := held.get(_inside(one.manifest))) is not None:
            yield _file(
                manifest,
                name=f"Manifest of {one.name}",
                encodingFormat="text/plain",
                about={"@id": _input_id(one)},
            )


def _outputs(record: Record, held: dict[str, Entry]) -> Iterator[Entity]:
    for one in record.outputs:
        if (entry := held.get(_inside(one.bundle_path))) is not None:
            yield _output(one, entry)
    for path in ("outputs/stdout.log", "outputs/stderr.log", "outputs/series.json"):
        if path in held and all(_inside(one.bundle_path) != path for one in record.outputs):
            yield _file(held[path], name=path.rpartition("/")[2])


def _output(one: Output, entry: Entry) -> Entity:
    return _file(entry, name=one.path, description=f"What the job wrote as {one.path} ({one.role})")


def _image(base: Base | None) -> list[Entity]:
    found = _REFERENCE.fullmatch(base.reference) if base is not None else None
    if found is None:
        return []
    name, _, tag = found["name"].partition(":")
    image: Entity = {
        "@id": "#image",
        "@type": "ContainerImage",
        "additionalType": {"@id": _TERMS + "DockerImage"},
        "registry": found["registry"] or "docker.io",
        "name": name,
        "tag": tag,
        "sha256": found["sha256"],
    }
    return [{key: value for key, value in image.items() if value}]


def _input_id(one: Input) -> str:
    if one.stored == "embedded":
        folder = f"inputs/{one.name}/"
        return _quoted(folder + one.path.rpartition("/")[2] if one.kind == "file" else folder)
    if one.stored == "code" and not one.path.startswith("/"):
        ending = "" if one.kind == "file" else "/"
        return _quoted(f"code/{one.path}{ending}")
    source = one.source.value or ""
    return source if source.startswith(("https://", "http://")) else f"#input-{_quoted(one.name)}"


def _file(entry: Entry, **properties: Any) -> Entity:
    return {
        "@id": _quoted(entry.path),
        "@type": "File",
        "encodingFormat": _encoding(entry.path),
        **properties,
        "contentSize": str(entry.size),
        "sha256": entry.sha256,
    }


def _property(identifier: str, name: str, value: Any) -> Entity:
    return {"@id": identifier, "@type": "PropertyValue", "name": name, "value": value}


def _references(identifiers: Iterable[str]) -> list[Entity] | Entity:
    """References as compacted JSON-LD has them: a single one stands by itself."""
    found = [{"@id": identifier} for identifier in identifiers]
    return found[0] if len(found) == 1 else found


def _time(text: str | None) -> str | None:
    # ISO 8601 in the only spelling that the profile's shapes take.
    return text and re.sub("Z$", "+00:00", text)


def _encoding(path: str) -> str:
    # A table of its own: the module's functions read the machine's, which differ.
    return mimetypes.MimeTypes().guess_type(path)[0] or _ENCODINGS.get(PurePosixPath(path).suffix, _BYTES)


def _command(record: Record) -> str:
    return " ".join(record.job.argv)


def _inside(bundle_path: str) -> str:
    return bundle_path.removeprefix("data/")


def _quoted(path: str) -> str:
    return quote(path, safe="/-._~+@,;=()!")
