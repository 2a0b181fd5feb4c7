"""An upload against a registry that keeps what came of a broken part, as the distribution API has it."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runbook.model.reference import parse_reference
from runbook.remote import registry
from runbook.remote.registry import Repository

BLOB = os.urandom(5 << 20)
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


@dataclass
class Keeping:
    """One upload: what came, and how its parts are treated."""

    host: str = ""
    data: bytearray = field(default_factory=bytearray)
    break_at: int = 0
    """The connection ends once so many bytes of the upload came."""
    fail: int = 0
    """So many parts are answered with 500."""
    starts: list[int] = field(default_factory=list)
    finished: str = ""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Host and Authorization of every request."""
    elsewhere: str = ""
    """Another host that parts are sent to."""


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    """See Keeping."""
    state = Keeping()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            super().handle_one_request()
            if self.headers is not None:
                state.seen.append((self.headers.get("Host", ""), self.headers.get("Authorization", "")))

        def answer(self, code: int, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def place(self) -> str:
            return f"http://{state.elsewhere or state.host}/v2/x/blobs/uploads/1?state=a"

        def do_POST(self) -> None:
            self.answer(202, Location=self.place())

        def do_GET(self) -> None:
            self.answer(204, Location=self.place(), Range=f"0-{len(state.data) - 1}")

        def do_PATCH(self) -> None:
            begin = int(re.match(r"(\d+)-", self.headers["Content-Range"])[1])
            state.starts.append(begin)
            left = int(self.headers["Content-Length"])
            if state.fail:
                state.fail -= 1
                self.rfile.read(left)
                self.answer(500)
                return
            assert begin == len(state.data)
            while left:
                part = self.rfile.read(min(left, 1 << 16))
                left -= len(part)
                state.data += part
                if state.break_at and len(state.data) >= state.break_at:
                    state.break_at = 0
                    self.connection.close()
                    self.close_connection = True
                    return
            self.answer(202, Location=self.place(), Range=f"0-{len(state.data) - 1}")

        def do_PUT(self) -> None:
            state.finished = self.path.rpartition("digest=")[2]
            self.answer(201)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.host = f"127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def put(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Upload the blob."""
    monkeypatch.setattr(registry, "_CHUNK", 2 << 20)
    reference = parse_reference(f"{keeping.host}/x:v1")
    assert reference is not None

    def call() -> int:
        sent = 0

        def count(size: int) -> None:
            nonlocal sent
            sent += size

        with Repository(reference, timeout_s=10) as repository:
            repository.put(DIGEST, len(BLOB), io.BytesIO(BLOB), count)
        return sent

    return call


def test_it_is_sent_in_parts(keeping: Keeping, put: Any) -> None:
    assert put() == len(BLOB)
    assert keeping.starts == [0, 2 << 20, 4 << 20]
    assert bytes(keeping.data) == BLOB and keeping.finished == DIGEST


def test_after_a_broken_part_the_rest_is_sent(keeping: Keeping, put: Any) -> None:
    keeping.break_at = (2 << 20) + 500_000
    assert put() == len(BLOB)
    assert bytes(keeping.data) == BLOB and keeping.finished == DIGEST
    assert keeping.starts[:2] == [0, 2 << 20] and keeping.starts[2] >= (2 << 20) + 500_000


def test_a_part_that_the_registry_fails_on_is_sent_again(keeping: Keeping, put: Any) -> None:
    keeping.fail = 2
    put()
    assert bytes(keeping.data) == BLOB


def test_a_registry_that_goes_on_failing_is_given_up(keeping: Keeping, put: Any) -> None:
    keeping.fail = 99
    with pytest.raises(ConnectionError, match="500"):
        put()


def test_a_login_does_not_follow_an_upload_to_another_host(
    keeping: Keeping, put: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping.elsewhere = keeping.host.replace("127.0.0.1", "localhost")
    monkeypatch.setattr(Repository, "__enter__", _logged_in(Repository.__enter__))
    put()
    here = {login for host, login in keeping.seen if host == keeping.host}
    there = {login for host, login in keeping.seen if host == keeping.elsewhere}
    assert here == {"Basic c2VjcmV0"} and there == {""}


def _logged_in(enter: Any) -> Any:
    def entered(self: Repository) -> Repository:
        found = enter(self)
        found._authorization = "Basic c2VjcmV0"
        return found

    return entered
