"""A package index on loopback, real virtual environments, and the interpreter that runs the tests."""

import base64
import hashlib
import http.server
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename

from runbook.environment.index import Index
from runbook.environment.lock import LockResult, make_lock
from runbook.model.environment import Interpreter
from runbook.observe.packages import read_packages
from runbook.observe.probing import Probe, run_probe


class OwnIndex:
    """What the server has and how it behaves; files are added while it runs."""

    def __init__(self) -> None:
        self.files: dict[str, list[Path]] = {}
        self.form = "json"
        self.hashes = True
        self.status = 200
        self.login = ""
        self.garbage = False
        self.cut: dict[str, int] = {}
        self.replaced: dict[str, bytes] = {}
        self.held = ""
        """Paths that begin so are not answered until `released`."""
        self.released = threading.Event()
        self.asked: list[str] = []
        self.url = ""

    def add(self, path: Path) -> Path:
        name = parse_wheel_filename(path.name)[0] if path.suffix == ".whl" else path.name.rpartition("-")[0]
        self.files.setdefault(canonicalize_name(name), []).append(path)
        return path

    def pip_args(self) -> tuple[str, ...]:
        return ("--isolated", "--index-url", f"{self.url}/simple/")

    def page(self, name: str) -> tuple[str, bytes]:
        entries = []
        for path in self.files[name]:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            entries.append((path.name, f"/files/{path.name}", {"sha256": digest} if self.hashes else {}))
        if self.form == "json":
            files = [{"filename": n, "url": u, "hashes": h} for n, u, h in entries]
            document = {"meta": {"api-version": "1.0"}, "name": name, "files": files}
            return "application/vnd.pypi.simple.v1+json", json.dumps(document).encode()
        anchors = "".join(f'<a href="{u}{"#sha256=" + h["sha256"] if h else ""}">{n}</a>\n' for n, u, h in entries)
        return "text/html", f"<!DOCTYPE html><html><body>{anchors}</body></html>".encode()


@contextmanager
def serving(index: OwnIndex, tls: ssl.SSLContext | None = None) -> Iterator[OwnIndex]:
    """The index on a port of loopback; with `tls`, over https."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.asked.append(self.path)
            if index.held and self.path.startswith(index.held):
                index.released.wait(60)
                return
            parts = urlsplit(self.path).path.strip("/").split("/")
            told = self.headers.get("Authorization", "").removeprefix("Basic ")
            if index.login and base64.b64decode(told).decode() != index.login:
                self.answer(401, "text/plain", b"who are you?")
            elif index.status != 200:
                self.answer(index.status, "text/plain", b"no")
            elif index.garbage:
                self.answer(200, "application/vnd.pypi.simple.v1+json", b'{"files": [{"filename"')
            elif parts[0] == "simple" and parts[1] in index.files:
                self.answer(200, *index.page(parts[1]))
            elif parts[0] == "files":
                found = [p for paths in index.files.values() for p in paths if p.name == parts[1]]
                data = index.replaced.get(parts[1], found[0].read_bytes())
                self.file(parts[1], data)
            else:
                self.answer(404, "text/plain", b"not found")

        def do_HEAD(self) -> None:  # uv asks before it takes a file.
            self.send_response(200)
            self.end_headers()

        def file(self, name: str, data: bytes) -> None:
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            body = data[start:]
            keep = index.cut.pop(name, len(body))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/octet-stream")
            self.end_headers()
            self.wfile.write(body[:keep])

        def answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    index.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield index
    index.released.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def own_index() -> Iterator[OwnIndex]:
    with serving(OwnIndex()) as index:
        yield index


class Environment:
    """A real virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        uv("venv", "--quiet", "--python", sys.executable, folder)

    def install(self, *what: object) -> None:
        uv("pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--python", self.python, *what)

    @property
    def site(self) -> Path:
        return next((self.folder / "lib").glob("python*/site-packages"))

    def probe(self) -> Probe:
        return run_probe(str(self.python), {"PATH": os.environ["PATH"]}, self.folder)

    def lock(self, target: Path, cache: Path, *pip_args: str) -> LockResult:
        probe = self.probe()
        installed = {canonicalize_name(d.name): d for d in probe.distributions}
        return make_lock(
            read_packages(probe), interpreter_of(probe), installed, target, index=Index(cache, pip_args)
        )

    def run(self, code: str) -> str:
        done = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.strip()


def uv(*arguments: object) -> None:
    tool = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([tool, *map(str, arguments)], check=True, capture_output=True)


def interpreter_of(probe: Probe) -> Interpreter:
    told = probe.interpreter
    return Interpreter(
        implementation=told.implementation,
        version=told.version,
        abi=told.abi,
        soabi=told.soabi,
        machine=told.machine,
        system=told.system,
        libc=f"{told.libc_name} {told.libc_version}",
        executable=told.executable,
        prefix=told.prefix,
        base_prefix=told.base_prefix,
    )


@pytest.fixture
def make_environment(tmp_path: Path) -> Callable[[str], Environment]:
    return lambda name="venv": Environment(tmp_path / name)


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Interpreter:
    """The interpreter that runs the tests, as the probe describes it."""
    return interpreter_of(run_probe(sys.executable, {}, tmp_path_factory.mktemp("probe"), record_check=False))
