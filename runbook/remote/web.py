"""Files on a web server, for reading: what was pushed to a folder that a server publishes."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import quote

from runbook import web
from runbook.remote.interface import Blocks


class WebFiles:
    """The files below one URL."""

    def __init__(self, url: str) -> None:
        self._root = url.rstrip("/")

    def open(self, name: str, offset: int) -> Blocks:
        """By a Range request; from the beginning where the server ignores it."""
        return web.reading(f"{self._root}/{quote(name)}", offset)

    def size(self, name: str) -> int | None:
        """Not asked: only writing needs it."""
        raise PermissionError("a web server is only read from")

    def write(self, name: str, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """Not possible."""
        raise PermissionError("a web server is only read from")
