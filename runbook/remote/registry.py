"""One repository of a registry (the OCI distribution API): digests, manifests and blobs, read and written.

Credentials are those of `docker login`, helpers included. They are sent to the registry and to the token service
that it names, nowhere else: not to where it redirects a blob.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, Self
from urllib.parse import urljoin, urlsplit

from runbook import web
from runbook.model.reference import Reference
from runbook.remote.interface import BLOCK, MANIFEST_CAP, read_capped

_ACCEPT: Final = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_LOOPBACK: Final = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK: Final = 16 << 20
"""Bytes of one part of an upload: what is lost at most when a connection breaks."""
_TRIES: Final = 4
_TOKEN_CAP: Final = 1 << 20


def registry_digest(reference: Reference, *, timeout_s: float) -> str:
    """`sha256:…` of the manifest (or list of manifests) that the registry has under the tag.

    Raises ConnectionError when no registry answers, and OSError when one gives no digest, with one sentence.
    """
    with Repository(reference, timeout_s=timeout_s) as repository:
        return repository.digest()


class Repository:
    """A Store, and what a base needs of a registry."""

    def __init__(self, reference: Reference, *, timeout_s: float) -> None:
        from docker.auth import INDEX_NAME

        self._reference, self._timeout_s = reference, timeout_s
        self._host = reference.host or f"registry-1.{INDEX_NAME}"
        path = reference.path if reference.host or "/" in reference.path else f"library/{reference.path}"
        self._scheme = "http" if _LOOPBACK.fullmatch(self._host) else "https"
        self._url = f"{self._scheme}://{self._host}/v2/{path}/"
        self._authorization = ""

    def __enter__(self) -> Self:
        self._session = web.session()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def digest(self) -> str:
        """What the reference's digest, else its tag, stands for."""
        wanted = self._reference.digest or self._reference.tag
        with self._asking("HEAD", f"manifests/{wanted}", {"Accept": _ACCEPT}) as answer:
            self._check(answer, 200)
            told: str = answer.headers.get("Docker-Content-Digest", "")
        return told if _DIGEST.fullmatch(told) else f"sha256:{hashlib.sha256(self.manifest()).hexdigest()}"

    def manifest(self, digest: str = "") -> bytes:
        """The manifest with this digest; without one, under the reference's digest, else under its tag."""
        digest = digest or self._reference.digest
        wanted = digest or self._reference.tag
        with self._asking("GET", f"manifests/{wanted}", {"Accept": _ACCEPT}) as answer:
            self._check(answer, 200)
            text = read_capped(self._blocks(answer), MANIFEST_CAP)
        if digest and f"sha256:{hashlib.sha256(text).hexdigest()}" != digest:
            raise OSError(f"the registry {self._host} answered with another manifest than {wanted}")
        return text

    @contextmanager
    def open(self, digest: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The blob from an offset on; from its beginning where the registry knows no ranges."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._asking("GET", f"blobs/{digest}", headers) as answer:
            if answer.status_code != 416:
                self._check(answer, 200, 206)
                told = answer.headers.get("Content-Range", "")
                begin = offset if answer.status_code == 206 and told.startswith(f"bytes {offset}-") else 0
                yield begin, self._blocks(answer)
                return
        with self._asking("GET", f"blobs/{digest}", {}) as answer:
            self._check(answer, 200)
            yield 0, self._blocks(answer)

    def has(self, digest: str, size: int) -> bool:
        """By HEAD."""
        with self._asking("HEAD", f"blobs/{digest}", {}) as answer:
            if answer.status_code == 404:
                return False
            self._check(answer, 200)
            return bool(answer.headers.get("Content-Length", str(size)) == str(size))

    def put(self, digest: str, size: int, source: BinaryIO, advance: Callable[[int], None]) -> None:
        """In parts; after a broken one the registry gets the rest of what it has, or all where it lost that."""
        place = self._begin()
        sent = tries = 0
        while sent < size:
            source.seek(sent)
            part = source.read(min(_CHUNK, size - sent))
            if not part:
                raise OSError("a file became shorter while it was sent")
            before = sent
            try:
                place, sent = self._part(place, part, sent)
            except ConnectionError:
                tries += 1
                if tries == _TRIES:
                    raise
                try:
                    place, sent = self._how_much(place)
                except (FileNotFoundError, ConnectionError):
                    # Docker's own registry forgets an upload whose part broke off.
                    place, sent = self._begin(), 0
            advance(max(0, sent - before))
        closing = f"{place}{'&' if '?' in place else '?'}digest={digest}"
        with self._asking("PUT", closing, {"Content-Type": "application/octet-stream"}, data=b"") as answer:
            self._check(answer, 201, 204)

    def put_manifest(self, text: bytes, media_type: str) -> None:
        """Under the tag."""
        with self._asking(
            "PUT", f"manifests/{self._reference.tag}", {"Content-Type": media_type}, data=text
        ) as answer:
            self._check(answer, 201, 200)

    def _begin(self) -> str:
        with self._asking("POST", "blobs/uploads/", {}, data=b"") as answer:
            self._check(answer, 202)
            return self._location(answer, self._url)

    def _part(self, place: str, part: bytes, sent: int) -> tuple[str, int]:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{sent}-{sent + len(part) - 1}",
        }
        with self._asking("PATCH", place, headers, data=part) as answer:
            if answer.status_code >= 500:
                raise ConnectionError(f"the registry {self._host} answered HTTP {answer.status_code}")
            if answer.status_code == 416:
                return self._how_much(place)
            self._check(answer, 202, 204)
            return self._location(answer, place), _end(answer, sent + len(part))

    def _how_much(self, place: str) -> tuple[str, int]:
        """Where an upload goes on, and how many bytes of it the registry has."""
        with self._asking("GET", place, {}) as answer:
            self._check(answer, 204, 202, 200)
            return self._location(answer, place), _end(answer, 0)

    def _location(self, answer: Any, before: str) -> str:
        told: str = answer.headers.get("Location", "") or before
        return urljoin(before, told)

    def _blocks(self, answer: Any) -> Iterator[bytes]:
        import urllib3

        try:
            while block := answer.raw.read1(BLOCK):
                yield block
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionError(f"the registry {self._host} broke off ({_reason(error)})") from error

    def _check(self, answer: Any, *wanted: int) -> None:
        code = answer.status_code
        if code in wanted:
            return
        said = f"the registry {self._host} answered HTTP {code}"
        kind = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError}.get(code, OSError)
        raise kind(said)

    @contextmanager
    def _asking(
        self, method: str, path: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> Iterator[Any]:
        """One request, with a login when it is asked for; what requests raises becomes an OSError."""
        import requests

        url = urljoin(self._url, path)
        try:
            answer = self._send(method, url, headers, data)
            if answer.status_code == 401:
                answer.close()
                self._authorize(answer.headers.get("WWW-Authenticate", ""))
                answer = self._send(method, url, headers, data)
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            raise OSError(f"the registry {self._host} cannot be asked ({_reason(error)})") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ConnectionError(f"no registry answered for {whole_name(self._reference)}") from error
        except requests.RequestException as error:
            raise OSError(f"the registry {self._host} cannot be asked ({_reason(error)})") from error
        with answer:
            yield answer
            length = answer.headers.get("Content-Length", "")
            if method != "GET" and len(length) < 6:
                answer.raw.drain_conn()  # So that the connection, and its handshake, serve the next request.

    def _send(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Any:
        own = urlsplit(url)[:2] == (self._scheme, self._host)
        login = {"Authorization": self._authorization} if own and self._authorization else {}
        return self._session.request(
            method,
            url,
            headers={"Accept-Encoding": "identity", **headers, **login},
            data=data,
            auth=_as_told,
            timeout=self._timeout_s,
            stream=True,
            allow_redirects=method in ("GET", "HEAD"),
        )

    def _authorize(self, challenge: str) -> None:
        kind, _, rest = challenge.partition(" ")
        told = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        login = _login(self._host)
        if kind.lower() == "basic" and login:
            self._authorization = "Basic " + b64encode(":".join(login).encode()).decode()
        elif kind.lower() == "bearer":
            realm = urlsplit(told.get("realm", ""))
            # A registry that is asked in secret must not have the login sent in the open.
            if realm.scheme != "https" and not (realm.scheme == "http" and self._scheme == "http"):
                return
            asked = {name: told[name] for name in ("service", "scope") if name in told}
            answer = self._session.get(
                told["realm"], params=asked, auth=login, timeout=self._timeout_s, stream=True
            )
            with answer:
                text = read_capped(self._blocks(answer), _TOKEN_CAP) if answer.status_code == 200 else b""
            if token := _token(text):
                self._authorization = f"Bearer {token}"


def whole_name(reference: Reference) -> str:
    """The image with all that is usually left out: `host/library/name:tag`."""
    from docker.auth import INDEX_NAME

    path = reference.path if reference.host or "/" in reference.path else f"library/{reference.path}"
    return f"{reference.host or INDEX_NAME}/{path}:{reference.tag}"


def _as_told(request: Any) -> Any:
    """No login but the one that the request says: requests would look for another in ~/.netrc."""
    return request


def _token(text: bytes) -> str:
    import msgspec

    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    found = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else ""
    return found if isinstance(found, str) and found.isascii() and found.isprintable() else ""


def _end(answer: Any, otherwise: int) -> int:
    """How many bytes of an upload there are, by the header `Range: 0-LAST`."""
    told = re.fullmatch(r"(?:bytes=)?0-([0-9]{1,18})", answer.headers.get("Range", ""))
    return int(told[1]) + 1 if told else otherwise


def _login(host: str) -> tuple[str, str] | None:
    """What `docker login` stored for the registry."""
    from docker.auth import INDEX_NAME, load_config
    from docker.errors import DockerException

    try:
        found = load_config().resolve_authconfig(INDEX_NAME if host.endswith(INDEX_NAME) else host)
    except (DockerException, OSError, ValueError):
        return None
    # What a helper tells is spelt with capitals.
    told = {name.lower(): value for name, value in (found or {}).items()}
    return (told["username"], told["password"]) if told.get("username") and told.get("password") else None


def _reason(error: Exception) -> str:
    inner: BaseException = error
    while inner.args and isinstance(getattr(inner.args[0], "reason", inner.args[0]), BaseException):
        inner = getattr(inner.args[0], "reason", inner.args[0])
    return str(inner).rpartition(": ")[2] or type(inner).__name__
