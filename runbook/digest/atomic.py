"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from runbook.errors import NeedMissing, UsageError

_AT_FDCWD: Final = -100
_NOREPLACE: Final = 1
_EXCHANGE: Final = 2


def write_atomic(path: Path, data: bytes | bytearray, *, mode: int = 0o644) -> None:
    """Write a file so that readers see the old or the new bytes, never a part; durable when it returns."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - a str from mkstemp
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108
        raise
    sync_folder(path.parent)


@contextlib.contextmanager
def explaining_full(what: str, where: Path) -> Iterator[None]:
    """Turn what the file system says when it is full into one clear error; another OSError goes on."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        hint = f"free some (df -h {where}), or choose another place"
        raise NeedMissing(f"no space left for {what}", where, hint=hint, id="disk-full") from error


@contextlib.contextmanager
def explaining(what: str, where: Path) -> Iterator[None]:
    """Turn what the file system says while `what` is written below `where` into one clear error."""
    try:
        with explaining_full(what, where):
            yield
    except OSError as error:
        if error.errno is None:
            raise  # Of a connection, say: not what a file system tells.
        if error.errno == errno.EEXIST:
            raise UsageError("already there", error.filename or where, id="target-exists") from error
        hint = "choose another place, or mend its permissions"
        raise UsageError(f"cannot write {what} ({error.strerror})", where, hint=hint, id="unwritable") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Make a whole tree durable: one syncfs(2) where there is one, else an fsync for every file and folder.

    20,000 fsyncs take minutes on a disk; one syncfs takes what the bytes take.
    """
    syncfs = getattr(_libc(), "syncfs", None)
    if syncfs is not None:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if syncfs(descriptor) != 0:
                raise _failure(root)
        finally:
            os.close(descriptor)
        return
    for folder, _, files in os.walk(root):
        for name in files:
            descriptor = os.open(Path(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(folder))


def rename_new(source: Path, target: Path) -> None:
    """Rename in one step; FileExistsError when the target exists already, even as an empty folder."""
    if _renameat2(source, target, _NOREPLACE):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step; where the file system cannot, in three, the last of which completes `other`."""
    if _renameat2(one, other, _EXCHANGE):
        return
    aside = other.with_name(f"{other.name}.aside")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    """True when the kernel did it; False when this kernel or file system has no such rename."""
    renameat2 = getattr(_libc(), "renameat2", None)
    if renameat2 is None:
        return False
    import ctypes

    if renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag) == 0:
        return True
    if ctypes.get_errno() in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise _failure(target)


def _failure(path: Path) -> OSError:
    import ctypes

    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))


@cache
def _libc() -> Any:
    import ctypes  # Slow to load, and most commands rename nothing in this way.

    return ctypes.CDLL(None, use_errno=True)
