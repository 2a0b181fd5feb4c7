"""What the user's package indexes hold: the files of many releases at once, with their hashes, and their bytes.

Everything that the user told pip holds here too: proxies, certificates, index URLs, find-links, credentials.
The parts that know pip and pip-tools from within are `runbook.environment.repository` and `.hashes`, imported when
they are first needed, because both take long to import.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from runbook.environment import uvsettings
from runbook.environment.release import IndexFile, Release
from runbook.progress import SILENT, Progress

if TYPE_CHECKING:
    from runbook.environment.hashes import Hashes
    from runbook.environment.repository import Repository

_THREADS = 16
_FRESH_S = 600.0
"""As long as indexes themselves tell their clients to take an answer for good."""


class Index:
    """The user's indexes, asked in parallel.

    cache: runbook's cache folder; pip's HTTP cache lies beneath it. pip_args: what would follow `pip install`.
    """

    def __init__(self, cache: Path, pip_args: Iterable[str] = ()) -> None:
        self._cache = cache
        self._pip_args = tuple(pip_args)
        self._lock = threading.Lock()
        self._made: Repository | None = None

    @property
    def _repository(self) -> Repository:
        with self._lock:
            if self._made is None:
                from runbook.environment.repository import Repository

                self._made = Repository(self._pip_args, self._cache, _THREADS)
            return self._made

    @cached_property
    def _hashes(self) -> Hashes:
        from runbook.environment.hashes import Hashes

        return Hashes(self._repository)

    def warm(self) -> None:
        """Load pip and pip-tools in the background, while the caller waits for other processes."""
        threading.Thread(target=lambda: self._hashes, name="index", daemon=True).start()

    def files(
        self, pins: Iterable[tuple[str, str]], progress: Progress = SILENT
    ) -> Mapping[tuple[str, str], Release]:
        """The releases of these `(normalised name, version)` pins. Never raises for an index that fails."""
        wanted = list(dict.fromkeys(pins))
        found = {pin: release for pin in wanted if (release := self._remembered(pin)) is not None}
        unknown = [pin for pin in wanted if pin not in found]
        if not unknown:
            return found
        repository = self._repository
        with (
            progress.bar("asking the package index", len(unknown), "packages") as advance,
            ThreadPoolExecutor(min(_THREADS, len(unknown)), "index") as pool,
        ):
            asked = pool.map(lambda pin: repository.release(*pin), unknown)
            hashes = self._hashes  # pip-tools is imported while the indexes answer
            for pin, release in zip(unknown, asked, strict=True):
                if release.remote and all(file.sha256 for file in release.remote):
                    release = replace(release, hashes=hashes.of(release))
                found[pin] = release
                self._remember(pin, release)
                advance(1)
        return found

    @cached_property
    def _configuration(self) -> str:
        told = sorted(item for item in os.environ.items() if item[0].startswith(("PIP_", "UV_")))
        own = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        shared = (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
        names = [f"{folder}/pip/pip.conf" for folder in (own, *shared)]
        names += ["/etc/pip.conf", "~/.pip/pip.conf", "~/.netrc", f"{sys.prefix}/pip.conf"]
        names += [os.environ.get(name, "") for name in ("PIP_CONFIG_FILE", "NETRC")]
        paths = [*(Path(name).expanduser() for name in names if name), *uvsettings.paths(os.environ)]
        files = [path.read_bytes() for path in paths if path.is_file()]
        return hashlib.sha256(repr((told, files, self._pip_args)).encode()).hexdigest()[:32]

    def _place(self, pin: tuple[str, str]) -> Path:
        """Where the answer for a pin is kept: another configuration of pip is another answer."""
        return self._cache / "releases" / self._configuration / f"{pin[0]}-{quote(pin[1], safe='')}.json"

    def _remembered(self, pin: tuple[str, str]) -> Release | None:
        """A recent answer, so that capturing again asks nobody and does not even load pip."""
        place = self._place(pin)
        try:
            if not 0 <= time.time() - place.stat().st_mtime < _FRESH_S:
                return None
            return msgspec.json.decode(place.read_bytes(), type=Release)
        except (OSError, msgspec.MsgspecError):
            return None

    def _remember(self, pin: tuple[str, str], release: Release) -> None:
        """Keep an answer that is whole: no failure, and no file of this machine that may change."""
        if release.problem or not release.hashes or len(release.remote) != len(release.files):
            return
        place = self._place(pin)
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name(f".{place.name}.{os.getpid()}")
        fresh.write_bytes(msgspec.json.encode(release))
        fresh.replace(place)

    def hashes(self, release: Release) -> tuple[str, ...]:
        """sha256 of every remote file of a release, through pip-tools; sorted.

        What an index lists without a hash is downloaded for it, as pip-tools does. Raises OSError when that fails.
        """
        return release.hashes or self._hashes.of(release)

    @contextmanager
    def open(self, file: IndexFile, offset: int = 0) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from `offset` on: `(offset that the server agreed to, blocks)`. Raises OSError."""
        with self._repository.download(file.url, offset) as answer:
            yield answer

    def uv_environment(self) -> dict[str, str]:
        """The same indexes and certificates as variables that uv understands. They may hold credentials."""
        return self._repository.uv_environment()
