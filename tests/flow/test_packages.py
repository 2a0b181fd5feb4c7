"""Packages on the road: locked by hash, carried when no index has them, named when they cannot be had."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uv

from tests.flow.conftest import Project


def _wheel(folder: Path, name: str, version: str, text: str) -> Path:
    """Build a wheel of one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": text,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for member, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{member},sha256={digest},{len(data)}\n")
    files[f"{info}/RECORD"] = "".join(lines) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in files.items():
            archive.writestr(member, data)
    return path


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not chat."""

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A simple index on loopback: its URL, and the folder that it serves."""
    folder = tmp_path / "index"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", folder
        server.shutdown()


def _publish(folder: Path, wheel: Path) -> None:
    name = wheel.name.partition("-")[0]
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / wheel.name).write_bytes(wheel.read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (place / "index.html").write_text(f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>')


@pytest.fixture
def packaged(project: Project, tmp_path: Path, index: tuple[str, Path]) -> Project:
    """The project with an environment of two packages: one on the index, one from a local file only."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    public = _wheel(wheels, "publicpkg", "1.0", "VALUE = 1\n")
    private = _wheel(wheels, "privatepkg", "2.0+local", "VALUE = 2\n")
    _publish(index[1], public)
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    command = [
        uv.find_uv_bin(),
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-cache",
        "--python",
        venv / "bin/python",
    ]
    subprocess.run([*command, public, private], check=True)
    # uv notes that both came from local files; what an index has is then locked by its hash all the same.
    project.python = venv / "bin" / "python"
    project.write("train.py", "import publicpkg, privatepkg\nprint('sum:', publicpkg.VALUE + privatepkg.VALUE)\n")
    return project


def _settings(url: str, cache: Path) -> dict[str, str]:
    return {
        "PIP_INDEX_URL": url,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
        "XDG_CACHE_HOME": str(cache),
    }


def _run_and_capture(project: Project, env: dict[str, str]) -> Path:
    done = project.runbook("run", "--metric", "sum=sum: ([0-9]+)", "--", project.python, "train.py", env=env)
    assert done.code == 0, done.err
    bundle = project.folder / "x.runbook"
    done = project.runbook("capture", "-o", bundle, env=env)
    assert done.code == 0, done.err
    return bundle


@pytest.mark.docker
def test_what_no_index_has_is_carried_and_replays(
    packaged: Project, index: tuple[str, Path], tmp_path: Path
) -> None:
    env = _settings(index[0], tmp_path / "cache")
    bundle = _run_and_capture(packaged, env)
    record = packaged.runbook("show", bundle, "--json").json
    shipped = {p["name"]: p["shipped"] for p in record["environment"]["packages"]}
    assert shipped["privatepkg"] == "carried"
    requirements = (bundle / "data/lock/requirements.txt").read_text()
    assert "privatepkg==2.0+local" in requirements
    assert "publicpkg==1.0" in requirements
    done = packaged.runbook("replay", bundle, "--engine", "docker", "--json", env=env)
    assert done.code == 0, done.err
    assert done.json["verdict"] == "identical"


def test_a_lock_that_no_index_serves_any_more_exits_4_and_names_the_package(
    packaged: Project, index: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = index
    # Installed from the index itself, so that it is locked and not carried.
    command = [uv.find_uv_bin(), "pip", "install", "-q", "--no-cache", "--reinstall", "--python", packaged.python]
    subprocess.run([*command, "--index-url", url, "publicpkg==1.0"], check=True)
    bundle = _run_and_capture(packaged, _settings(url, tmp_path / "cache"))
    assert not list(bundle.glob("data/lock/wheels/publicpkg*"))
    for path in (folder / "publicpkg").iterdir():
        path.unlink()
    gone = packaged.runbook("replay", bundle, "--engine", "local", env=_settings(url, tmp_path / "empty"))
    assert gone.code == 4, gone.err
    assert "publicpkg" in gone.err
