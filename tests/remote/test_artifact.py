"""How a bundle is divided into blobs, and the manifest that names them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.bundle import artifact, layout
from runbook.bundle.artifact import Artifact, Blob
from runbook.errors import BundleRejected
from runbook.remote.interface import MANIFEST_CAP

names = st.sampled_from(
    [
        "data/code/a.py",
        "data/inputs/x/1",
        "data/inputs/y/2",
        "data/lock/wheels/w.whl",
        "data/image/blobs/sha256/z",
        "data/record.json",
        "bagit.txt",
        "attestations/a.dsse.json",
        "data/inputs/x.manifest",
        "data/outputs/files/m",
    ]
)


@given(st.dictionaries(names, st.integers(0, 1 << 30)))
def test_every_file_is_in_one_place(sizes: dict[str, int]) -> None:
    large, packs = artifact.divide(sizes)
    placed = [*large, *(name for held in packs.values() for name in held)]
    assert sorted(placed) == sorted(sizes)
    assert all(sizes[name] >= artifact.LARGE and name.startswith("data/") for name in large)


def test_a_manifest_of_many_large_files_is_one_that_registries_take() -> None:
    sizes = {f"data/inputs/images/{'x' * 200}{number}": (1 << 20) + number * 1000 for number in range(20_000)}
    sizes |= {f"data/inputs/input-{number}/x": 1 for number in range(3000)}
    large, packs = artifact.divide(sizes)
    blobs = [Blob("sha256:" + "0" * 64, sizes[name], name, pack=False) for name in large]
    blobs += [Blob("sha256:" + "0" * 64, 1, title, pack=True) for title in packs]
    text = artifact.render(Artifact("0" * 64, "demo", tuple(blobs)))
    assert len(text) < MANIFEST_CAP
    assert len(artifact.parse(text).blobs) == len(blobs) < 2000


titles = st.text("abc./-_ é", min_size=1, max_size=20).filter(lambda text: not artifact.defect(f"data/{text}"))
hexes = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.dictionaries(titles, st.tuples(hexes, st.integers(0, 1 << 40), st.booleans()), max_size=6), hexes)
def test_a_manifest_is_read_as_it_was_written(files: dict[str, tuple[str, int, bool]], id: str) -> None:
    blobs = tuple(
        Blob(f"sha256:{digest}", size, f"{title}.zip" if pack else layout.DATA + title, pack)
        for title, (digest, size, pack) in files.items()
    )
    told = Artifact(id, "a demo", blobs)
    assert artifact.parse(artifact.render(told)) == told


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BundleRejected):
        artifact.parse(data)


def test_the_manifest_is_that_of_an_oci_artifact() -> None:
    document = json.loads(artifact.render(Artifact("0" * 64, "demo", ())))
    assert (document["schemaVersion"], document["mediaType"]) == (2, artifact.MEDIA_TYPE)
    assert document["artifactType"] == artifact.ARTIFACT_TYPE
    assert document["config"]["digest"] == "sha256:" + layout.sha256(b"{}")
