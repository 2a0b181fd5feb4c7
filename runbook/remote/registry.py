"""Image references, and what a registry gives for one: digest, manifests, blobs (the OCI distribution API)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from runbook.model.reference import Reference

_ACCEPT = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_LOOPBACK = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CAP = 4 << 20
_BLOCK = 1 << 20


def registry_digest(reference: Reference, *, timeout_s: float) -> str:
    """`sha256:…` of the manifest (or list of manifests) that the registry has under the tag.

    Credentials are those of `docker login`. Raises ConnectionError when no registry answers, and OSError when one
    gives no digest, with one sentence.
    """
    with Repository(reference, timeout_s=timeout_s) as repository:
        return repository.digest()


class Repository:
    """One repository of a registry, asked with the credentials of `docker login`; a context manager.

    Every method raises ConnectionError when no registry answers, and OSError for any other obstacle, with one
    sentence.
    """

    def __init__(self, reference: Reference, *, timeout_s: float) -> None:
        from docker.auth import INDEX_NAME

        self._reference, self._timeout_s = reference, timeout_s
        self._host = reference.host or f"registry-1.{INDEX_NAME}"
        path = reference.path if reference.host or "/" in reference.path else f"library/{reference.path}"
        scheme = "http" if _LOOPBACK.fullmatch(self._host) else "https"
        self._url = f"{scheme}://{self._host}/v2/{path}"

    def __enter__(self) -> Self:
        import requests

        self._session = requests.Session()
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def digest(self) -> str:
        """What the reference's digest, else its tag, stands for."""
        wanted = self._reference.digest or self._reference.tag
        with self._asking(), self._ask("HEAD", f"manifests/{wanted}", _ACCEPT) as response:
            digest: str = response.headers.get("Docker-Content-Digest", "")
        if not _DIGEST.fullmatch(digest):
            digest = f"sha256:{hashlib.sha256(self._manifest(wanted)).hexdigest()}"
        return digest

    def manifest(self, digest: str) -> bytes:
        """The manifest, or list of manifests, with this digest."""
        content = self._manifest(digest)
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise OSError(f"the registry {self._host} answered with another manifest than {digest}")
        return content

    def blob(self, digest: str, size: int, target: Path, advance: Callable[[int], None]) -> None:
        """Write the blob with this digest to the new file `target`; what has another size or digest is removed."""
        hashed, left = hashlib.sha256(), size
        with self._asking(), self._ask("GET", f"blobs/{digest}", "*/*") as response, target.open("xb") as file:
            while left >= 0 and (block := response.raw.read(_BLOCK)):
                hashed.update(block)
                left -= file.write(block)
                advance(len(block))
        if left or f"sha256:{hashed.hexdigest()}" != digest:
            target.unlink()
            raise OSError(f"the registry {self._host} answered with other bytes than {digest}")

    def _manifest(self, wanted: str) -> bytes:
        with self._asking(), self._ask("GET", f"manifests/{wanted}", _ACCEPT) as response:
            content: bytes = response.raw.read(_CAP + 1, decode_content=True)
        if len(content) > _CAP:
            raise OSError(f"the registry {self._host} answered with too large a manifest")
        return content

    def _ask(self, method: str, path: str, accept: str) -> Any:
        def ask() -> Any:
            return self._session.request(
                method,
                f"{self._url}/{path}",
                headers={"Accept": accept, "Accept-Encoding": "identity"},
                timeout=self._timeout_s,
                stream=True,
                allow_redirects=True,
            )

        response = ask()
        if response.status_code == 401:
            _authorize(self._session, response.headers.get("WWW-Authenticate", ""), self._host, self._timeout_s)
            response = ask()
        if response.status_code != 200:
            raise OSError(f"the registry {self._host} answered HTTP {response.status_code}")
        return response

    @contextmanager
    def _asking(self) -> Iterator[None]:
        import requests
        import urllib3

        try:
            yield
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            raise OSError(f"the registry {self._host} cannot be asked ({_reason(error)})") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ConnectionError(f"no registry answered for {whole_name(self._reference)}") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise OSError(f"the registry {self._host} cannot be asked ({_reason(error)})") from error


def whole_name(reference: Reference) -> str:
    """The image with all that is usually left out: `host/library/name:tag`."""
    from docker.auth import INDEX_NAME

    path = reference.path if reference.host or "/" in reference.path else f"library/{reference.path}"
    return f"{reference.host or INDEX_NAME}/{path}:{reference.tag}"


def _authorize(session: Any, challenge: str, host: str, timeout_s: float) -> None:
    kind, _, rest = challenge.partition(" ")
    told = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    login = _login(host)
    if kind.lower() == "basic" and login:
        session.auth = login
    elif kind.lower() == "bearer" and urlsplit(told.get("realm", "")).scheme in ("https", "http"):
        asked = {name: told[name] for name in ("service", "scope") if name in told}
        answer = session.get(told["realm"], params=asked, auth=login, timeout=timeout_s)
        document = answer.json() if answer.status_code == 200 else {}
        token = document.get("token") or document.get("access_token")
        if token:
            session.headers["Authorization"] = f"Bearer {token}"


def _login(host: str) -> tuple[str, str] | None:
    """What `docker login` stored for the registry."""
    from docker.auth import INDEX_NAME, load_config
    from docker.errors import DockerException

    try:
        found = load_config().resolve_authconfig(INDEX_NAME if host.endswith(INDEX_NAME) else host)
    except (DockerException, OSError, ValueError):
        return None
    return (found["username"], found["password"]) if found and found.get("username") else None


def _reason(error: Exception) -> str:
    inner: BaseException = error
    while inner.args and isinstance(getattr(inner.args[0], "reason", inner.args[0]), BaseException):
        inner = getattr(inner.args[0], "reason", inner.args[0])
    return str(inner).rpartition(": ")[2] or type(inner).__name__
