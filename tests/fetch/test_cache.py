"""Data comes whole and right, or not at all: a real web server that cuts, lags, lies, or knows no ranges."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web import Web, serving

from runbook.errors import NeedMissing, NotComparable
from runbook.fetch.cache import DataCache
from runbook.fetch.interface import remote_of
from runbook.model import manifest
from runbook.model.manifest import Entry
from runbook.progress import SILENT

DATA = random.Random(7).randbytes(300_000)


def entry_of(data: bytes, path: str = "data.bin") -> Entry:
    return Entry(path, len(data), hashlib.sha256(data).hexdigest())


ENTRY = entry_of(DATA)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.files["/data.bin"] = DATA
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> DataCache:
    return DataCache(tmp_path / "cache")


def fetch(cache: DataCache, url: str, entry: Entry = ENTRY) -> Path:
    return cache.fetch_file(entry, remote_of(url), url, SILENT)


def partial(tmp_path: Path) -> Path:
    return tmp_path / "cache/data/partial" / ENTRY.sha256


def left(tmp_path: Path) -> list[str]:
    """Files in the cache that are of the right name: what a later replay would use."""
    return [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.parent.name == p.name[:2]]


def test_a_file_is_fetched_once_and_then_at_hand(web: Web, cache: DataCache) -> None:
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA
    web.requests.clear()
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA
    assert web.requests == []


@pytest.mark.parametrize("lengths", [True, False])
def test_a_connection_that_is_cut_is_continued_until_all_is_there(
    web: Web, cache: DataCache, lengths: bool
) -> None:
    web.cut, web.lengths = 100_000, lengths
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA
    assert web.asked("GET") == ["", "bytes=100000-", "bytes=200000-"]
    assert web.served == len(DATA)


def test_a_server_without_ranges_begins_anew(web: Web, cache: DataCache, tmp_path: Path) -> None:
    partial(tmp_path).parent.mkdir(parents=True)
    partial(tmp_path).write_bytes(DATA[:1000])
    web.ranges = False
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA
    assert web.served == len(DATA)


def test_a_server_without_ranges_that_always_cuts_is_given_up(web: Web, cache: DataCache, tmp_path: Path) -> None:
    web.ranges, web.cut = False, 5000
    with pytest.raises(NeedMissing) as caught:
        fetch(cache, f"{web.url}/data.bin")
    assert (caught.value.exit_code, caught.value.id) == (6, "data-unreachable")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "wrong",
    [DATA[:-1] + bytes([DATA[-1] ^ 1]), DATA + b"more", DATA[:1000], b"", b"<html>log in</html>"],
    ids=["one-bit", "longer", "shorter", "empty", "a-page"],
)
@pytest.mark.parametrize("begun", [0, 777], ids=["fresh", "continued"])
def test_another_content_is_refused_and_never_in_the_cache(
    web: Web, cache: DataCache, tmp_path: Path, wrong: bytes, begun: int
) -> None:
    if begun:
        partial(tmp_path).parent.mkdir(parents=True)
        partial(tmp_path).write_bytes(DATA[:begun])
    web.files["/data.bin"] = wrong
    with pytest.raises(NotComparable) as caught:
        fetch(cache, f"{web.url}/data.bin")
    assert (caught.value.exit_code, caught.value.id) == (7, "data-differs")
    assert left(tmp_path) == []
    web.files["/data.bin"] = DATA
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA


def test_no_more_is_written_than_the_record_says(web: Web, cache: DataCache, tmp_path: Path) -> None:
    web.files["/data.bin"], web.lengths = DATA * 200, False
    with pytest.raises(NotComparable, match="it is longer"):
        fetch(cache, f"{web.url}/data.bin")
    assert web.served < 30 * len(DATA)
    assert not partial(tmp_path).exists()


def test_what_was_begun_as_another_file_is_begun_anew(web: Web, cache: DataCache, tmp_path: Path) -> None:
    partial(tmp_path).parent.mkdir(parents=True)
    partial(tmp_path).write_bytes(b"x" * 1000)
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (500, 4)])
def test_an_error_of_the_server_is_told_and_nothing_stays(
    web: Web, cache: DataCache, tmp_path: Path, status: int, asked: int
) -> None:
    web.status = status
    with pytest.raises(NeedMissing, match=f"HTTP {status}"):
        fetch(cache, f"{web.url}/data.bin?X-Signature=hunter2")
    assert len(web.requests) == asked
    assert left(tmp_path) == []


def test_a_rotten_file_of_the_cache_is_fetched_again(web: Web, cache: DataCache) -> None:
    path = fetch(cache, f"{web.url}/data.bin")
    path.chmod(0o644)
    path.write_bytes(DATA[:-1] + b"?")
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA


def test_a_tree_is_put_together_from_its_files_and_shares_them(web: Web, cache: DataCache) -> None:
    files = {"a/one.bin": DATA, "a b/zwei%20ü?#.txt": b"two\n", "empty": b"", "same": DATA}
    web.files = {f"/corpus/{path}": data for path, data in files.items()}
    entries = sorted(entry_of(data, path) for path, data in files.items())
    digest = manifest.tree_digest(entries)
    url = f"{web.url}/corpus/"
    tree = cache.fetch_tree(entries, digest, remote_of(url), url, SILENT)
    assert {p.relative_to(tree).as_posix(): p.read_bytes() for p in tree.rglob("*") if p.is_file()} == files
    assert (tree / "same").stat().st_ino == (tree / "a/one.bin").stat().st_ino
    (tree / "a/one.bin").unlink()
    (tree / "stray").write_text("x")
    web.requests.clear()
    tree = cache.fetch_tree(entries, digest, remote_of(url), url, SILENT)
    assert {p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()} == set(files)
    assert web.requests == []


CALL = """
import sys
from pathlib import Path
from runbook.fetch.cache import DataCache
from runbook.fetch.interface import remote_of
from runbook.model.manifest import Entry
class Loud:
    def say(self, text): print(text, flush=True)
    def bar(self, *_):
        from runbook.progress import SILENT
        return SILENT.bar("", None)
root, url, size, sha256 = sys.argv[1:]
print(DataCache(Path(root)).fetch_file(Entry("data.bin", int(size), sha256), remote_of(url), url, Loud()))
"""


def start(tmp_path: Path, url: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CALL, str(tmp_path / "cache"), url, str(ENTRY.size), ENTRY.sha256]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def wait_for_some(tmp_path: Path, some: int) -> None:
    for _ in range(600):
        if partial(tmp_path).exists() and partial(tmp_path).stat().st_size >= some:
            return
        time.sleep(0.05)
    raise AssertionError("nothing came")


def test_a_killed_fetch_is_continued_where_it_was(web: Web, cache: DataCache, tmp_path: Path) -> None:
    web.gate = threading.Event()
    with start(tmp_path, f"{web.url}/data.bin") as process:
        wait_for_some(tmp_path, 1)
        process.kill()
    web.gate.set()
    assert left(tmp_path) == []
    came = partial(tmp_path).stat().st_size
    assert 0 < came < len(DATA)
    web.requests.clear()
    assert fetch(cache, f"{web.url}/data.bin").read_bytes() == DATA
    assert web.asked("GET") == [f"bytes={came}-"]


def test_two_at_once_fetch_once_and_both_have_it(web: Web, tmp_path: Path) -> None:
    web.gate = threading.Event()
    url = f"{web.url}/data.bin"
    with start(tmp_path, url) as one:
        wait_for_some(tmp_path, 1)
        with start(tmp_path, url) as two:
            assert two.stdout is not None
            assert two.stdout.readline() == "waiting for another runbook that fetches data.bin\n"
            web.gate.set()
            said = [process.communicate()[0].splitlines() for process in (one, two)]
    assert len(web.asked("GET")) == 1
    assert said[0][-1] == said[1][-1]
    assert Path(said[0][-1]).read_bytes() == DATA


def test_a_full_disk_is_told_as_such(web: Web, cache: DataCache, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from runbook.digest import receive

    def full(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(receive, "append", full)
    with pytest.raises(NeedMissing, match="no room"):
        fetch(cache, f"{web.url}/data.bin")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "local:///etc/passwd",
        "simplecache::https://host/x",
        "zip://x.csv::s3://bucket/a.zip",
        "https://user:hunter2@host/x",
        "https://user@host/x",
        "s3://",
        "https:///x",
        "https://[::1/x",
        "memory://x",
        "sftp://host/x",
        "ftp://host/x",
        "https://host/a b",
        "https://host/\x1b[31m",
        "HTTPS://host/x",
        "data.csv",
        "",
    ],
)
def test_a_source_that_is_no_plain_url_of_a_known_place_is_nobodys(url: str) -> None:
    assert remote_of(url) is None


@given(
    st.text(max_size=60)
    | st.from_regex(r"(https?|s3|gs|file|zip|memory)://[a-z@:.\[\]/?#%\x00 -]{0,40}", fullmatch=True)
)
def test_no_text_is_taken_for_more_than_a_plain_url(text: str) -> None:
    remote = remote_of(text)
    if remote is not None:
        parts = urlsplit(text)
        assert parts.scheme in remote.schemes
        assert parts.netloc and "@" not in parts.netloc and "::" not in text
        assert text.isprintable() and " " not in text
        for path in ("a/b.csv", "ü ?#%20.txt"):
            child = remote.child(text, path)
            assert urlsplit(child).netloc == parts.netloc
            assert remote_of(child) is remote or remote.name == "object-store"


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("s3://b/k", "s3fs", "s3"),
        ("gs://b/k", "gcsfs", "gs"),
        ("az://b/k", "adlfs", "azure"),
        ("hf://d/k", "huggingface_hub", "hf"),
    ],
)
def test_a_place_without_its_extra_names_the_command(
    cache: DataCache, monkeypatch: pytest.MonkeyPatch, url: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NeedMissing) as caught:
        fetch(cache, url)
    assert (caught.value.exit_code, caught.value.hint) == (6, f"pip install 'runbook[{extra}]'")
