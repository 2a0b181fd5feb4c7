"""A socket in front of a real engine: records what is asked of it, and dies at a chosen request."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

_REQUEST = re.compile(rb"(GET|POST|PUT|DELETE|HEAD) (?:/v[0-9.]+)?(\S+) HTTP/1\.1\r\n")


@dataclass
class Asked:
    """One request: its line, and what followed it."""

    line: str
    """`POST /containers/create?name=…`, without the version of the API."""
    sent: bytes = b""

    def body(self) -> Any:
        """Its JSON body."""
        return json.loads(self.sent.partition(b"\r\n\r\n")[2])


@dataclass
class Proxy:
    """Relays bytes in both directions, so that hijacked connections work too."""

    path: Path
    upstream: str
    stage: tuple[str, int] = ("", 0)
    """Regular expression of a request's line, and which of those that match is meant, from 1."""
    act: Callable[[], object] | None = None
    """What happens once the real engine has that request; None: this engine dies."""
    asked: list[Asked] = field(default_factory=list)
    dead: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._open: set[socket.socket] = set()
        self.stalled = threading.Event()
        self._matched = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """For DOCKER_HOST."""
        return f"unix://{self.path}"

    def bodies(self, line: str) -> list[Any]:
        """The JSON bodies of every request whose line matches."""
        return [one.body() for one in self.asked if re.search(line, one.line)]

    def die(self) -> None:
        """Go away as a killed engine does: every connection ends, and nobody listens any more."""
        self.dead.set()
        self.path.unlink(missing_ok=True)
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def stall(self) -> None:
        """Hang: every connection stays and more are taken, and nothing is ever answered."""
        self.stalled.set()

    def _accept(self) -> None:
        while not self.dead.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self.upstream)
            except OSError:
                return
            self._open |= {client, server}
            threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, requests: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                due = requests and self._hear(data)
                if self.stalled.is_set():
                    self.dead.wait()
                    return
                target.sendall(data)
                if due:
                    time.sleep(0.1)  # The engine has begun with it.
                    (self.act or self.die)()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _hear(self, data: bytes) -> bool:
        if found := _REQUEST.match(data):
            self.asked.append(Asked(b" ".join(found.groups()).decode()))
        if self.asked:
            self.asked[-1].sent += data
        line, number = self.stage
        if found and line and re.search(line, self.asked[-1].line):
            self._matched += 1
            return self._matched == number
        return False


@contextlib.contextmanager
def proxied(path: Path, upstream: str, **how: Any) -> Iterator[Proxy]:
    """A proxy at `path` in front of the engine at `upstream` (`unix://…`)."""
    proxy = Proxy(path, upstream.removeprefix("unix://"), **how)
    try:
        yield proxy
    finally:
        proxy.die()


@contextlib.contextmanager
def answering(path: Path, *, podman: bool = False, **facts: Any) -> Iterator[Path]:
    """An engine that says what it is and can do nothing; `facts` go into its answer to /info."""
    version = {"ApiVersion": "1.41", "Components": [{"Name": "Podman Engine" if podman else "Engine"}]}
    answers = {"version": version, "info": {"ServerVersion": "4.3.1", "Driver": "overlay", **facts}, "json": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(answers.get(self.path.partition("?")[0].rpartition("/")[2], {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def address_string(self) -> str:
            return "engine"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield path
        finally:
            server.shutdown()
