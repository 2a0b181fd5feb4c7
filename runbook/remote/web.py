"""Files on a web server, for reading: what was pushed to a folder that a server publishes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final
from urllib.parse import quote

from runbook.remote.interface import BLOCK

_TIMEOUT_S: Final = (15.0, 60.0)
"""Seconds to connect, and without a byte."""


class WebFiles:
    """The files below one URL."""

    def __init__(self, url: str) -> None:
        self._root = url.rstrip("/")

    @contextmanager
    def open(self, name: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """By a Range request; from the beginning where the server ignores it."""
        import requests

        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        url = f"{self._root}/{quote(name)}"
        try:
            answer = requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise ConnectionError(f"no answer from the web server ({type(error).__name__})") from error
        with answer:
            if answer.status_code not in (200, 206):
                kinds = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError}
                raise kinds.get(answer.status_code, OSError)(f"the web server answered HTTP {answer.status_code}")
            told = answer.headers.get("Content-Range", "")
            begin = offset if answer.status_code == 206 and told.startswith(f"bytes {offset}-") else 0
            yield begin, _blocks(answer.raw)

    def size(self, name: str) -> int | None:
        """Not asked: only writing needs it."""
        raise PermissionError("a web server is only read from")

    def write(self, name: str, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """Not possible."""
        raise PermissionError("a web server is only read from")


def _blocks(raw: object) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    try:
        while block := raw.read1(BLOCK):  # type: ignore[attr-defined]
            yield block
    except (HTTPError, OSError) as error:
        raise ConnectionError(f"the web server broke off ({type(error).__name__})") from error
