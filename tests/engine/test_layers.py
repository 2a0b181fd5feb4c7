"""What a layer unpacks to is known before an engine is given it."""

import bz2
import gzip
import io
import lzma
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.engine import layers
from runbook.errors import BundleRejected

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_COMPRESS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


def weighed(tmp_path: Path, content: bytes) -> int:
    path = tmp_path / "layer"
    path.write_bytes(content)
    return layers.weigh(path)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("kind", _COMPRESS)
def test_a_layer_weighs_what_it_unpacks_to(kind: str, form: int, tmp_path: Path) -> None:
    long = "d" * 99 + "/" + "e" * (90 if form == tarfile.USTAR_FORMAT else 150)
    plain = tar_of({"a": b"x" * 3_000_001, long: b"y" * 700, "empty": b""}, form)
    assert weighed(tmp_path, _COMPRESS[kind](plain)) == len(plain)


def test_members_that_follow_each_other_are_counted_together(tmp_path: Path) -> None:
    plain = tar_of({"a": b"x" * 100_000})
    parts = [gzip.compress(plain[at : at + 7000]) for at in range(0, len(plain), 7000)]
    assert weighed(tmp_path, b"".join(parts)) == len(plain)


@pytest.mark.parametrize("kind", [kind for kind in _COMPRESS if kind != "plain"])
def test_a_bomb_is_refused_as_soon_as_its_bound_is_reached(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "ROOMY", 8 << 20)
    with pytest.raises(BundleRejected) as caught:
        weighed(tmp_path, _COMPRESS[kind](tar_of({"zeros": bytes(64 << 20)})))
    assert caught.value.id == "base-bomb"


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    old = tarfile.TarInfo("sparse")
    old.type = tarfile.GNUTYPE_SPARSE
    new = tarfile.TarInfo("sparse")
    new.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(8 << 40)}
    for entry in (old, new):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(entry)
        with pytest.raises(BundleRejected) as caught:
            weighed(tmp_path, gzip.compress(sink.getvalue()))
        assert caught.value.id == "base-bomb"


@pytest.mark.parametrize("kind", [kind for kind in _COMPRESS if kind != "plain"])
def test_a_layer_that_is_cut_short_is_malformed(kind: str, tmp_path: Path) -> None:
    with pytest.raises(BundleRejected) as caught:
        weighed(tmp_path, _COMPRESS[kind](tar_of({"a": bytes(range(256)) * 999}))[:-9])
    assert caught.value.id == "base-malformed"


@given(
    st.binary(max_size=4096), st.sampled_from([b"", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\0"])
)
def test_whatever_the_bytes_are_it_is_a_number_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, head: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-layer"
    path.write_bytes(head + content)
    try:
        assert layers.weigh(path) >= 0
    except BundleRejected as error:
        assert error.id in ("base-bomb", "base-malformed")
