"""Where everything lies in a bundle, and the BagIt texts around it (RFC 8493). Pure: no file is touched here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from runbook.model import statement
from runbook.model.manifest import Entry

BAGIT: Final = "bagit.txt"
BAG_INFO: Final = "bag-info.txt"
MANIFEST: Final = statement.MANIFEST
TAG_MANIFEST: Final = "tagmanifest-sha256.txt"
FETCH: Final = "fetch.txt"
TAGS: Final = (BAGIT, BAG_INFO, MANIFEST, TAG_MANIFEST)
"""The files beside `data/` that every bundle has."""

DATA: Final = "data/"
RECORD: Final = "data/record.json"
SCHEMA: Final = "data/record.schema.json"
CRATE: Final = "data/ro-crate-metadata.json"
RUNBOOK_MD: Final = "data/RUNBOOK.md"
REPORT: Final = "data/report.html"
DOCKERFILE: Final = "data/Dockerfile"
REPLAY_SH: Final = "data/replay.sh"
LOCK: Final = "data/lock"
REQUIREMENTS: Final = "data/lock/requirements.txt"
OS_PACKAGES: Final = "data/lock/os-packages"
WHEELS: Final = "data/lock/wheels"
LIBRARIES: Final = "data/lock/libraries"
IMAGE: Final = "data/image"
CODE: Final = "data/code"
CODE_MANIFEST: Final = "data/code.manifest"
CODE_PATCH: Final = "data/code.patch"
INPUTS: Final = "data/inputs"
OUTPUTS: Final = "data/outputs"
OUTPUT_FILES: Final = "data/outputs/files"
STDOUT: Final = "data/outputs/stdout.log"
STDERR: Final = "data/outputs/stderr.log"
SERIES: Final = "data/outputs/series.json"

BAGIT_TEXT: Final = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"

SUFFIX: Final = ".runbook"
ZIP_SUFFIX: Final = ".runbook.zip"

_ATTESTATION: Final = re.compile(r"attestations/[^/]+\.dsse\.json")
_LINE: Final = re.compile(r"([0-9a-f]{64})  ([^\x00-\x1f\x7f]+)")
_OXUM: Final = re.compile(r"^Payload-Oxum: (0|[1-9][0-9]{0,18})\.(0|[1-9][0-9]{0,9})$", re.MULTILINE)


def code_file(path: str) -> str:
    """Bundle path of a file of the code."""
    return f"{CODE}/{path}"


def input_file(name: str, path: str) -> str:
    """Bundle path of a file of an embedded input; `path` as its manifest has it."""
    return f"{INPUTS}/{name}/{path}"


def input_manifest(name: str) -> str:
    """Bundle path of an input's manifest."""
    return f"{INPUTS}/{name}.manifest"


def library_file(soname: str) -> str:
    """Bundle path of a shared library that the base may lack."""
    return f"{LIBRARIES}/{soname}"


def output_file(path: str) -> str:
    """Bundle path of a small file that the job wrote; an absolute path keeps its parts."""
    return f"{OUTPUT_FILES}/{path.lstrip('/')}"


def is_attestation(name: str) -> bool:
    """Whether a name is one that may be added later, in no manifest."""
    return _ATTESTATION.fullmatch(name) is not None


def render_manifest(digests: Mapping[str, str]) -> bytes:
    """A BagIt manifest of name → sha256, sorted by name; names that need escaping are refused elsewhere."""
    lines = [f"{digests[name]}  {name}\n" for name in sorted(digests, key=str.encode)]
    return "".join(lines).encode()


def parse_manifest(text: bytes) -> dict[str, str]:
    """Name → sha256 of a manifest. Raises ValueError for a line that is none, or a name listed twice."""
    digests: dict[str, str] = {}
    if text and not text.endswith(b"\n"):
        raise ValueError("the last line is not ended")
    for number, line in enumerate(text.decode().split("\n")[:-1], 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number} is not `SHA256  PATH`")
        if match[2] in digests:
            raise ValueError(f"line {number} lists a file twice")
        digests[match[2]] = match[1]
    return digests


def render_info(entries: Iterable[Entry]) -> bytes:
    """bag-info.txt: what the payload weighs; no clock, so that a run frozen twice gives the same bytes."""
    sizes = [entry.size for entry in entries]
    return f"Payload-Oxum: {sum(sizes)}.{len(sizes)}\n".encode()


def parse_oxum(text: bytes) -> tuple[int, int]:
    """(bytes, files) of the payload as bag-info.txt states them. Raises ValueError when it states none, or two."""
    found = _OXUM.findall(text.decode())
    if len(found) != 1:
        raise ValueError("there is not one Payload-Oxum")
    return int(found[0][0]), int(found[0][1])


def bundle_id(manifest: bytes) -> str:
    """sha256, hex, of manifest-sha256.txt: it names every byte of the payload."""
    return sha256(manifest)


def sha256(data: bytes) -> str:
    """sha256, hex, of a small file's bytes."""
    return hashlib.sha256(data).hexdigest()
