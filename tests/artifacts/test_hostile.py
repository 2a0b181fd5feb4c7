"""Files of a stranger: none is executed, none fills the memory or goes on for ever, each is still compared."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from runbook.artifacts.apart import Comparer
from runbook.model.artifact import ArtifactComparison
from tests.artifacts.planted import FILES, planted


@pytest.fixture(scope="module")
def comparer() -> Iterator[Comparer]:
    with Comparer() as made:
        yield made


class Evil:
    """Unpickling it makes a file."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("/tmp/runbook-was-executed",)


def _zip(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _torch(program: bytes) -> bytes:
    return _zip({"x/data.pkl": program, "x/byteorder": b"little", "x/data/0": bytes(16)})


def _tensor(shape: str, stride: str, count: str = "I4\n") -> bytes:
    """A pickle of one tensor, of instructions that torch.save writes."""
    storage = b"(\x8c\x07storagectorch\nFloatStorage\n\x8c\x010\x8c\x03cpu" + b"J" + struct.pack("<i", 4) + b"tQ"
    numbers = b"".join
    dims = numbers(b"\x8a\x08" + struct.pack("<q", int(n)) for n in shape.split())
    steps = numbers(b"\x8a\x08" + struct.pack("<q", int(n)) for n in stride.split())
    call = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return b"\x80\x02" + call + storage + b"K\0(" + dims + b"t(" + steps + b"t\x89}tR."


def _deep_png() -> bytes:
    """A picture of 60,000 x 60,000 pixels in 64 KiB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1 << 24), 9)) + chunk(b"IEND", b"")


def _npy(shape: str, dtype: str = "'<f4'") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(16)


def _shared(levels: int) -> bytes:
    """A list that holds itself twice over, thirty times: few bytes, a thousand million values."""
    grown = b"]q\0K\1a"
    for level in range(1, levels):
        grown += b"]q" + bytes([level]) + b"(h" + bytes([level - 1]) + b"h" + bytes([level - 1]) + b"e"
    return b"\x80\x02" + grown + b"."


_HEADER = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()

HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "pickle in a .pt that calls": (".pt", _torch(pickle.dumps(Evil(), 2)), "its pickle names posix.mkdir"),
    "pickle in a .pt that calls what it may name": (
        ".pt",
        _torch(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(ctorch\nFloatStorage\ntR."),
        "none that torch.save writes",
    ),
    "pickle that calls": (".pkl", pickle.dumps(Evil()), "is not run to be read"),
    "pickle without end": (".pt", _torch(_shared(30)), "nested too deeply, or without end"),
    "pickle that is too odd": (".pt", _torch(b"\x80\x02.") + b"", "none that torch.save writes"),
    "tensor beyond its storage": (".pt", _torch(_tensor("100", "1")), "beyond its storage"),
    "tensor of many times its storage": (
        ".pt",
        _torch(_tensor("1000000000", "0")),
        "far larger than what is stored",
    ),
    "tensor of huge strides": (".pt", _torch(_tensor("2", "4611686018427387903")), "beyond its storage"),
    "array without numbers": (".npy", _npy("(1099511627776,)"), "ends before its tensors"),
    "array of objects": (".npy", _npy("(2,)", "'|O'"), "only a pickle can bring back"),
    "array of negative size": (".npy", _npy("(-4,)"), "impossible shape"),
    "array of code": (".npy", _npy("(__import__('os').mkdir('/tmp/runbook-was-executed'),)"), "a broken header"),
    "safetensors without numbers": (
        ".safetensors",
        struct.pack("<Q", len(_HEADER)) + _HEADER,
        "ends before its tensors",
    ),
    "safetensors header of a terabyte": (".safetensors", struct.pack("<Q", 1 << 40) + b"{}", "impossible length"),
    "json of deep lists": (".json", b"[" * 500_000, "nested too deeply"),
    "json of a huge number": (".json", b"9" * 100_000, "neither JSON nor YAML"),
    "csv of one line": (".csv", b"a," * (1 << 20), "a line of more than"),
    "text of one line": (".txt", b"a" * (3 << 20), "a line of more than"),
    "picture of 3,600 million pixels": (".png", _deep_png(), "million pixels"),
    "archive of many names": (
        ".zip",
        b"PK\3\4" + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 9, 0xFFF0, 1, 0, 0),
        "zip",
    ),
    "onnx of a length beyond the file": (".onnx", b"\x3a\xff\xff\xff\xff\x0f", "not in the format"),
}


def _compare(comparer: Comparer, folder: Path, suffix: str, a: bytes, b: bytes) -> ArtifactComparison:
    (folder / "a").write_bytes(a)
    (folder / "b").write_bytes(b)
    with (folder / "a").open("rb", buffering=0) as one, (folder / "b").open("rb", buffering=0) as other:
        return comparer.compare(f"x{suffix}", one, other)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_compared_by_bytes_and_says_why(name: str, comparer: Comparer, tmp_path: Path) -> None:
    suffix, data, says = HOSTILE[name]
    good = {".npy": _npy("(4,)"), ".pt": (FILES / "state-a.pt").read_bytes()}
    good |= {one.suffix: one.original for one in (make() for make in planted().values())} | good
    for pair in ((good[suffix], data), (data, data[:-1] + b"\1")):
        found = _compare(comparer, tmp_path, suffix, *pair)
        assert found.verdict in ("bytes differ", "different"), found
    found = _compare(comparer, tmp_path, suffix, good[suffix], data)
    assert (found.verdict, says in found.reason) == ("bytes differ", True), found
    assert not Path("/tmp/runbook-was-executed").exists()


def test_a_compressed_archive_that_unpacks_to_too_much_is_not_unpacked(comparer: Comparer, tmp_path: Path) -> None:
    def claimed(minute: int) -> bytes:
        data = bytearray(_zip({"w.npy": bytes(1000)}, zipfile.ZIP_DEFLATED))
        at = data.rfind(b"PK\1\2")
        data[at + 24 : at + 28] = struct.pack("<I", 0xFFFFFFF0)  # The size that the directory states.
        second = bytes(data[at : data.rfind(b"PK\5\6")])
        names = [second.replace(b"w.npy", f"{c}.npy".encode()) for c in "abc"]
        end = struct.pack("<HHHHIIH", 0, 0, 3, 3, len(b"".join(names)), at, 0)
        return bytes(data[:at]) + b"".join(names) + b"PK\5\6" + end + bytes([minute])

    found = _compare(comparer, tmp_path, ".npz", claimed(1), claimed(2)[:-1] + b"\3")
    assert found.verdict == "bytes differ", found


def test_an_array_whose_checksum_is_wrong_is_compared_by_bytes(comparer: Comparer, tmp_path: Path) -> None:
    good = planted()["numpy"]()
    assert good.again is not None
    at = good.again.rfind(b"PK\1\2")
    broken = good.again[: at + 16] + bytes(4) + good.again[at + 20 :]
    found = _compare(comparer, tmp_path, ".npz", good.original, broken)
    assert found.verdict == "bytes differ"
    assert "a broken zip member (Bad CRC-32" in found.reason


def test_a_reader_that_dies_costs_one_answer(tmp_path: Path) -> None:
    one = planted()["csv"]()
    with Comparer() as comparer:
        assert _compare(comparer, tmp_path, ".csv", one.original, one.changed).verdict == "different"
        assert comparer._process is not None
        comparer._process.kill()
        comparer._process.wait()
        found = _compare(comparer, tmp_path, ".csv", one.original, one.changed)
        assert found.verdict == "bytes differ"
        assert "its reader crashed" in found.reason
        assert _compare(comparer, tmp_path, ".csv", one.original, one.changed).verdict == "different"


def test_a_table_that_fills_the_memory_is_compared_by_bytes(comparer: Comparer, tmp_path: Path) -> None:
    def table(rows: int) -> bytes:
        stream = io.BytesIO()
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * (1 << 20)])
        parquet.write_table(pa.table({"text": texts}), stream, store_schema=False)
        return stream.getvalue()

    a, b = table(5000), table(5001)
    assert len(a) < 4 << 20  # Five gigabytes when it is read.
    found = _compare(comparer, tmp_path, ".parquet", a, b)
    assert found.verdict == "bytes differ"
    assert found.reason
    one = planted()["csv"]()
    assert _compare(comparer, tmp_path, ".csv", one.original, one.changed).verdict == "different"


def test_a_quarter_gigabyte_of_tensors_is_compared_in_little_memory(tmp_path: Path) -> None:
    size = 1 << 25
    header = json.dumps({"w": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}).encode()
    for name, last in (("a", 0.0), ("b", 1.0)):
        with (tmp_path / name).open("wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.seek(4 * (size - 1), 1)
            file.write(struct.pack("<f", last))
    code = (
        "import re, sys; from runbook.artifacts.judge import judge\n"
        "print(judge('w.safetensors', *(open(p, 'rb', 0) for p in sys.argv[1:])).words())\n"
        "print(re.search('VmHWM: *([0-9]+)', open('/proc/self/status').read().replace(chr(9), ' '))[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
    )
    words, peak = done.stdout.splitlines()
    assert f"first at [{size - 1}]: 0.0 → 1.0" in words
    assert int(peak) < 200 << 10, peak


def test_without_the_extra_bytes_are_compared_and_the_extra_is_named(tmp_path: Path) -> None:
    one = planted()["safetensors"]()
    (tmp_path / "a").write_bytes(one.original)
    (tmp_path / "b").write_bytes(one.changed)
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('numpy', 'ml_dtypes', 'PIL', 'pyarrow')))\n"
        "from runbook.artifacts.judge import judge\n"
        "print(judge('w.safetensors', *(open(p, 'rb', 0) for p in sys.argv[1:])).words())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a"), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "numpy, ml_dtypes not installed: pip install 'runbook[artifacts]' compares what it holds" in done.stdout
