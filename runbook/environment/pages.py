"""Index pages by plain requests, where pip would do no more than that.

pip's session starts programs to describe this machine, and reads all certificate authorities again for every
connection: most of a second for a handful of pages. What needs more than a plain request is left to it, though: a
proxy, a login, a client certificate, a trusted host, a redirect, and every answer that is not a page.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pip._vendor import certifi, urllib3
from pip._vendor.requests.utils import get_environ_proxies, get_netrc_auth

from runbook import __version__

_CONNECT_S = 3.0
"""Short, because pip's session tries again."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"


@dataclass(frozen=True)
class Page:
    """One page of an index as it was served; without headers where there is none of that name."""

    url: str
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Pages:
    """The pages that need nothing of pip's session. options: pip's own, from the user's configuration."""

    def __init__(self, options: Any, connections: int) -> None:
        self._options = options
        self._connections = connections
        self._lock = threading.Lock()
        self._pool: Any = None
        self._left: set[str] = set()
        """Hosts that failed here: pip's session tells why."""

    def plain(self, url: str) -> bool:
        """Whether pip would ask for this page without more: over TLS or loopback, anonymously and directly."""
        parts, told = urlsplit(url), self._options
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        special = (
            told.proxy
            or (told.proxy == "" and hasattr(told, "no_proxy_env"))  # "" is also what an older pip has for none
            or getattr(told, "no_proxy_env", False)
            or told.client_cert
            or getattr(told, "keyring_provider", "auto") not in ("auto", "disabled")
            or {parts.hostname, parts.netloc} & set(told.trusted_hosts or ())
        )
        if not secure or special or "@" in parts.netloc or parts.netloc in self._left:
            return False
        return not get_environ_proxies(url, no_proxy=None) and get_netrc_auth(url) is None

    def get(self, url: str) -> Page | None:
        """A page on this disk or of an index; None where pip's session has to ask."""
        parts = urlsplit(url)
        if parts.scheme == "file" and url.endswith((".html", ".htm")):
            try:
                return Page(url, Path(unquote(parts.path)).read_bytes(), {"Content-Type": "text/html"})
            except OSError:
                return Page(url)
        if not self.plain(url):
            return None
        headers = {"Accept": _ACCEPT, "Accept-Encoding": "gzip, deflate", "User-Agent": f"runbook/{__version__}"}
        try:
            answer = self._connected().request("GET", url, headers=headers, redirect=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            self._left.add(parts.netloc)
            return None
        if answer.status == 404:
            return Page(url)
        return Page(url, answer.data, answer.headers) if answer.status == 200 else None

    def _connected(self) -> Any:
        """Connections that share one reading of the certificates. Raises OSError for a file that has none."""
        with self._lock:
            if self._pool is None:
                bundles = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
                told = self._options.cert or next(filter(None, bundles), "") or certifi.where()
                folder = Path(told).is_dir()
                # Never more than pip trusts. It also trusts the system: a host that needs that fails here.
                self._pool = urllib3.PoolManager(
                    ssl_context=ssl.create_default_context(
                        cafile=None if folder else told, capath=told if folder else None
                    ),
                    maxsize=self._connections,
                    retries=False,
                    timeout=urllib3.Timeout(connect=_CONNECT_S, read=self._options.timeout or 15),
                )
            return self._pool
