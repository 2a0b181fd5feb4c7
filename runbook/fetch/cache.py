"""The data cache: files by their sha256, shared by all bundles, filled from remotes.

`data/<first two digits>/<sha256>` in runbook's cache folder. A file gets there by a rename once its digest was
right, and is hashed again whenever it is taken out, so that the cache can neither be poisoned nor rot unnoticed.
What was broken off lies in `data/partial/<sha256>` and is continued; `data/trees/<digest>` holds hard links.
"""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from runbook.digest import receive
from runbook.digest.tree import digest_tree
from runbook.errors import NeedMissing, NotComparable
from runbook.fetch.interface import Remote, place
from runbook.model.manifest import Entry
from runbook.progress import Progress

_TRIES = 4
"""Attempts in a row that bring nothing."""
_PAUSE_S = 0.2
_THREADS = 8


class DataCache:
    """Files whose content is known, by their content. Several processes may use one at once."""

    def __init__(self, root: Path) -> None:
        """root: runbook's cache folder; nothing is made there before something is fetched."""
        self._root = root / "data"

    def at(self, sha256: str) -> Path:
        """Where a file of this content lies, or would."""
        return self._root / sha256[:2] / sha256

    def has(self, entry: Entry) -> bool:
        """Whether a file of this digest and size is there; its bytes are not read."""
        try:
            return self.at(entry.sha256).stat().st_size == entry.size
        except OSError:
            return False

    def coming(self, entry: Entry) -> int:
        """Bytes of it that an attempt which was broken off left."""
        try:
            return min(entry.size, (self._root / "partial" / entry.sha256).stat().st_size)
        except OSError:
            return 0

    def take(self, entry: Entry) -> Path | None:
        """The file, when its bytes still have the digest; one that rotted is removed."""
        path = self.at(entry.sha256)
        if not path.is_file():
            return None
        if receive.sha256(path) == entry.sha256:
            return path
        path.unlink(missing_ok=True)
        return None

    def fetch_file(self, entry: Entry, remote: Remote | None, url: str, progress: Progress) -> Path:
        """The file, fetched unless it is there. Raises as `fetch_tree`."""
        if (found := self.take(entry)) is not None:
            return found
        if remote is None:
            raise _absent(entry)
        with progress.bar(f"fetching {entry.path}", entry.size) as advance:
            return self._fetch(entry, remote, url, advance, progress)

    def fetch_tree(
        self, entries: Sequence[Entry], digest: str, remote: Remote | None, url: str, progress: Progress
    ) -> Path:
        """A folder with these files, each fetched unless it is there, and put together by links.

        Raises NeedMissing for what cannot be had, NotComparable for what is other than its digest says.
        """
        tree = self._root / "trees" / digest
        with receive.holding(self._root / "trees" / f"{digest}.lock"):
            if tree.is_dir():
                if digest_tree(tree)[0].digest == digest:
                    return tree
                shutil.rmtree(tree)
            with (
                progress.bar("fetching data", sum(entry.size for entry in entries)) as advance,
                ThreadPoolExecutor(_THREADS, "fetch") as pool,
            ):

                def get(entry: Entry) -> Path:
                    if (found := self.take(entry)) is not None:
                        advance(entry.size)
                        return found
                    if remote is None:
                        raise _absent(entry)
                    return self._fetch(entry, remote, remote.child(url, entry.path), advance, progress)

                waiting = [pool.submit(get, entry) for entry in entries]
                try:
                    files = [one.result() for one in waiting]
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            fresh = tree.with_name(f"{digest}.partial")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            for entry, file in zip(entries, files, strict=True):
                target = fresh / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                receive.link(file, target)
            fresh.replace(tree)
            return tree

    def _fetch(
        self, entry: Entry, remote: Remote, url: str, advance: Callable[[int], None], progress: Progress
    ) -> Path:
        """Continue as long as something comes; what is wrong from its first byte on is refused."""
        part = self._root / "partial" / entry.sha256
        lock = threading.Lock()
        best = failures = anew = 0

        def count(amount: int) -> None:
            with lock:
                advance(amount)

        def waiting() -> None:
            progress.say(f"waiting for another runbook that fetches {entry.path}")

        count(self.coming(entry))
        while True:
            with receive.holding(part, waiting) as sink:
                if (found := self.take(entry)) is not None:
                    part.unlink(missing_ok=True)
                    return found
                before = part.stat().st_size
                best = max(best, before)
                try:
                    opens = partial(remote.open, url)
                    digest = receive.append(sink, opens, count, known=entry.sha256, cap=entry.size)
                except OSError as error:
                    _check_room(error, part)
                    if error.errno != errno.EFBIG:
                        failures = 0 if part.stat().st_size > best else failures + 1
                        if failures >= _TRIES or isinstance(error, FileNotFoundError | PermissionError):
                            raise _unreachable(entry, url, error) from error
                        time.sleep(_PAUSE_S * 2**failures)
                        continue
                    digest = "longer"
                if digest == entry.sha256:
                    receive.settle(sink, part, self.at(entry.sha256))
                    return self.at(entry.sha256)
                size = part.stat().st_size
                if digest != "longer" and best < size < entry.size:
                    continue  # The server ended early without saying so.
                # What was continued may have begun as another file: once more, from its first byte on.
                part.unlink(missing_ok=True)
                best, anew = 0, anew + 1
                if not before or anew > 1:
                    how = "it is longer" if digest == "longer" else f"it has {size} bytes, sha256 {digest}"
                    raise _other(entry, url, how)


def _check_room(error: OSError, part: Path) -> None:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise NeedMissing(
            "there is no room for the data", part.parent, hint="free some space", id="cache-full"
        ) from error


def _absent(entry: Entry) -> NeedMissing:
    return NeedMissing(
        "data is no longer as it was in the cache, and nothing fetches it again",
        entry.path,
        hint="--data NAME=PATH names a copy",
        id="data-absent",
    )


def _other(entry: Entry, url: str, how: str) -> NotComparable:
    return NotComparable(
        f"the source of {entry.path} has another content than the original's ({how})",
        place(url),
        hint="--data NAME=PATH names a copy of the original's data",
        id="data-differs",
    )


def _unreachable(entry: Entry, url: str, error: OSError) -> NeedMissing:
    return NeedMissing(
        f"{entry.path} cannot be fetched ({error})",
        place(url),
        hint="--data NAME=PATH names a copy; run it again to go on where it broke off",
        id="data-unreachable",
    )
