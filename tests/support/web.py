"""A real web server on loopback that behaves as asked: with ranges or without, cutting, slow, wrong."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Web:
    """What the server has and how it behaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.head = True
        self.lengths = True
        self.cut: int | None = None
        """Bytes of a body after which the connection is broken, every time."""
        self.pause = 0.0
        """Seconds between blocks of 4 KiB."""
        self.gate: threading.Event | None = None
        """What a body waits for after its first 64 KiB."""
        self.status = 200
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and Range header of each request."""
        self.served = 0
        """Bytes of bodies."""
        self.url = ""

    def asked(self, method: str) -> list[str]:
        """The Range headers of the requests of this method."""
        return [told for was, _, told in self.requests if was == method]


@contextmanager
def serving() -> Iterator[Web]:
    """A server on a free port; it ends with the block."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path, told = unquote(urlsplit(self.path).path), self.headers.get("Range", "")
            web.requests.append((self.command, path, told))
            data = web.files.get(path)
            if web.status != 200 or data is None or (not body and not web.head):
                status = web.status if web.status != 200 else 404 if data is None else 405
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", told)[1]) if told and web.ranges else 0  # type: ignore[index]
            if start >= len(data) and start:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if web.lengths:
                self.send_header("Content-Length", str(len(data) - start))
            else:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            if body:
                self.send(data[start:])

        def send(self, data: bytes) -> None:
            whole = len(data)
            data = data if web.cut is None else data[: web.cut]
            for at in range(0, len(data), 4096):
                block = data[at : at + 4096]
                try:
                    self.wfile.write(block)
                except OSError:
                    return
                web.served += len(block)
                time.sleep(web.pause)
                if web.gate is not None and at >= 65536:
                    web.gate.wait(120)
            if len(data) < whole:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
