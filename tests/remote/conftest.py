"""Bundles to send, a home of the test's own, and servers on loopback that break when they are told to."""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from runbook.cli.main import run
from tests.factories import make_bundle, make_input, make_record

LARGE = 3 << 20


@pytest.fixture(scope="session")
def contents() -> dict[str, bytes]:
    """An input with a file that is a blob of its own, and one that is not."""
    return {"weights.bin": os.urandom(LARGE), "small.csv": b"1,2\n"}


@pytest.fixture
def bundle(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    """A bundle of about 3 MiB with an attestation."""
    made = _made(tmp_path, contents, "demo")
    (made / "attestations").mkdir()
    (made / "attestations/a.dsse.json").write_text("{}")
    return made


@pytest.fixture
def second(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    """Another bundle with the same input."""
    return _made(tmp_path, contents, "second")


def _made(folder: Path, contents: dict[str, bytes], name: str) -> Path:
    record = make_record(name=name, inputs=(make_input("big", contents),))
    return make_bundle(folder, record, inputs={"big": contents}, name=name)


@dataclass(frozen=True)
class Answer:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON."""
        return json.loads(self.out)


@pytest.fixture
def runbook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """The real command line in this process, in a folder and with a home of its own."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home/cache"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path / "work")

    def call(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        code = run([str(word) for word in arguments])
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err and "unexpected" not in shown.err
        return Answer(code, shown.out, shown.err)

    return call


@dataclass
class Web:
    """A web server over a folder, with ranges or without, that breaks off when told."""

    url: str = ""
    ranges: bool = True
    cut: list[int] = field(default_factory=list)
    """Bytes of a body after which the connection ends, for the next answers in turn."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path and Range of every request."""
    hold: threading.Event = field(default_factory=threading.Event)
    """Until it is set, a large body waits."""
    held: threading.Event = field(default_factory=threading.Event)
    """One waits."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """See Web; the folder is `tmp_path/share`."""
    state = Web()
    state.hold.set()
    root = tmp_path / "share"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append((self.path, wanted))
            path = root / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            body, begin = path.read_bytes(), 0
            if wanted and state.ranges:
                begin = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - begin))
            self.end_headers()
            large = len(body) > 1 << 20
            if large and not state.hold.is_set():
                state.held.set()
                state.hold.wait(60)
            self.wfile.write(body[begin : begin + state.cut.pop(0)] if large and state.cut else body[begin:])

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever asked has gone: a test ended it."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Proxy:
    """A plain relay in front of another port, that drops one connection after so many bytes of requests."""

    host: str = ""
    drop_after: int = 0
    dropped: int = 0


@pytest.fixture
def relay() -> Iterator[Callable[[str], Proxy]]:
    """Start a Proxy in front of `host:port`."""
    servers: list[socketserver.ThreadingTCPServer] = []

    def start(target: str) -> Proxy:
        state = Proxy()
        host, _, port = target.partition(":")

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection((host, int(port))) as out:
                    back = threading.Thread(target=_copy, args=(out, self.request), daemon=True)
                    back.start()
                    sent = 0
                    while data := _received(self.request):
                        sent += len(data)
                        if state.drop_after and sent > state.drop_after and not state.dropped:
                            state.dropped += 1
                            break
                        out.sendall(data)
                    for one in (out, self.request):
                        _end(one)
                    back.join(5)

        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        state.host = f"127.0.0.1:{server.server_address[1]}"
        return state

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _received(one: socket.socket) -> bytes:
    try:
        return one.recv(1 << 16)
    except OSError:
        return b""


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _copy(source: socket.socket, sink: socket.socket) -> None:
    while data := _received(source):
        try:
            sink.sendall(data)
        except OSError:
            return
