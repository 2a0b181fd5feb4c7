"""Which files the hook sees, under which paths, and what it keeps of them. Every job is a real process."""

import os
import resource
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runbook.launch.watch import prepare, read_watch
from tests.launch.watching import PYTHON, Seen, environment, script, watch


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.txt").write_text("1\n")
    return folder


def run(project: Path, text: str, **options: object) -> Seen:
    return watch([PYTHON, script(project, text)], project, **options)  # type: ignore[arg-type]


# --- paths ---


def test_paths_of_every_kind_are_absolute(project: Path) -> None:
    (project / "sub").mkdir()
    for name in ("a", "b", "c", "d", "e", "sub/f"):
        (project / name).write_text("x")
    text = """
import os, pathlib
class Text(str): pass
class Path:
    def __fspath__(self): return "d"
for one in ("a", b"b", pathlib.Path("c"), Path(), Text("./sub/../e")):
    open(one).close()
descriptor = os.open("a", os.O_RDONLY)
open(descriptor).close()
os.chdir("sub")
open("f").close()
"""
    seen = run(project, text)
    for name in ("a", "b", "c", "d", "e", "sub/f"):
        assert seen.file(project / name) is not None, name
    assert seen.watched.lost == ()


def test_a_working_folder_that_is_gone(project: Path) -> None:
    text = """
import os
os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
for mode in "rw":
    try: open("none", mode)
    except OSError as error: print(error)
"""
    seen = run(project, text)
    assert seen.watched.lost == ("a relative path was opened in a folder that is gone, and is not known",)


def test_names_that_are_not_utf8_or_hold_separators(project: Path) -> None:
    text = "open(b'\\xff\\x1f\\n', 'w').close(); open(b'\\xff\\x1f\\n').close(); open('\\x1f\\n', 'w').close()"
    seen = run(project, text)
    assert seen.file(os.fsdecode(os.fsencode(project) + b"/\xff\x1f\n")).written  # type: ignore[union-attr]
    assert seen.file(f"{project}/\x1f\n").written  # type: ignore[union-attr]
    assert seen.watched.lost == ()
    seen = run(project, "open('\\udcff\\x1f\\n').close()")
    assert seen.file(os.fsdecode(os.fsencode(project) + b"/\xff\x1f\n")).read  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("call", "read", "written"),
    [
        ("open('data.txt')", True, False),
        ("open('data.txt', 'rb', 0)", True, False),
        ("open('data.txt', 'w')", False, True),
        ("open('data.txt', 'a')", False, True),
        ("open('new.txt', 'x')", False, True),
        ("open('data.txt', 'r+')", True, True),
        ("open('data.txt', 'w+')", False, True),
        ("os.open('data.txt', os.O_RDWR | os.O_CREAT)", True, True),
        ("os.truncate('data.txt', 0)", True, True),
        ("pathlib.Path('new.txt').write_text('x')", False, True),
        ("shutil.copy('data.txt', 'new.txt')", True, False),
        ("sqlite3.connect('data.db')", True, True),
        ("sqlite3.connect('file:data.db?mode=ro', uri=True)", True, False),
    ],
)
def test_reading_and_writing(project: Path, call: str, read: bool, written: bool) -> None:
    sqlite3.connect(project / "data.db").execute("create table t (a)").connection.close()
    name = (
        "new.txt" if "'new.txt'" in call and "copy" not in call else "data.db" if "data.db" in call else "data.txt"
    )

    def again() -> None:
        (project / "new.txt").unlink(missing_ok=True)

    seen = run(project, f"import os, pathlib, shutil, sqlite3\n{call}\n", before=again)
    use = seen.file(project / name)
    assert use is not None and (use.read, use.written) == (read, written)
    assert use.first == ("read" if read else "written")


def test_an_extension_module_is_a_library(project: Path) -> None:
    seen = run(project, "import _ctypes, json, nothing_here")
    assert {"json", "_ctypes"} <= set(seen.watched.imports)
    assert "nothing_here" not in seen.watched.imports
    assert any(use.library and "_ctypes" in use.path for use in seen.watched.files)


# --- renames, removals ---


def test_a_renamed_file_is_written_under_its_last_name(project: Path) -> None:
    text = """
import os
with open("model.tmp", "w") as f: f.write("x")
os.replace("model.tmp", "model.bin")
os.mkdir("tmp-1")
with open("tmp-1/w.bin", "w") as f: f.write("x")
os.rename("tmp-1", "checkpoint-1")
os.unlink("data.txt")
"""

    def again() -> None:
        (project / "data.txt").write_text("1")
        for name in ("checkpoint-1/w.bin", "model.bin"):
            (project / name).unlink(missing_ok=True)
        if (project / "checkpoint-1").exists():
            (project / "checkpoint-1").rmdir()

    seen = run(project, text, before=again)
    model, weights = seen.file(project / "model.bin"), seen.file(project / "checkpoint-1/w.bin")
    assert model is not None and model.written and not model.read and model.first == "written"
    assert model.renamed_from == str(project / "model.tmp")
    assert weights is not None and weights.written and weights.renamed_from == str(project / "tmp-1/w.bin")
    old = seen.file(project / "model.tmp")
    assert old is not None and old.removed


# --- what is kept ---


@pytest.mark.parametrize(
    "change",
    [
        "open('data.txt', 'w').write('2')",
        "open('data.txt', 'r+').write('2')",
        "open('new', 'w').write('2'); os.replace('new', 'data.txt')",
        "os.remove('data.txt')",
        "subprocess.run([sys.executable, '-c', 'open(\"data.txt\", \"w\")'])",
        "os.fork() or (open('data.txt', 'w').close(), os._exit(0)); os.wait()",
    ],
)
def test_an_input_that_the_job_overwrites_is_kept_as_it_was_read(project: Path, change: str) -> None:
    def again() -> None:
        (project / "data.txt").write_text("before\n")

    text = f"import os, subprocess, sys\nprint(open('data.txt').read())\n{change}\n"
    seen = run(project, text, before=again)
    use = seen.file(project / "data.txt")
    assert use is not None and use.first == "read" and use.read
    assert (seen.folder / use.kept).read_text() == "before\n"
    assert use.written or use.removed


def test_what_the_job_wrote_itself_or_never_read_is_not_kept(project: Path) -> None:
    text = """
for _ in range(2):
    open("made.txt", "w").write("1"); open("made.txt").read()
open("data.txt", "w").write("2")
"""
    seen = run(project, text)
    assert [use.kept for use in seen.watched.files if use.kept] == []
    assert list((seen.folder / "kept").iterdir()) == []


# --- much ---


def test_a_million_opens_swell_neither_memory_nor_log(project: Path) -> None:
    text = """
import resource
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import os
for i in range(1000000):
    try: os.open(f"/nowhere/{i % 300000:032}", 0)
    except OSError: pass
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 40_000, grown
"""
    seen = watch([PYTHON, script(project, text)], project, compare=False)
    assert seen.code == 0, seen.stderr
    assert sum(log.stat().st_size for log in seen.folder.glob("*.log")) < 256 << 20
    listed = [use for use in seen.watched.files if use.path.startswith("/nowhere/")]
    (folder,) = (folder for folder in seen.watched.folders if folder.path == "/nowhere")
    assert len(listed) > 190_000 and folder.read >= 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1_500_000


def test_threads_and_signal_handlers_lose_nothing(project: Path) -> None:
    text = """
import signal, threading
ticks = iter(range(10**9))
def tick(*_):
    try: open(f"/nowhere/signal/{next(ticks)}")
    except OSError: pass
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
def work(name):
    for i in range(5000):
        try: open(f"/nowhere/{name}/{i}", "r" if i % 2 else "w")
        except OSError: pass
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for t in threads: t.start()
for t in threads: t.join()
"""
    seen = run(project, text)
    assert (
        sum(use.path.startswith("/nowhere/") and "signal" not in use.path for use in seen.watched.files) == 30_000
    )
    assert seen.watched.lost == ()


# --- the network ---


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            moved = self.path.startswith("/moved")
            self.send_response(302 if moved else 200)
            if moved:
                self.send_header("Location", "/elsewhere/blob?signature=verysecret")
            self.send_header("Content-Length", "0" if moved else "4")
            self.end_headers()
            self.wfile.write(b"" if moved else b"data")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_download_has_its_address_without_secrets(project: Path, server: str) -> None:
    host = server.removeprefix("http://")
    text = f"""
import http.client, urllib.request
urllib.request.urlretrieve("{server}/a/set.csv?token=verysecret", "a.csv")
urllib.request.urlretrieve("{server}/moved/b.csv", "b.csv")
connection = http.client.HTTPConnection("{host}")
connection.request("GET", "/c.csv?key=verysecret", headers={{"Authorization": "verysecret"}})
open("c.csv", "wb").write(connection.getresponse().read())
"""
    seen = run(project, text)
    assert seen.code == 0, seen.stderr
    assert seen.file(project / "a.csv").url == f"{server}/a/set.csv?token"  # type: ignore[union-attr]
    assert seen.file(project / "b.csv").url == f"{server}/moved/b.csv"  # type: ignore[union-attr]
    assert seen.file(project / "c.csv").url == f"{server}/c.csv?key"  # type: ignore[union-attr]
    urls = {one.url for one in seen.watched.connections}
    assert {f"{server}/a/set.csv?token", f"{server}/moved/b.csv", f"{server}/elsewhere/blob?signature"} <= urls
    assert any((one.host, one.port) == ("127.0.0.1", int(host.split(":")[1])) for one in seen.watched.connections)
    logs = b"".join(log.read_bytes() for log in seen.folder.glob("*.log"))
    assert b"verysecret" not in logs.replace(script(project, text).read_bytes(), b"")


def test_a_file_that_is_open_already_when_its_content_is_asked_for_has_that_address(
    project: Path, server: str
) -> None:
    text = f"""
import urllib.request
urllib.request.urlretrieve("{server}/first.csv", "first.csv")
with open("second.csv", "wb") as file:
    file.write(urllib.request.urlopen("{server}/second.csv").read())
open("third.csv", "wb").close()
urllib.request.urlopen("{server}/third.csv").read()
open("third.csv", "wb").close()
"""
    seen = run(project, text)
    assert seen.code == 0, seen.stderr
    for name in ("first", "second", "third"):
        assert seen.file(project / f"{name}.csv").url == f"{server}/{name}.csv"  # type: ignore[union-attr]
    assert seen.file(project / "first.csv").fetched_by == "urllib"  # type: ignore[union-attr]
    assert seen.file(project / "second.csv").fetched_by == ""  # type: ignore[union-attr]
    assert {one.method for one in seen.watched.connections if one.url} <= {"GET", ""}


def test_a_link_to_a_download_has_its_address_and_so_has_what_is_moved(project: Path, server: str) -> None:
    text = f"""
import os, shutil, urllib.request
os.makedirs("blobs"), os.makedirs("snapshots/1")
urllib.request.urlretrieve("{server}/x.bin", "x.incomplete")
shutil.move("x.incomplete", "blobs/abc")
os.symlink("../../blobs/abc", "snapshots/1/x.bin")
open("snapshots/1/x.bin").close()
"""
    seen = run(project, text, compare=False)
    assert seen.code == 0, seen.stderr
    link, blob = seen.file(project / "snapshots/1/x.bin"), seen.file(project / "blobs/abc")
    assert link is not None and blob is not None
    assert link.url == blob.url == f"{server}/x.bin"
    assert (link.first, link.read, link.linked_to) == ("written", True, str(project / "blobs/abc"))


def test_a_connection_that_fails_is_told(project: Path) -> None:
    text = """
import socket
for address in (("127.0.0.1", 1), ("::1", 1)):
    try: socket.create_connection(address, 0.1)
    except OSError: pass
"""
    seen = run(project, text)
    assert any((one.host, one.port, one.url) == ("127.0.0.1", 1, "") for one in seen.watched.connections)


def test_two_runs_at_once_do_not_mix(project: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "w1", tmp_path / "w2"]
    text = "import sys, time; open(sys.argv[1], 'w'); time.sleep(0.3); open(sys.argv[1])"
    jobs = [
        subprocess.Popen([PYTHON, "-c", text, folder.name], cwd=project, env=prepare(folder, environment()))
        for folder in folders
    ]
    assert [job.wait() for job in jobs] == [0, 0]
    for folder in folders:
        inside = [use.path for use in read_watch(folder).files if use.path.startswith(str(project))]
        assert inside == [str(project / folder.name)]


def test_requests_of_httpx_and_aiohttp_are_seen_however_they_are_made(project: Path) -> None:
    """Stand-ins with the real ones' names and signatures, which were run by hand against a server."""
    httpx = project / "site-packages/httpx/_client.py"
    aiohttp = project / "site-packages/aiohttp/client.py"
    for path, text in (
        (
            httpx,
            "class Client:\n    def send(self, request, *, stream=False): pass\nclass AsyncClient(Client): pass\n",
        ),
        (
            aiohttp,
            "class ClientSession:\n    def _build_url(self, url): return 'http://host/' + url\n"
            "    def _request(self, method, str_or_url, **more): pass\n",
        ),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
        (path.parent / "__init__.py").write_text("")
    text = """import sys; sys.path.insert(0, "site-packages")
from types import SimpleNamespace
from httpx._client import AsyncClient, Client
from aiohttp.client import ClientSession
Client().send(SimpleNamespace(method="GET", url="http://host/a?key=1"))
open("a.csv", "w").close()
AsyncClient().send(request=SimpleNamespace(method="GET", url="http://host/b"), stream=True)
open("b.csv", "w").close()
ClientSession()._request("GET", "c?key=2")
open("c.csv", "w").close()
ClientSession()._request("GET", str_or_url="d")
open("d.csv", "w").close()
"""
    seen = watch([PYTHON, script(project, text)], project)
    urls = [seen.file(project / f"{name}.csv").url for name in "abcd"]  # type: ignore[union-attr]
    assert urls == ["http://host/a?key", "http://host/b", "http://host/c?key", "http://host/d"]
