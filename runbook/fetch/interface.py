"""What a remote is: a place of one or more URL schemes from which files can be read from any offset on.

A new remote is one new file beside this one with a module-level `MEMBER`. Credentials, proxies and certificates
are the user's own, where the client of that place looks for them; a URL of a record never holds any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol
from urllib.parse import urlsplit

from runbook.registry import members

_URL = re.compile(r"[a-z][a-z0-9+.-]{0,20}://\S{1,4000}")


class Remote(Protocol):
    """Where data lies.

    Its methods raise OSError with one sentence that holds no credential, and NeedMissing for an extra that is not
    installed.
    """

    @property
    def name(self) -> str:
        """`http`, `object-store` …"""

    @property
    def schemes(self) -> tuple[str, ...]:
        """The URL schemes that are its own."""

    def child(self, url: str, path: str) -> str:
        """The URL of a file of a tree: `path` is relative, POSIX, as in a manifest."""

    def size(self, url: str) -> int | None:
        """Bytes of the file; None where the place does not tell. Reads none of it."""

    def open(self, url: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """The bytes from `offset` on: `(offset that it agreed to, blocks)`."""


def is_url(text: str) -> bool:
    """Whether a text is a URL with a scheme, rather than a path."""
    return text.isprintable() and bool(_URL.fullmatch(text))


def remote_of(url: str) -> Remote | None:
    """The remote that knows the scheme; None for one that nobody knows, and for what is no plain URL.

    A chain such as `zip://x::https://…`, which would have one library call another, is no plain URL, nor is one
    that holds an account: a bundle's author does not say as whom a replayer asks.
    """
    if not is_url(url) or "::" in url:
        return None
    try:
        parts = urlsplit(url)
        if "@" in parts.netloc or not parts.netloc:
            return None
    except ValueError:
        return None
    remotes: dict[str, Remote] = members("fetch")
    return next((one for one in remotes.values() if parts.scheme in one.schemes), None)


def place(url: str) -> str:
    """The URL as it may be shown: without its query."""
    return url.partition("?")[0].partition("#")[0]
