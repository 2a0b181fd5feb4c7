"""PyTorch's files (`torch.save` since 1.6: a zip file), without torch and without executing their pickle."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Mapping

    from runbook.artifacts.values.opcodes import View
    from runbook.artifacts.values.tensors import Tensor

_PICKLE_CAP = 64 << 20
_DEPTH, _PARTS = 100, 300_000
_SPREAD_CAP = 64 << 20
"""Bytes of a tensor that repeats its storage (`expand`) beyond what lies there."""
_LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
"""How a file of PyTorch before 1.6 begins: its magic number, pickled."""


class PyTorchFormat:
    """Tensors by their path in the saved dictionary, in its order; then texts and numbers beside them."""

    name = "pytorch"
    modules = ("numpy", "ml_dtypes")

    def claims(self, path: str, head: bytes) -> int:
        """A zip file whose first member is the pickle, or one with an ending that PyTorch's files have."""
        if head.startswith(_LEGACY):
            return interface.SURE
        if not head.startswith(b"PK\3\4"):
            return interface.NO
        if b"/data.pkl" in head[30:200]:
            return interface.SURE
        return interface.CONTENT if path.endswith((".pt", ".pth", ".ckpt", ".bin")) else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Tensor by tensor, then what else was saved."""
        from runbook.artifacts.values.tensors import compare_tensors
        from runbook.artifacts.values.tree import compare_values

        with ExitStack() as stack:
            (left, more_a), (right, more_b) = _read(a, stack), _read(b, stack)
            parts = Parts("part" if more_a or more_b else "tensor")
            compare_tensors(left, right, parts)
            if more_a or more_b:
                compare_values(more_a, more_b, parts)
        return parts.found()


def _read(file: BinaryIO, stack: ExitStack) -> tuple[list[Tensor], Any]:
    """The tensors of a file, and what it holds beside them."""
    from runbook.artifacts.values.opcodes import read_pickle
    from runbook.artifacts.values.zips import open_zip, read_member

    file.seek(0)
    if file.read(len(_LEGACY)) == _LEGACY:
        raise Unreadable("PyTorch's format before 1.6")
    archive, members = open_zip(file)
    stack.enter_context(archive)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Unreadable("a zip file that torch.save did not write")
    root = pickles[0].removesuffix("data.pkl")
    order = "little"
    if f"{root}byteorder" in members:
        order = read_member(archive, members[f"{root}byteorder"], 64).decode("ascii", "replace")
    value = read_pickle(read_member(archive, members[pickles[0]], _PICKLE_CAP))
    views: dict[str, View] = {}
    beside = _divide(value, "", views, count(), 0)
    storages = {
        name.removeprefix(f"{root}data/"): m for name, m in members.items() if name.startswith(f"{root}data/")
    }
    mark: Literal["<", ">"] = ">" if order == "big" else "<"
    return [_tensor(name, view, file, storages, mark) for name, view in views.items()], beside


def _divide(value: Any, path: str, views: dict[str, View], seen: count[int], depth: int) -> Any:
    """The value without its tensors, which go into `views` by their path; None where nothing else is there.

    seen: counts what is looked at: a pickle may hold one list in many places, and that list another.
    """
    from runbook.artifacts.values.opcodes import View

    if depth > _DEPTH or next(seen) > _PARTS:
        raise Unreadable("is nested too deeply, or without end")
    if isinstance(value, View):
        views[path or "tensor"] = value
        return None
    if isinstance(value, dict):
        kept = {}
        for key, inner in value.items():
            rest = _divide(inner, f"{path}.{key}" if path else str(key), views, seen, depth + 1)
            if not isinstance(inner, View) and (rest is not None or inner is None):
                kept[str(key)] = rest
        return kept or None
    if isinstance(value, list | tuple):
        rest = [_divide(inner, f"{path}[{index}]", views, seen, depth + 1) for index, inner in enumerate(value)]
        return rest if any(one is not None for one in rest) else None
    return value if isinstance(value, int | float | str | type(None)) else str(value)


def _tensor(
    name: str, view: View, file: BinaryIO, storages: Mapping[str, zipfile.ZipInfo], mark: Literal["<", ">"]
) -> Tensor:
    import numpy as np

    from runbook.artifacts.values import tensors
    from runbook.artifacts.values.tensors import Tensor, checked_shape
    from runbook.artifacts.values.types import dtype_of
    from runbook.artifacts.values.zips import stored_at

    dtype, shape = dtype_of(view.type), checked_shape(view.shape, name)
    member = storages.get(view.storage.key)
    start = None if member is None else stored_at(file, member)
    if member is None or start is None:
        raise Unreadable("a storage that is not there, or compressed, which torch.save does not do")
    number, size = prod(shape), dtype.itemsize
    reach = view.offset + sum((n - 1) * s for n, s in zip(shape, view.strides, strict=True)) + 1 if number else 0
    if reach * size > member.file_size:
        raise Unreadable("a tensor that reaches beyond its storage")
    lies, offset = dtype.newbyteorder(mark), start + view.offset * size
    if _in_order(shape, view.strides):
        return Tensor(name, shape, dtype, tensors.from_file(file, offset, number, lies))
    if number * size > member.file_size + _SPREAD_CAP:
        raise Unreadable("a tensor that is far larger than what is stored of it")
    tensors.from_file(file, start, member.file_size, np.dtype("uint8"))  # Checks that all of it is there.
    mapped = np.memmap(file, lies, "r", offset, ((reach - view.offset) or 0,))
    strides = tuple(s * size for s in view.strides)
    strided = np.lib.stride_tricks.as_strided(mapped, shape, strides, writeable=False)
    return Tensor(name, shape, dtype, tensors.from_array(strided))


def _in_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements lie side by side, in C order."""
    expected = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n != 1 and stride != expected:
            return False
        expected *= n
    return True


MEMBER = PyTorchFormat()
