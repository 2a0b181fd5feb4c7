"""pip's session and finder as pip-tools sets them up: the only module that knows either from within.

pip-tools finds a release's hashes by asking for a document that many indexes lack and then by downloading every
file. Here its repository is given the files and hashes that the Simple API (PEP 503, 691) lists at once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pip._internal.exceptions import PipError
from pip._internal.index import collector as pip_collector
from pip._internal.models.candidate import InstallationCandidate
from pip._internal.models.link import Link
from pip._internal.req.constructors import install_req_from_line
from pip._vendor.requests.exceptions import ConnectionError as RequestsConnectionError
from pip._vendor.requests.exceptions import RequestException, Timeout
from piptools.repositories.pypi import PyPIRepository

from runbook.environment.index import IndexFile, Release

_ARCHIVES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.Z", ".tar")
_CONNECT_S = 10.0
_RETRIES = 2
_JSON = "application/vnd.pypi.simple.v1+json"
_OFFLINE = ("ConnectionFailedError", "ConnectionTimeoutError", "ProxyConnectionError")
"""What pip 26 raises instead of the errors of requests."""


class _File(msgspec.Struct, rename="kebab"):
    """The keys of PEP 691 that `Link.from_json` reads and a lock needs."""

    filename: str
    url: str
    hashes: dict[str, str] = {}
    requires_python: str | None = None
    yanked: bool | str = False
    core_metadata: bool | dict[str, str] | None = None


class _Page(msgspec.Struct):
    files: list[_File]


class Repository(PyPIRepository):  # type: ignore[misc]
    """pip-tools' repository, fed by the Simple API, for files of every platform and Python version."""

    def __init__(self, pip_args: Sequence[str], cache: Path) -> None:
        root = logging.getLogger()
        kept = (root.level, list(root.handlers))
        super().__init__(
            ["--no-input", "--disable-pip-version-check", "--cache-dir", str(cache / "http"), *pip_args],
            cache_dir=str(cache / "pip-tools"),
        )
        # pip installs handlers that print; what runbook says about an index, it says itself.
        root.setLevel(kept[0])
        root.handlers[:] = kept[1]
        for name in ("pip", "pip._vendor", "pip._internal"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        timeout = self.session.timeout or 15
        self.session.timeout = (min(_CONNECT_S, timeout), timeout)
        for adapter in self.session.adapters.values():
            if hasattr(adapter, "max_retries"):
                old = adapter.max_retries
                adapter.max_retries = old.new(total=min(old.total or 0, _RETRIES), connect=1)
        self._unreachable: dict[str, str] = {}
        self._listed: dict[str, dict[str, str]] = {}

    def release(self, name: str, version: str) -> Release:
        """The files of one release on every index and find-links place."""
        problems: list[tuple[str, bool]] = []

        def page(link: Link) -> list[Link]:
            links, problem, offline = self._page(link, name, Version(version))
            if problem:
                problems.append((problem, offline))
            return links

        try:
            Version(version)
        except InvalidVersion:
            return Release(name, version, problem=f"{version} is not a version that an index can hold (PEP 440)")
        sources = self.finder._link_collector.collect_sources(name, candidates_from_page=page)
        files: dict[str, IndexFile] = {}
        for source in [*sources.index_urls, *sources.find_links]:
            if source is None:
                continue
            for link in [*source.page_candidates(), *source.file_links()]:
                if _is_of(link.filename, name, Version(version)):
                    file = _index_file(link)
                    # The first index wins, as with pip; a copy with a hash beats one without.
                    known = files.get(file.filename)
                    if known is None or (known.local and not file.local):
                        files[file.filename] = file
        problem, offline = problems[0] if problems else ("", False)
        found = Release(name, version, tuple(files[n] for n in sorted(files)), problem, offline)
        told = found.remote and all(file.sha256 for file in found.remote)
        return replace(found, hashes=self.release_hashes(found)) if told else found

    def release_hashes(self, release: Release) -> tuple[str, ...]:
        """pip-tools' own hashes of a pin; it downloads what the index listed without one."""
        listed = {file.url: f"sha256:{file.sha256}" for file in release.remote if file.sha256}
        self._listed[release.name] = listed
        self._available_candidates_cache[release.name] = [
            InstallationCandidate(release.name, release.version, Link(file.url)) for file in release.remote
        ]
        try:
            found = self.get_hashes(install_req_from_line(f"{release.name}=={release.version}"))
        except (PipError, RequestException, ValueError) as error:
            raise OSError(f"{release.name} {release.version}: {_sentence(error)}") from error
        return tuple(sorted(one.removeprefix("sha256:") for one in found))

    def _get_hashes_from_pypi(self, ireq: Any) -> dict[str, str]:
        return self._listed[canonicalize_name(ireq.name)]

    def _page(self, link: Link, name: str, version: Version) -> tuple[list[Link], str, bool]:
        """The links of one index page: (links, what went wrong, whether there was no connection)."""
        url = link.url_without_fragment
        host = urlsplit(url).netloc
        if host in self._unreachable:
            return [], self._unreachable[host], True
        if link.is_file and Path(link.file_path).is_dir():
            url = urljoin(url.rstrip("/") + "/", "index.html")
        try:
            with closing(pip_collector._get_simple_response(url, session=self.session)) as response:
                if response.headers.get("Content-Type", "").lower().startswith(_JSON):
                    return _json_links(response.content, response.url, name, version), "", False
                content = pip_collector._make_index_content(response, cache_link_parsing=False)
                return list(pip_collector.parse_links(content)), "", False
        except (pip_collector._NotHTTP, pip_collector._NotAPIContent):
            return [], f"{_place(url)} is not a package index", False
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
            return [], f"{_place(url)} answered with something that is not an index page ({error})", False
        except (PipError, RequestException, OSError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status == 404 or link.is_file:
                return [], "", False
            problem = f"{_place(url)}: {_sentence(error)}"
            offline = isinstance(error, RequestsConnectionError | Timeout) or type(error).__name__ in _OFFLINE
            if offline and status is None:
                self._unreachable[host] = problem
            return [], problem, offline

    @contextmanager
    def download(self, url: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Bytes of a URL from `offset` on, through the same session; not kept in the HTTP cache."""
        headers = {"Accept-Encoding": "identity", "Cache-Control": "no-store"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            response = self.session.get(url, headers=headers, stream=True)
        except (PipError, RequestException) as error:
            raise OSError(f"{_place(url)}: {_sentence(error)}") from error
        try:
            if response.status_code not in (200, 206):
                raise OSError(f"{_place(url)}: HTTP {response.status_code}")
            yield (offset if response.status_code == 206 else 0), _blocks(response, url)
        finally:
            response.close()

    def uv_environment(self) -> dict[str, str]:
        """Index URLs, find-links and certificates in uv's words."""
        scope = self.finder.search_scope
        told = {
            "UV_DEFAULT_INDEX": scope.index_urls[0] if scope.index_urls else "",
            "UV_INDEX": " ".join(scope.index_urls[1:]),
            "UV_FIND_LINKS": " ".join(scope.find_links),
            "SSL_CERT_FILE": self.session.verify if isinstance(self.session.verify, str) else "",
        }
        return {name: value for name, value in told.items() if value}


def _blocks(response: Any, url: str) -> Iterator[bytes]:
    try:
        yield from response.iter_content(1 << 18)
    except (PipError, RequestException) as error:
        raise OSError(f"{_place(url)}: {_sentence(error)}") from error


def _json_links(content: bytes, base: str, name: str, version: Version) -> list[Link]:
    """Links of a PEP 691 page. A page may list thousands of files: only those of the version are made links."""
    files = msgspec.json.decode(content, type=_Page).files
    made = [Link.from_json(msgspec.to_builtins(f), base) for f in files if _is_of(f.filename, name, version)]
    return [link for link in made if link is not None]


def _is_of(filename: str, name: str, version: Version) -> bool:
    """Whether a file's name says `name` and `version`, whatever its platform."""
    if filename.endswith(".whl"):
        parts = filename.split("-")
        if len(parts) not in (5, 6):
            return False
        stem, told = parts[0], parts[1]
    else:
        ending = next((e for e in _ARCHIVES if filename.endswith(e)), None)
        if ending is None:
            return False
        stem, _, told = filename.removesuffix(ending).rpartition("-")
    if told != str(version) and not _same(told, version):
        return False
    return canonicalize_name(stem) == name


def _same(told: str, version: Version) -> bool:
    if not told[:1].isdigit() and not told.startswith("v"):
        return False
    try:
        return Version(told.replace("_", "+", 1) if "+" not in told and version.local else told) == version
    except InvalidVersion:
        return False


def _index_file(link: Link) -> IndexFile:
    metadata = getattr(link.metadata_file_data, "hashes", None) or {}
    return IndexFile(
        filename=link.filename,
        url=link.url_without_fragment,
        sha256=link._hashes.get("sha256"),
        local=link.is_file,
        requires_python=link.requires_python or "",
        yanked=link.is_yanked,
        metadata_sha256=metadata.get("sha256"),
    )


def _place(url: str) -> str:
    """Scheme and host only: a path or user part may hold a credential."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


def _sentence(error: Exception) -> str:
    """The innermost reason of an error of pip, requests or urllib3, on one line and without URLs."""
    seen: list[BaseException] = []
    inner: BaseException | None = error
    while inner is not None and inner not in seen:
        seen.append(inner)
        reason = getattr(inner, "reason", None)
        nested = reason if isinstance(reason, BaseException) else None
        if nested is None:
            nested = next((a for a in inner.args if isinstance(a, BaseException)), None)
        inner = nested or inner.__cause__ or inner.__context__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f"HTTP {status}"
    text = " ".join(str(seen[-1]).split()) or type(seen[-1]).__name__
    return text.rpartition("object at ")[2].partition(": ")[2] or text if " object at 0x" in text else text
