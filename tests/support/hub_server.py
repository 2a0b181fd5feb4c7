"""A server on loopback that speaks the Hugging Face hub's HTTP API, and serves plain files."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class HubServer:
    """`repositories`: `models/org/name` → path → bytes; `files`: URL path → bytes; `moved`: path → path."""

    def __init__(
        self,
        repositories: dict[str, dict[str, bytes]] | None = None,
        files: dict[str, bytes] | None = None,
        moved: dict[str, str] | None = None,
    ) -> None:
        self.repositories, self.files, self.moved = repositories or {}, files or {}, moved or {}
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                hub._answer(self)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.do_GET()

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        if path in self.moved:
            _send(request, 302, b"", {"Location": self.moved[path]})
        elif path in self.files:
            _send(request, 200, self.files[path], {"Content-Type": "application/octet-stream"})
        elif path.startswith("/api/"):
            self._api(request, path.removeprefix("/api/"))
        elif "/resolve/" in path:
            self._resolve(request, *path.split("/resolve/", 1))
        else:
            _send(request, 404, b"")

    def _api(self, request: BaseHTTPRequestHandler, path: str) -> None:
        for name, files in self.repositories.items():
            if path != name and not path.startswith(name + "/"):
                continue
            what = path.removeprefix(name).strip("/").partition("/")[0]
            if what in ("tree", "paths-info"):
                listed: Any = [
                    {"type": "file", "path": one, "size": len(data), "oid": _etag(data)}
                    for one, data in files.items()
                ]
            else:
                siblings = [{"rfilename": one, "size": len(data)} for one, data in files.items()]
                plain = name.partition("/")[2]
                listed = {"id": plain, "modelId": plain, "sha": COMMIT, "siblings": siblings, "private": False}
                listed |= {"tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False}
            _send(request, 200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
            return
        _send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _resolve(self, request: BaseHTTPRequestHandler, repository: str, rest: str) -> None:
        name = repository.strip("/")
        name = name if name.startswith(("datasets/", "spaces/")) else f"models/{name}"
        data = self.repositories.get(name, {}).get(rest.partition("/")[2])
        if data is None:
            _send(request, 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        _send(request, 200, data, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT})


def _etag(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _send(request: BaseHTTPRequestHandler, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response(code)
    for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(data)
