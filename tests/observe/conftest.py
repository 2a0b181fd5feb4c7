"""Real environments and real git repositories, small enough to be made anew for every test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from runbook.observe.probing import run_probe

from .wheelmaker import make_wheel


class Venv:
    """A virtual environment of the test's own."""

    def __init__(self, path, interpreter=sys.executable):
        self.path = path
        subprocess.run([find_uv_bin(), "venv", "-q", "--offline", "--python", interpreter, path], check=True)
        self.python = path / "bin" / "python"

    @property
    def site(self):
        return next((self.path / "lib").glob("python*/site-packages"))

    def install(self, *what, env=None):
        argv = [
            find_uv_bin(),
            "pip",
            "install",
            "-q",
            "--offline",
            "--no-index",
            "--no-deps",
            "--python",
            self.python,
        ]
        subprocess.run([*argv, *what], check=True, env={**os.environ, **(env or {})})

    def package(self, name, version="1.0", files=None, requires=(), tag="py3-none-any"):
        """Install a wheel made on the spot, as an index would have delivered it."""
        folder = self.path.parent / "wheels"
        folder.mkdir(exist_ok=True)
        make_wheel(folder, name, version, files or {f"{name}.py": "x = 1\n"}, requires, tag)
        self.install("--find-links", folder, f"{name}=={version}")

    def probe(self, cwd=None, env=None, **options):
        return run_probe(str(self.python), env or dict(os.environ), cwd or self.path, **options)


@pytest.fixture
def venv(tmp_path):
    return Venv(tmp_path / "venv")


@pytest.fixture(autouse=True)
def git_identity(monkeypatch, tmp_path):
    """Commits of a test carry a name, and no setting of this machine changes what git prints."""
    config = tmp_path / "gitconfig"
    config.write_text('[user]\nname = T\nemail = t@test.example\n[protocol "file"]\nallow = always\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    config.rename(tmp_path / ".gitconfig")
    for name in [n for n in os.environ if n.startswith("GIT_")]:
        monkeypatch.delenv(name)


class Repository:
    """A git checkout of the test's own."""

    def __init__(self, path):
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *words):
        done = subprocess.run(["git", *words], cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def write(self, name, text="x\n"):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self, **files):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "c")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


@pytest.fixture
def new_repository(tmp_path):
    return lambda name: Repository(tmp_path / name)


def other_pythons():
    """CPython 3.8 and later that this machine happens to have, one per version."""
    command = [find_uv_bin(), "python", "list", "--only-installed", "--offline", "--output-format", "json"]
    told = subprocess.run(command, capture_output=True, check=False).stdout
    import json

    found = {}
    for one in json.loads(told or b"[]"):
        parts = one["version_parts"]
        if one["implementation"] == "cpython" and (parts["major"], parts["minor"]) >= (3, 8):
            found.setdefault((parts["major"], parts["minor"]), one["path"])
    for fixed in ("/usr/bin/python3",):
        if Path(fixed).exists():
            found["system"] = fixed
    return list(found.values())
