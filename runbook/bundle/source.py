"""Where a bundle's bytes come from, read as hostile: a directory, or a zip file."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from runbook.bundle import archive, layout
from runbook.digest.beneath import open_beneath
from runbook.digest.hashing import CHUNK, hash_tree
from runbook.digest.lanes import cores
from runbook.errors import BundleRejected, UsageError
from runbook.model.manifest import Entry
from runbook.model.path import collision, defect
from runbook.progress import Progress

MAX_FILES: Final = 1_000_000
MAX_BYTES: Final = 16 << 40
_LARGE: Final = 1 << 20


class Source(Protocol):
    """A tree of regular files whose names a bundle can hold."""

    @property
    def files(self) -> dict[str, int]:
        """Name → size in bytes, of every file there is."""

    def open(self, name: str) -> BinaryIO:
        """One of `files`, for reading."""

    def hash(self, names: Sequence[str], progress: Progress) -> list[Entry]:
        """Size and sha256 of some of `files`, in order, read on all cores."""

    def close(self) -> None:
        """Let go of what is open."""


def open_source(path: Path) -> Source:
    """A directory's or a zip file's tree. Raises UsageError (absent) and BundleRejected."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise UsageError(
            "no such bundle", path, hint="runbook capture -o PATH makes one", id="no-such-bundle"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read ({error.strerror})", path, id="unreadable") from None
    if stat.S_ISDIR(status.st_mode):
        return DirectorySource(path)
    if stat.S_ISREG(status.st_mode):
        return ZipSource(path)
    raise BundleRejected("neither a folder nor a file", path, id="not-a-bundle")


class DirectorySource:
    """A bundle as a directory: regular files with one name each, and folders that hold some; nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with rejecting(str(path)):
            self.files = _walk(path)
        settle(self.files)

    def open(self, name: str) -> BinaryIO:
        """Open one file for reading."""
        with rejecting(name):
            return open_beneath(self._path, name)

    def hash(self, names: Sequence[str], progress: Progress) -> list[Entry]:
        """Hash these files: name, size and sha256 of each."""
        with rejecting("a file"):
            return hash_tree(self._path, names, progress=progress)

    def close(self) -> None:
        """Release what is held."""
        return None


def _walk(root: Path) -> dict[str, int]:
    files: dict[str, int] = {}
    pending = [""]
    while pending:
        prefix = pending.pop()
        empty = True
        with os.scandir(root / prefix if prefix else root) as entries:
            for entry in entries:
                empty = False
                name = prefix + entry.name
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    if name.count("/") >= 64:
                        raise BundleRejected("folders nested too deep", name, id="too-deep")
                    pending.append(name + "/")
                    continue
                if stat.S_ISLNK(status.st_mode):
                    raise BundleRejected("a symbolic link", name, id="symlink")
                if not stat.S_ISREG(status.st_mode):
                    raise BundleRejected("a device, socket or pipe", name, id="special-file")
                if status.st_nlink > 1:
                    raise BundleRejected("a file with a second name elsewhere (hard link)", name, id="hardlink")
                files[name] = status.st_size
                if len(files) > MAX_FILES:
                    raise BundleRejected("more files than a bundle may have", MAX_FILES, id="too-many-files")
        if empty and prefix not in ("", "data/", "attestations/"):
            raise BundleRejected("an empty folder, which no manifest lists", prefix, id="empty-folder")
    return files


class ZipSource:
    """A bundle as a zip file, byte for byte as runbook writes one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with rejecting(str(path)):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with rejecting(str(path)):
                self._members = {member.name: member for member in self._read_directory()}
            self.files = {name: member.size for name, member in self._members.items()}
            settle(self.files)
        except BaseException:
            os.close(self._descriptor)
            raise

    def _read_directory(self) -> list[archive.Member]:
        length = os.fstat(self._descriptor).st_size
        if os.pread(self._descriptor, 2, 0) != b"PK":
            raise BundleRejected("neither a bundle's folder nor its zip file", self._path, id="not-a-bundle")
        try:
            start = max(0, length - archive.TAIL)
            offset, count = archive.find_directory(self._exactly(length - start, start), length)
            if count > MAX_FILES or length - offset > count * 512 + archive.TAIL:
                raise BundleRejected("more files than a bundle may have", MAX_FILES, id="too-many-files")
            members = archive.parse_directory(self._exactly(length - offset, offset), offset, count)
            for member in members:
                header = archive.local_header(member)
                if os.pread(self._descriptor, len(header), member.offset) != header:
                    raise archive.Broken("zip-malformed", "a member's header differs from the directory")
        except archive.Broken as broken:
            raise BundleRejected(str(broken), self._path, hint=_ZIP_HINT, id=broken.id) from None
        return members

    def _exactly(self, size: int, offset: int) -> bytes:
        data = os.pread(self._descriptor, size, offset)
        if len(data) != size:
            raise archive.Broken("zip-truncated", "the zip file is cut short")
        return data

    def open(self, name: str) -> BinaryIO:
        """Open one file for reading."""
        member = self._members[name]
        begin = member.offset + len(archive.local_header(member))
        return io.BufferedReader(_Slice(self._descriptor, begin, member.size), CHUNK)

    def hash(self, names: Sequence[str], progress: Progress) -> list[Entry]:
        """Hash these files: name, size and sha256 of each."""
        large = [name for name in names if self.files[name] >= _LARGE]
        with (
            progress.bar("hashing", sum(self.files[name] for name in names)) as advance,
            ThreadPoolExecutor(cores()) as pool,
        ):
            # Threads lose on small files; those are read here meanwhile.
            started = {name: pool.submit(self._hash, name, advance) for name in large}
            small = {name: self._hash(name, advance) for name in names if self.files[name] < _LARGE}
            return [started[name].result() if name in started else small[name] for name in names]

    def _hash(self, name: str, advance: Callable[[int], None]) -> Entry:
        member = self._members[name]
        position = member.offset + len(archive.local_header(member))
        end, digest, crc32 = position + member.size, hashlib.sha256(), 0
        with rejecting(name):
            while position < end:
                chunk = os.pread(self._descriptor, min(CHUNK, end - position), position)
                if not chunk:
                    raise BundleRejected("the zip file is cut short", name, id="zip-truncated")
                digest.update(chunk)
                crc32 = zlib.crc32(chunk, crc32)
                position += len(chunk)
                advance(len(chunk))
        if crc32 != member.crc32:
            raise BundleRejected("its content is not what the zip file says (CRC-32)", name, id="digest-mismatch")
        return Entry(name, member.size, digest.hexdigest())

    def close(self) -> None:
        """Release what is held."""
        os.close(self._descriptor)


_ZIP_HINT: Final = "if you packed it yourself, unzip it and name the folder"


class _Slice(io.RawIOBase):
    """A part of a file, read without moving the file's own position."""

    def __init__(self, descriptor: int, begin: int, size: int) -> None:
        self._descriptor = descriptor
        self._position = begin
        self._end = begin + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._end - self._position)
        if not wanted:
            return 0
        read = os.preadv(self._descriptor, [memoryview(buffer)[:wanted]], self._position)
        self._position += read
        return read


def settle(files: dict[str, int]) -> None:
    """Refuse names that a bundle cannot hold, names that collide, and more bytes than a bundle may have."""
    for name in files:
        if wrong := defect(name):
            raise BundleRejected(f"a file name that {wrong.text}", name, id=wrong.id)
    if layout.FETCH in files:
        raise BundleRejected("it wants files fetched from elsewhere", layout.FETCH, id="fetch-txt")
    if twins := collision(files):
        what = "file names that are one on some file systems"
        raise BundleRejected(what, " and ".join(twins), id="name-collision")
    if sum(files.values()) > MAX_BYTES:
        raise BundleRejected("more bytes than a bundle may have", MAX_BYTES, id="too-many-bytes")


@contextlib.contextmanager
def rejecting(name: str) -> Iterator[None]:
    """Turn what the file system says while a bundle is read into an error about the bundle."""
    try:
        yield
    except PermissionError as error:
        raise UsageError(
            "no permission to read", error.filename or name, hint="chmod -R u+rX it", id="unreadable"
        ) from error
    except OSError as error:
        what, id = _MEANING.get(error.errno or 0, (f"cannot be read ({error.strerror})", "unreadable-file"))
        raise BundleRejected(what, error.filename or name, id=id) from error
    except ValueError as error:
        raise BundleRejected(str(error), id="special-file") from error


_MEANING: Final = {
    errno.ENOENT: ("a file vanished while it was read", "missing-file"),
    errno.ELOOP: ("a symbolic link", "symlink"),
    errno.ENOTDIR: ("a symbolic link", "symlink"),
    errno.EFBIG: ("a file grew while it was read", "size-mismatch"),
}
