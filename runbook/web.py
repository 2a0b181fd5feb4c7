"""Web servers as the user's machine asks them, by its proxies, logins and certificate authorities."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from requests import Response, Session

CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
"""Variables that name certificate authorities, the first one wins: of requests, curl, OpenSSL and uv, pip."""
_BLOCK: Final = 1 << 18
_TIMEOUT_S: Final = (15.0, 60.0)
"""Seconds to connect, and without a byte."""
_KINDS: Final[Mapping[int, type[OSError]]] = {
    **dict.fromkeys((401, 403, 407), PermissionError),
    **dict.fromkeys((404, 410), FileNotFoundError),
}


def certificates(environment: Mapping[str, str]) -> str:
    """File or folder of the authorities that the user trusts; empty where nothing is said."""
    return next(filter(None, map(environment.get, CERTIFICATES)), "")


def session() -> Session:
    """A session of requests, which takes HTTP(S)_PROXY, NO_PROXY and ~/.netrc from the environment by itself."""
    import requests

    made = requests.Session()
    made.verify = certificates(os.environ) or True
    return made


@contextmanager
def reading(url: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The bytes of a URL as they are stored, from an offset on: `(offset that the server agreed to, blocks)`.

    By a Range request; a server that ignores it, or cannot satisfy it, begins anew. Raises OSError with one
    sentence that holds no credential: FileNotFoundError, PermissionError, ConnectionError where nobody answers, or
    the answer breaks off.
    """
    with session() as asking:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with _asking(asking, "GET", url, headers) as answer:
            if answer.status_code != 416:
                _check(answer, url, 200, 206)
                yield _agreed(answer, offset), _blocks(answer, url)
                return
        with _asking(asking, "GET", url, {}) as answer:
            _check(answer, url, 200)
            yield 0, _blocks(answer, url)


def size(url: str) -> int | None:
    """Bytes of what a URL holds, by HEAD, or by the header of an answer to GET where a server does not do HEAD.

    None where it does not tell. Raises as `reading`.
    """
    with session() as asking:
        for method in ("HEAD", "GET"):
            with _asking(asking, method, url, {}) as answer:
                if method == "HEAD" and answer.status_code in (400, 403, 405, 501):
                    continue
                _check(answer, url, 200)
                length = answer.headers.get("Content-Length", "")
                return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    return None


@contextmanager
def _asking(asking: Session, method: str, url: str, headers: dict[str, str]) -> Iterator[Response]:
    import requests

    # As stored: a server that compresses on the way would make sizes and offsets mean something else.
    told = {"Accept-Encoding": "identity", **headers}
    try:
        answer = asking.request(method, url, headers=told, stream=True, allow_redirects=True, timeout=_TIMEOUT_S)
    except (requests.RequestException, ValueError) as error:
        raise ConnectionError(f"{_host(url)}: {_sentence(error)}") from error
    with answer:
        yield answer


def _check(answer: Response, url: str, *wanted: int) -> None:
    code = answer.status_code
    if code not in wanted:
        raise _KINDS.get(code, OSError)(f"{_host(url)}: HTTP {code}")


def _agreed(answer: Response, offset: int) -> int:
    """Where the answer begins. Raises OSError for a part that was not asked for."""
    if answer.status_code == 200:
        return 0
    told = re.match(r"bytes ([0-9]{1,18})-", answer.headers.get("Content-Range", f"bytes {offset}-"))
    if told is None or int(told[1]) != offset:
        raise OSError(f"{_host(answer.url)}: answered with another part than the one asked for")
    return offset


def _blocks(answer: Response, url: str) -> Iterator[bytes]:
    """What comes as it comes: an end that is too early loses nothing of what came before."""
    from urllib3.exceptions import HTTPError

    while True:
        try:
            block = answer.raw.read1(_BLOCK, decode_content=False)
        except (HTTPError, OSError) as error:
            raise ConnectionError(f"{_host(url)}: {_sentence(error)}") from error
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
    # `<Connection object at 0x…>: why`, `HTTPConnection(host='…', port=…): why`
    text = re.sub(r"^(<[^>]*>|\w+\([^)]*\)): ", "", " ".join(str(inner).split()))
    return re.sub(r"//[^/@\s]*@", "//", text) or type(inner).__name__
