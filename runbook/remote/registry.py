"""Image references, and the digest that a registry gives for one (the OCI distribution API)."""

from __future__ import annotations

import hashlib
import re
from typing import Any
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
_CAP = 4 << 20


def registry_digest(reference: Reference, *, timeout_s: float) -> str:
    """`sha256:…` of the manifest (or list of manifests) that the registry has under the tag.

    Credentials are those of `docker login`. Raises ConnectionError when no registry answers, and OSError when one
    gives no digest, with one sentence.
    """
    import requests
    from docker.auth import INDEX_NAME

    host = reference.host or f"registry-1.{INDEX_NAME}"
    path = reference.path if reference.host or "/" in reference.path else f"library/{reference.path}"
    scheme = "http" if _LOOPBACK.fullmatch(host) else "https"
    url = f"{scheme}://{host}/v2/{path}/manifests/{reference.digest or reference.tag}"
    with requests.Session() as session:
        session.headers["Accept"] = _ACCEPT
        try:
            response = session.head(url, timeout=timeout_s, allow_redirects=True)
            if response.status_code == 401:
                _authorize(session, response.headers.get("WWW-Authenticate", ""), host, timeout_s)
                response = session.head(url, timeout=timeout_s, allow_redirects=True)
            if response.status_code != 200:
                raise OSError(f"the registry {host} answered HTTP {response.status_code}")
            digest = response.headers.get("Docker-Content-Digest", "")
            if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                body = session.get(url, timeout=timeout_s)
                body.raise_for_status()
                if len(body.content) > _CAP:
                    raise OSError(f"the registry {host} answered with too large a manifest")
                digest = "sha256:" + hashlib.sha256(body.content).hexdigest()
            return digest
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError) as error:
            raise OSError(f"the registry {host} cannot be asked ({_reason(error)})") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise ConnectionError(f"no registry answered for {whole_name(reference)}") from error
        except requests.RequestException as error:
            raise OSError(f"the registry {host} cannot be asked ({_reason(error)})") from error


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
