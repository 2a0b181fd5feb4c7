"""Remotes that lie: each holds a bundle with one defect more; every pull ends with 5 and leaves nothing."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runbook.bundle import archive, artifact, layout
from tests.remote.conftest import LARGE


class Share:
    """A folder remote, taken apart and put together again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = folder / "demo/index.json"
        self.manifest: dict[str, Any] = json.loads(self.blob(self.named()).read_bytes())

    def named(self) -> str:
        return str(json.loads(self.index.read_bytes())["manifests"][0]["digest"])

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs/sha256" / digest.removeprefix("sha256:")

    def layer(self, title: str) -> dict[str, Any]:
        found: dict[str, Any] = next(
            one for one in self.manifest["layers"] if one["annotations"][artifact._TITLE].endswith(title)
        )
        return found

    def put(self, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{layout.sha256(data)}"
        self.blob(digest).write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def seal(self, text: bytes | None = None) -> None:
        told = self.put(text if text is not None else json.dumps(self.manifest).encode())
        self.index.write_text(json.dumps({"schemaVersion": 2, "manifests": [told]}))


def pack(files: dict[str, bytes]) -> bytes:
    """A pack as runbook writes it, whatever the names."""
    order = sorted(files, key=str.encode)
    members = list(archive.place([(name, len(files[name]), zlib.crc32(files[name])) for name in order]))
    body = b"".join(archive.local_header(m) + files[m.name] for m in members)
    return body + archive.directory(members, len(body))


def titled(title: str) -> Callable[[Share], None]:
    def change(share: Share) -> None:
        share.layer("weights.bin")["annotations"][artifact._TITLE] = title
        share.seal()

    return change


def annotated(name: str, value: object) -> Callable[[Share], None]:
    def change(share: Share) -> None:
        share.manifest["annotations"][name] = value
        share.seal()

    return change


def layer_with(**fields: object) -> Callable[[Share], None]:
    def change(share: Share) -> None:
        share.layer("weights.bin").update(fields)
        share.seal()

    return change


def packed(files: dict[str, bytes], *, title: str = "more.zip") -> Callable[[Share], None]:
    """One pack more."""

    def change(share: Share) -> None:
        told = share.put(pack(files))
        share.manifest["layers"].append(
            {"mediaType": artifact.PACK_TYPE, **told, "annotations": {artifact._TITLE: title}}
        )
        share.seal()

    return change


def replaced(title: str, data: Callable[[bytes], bytes]) -> Callable[[Share], None]:
    """Other bytes under the digest that the manifest names."""

    def change(share: Share) -> None:
        path = share.blob(share.layer(title)["digest"])
        path.write_bytes(data(path.read_bytes()))

    return change


def without_record(share: Share) -> None:
    share.manifest["layers"].remove(share.layer("record.zip"))
    share.seal()


def other_code(share: Share) -> None:
    """A whole pack of other code, under its own digest."""
    share.layer("code.zip").update(share.put(pack({f"data/code/{n}": b"evil" for n in ("train.py", "README.md")})))
    share.seal()


def text(data: bytes) -> Callable[[Share], None]:
    return lambda share: share.seal(data)


TRICKS: dict[str, tuple[Callable[[Share], None], str]] = {
    "a title that climbs": (titled(archive.FOLDER + "data/../../../evil"), "climbs out"),
    "a title at an absolute path": (titled("/etc/evil"), "outside data/"),
    "a title outside data": (titled(archive.FOLDER + "bagit.txt"), "outside data/"),
    "a title with an escape": (titled(archive.FOLDER + "data/\x1b[31m"), "control character"),
    "a title that turns the text": (titled(archive.FOLDER + "data/\u202ex"), "bidirectional"),
    "a file under another name": (titled(archive.FOLDER + "data/inputs/big/other.bin"), "manifest"),
    "a name that is a path": (annotated("org.runbook.name", "../../evil"), "names no bundle"),
    "a name with an escape": (annotated("org.runbook.name", "\x1b[2J"), "names no bundle"),
    "a name that is a number": (annotated("org.runbook.name", 7), "names no bundle"),
    "the id of another bundle": (annotated("org.runbook.bundle", "sha256:" + "0" * 64), "another bundle"),
    "an id that is none": (annotated("org.runbook.bundle", "latest"), "a digest that is none"),
    "a digest that is a path": (layer_with(digest="sha256:../../../../../../etc/passwd"), "a digest that is none"),
    "a size below nothing": (layer_with(size=-1), "without size"),
    "a size beyond anything": (layer_with(size=1 << 60), "more bytes than"),
    "a size that is a truth": (layer_with(size=True), "without size"),
    "a size that is too small": (layer_with(size=1000), "other bytes"),
    "bytes that are others": (replaced("weights.bin", lambda d: b"x" * len(d)), "other bytes"),
    "bytes that are more": (replaced("weights.bin", lambda d: d + b"x" * LARGE), "other bytes"),
    "bytes that are fewer": (replaced("weights.bin", lambda d: d[:-1]), "other bytes"),
    "a pack that is other bytes": (replaced("code.zip", lambda d: d[::-1]), "other bytes"),
    "a pack of other code": (other_code, ""),
    "a pack that climbs": (packed({"data/../../evil": b"x"}), "climbs out"),
    "a pack with the name of a drive and a backslash": (packed({"data/..\\evil": b"x"}), "backslash"),
    "a pack with a file more": (packed({"data/code/evil.py": b"x"}), ""),
    "a pack with a file outside data": (packed({"evil.sh": b"x"}), "no manifest lists"),
    "a pack with a file twice": (packed({"data/code/train.py": b"x"}), "twice"),
    "a pack that is no zip": (
        lambda s: (s.layer("code.zip").update(s.put(b"#!/bin/sh\n")), s.seal())[1],
        "neither a bundle's folder",
    ),
    "a blob twice": (lambda s: (s.manifest["layers"].append(s.layer("weights.bin")), s.seal())[1], "twice"),
    "no record": (without_record, ""),
    "an image": (lambda s: (s.manifest.pop("artifactType"), s.seal())[1], "not a bundle"),
    "too many blobs": (
        lambda s: (s.manifest.update(layers=[s.layer("weights.bin")] * 5000), s.seal())[1],
        "no list of blobs",
    ),
    "no JSON": (text(b"\x1b[31m"), "not JSON"),
    "JSON nested deep": (text(b"[" * 100_000), "nested deeper"),
    "JSON with a key twice": (text(b'{"artifactType": 1, "artifactType": 2}'), "same key twice"),
    "a list": (text(b"[]"), "not a bundle"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_remote_that_lies_is_refused_and_leaves_nothing(name, runbook, bundle, tmp_path):
    assert runbook("push", bundle, f"file://{tmp_path}/share/demo").code == 0
    change, said = TRICKS[name]
    change(Share(tmp_path / "share"))
    done = runbook("pull", f"file://{tmp_path}/share/demo")
    assert done.code == 5, done.err
    assert said in done.err
    assert not {"\x1b", "\u202e"} & set(done.err + done.out)
    assert not list((tmp_path / "work").iterdir())
    assert not list(tmp_path.rglob("evil*"))
    assert not list((tmp_path / "home/cache/runbook/pulled").glob("*"))


def test_a_manifest_that_the_index_does_not_name_is_not_read(runbook, bundle, tmp_path):
    assert runbook("push", bundle, f"file://{tmp_path}/share/demo").code == 0
    share = Share(tmp_path / "share")
    share.blob(share.named()).write_bytes(b"{}")
    done = runbook("pull", f"file://{tmp_path}/share/demo")
    assert done.code == 6 and "not the one that" in done.err
