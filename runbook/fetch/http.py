"""HTTP and HTTPS, by requests: proxies, netrc and certificates are those of the user's environment.

requests rather than fsspec's own HTTP: it is needed anyway, and it honours what companies set for pip and curl
(HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, ~/.netrc) without being told.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from urllib.parse import quote, urlsplit, urlunsplit

from runbook import web


class HttpRemote:
    """Web servers."""

    name = "http"
    schemes = ("http", "https")

    def child(self, url: str, path: str) -> str:
        """The path, quoted, below the URL's; its query stays."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}"))

    def size(self, url: str) -> int | None:
        """As the server's headers say."""
        return web.size(url)

    def open(self, url: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """By a Range request, or from the beginning."""
        return web.reading(url, offset)


MEMBER = HttpRemote()
