"""Files wherever fsspec reaches: folders, S3, Google Cloud, Azure, SSH … The one place where runbook writes there.

As whom and where is asked is the user's own affair: what each client reads from the environment or fsspec's
configuration. A URL holds no login.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from runbook.errors import NeedMissing
from runbook.remote.interface import BLOCK

_READ = 8 << 20
_EXTRAS = {"s3": "runbook[s3]", "ssh": "paramiko", "hf": "runbook[hf]"}
_EXTRAS |= dict.fromkeys(("gs", "gcs"), "runbook[gs]") | dict.fromkeys(("az", "abfs", "abfss"), "runbook[azure]")


class FsspecFiles:
    """The files below one URL."""

    def __init__(self, url: str) -> None:
        """Raises NeedMissing where the client of its scheme is not installed."""
        scheme = urlsplit(url).scheme
        try:
            from fsspec import filesystem

            # Not url_to_fs: that would read options out of the URL, and chains of file systems.
            self._system: Any = filesystem(scheme)
        except (ImportError, ValueError) as error:
            hint = f"pip install '{_EXTRAS.get(scheme, 'fsspec')}'"
            raise NeedMissing(
                f"nothing here knows {scheme}:// ({_line(error)})", url, hint=hint, id="remote-client-missing"
            ) from error
        self._root = str(self._system._strip_protocol(url)).rstrip("/")
        self._where = f"{scheme}://"

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """From any offset, by ranges."""
        with self._asking():
            size = int(self._system.info(self._path(name))["size"])
        yield offset, self._blocks(name, offset, size)

    def size(self, name: str) -> int | None:
        """As the listing says, asked anew."""
        self._system.invalidate_cache()
        try:
            with self._asking():
                return int(self._system.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def write(self, name: str, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """In a transaction, which ends an upload, or not; in a folder of this machine beside it, then renamed."""
        path = self._path(name)
        if self._where in ("file://", "local://"):
            _write_here(Path(path), source, advance)
            return
        with self._asking():
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with self._system.transaction, self._system.open(path, "wb", block_size=_READ) as sink:
                while block := source.read(BLOCK):
                    sink.write(block)
                    advance(len(block))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _blocks(self, name: str, offset: int, size: int) -> Iterator[bytes]:
        while offset < size:
            with self._asking():
                block = self._system.cat_file(self._path(name), start=offset, end=min(offset + _READ, size))
            if not block:
                raise OSError(f"{self._where}: the file became shorter while it was read")
            offset += len(block)
            yield block

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what the clients raise, which is of no common class, into OSError."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            kind = PermissionError if "credentials" in str(error).lower() else OSError
            raise kind(f"{self._where}: {_line(error)}") from error


def _write_here(path: Path, source: BinaryIO, advance: Callable[[int], None]) -> None:
    # fsspec would write to the folder for temporary files, and copy from there.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as sink:
            while block := source.read(BLOCK):
                sink.write(block)
                advance(len(block))
            sink.flush()
            os.fsync(sink.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
