"""pip's configuration, session and collector: what they find, without what slows them down."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pip._internal.commands import create_command
from pip._internal.exceptions import PipError
from pip._internal.index import collector as pip_collector
from pip._internal.models.index import PyPI
from pip._internal.models.link import Link
from pip._vendor.requests.exceptions import ConnectionError as RequestsConnectionError
from pip._vendor.requests.exceptions import RequestException, Timeout

from runbook.environment.pages import Page, Pages
from runbook.environment.release import IndexFile, Release
from runbook.environment.uvsettings import UvSettings, read_settings

_ARCHIVES = (".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz", ".tar.Z", ".tar")
_CONNECT_S = 10.0
_RETRIES = 2
_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = ("text/html", "application/vnd.pypi.simple.v1+html")
_OFFLINE = ("ConnectionFailedError", "ConnectionTimeoutError", "ProxyConnectionError")
"""What pip 26 raises instead of the errors of requests."""


class _File(msgspec.Struct, rename="kebab"):
    """The keys of PEP 691 that `Link.from_json` reads and a lock needs."""

    filename: str
    url: str
    hashes: dict[str, str] = {}
    requires_python: str | None = None
    yanked: bool | str = False
    size: int | None = None
    core_metadata: bool | dict[str, str] | None = None


class _Page(msgspec.Struct):
    files: list[_File]


class Repository:
    """The indexes and find-links places that pip is told of, for files of every platform and Python version."""

    def __init__(self, pip_args: Sequence[str], cache: Path, threads: int) -> None:
        """threads: how many will ask at once."""
        for name in ("pip", "pip._vendor", "pip._internal"):  # what is to be said of an index, runbook says itself
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._command = create_command("install")
        own = ["--no-input", "--disable-pip-version-check", "--cache-dir", str(cache.absolute() / "http")]
        self._options, _ = self._command.parse_args([*own, *pip_args])
        if not self._options.isolated_mode:
            _take_over(self._options, read_settings(os.environ))
        self._pages = Pages(self._options, threads)
        self._collector = pip_collector.LinkCollector.create(session=self, options=self._options)
        self._unreachable: dict[str, str] = {}
        self._sizes: dict[str, int] = {}
        """URL → bytes, of files whose index tells it; pip's links do not hold it."""
        self._making = threading.Lock()
        self._made: Any = None

    @property
    def session(self) -> Any:
        """The one of pip, with its patience shortened; made when it is needed, because that takes its time."""
        with self._making:
            if self._made is None:
                made = self._command._build_session(self._options)
                timeout = made.timeout or 15
                made.timeout = (min(_CONNECT_S, timeout), timeout)
                for adapter in made.adapters.values():
                    if hasattr(adapter, "max_retries"):
                        old = adapter.max_retries
                        adapter.max_retries = old.new(total=min(old.total or 0, _RETRIES), connect=1)
                self._made = made
            return self._made

    def is_secure_origin(self, link: Link) -> bool:
        """What pip's collector asks of a session before it looks at a place."""
        return self._pages.plain(link.url_without_fragment) or bool(self.session.is_secure_origin(link))

    def release(self, name: str, version: str) -> Release:
        """The files of one release on every index and find-links place."""
        problems: list[tuple[str, bool]] = []

        def page(link: Link) -> list[Link]:
            links, problem, offline = self._page(link, wanted)
            if problem:
                problems.append((problem, offline))
            return links

        try:
            wanted = _Wanted(name, Version(version))
        except InvalidVersion:
            return Release(name, version, problem=f"{version} is not a version that an index can hold (PEP 440)")
        sources = self._collector.collect_sources(name, candidates_from_page=page)
        files: dict[str, IndexFile] = {}
        for source in [*sources.index_urls, *sources.find_links]:
            if source is None:
                continue
            for link in [*source.page_candidates(), *source.file_links()]:
                if wanted.has(link.filename):
                    file = _index_file(link, self._sizes.get(link.url_without_fragment))
                    # The first index wins, as with pip; a copy with a hash beats one without.
                    known = files.get(file.filename)
                    if known is None or (known.local and not file.local):
                        files[file.filename] = file
        problem, offline = problems[0] if problems else ("", False)
        return Release(name, version, tuple(files[n] for n in sorted(files)), problem, offline)

    def _page(self, link: Link, wanted: _Wanted) -> tuple[list[Link], str, bool]:
        """The links of one index page: (links, what went wrong, whether there was no connection)."""
        url = link.url_without_fragment
        host = urlsplit(url).netloc
        if host in self._unreachable:
            return [], self._unreachable[host], True
        if link.is_file and Path(link.file_path).is_dir():
            url = urljoin(url.rstrip("/") + "/", "index.html")
        try:
            if (at_hand := self._pages.get(url)) is not None:
                return _links(at_hand, wanted, self._sizes), "", False
            with closing(pip_collector._get_simple_response(url, session=self.session)) as response:
                page = Page(response.url, response.content, response.headers)
                return _links(page, wanted, self._sizes), "", False
        except (pip_collector._NotHTTP, pip_collector._NotAPIContent):
            return [], f"{_place(url)} is not a package index", False
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
            return [], f"{_place(url)} answered with something that is not an index page ({error})", False
        except (PipError, RequestException, OSError) as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status == 404 or link.is_file:
                return [], "", False
            problem = f"{_place(url)}: {sentence(error)}"
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
            raise OSError(f"{_place(url)}: {sentence(error)}") from error
        try:
            if response.status_code not in (200, 206):
                raise OSError(f"{_place(url)}: HTTP {response.status_code}")
            yield (offset if response.status_code == 206 else 0), _blocks(response, url)
        finally:
            response.close()

    def uv_environment(self) -> dict[str, str]:
        """Index URLs, find-links and certificates in uv's words."""
        scope = self._collector.search_scope
        told = {
            "UV_DEFAULT_INDEX": scope.index_urls[0] if scope.index_urls else "",
            "UV_INDEX": " ".join(scope.index_urls[1:]),
            "UV_FIND_LINKS": " ".join(scope.find_links),
            "SSL_CERT_FILE": self.session.verify if isinstance(self.session.verify, str) else "",
        }
        return {name: value for name, value in told.items() if value}


def _take_over(options: Any, told: UvSettings) -> None:
    """What uv was told, where pip was told nothing: an index instead of PyPI, more indexes, a keyring."""
    if options.no_index:
        return
    if told.default and options.index_url == PyPI.simple_url:
        options.index_url = told.default
    options.extra_index_urls = [*options.extra_index_urls, *told.extra]
    if told.keyring and options.keyring_provider == "auto":
        options.keyring_provider = "subprocess"


def _blocks(response: Any, url: str) -> Iterator[bytes]:
    try:
        yield from response.iter_content(1 << 18)
    except (PipError, RequestException) as error:
        raise OSError(f"{_place(url)}: {sentence(error)}") from error


class _Wanted:
    """Which files of a page are of one release. A page may list thousands, of a few hundred versions."""

    def __init__(self, name: str, version: Version) -> None:
        self._name = name
        self._version = version
        self._spelled = {str(version): True}
        """Version as a file name spells it → whether it is the one that is wanted."""

    def has(self, filename: str) -> bool:
        """Whether a file's name says this name and version, whatever its platform."""
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
        same = self._spelled.get(told)
        if same is None:
            same = self._spelled[told] = _same(told, self._version)
        return same and canonicalize_name(stem) == self._name


def _links(page: Page, wanted: _Wanted, sizes: dict[str, int]) -> list[Link]:
    """Links of a page; of one in JSON (PEP 691) those of the release only. Raises `_NotAPIContent`.

    sizes: filled with the bytes of what is linked, by URL, where the page tells them.
    """
    if not page.headers:
        return []
    kind = page.headers.get("Content-Type", "").lower()
    if kind.startswith(_JSON):
        found = []
        for file in msgspec.json.decode(page.content, type=_Page).files:
            link = Link.from_json(msgspec.to_builtins(file), page.url) if wanted.has(file.filename) else None
            if link is not None:
                found.append(link)
                if file.size is not None:
                    sizes[link.url_without_fragment] = file.size
        return found
    if not kind.startswith(_HTML):
        raise pip_collector._NotAPIContent(kind, "GET")
    encoding = pip_collector._get_encoding_from_headers(page.headers)
    content = pip_collector.IndexContent(page.content, kind, encoding, page.url, cache_link_parsing=False)
    return list(pip_collector.parse_links(content))


def _same(told: str, version: Version) -> bool:
    if not told[:1].isdigit() and not told.startswith("v"):
        return False
    try:
        return Version(told.replace("_", "+", 1) if "+" not in told and version.local else told) == version
    except InvalidVersion:
        return False


def _index_file(link: Link, size: int | None) -> IndexFile:
    metadata = getattr(link.metadata_file_data, "hashes", None) or {}
    return IndexFile(
        filename=link.filename,
        url=link.url_without_fragment,
        sha256=link._hashes.get("sha256"),
        local=link.is_file,
        requires_python=link.requires_python or "",
        yanked=link.is_yanked,
        size=size,
        metadata_sha256=metadata.get("sha256"),
    )


def _place(url: str) -> str:
    """Scheme and host only: a path or user part may hold a credential."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" + (f":{parts.port}" if parts.port else "")


def sentence(error: Exception) -> str:
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
