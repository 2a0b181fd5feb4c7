"""NumPy's .npy and .npz, without pickles: an array of objects is not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from runbook.artifacts import interface
from runbook.artifacts.interface import Found, Parts, Unreadable

if TYPE_CHECKING:
    import zipfile

    from runbook.artifacts.values.tensors import Tensor

_MAGIC = b"\x93NUMPY"
_COLUMNS_CAP = 64 << 20
"""Bytes of an array in column order inside a compressed member, which has to be held as a whole."""


class NumpyFormat:
    """An array is a tensor without a name, `array`; each of an .npz has its own."""

    name = "numpy"
    modules = ("numpy",)

    def claims(self, path: str, head: bytes) -> int:
        """By the magic bytes, or the ending of an archive."""
        if head.startswith(_MAGIC):
            return interface.SURE
        return interface.SURE if path.endswith(".npz") and head.startswith(b"PK") else interface.NO

    def compare(self, a: BinaryIO, b: BinaryIO) -> Found:
        """Array by array."""
        from runbook.artifacts.values.tensors import compare_tensors
        from runbook.artifacts.values.zips import BROKEN

        parts = Parts("array")
        try:
            with ExitStack() as stack:
                compare_tensors(_arrays(a, stack), _arrays(b, stack), parts)
        except BROKEN as error:  # A member's checksum is known to be wrong when its end is read.
            raise Unreadable(f"a broken zip member ({error})") from None
        return parts.found()


def _arrays(file: BinaryIO, stack: ExitStack) -> list[Tensor]:
    file.seek(0)
    if file.read(len(_MAGIC)) == _MAGIC:
        file.seek(0)
        return _tensors("array", file, file, 0, None)
    from runbook.artifacts.values.zips import open_zip, stored_at

    archive, members = open_zip(file)
    stack.enter_context(archive)
    found: list[Tensor] = []
    for name, member in members.items():
        if not name.endswith(".npy"):
            raise Unreadable(f"an archive that holds other things than arrays ({name})")
        start = stored_at(file, member)
        with _opened(archive, member) as stream:
            again = None if start is not None else partial(_opened, archive, member)
            found += _tensors(name.removesuffix(".npy"), stream, file, start or 0, again)
    return found


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> BinaryIO:
    return cast("BinaryIO", archive.open(member))


def _tensors(
    name: str, stream: BinaryIO, file: BinaryIO, start: int, again: Callable[[], BinaryIO] | None
) -> list[Tensor]:
    """The array whose header the stream is at; each field of a structured one by itself.

    start: where it begins in the file. again: opens the member anew, where it is compressed.
    """
    import numpy as np

    from runbook.artifacts.values import tensors
    from runbook.artifacts.values.tensors import Tensor, checked_shape

    shape, fortran, dtype = _header(stream)
    shape = checked_shape(shape, name)
    if dtype.hasobject:
        raise Unreadable("holds Python objects, which only a pickle can bring back")
    count = int(np.prod(shape, dtype=object))
    skip = stream.tell()
    if again is not None:

        def opened() -> BinaryIO:
            fresh = again()
            fresh.read(skip)
            return fresh

        blocks = tensors.from_stream(opened, count, dtype)
        if fortran and len(shape) > 1:
            if count * dtype.itemsize > _COLUMNS_CAP:
                raise Unreadable("a large compressed array in column order")
            whole = np.concatenate([*blocks(), np.empty(0, dtype.newbyteorder("="))])
            blocks = tensors.from_array(whole.reshape(shape, order="F"))
    elif fortran and len(shape) > 1 and count:
        tensors.from_file(file, start + skip, count, dtype)  # Checks that all of it is there.
        blocks = tensors.from_array(np.memmap(file, dtype, "r", start + skip, shape, "F"))
    else:
        blocks = tensors.from_file(file, start + skip, count, dtype)
    if dtype.fields is None:
        return [Tensor(name, shape, dtype.newbyteorder("="), blocks)]
    return [_field(name, field, shape, dtype, blocks) for field in dtype.names or ()]


def _field(
    name: str, field: str, shape: tuple[int, ...], dtype: Any, blocks: Callable[[], Iterator[Any]]
) -> Tensor:
    import numpy as np

    from runbook.artifacts.values.tensors import Tensor

    inner = dtype.fields[field][0]
    base = inner.base if inner.base.fields is None else np.dtype((np.void, inner.base.itemsize))

    def taken() -> Iterator[Any]:
        for block in blocks():
            # A type with fields of its own, or several values a record, is laid out flat.
            yield np.ascontiguousarray(block[field]).reshape(-1).view(base.newbyteorder("=")).reshape(-1)

    return Tensor(f"{name}[{field}]", shape + inner.shape, base.newbyteorder("="), taken)


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, whether it is in column order, dtype; the stream is then at the numbers."""
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0), (3, 0)):
            raise Unreadable(f"version {version} of NumPy's format")
        # 3.0 is 2.0 with field names in UTF-8.
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        return read(stream)
    except Unreadable:
        raise
    except (ValueError, SyntaxError, TypeError, RecursionError) as error:
        raise Unreadable(f"a broken header ({type(error).__name__})") from None


MEMBER = NumpyFormat()
