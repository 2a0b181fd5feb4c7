"""A bundle as an OCI artifact: an image manifest whose blobs other bundles share. Pure.

A large file is a blob of its own, under its own sha256: a wheel, a layer of the base, a dataset is stored once,
however many bundles hold it. Small files travel together, one zip for each part of the bundle, written as runbook
writes a bundle's zip form: equal parts are equal bytes. Unpacking everything side by side gives `bundle.runbook/`.
Reference: OCI image specification 1.1, guidelines for artifact usage.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from runbook.bundle import layout, strict
from runbook.bundle.archive import FOLDER
from runbook.errors import BundleRejected
from runbook.model.path import defect

MEDIA_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE: Final = "application/vnd.runbook.bundle.v1"
FILE_TYPE: Final = "application/octet-stream"
PACK_TYPE: Final = "application/zip"
EMPTY: Final = b"{}"
"""The config that an artifact without one has."""
_EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
_TITLE: Final = "org.opencontainers.image.title"
_ID: Final = "org.runbook.bundle"
_NAME: Final = "org.runbook.name"

LARGE: Final = 1 << 20
"""Bytes from which a file is a blob of its own."""
_OWN: Final = 1000
"""Blobs of one file each; beyond, the limit doubles. A manifest has at most 4 MiB."""
_INPUTS: Final = 500
_BLOBS: Final = 4000
_BYTES: Final = 16 << 40


class Blob(NamedTuple):
    """One blob: a large file, or a pack of small ones."""

    digest: str
    """`sha256:…`"""
    size: int
    title: str
    """Bundle path of the file; of a pack, its name: `code.zip`."""
    pack: bool


@dataclass(frozen=True)
class Artifact:
    """What a manifest says. Nothing of it is to be trusted before the bundle was verified."""

    id: str
    """Bundle id, sha256 in hex."""
    name: str
    """The bundle's own name, without ending."""
    blobs: tuple[Blob, ...]


def divide(sizes: Mapping[str, int]) -> tuple[list[str], dict[str, list[str]]]:
    """(files that are blobs of their own, pack → files in it), all sorted."""
    limit = LARGE
    while sum(size >= limit for size in sizes.values()) > _OWN:
        limit *= 2
    large = sorted(name for name, size in sizes.items() if size >= limit and name.startswith(layout.DATA))
    small = sorted(sizes.keys() - set(large))
    inputs = {name.split("/")[2] for name in small if name.startswith(f"{layout.INPUTS}/")}
    packs: defaultdict[str, list[str]] = defaultdict(list)
    for name in small:
        packs[_pack(name, apart=len(inputs) <= _INPUTS)].append(name)
    return large, dict(sorted(packs.items()))


def _pack(name: str, *, apart: bool) -> str:
    """The pack that a small file is in: what changes together lies together."""
    for folder in (layout.CODE, layout.LOCK, layout.IMAGE):
        if name.startswith(f"{folder}/"):
            return folder.removeprefix(layout.DATA) + ".zip"
    if name.startswith(f"{layout.INPUTS}/"):
        return f"inputs-{name.split('/')[2]}.zip" if apart else "inputs.zip"
    return "record.zip"


def render(artifact: Artifact) -> bytes:
    """The manifest; the same artifact gives the same bytes."""
    document = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": _EMPTY_TYPE, "digest": f"sha256:{layout.sha256(EMPTY)}", "size": len(EMPTY)},
        "layers": [
            {
                "mediaType": PACK_TYPE if blob.pack else FILE_TYPE,
                "digest": blob.digest,
                "size": blob.size,
                "annotations": {_TITLE: blob.title if blob.pack else FOLDER + blob.title},
            }
            for blob in artifact.blobs
        ],
        "annotations": {_ID: f"sha256:{artifact.id}", _NAME: artifact.name},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def parse(text: bytes) -> Artifact:
    """Read a manifest as hostile. Raises BundleRejected (`not-a-bundle`, or JSON's own ids)."""
    document = strict.loads(text, "the remote's manifest")
    if not isinstance(document, dict) or document.get("artifactType") != ARTIFACT_TYPE:
        found = document.get("artifactType") or document.get("mediaType") if isinstance(document, dict) else None
        raise _rejected("what the remote holds is not a bundle", str(found or "another document"))
    annotations, layers = document.get("annotations"), document.get("layers")
    if not isinstance(annotations, dict) or not isinstance(layers, list) or len(layers) > _BLOBS:
        raise _rejected("the manifest is malformed", "no annotations, or no list of blobs")
    id, name = _hex(annotations.get(_ID)), annotations.get(_NAME)
    if not isinstance(name, str) or "/" in name or defect(f"{name}{layout.ZIP_SUFFIX}"):
        raise _rejected("the manifest names no bundle", str(name))
    blobs = tuple(_blob(layer) for layer in layers)
    titles = [blob.title for blob in blobs]
    if len(set(titles)) != len(titles):
        raise _rejected("the manifest lists one file twice", max(titles, key=titles.count))
    if sum(blob.size for blob in blobs) > _BYTES:
        raise _rejected("more bytes than a bundle may have", str(_BYTES))
    return Artifact(id, name, blobs)


def _blob(layer: Any) -> Blob:
    if not isinstance(layer, dict):
        raise _rejected("the manifest is malformed", "a blob that is none")
    size, annotations = layer.get("size"), layer.get("annotations")
    title = annotations.get(_TITLE) if isinstance(annotations, dict) else None
    pack = layer.get("mediaType") == PACK_TYPE
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(title, str):
        raise _rejected("the manifest is malformed", "a blob without size or title")
    path = title if pack else title.removeprefix(FOLDER)
    if not pack and not title.startswith(FOLDER + layout.DATA):
        raise _rejected("the manifest lists a file outside data/", title)
    if wrong := defect(path):
        raise BundleRejected(f"the manifest lists a file name that {wrong.text}", title, id=wrong.id)
    return Blob(f"sha256:{_hex(layer.get('digest'))}", size, path, pack)


def _hex(digest: Any) -> str:
    text = digest.removeprefix("sha256:") if isinstance(digest, str) else ""
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise _rejected("the manifest is malformed", "a digest that is none")
    return text


def _rejected(what: str, value: str) -> BundleRejected:
    hint = "ask its owner which remote holds the bundle"
    return BundleRejected(what, value, hint=hint, id="not-a-bundle")
