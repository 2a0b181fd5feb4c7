"""For every format: two files that hold the same in other bytes, and a third with one planted difference."""

from __future__ import annotations

import csv
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pyarrow as pa
from onnx import helper, numpy_helper
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pyarrow import parquet
from safetensors.numpy import save

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Planted:
    """One format's files. `again` is None where no other bytes hold the same."""

    suffix: str
    original: bytes
    again: bytes | None
    changed: bytes
    part: str
    """The name of the part that differs first."""
    says: str
    """What is said of it."""


def _weights(change: float = 0.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    weights = {name: random.standard_normal((8, 4)).astype("f4") for name in ("first", "second", "third")}
    weights["second"][5, 2] = 0.5 + change
    return weights


def _npz(weights: dict[str, np.ndarray], *, packed: bool) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **weights)
    return stream.getvalue()


def _onnx(change: float = 0.0, version: str = "1") -> bytes:
    node = helper.make_node("MatMul", ["x", "second"], ["y"], name="fc")
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 8]) for name in "xy"]
    weights = [numpy_helper.from_array(value, name) for name, value in _weights(change).items()]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], weights)
    return bytes(helper.make_model(graph, producer_version=version).SerializeToString())


def _parquet(change: float = 0.0, **how: object) -> bytes:
    stream = io.BytesIO()
    table = pa.table({"epoch": [1, 2, 3], "loss": [0.5, 0.25 + change, None], "name": ["a", "b", "c"]})
    parquet.write_table(table, stream, **how)
    return stream.getvalue()


def _png(value: int, **text: str) -> bytes:
    image = Image.fromarray((np.arange(600).reshape(20, 30) % 200).astype("u1"))
    image.putpixel((7, 4), value)
    info, stream = PngInfo(), io.BytesIO()
    for key, said in text.items():
        info.add_text(key, said)
    image.save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def _csv(rows: list[list[object]], end: str = "\n") -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator=end).writerows(rows)
    return stream.getvalue().encode()


def _zip(text: bytes, minute: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in (("a.bin", b"\0\1"), ("b.bin", text)):
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, minute, 0)), data)
    return stream.getvalue()


_ROWS: list[list[object]] = [["epoch", "loss"], [1, 0.5], [2, 0.25]]
_PDF = b"%%PDF-1.4\n1 0 obj << /CreationDate (D:2024010100000%d) >> endobj\n%s\n%%%%EOF\n"
_TREE = "Tree=0\nnum_leaves=2\nleaf_value=0.5 -1.25e-3\nend of trees\n"


def planted() -> dict[str, Callable[[], Planted]]:
    """Format → its files."""
    tensor = "first at [5, 2]: 0.5 → 0.625; 1 of 32 differ, by at most 0.125 (mean 0.00390625, 2,097,152 ulp)"
    return {
        "numpy": lambda: Planted(
            ".npz",
            _npz(_weights(), packed=False),
            _npz(_weights(), packed=True),
            _npz(_weights(0.125), packed=True),
            "second",
            tensor,
        ),
        "safetensors": lambda: Planted(
            ".safetensors",
            save(_weights()),
            save(_weights(), {"made": "today"}),
            save(_weights(0.125)),
            "second",
            tensor,
        ),
        "pytorch": lambda: Planted(
            ".pt",
            (FILES / "state-a.pt").read_bytes(),
            None,
            (FILES / "state-b.pt").read_bytes(),
            "second.weight",
            "first at [1, 2]: -0.34932023 → -0.22432023; 1 of 8 differ, by at most 0.125",
        ),
        "onnx": lambda: Planted(".onnx", _onnx(), _onnx(version="2"), _onnx(0.125), "second", tensor),
        "parquet": lambda: Planted(
            ".parquet",
            _parquet(),
            _parquet(compression="zstd", row_group_size=1),
            _parquet(0.125, row_group_size=2),
            "loss",
            "first at row 2: 0.25 → 0.375; 1 of 3 differ, by at most 0.125",
        ),
        "image": lambda: Planted(
            ".png",
            _png(9),
            _png(9, Creation="now"),
            _png(40),
            "pixels",
            "within x 7-7, y 4-4; first at x 7, y 4: 9 → 40; 1 of 600 differ, by at most 31",
        ),
        "csv": lambda: Planted(
            ".csv",
            _csv(_ROWS),
            _csv([["epoch", "loss"], [1, "0.50"], [2, "2.5e-1"]], "\r\n"),
            _csv([*_ROWS[:2], [2, 0.375]]),
            "loss",
            "first at row 2: 0.25 → 0.375; 1 of 2 differ, by at most 0.125",
        ),
        "json": lambda: Planted(
            ".json",
            json.dumps({"a": [1, {"b": 0.5}], "c": None}).encode(),
            json.dumps({"c": None, "a": [1.0, {"b": 0.5}]}, indent=1).encode(),
            json.dumps({"a": [1, {"b": 0.625}], "c": None}).encode(),
            "a[1].b",
            "0.5 → 0.625, by 0.125",
        ),
        "json-lines": lambda: Planted(
            ".jsonl",
            b'{"loss": 0.5}\n{"loss": 0.25, "x": 1}\n',
            b'{"loss":0.5}\n{"x": 1, "loss":0.25}\n',
            b'{"loss": 0.5}\n{"loss": 0.375, "x": 1}\n',
            "line 2.loss",
            "0.25 → 0.375, by 0.125",
        ),
        "text": lambda: Planted(
            ".txt",
            _TREE.encode(),
            _TREE.replace("\n", "\r\n").encode(),
            _TREE.replace("-1.25e-3", "-1.5e-3").encode(),
            "line 3",
            "leaf_value=0.5 -1.25e-3 → leaf_value=0.5 -1.5e-3, by 0.00025",
        ),
        "zip": lambda: Planted(
            ".zip", _zip(b"\0", 1), _zip(b"\0", 2), _zip(b"\1", 1), "b.bin", "differs from byte 0 on"
        ),
        "pdf": lambda: Planted(
            ".pdf", _PDF % (1, b"a"), _PDF % (2, b"a"), _PDF % (1, b"b"), "document", "differs from byte"
        ),
        "pickle": lambda: Planted(
            ".pkl", pickle.dumps([1.5]), None, pickle.dumps([2.5]), "", "a pickle is a program, and is not run"
        ),
    }
