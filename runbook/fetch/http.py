"""HTTP and HTTPS, by requests: proxies, netrc and certificates are those of the user's environment.

requests rather than fsspec's own HTTP: it is needed anyway, and it honours what companies set for pip and curl
(HTTPS_PROXY, NO_PROXY, REQUESTS_CA_BUNDLE, ~/.netrc) without being told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from runbook import web

if TYPE_CHECKING:
    from requests import Response, Session

_BLOCK = 1 << 18
_CONNECT_S = 15.0
_READ_S = 60.0
"""Seconds without a byte after which a transfer is given up, to be continued."""


class HttpRemote:
    """Web servers."""

    name = "http"
    schemes = ("http", "https")

    def missing(self, scheme: str) -> str:
        """Nothing more than runbook itself needs."""
        return ""

    def child(self, url: str, path: str) -> str:
        """The path, quoted, below the URL's; its query stays."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(path)}"))

    def size(self, url: str) -> int | None:
        """By HEAD, or by the header of an answer to GET where a server does not do HEAD."""
        with _session() as session:
            for method in ("HEAD", "GET"):
                with _asking(session, method, url, {}) as answer:
                    if method == "HEAD" and answer.status_code in (400, 403, 405, 501):
                        continue
                    _check(answer, url, (200,))
                    length = answer.headers.get("Content-Length", "")
                    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
        return None

    @contextmanager
    def open(self, url: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """By a Range request; a server that ignores it, or cannot satisfy it, begins anew."""
        with _session() as session:
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            with _asking(session, "GET", url, headers) as answer:
                if answer.status_code != 416:
                    _check(answer, url, (200, 206))
                    yield _agreed(answer, offset), _blocks(answer, url)
                    return
            with _asking(session, "GET", url, {}) as answer:
                _check(answer, url, (200,))
                yield 0, _blocks(answer, url)


def _session() -> Session:
    made = web.session()
    # As stored: a server that compresses on the way would make sizes and offsets mean something else.
    made.headers["Accept-Encoding"] = "identity"
    return made


@contextmanager
def _asking(session: Session, method: str, url: str, headers: dict[str, str]) -> Iterator[Response]:
    import requests

    try:
        answer = session.request(
            method, url, headers=headers, stream=True, allow_redirects=True, timeout=(_CONNECT_S, _READ_S)
        )
    except (requests.RequestException, ValueError) as error:
        raise OSError(f"{_host(url)}: {_sentence(error)}") from error
    try:
        yield answer
    finally:
        answer.close()


def _check(answer: Response, url: str, wanted: tuple[int, ...]) -> None:
    if answer.status_code in wanted:
        return
    said = f"{_host(url)}: HTTP {answer.status_code}"
    if answer.status_code in (404, 410):
        raise FileNotFoundError(said)
    if answer.status_code in (401, 403, 407):
        raise PermissionError(said)
    raise OSError(said)


def _agreed(answer: Response, offset: int) -> int:
    """Where the answer begins. Raises OSError for a part that was not asked for."""
    if answer.status_code == 200:
        return 0
    told = re.match(r"bytes ([0-9]{1,18})-", answer.headers.get("Content-Range", f"bytes {offset}-"))
    if told is None or int(told[1]) != offset:
        raise OSError(f"{_host(answer.url)}: answered with another part than the one asked for")
    return offset


def _blocks(answer: Response, url: str) -> Iterator[bytes]:
    """What comes as it comes, and as it is stored: an end that is too early loses nothing of what came before."""
    from urllib3.exceptions import HTTPError

    while True:
        try:
            block = answer.raw.read1(_BLOCK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise OSError(f"{_host(url)}: {_sentence(error)}") from error
        if not block:
            return
        yield block


def _host(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


def _sentence(error: Exception) -> str:
    """The innermost reason, on one line, without the URLs that outer ones repeat: a proxy's holds a password."""
    inner: BaseException = error
    while True:
        nested = getattr(inner, "reason", None)
        if not isinstance(nested, BaseException):
            nested = next((a for a in inner.args if isinstance(a, BaseException)), None)
        if nested is None or nested is inner:
            break
        inner = nested
    text = " ".join(str(inner).split())
    # `<Connection object at 0x…>: why`, `HTTPConnection(host='…', port=…): why`
    text = re.sub(r"^(<[^>]*>|\w+\([^)]*\)): ", "", text)
    return re.sub(r"//[^/@\s]*@", "//", text) or type(inner).__name__


MEMBER = HttpRemote()
