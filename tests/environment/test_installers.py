"""All roads install the same files: runbook's own, uv, and pip, which anybody has."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from runbook.environment import trees
from runbook.environment.index import Index
from runbook.environment.wheels import fetch
from runbook.model.environment import Interpreter
from runbook.model.requirements import Requirement, render_requirements
from tests.environment.conftest import uv

INSTALLERS = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json", "uv_build.json"}
REAL = (("numpy", "2.3.5"), ("joblib", "1.5.2"), ("pyyaml", "6.0.3"), ("pygments", "2.19.2"))
"""Extension modules with bundled libraries, pure Python, console scripts."""


def installed(prefix: Path) -> dict[str, str]:
    """Path → digest of all that was installed; of a console script, which each installer words, what it calls."""
    found = {}
    for folder in (next((prefix / "lib").glob("python*/site-packages")), prefix / "bin", prefix / "share"):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            ours = path.name in INSTALLERS or path.suffix == ".pyc" or path.name.startswith("_virtualenv")
            if ours or path.name.startswith(("activate", "deactivate", "pydoc", "python")):
                continue
            data = path.read_bytes()
            if folder.name == "bin" and b"sys.exit(" in data:
                data = b"\n".join(
                    line.strip() for line in data.splitlines() if b" import " in line or b"exit(" in line
                )
                data += oct(path.stat().st_mode).encode()
            found[path.relative_to(prefix).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


@pytest.mark.network
def test_runbook_uv_and_pip_install_the_same_files(interpreter: Interpreter, tmp_path: Path) -> None:
    index = Index(tmp_path / "cache")
    pins = [Requirement(r.name, r.version, index.hashes(r)) for r in index.files(REAL).values()]
    lock = tmp_path / "requirements.txt"
    lock.write_bytes(render_requirements(pins))
    got = fetch(lock, interpreter, None, tmp_path / "wheels", index=index, cache=tmp_path / "cache")
    assert len(got.wheels) == len(REAL)
    common = ["--no-index", "--no-deps", "--require-hashes", "--find-links", got.folder, "-r", lock]
    with_uv, with_pip = tmp_path / "with-uv", tmp_path / "with-pip"
    for prefix in (with_uv, with_pip):
        uv("venv", "--quiet", "--python", sys.executable, prefix)
    uv("pip", "install", "--quiet", "--offline", "--python", with_uv / "bin" / "python", *common)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--isolated",
        "--python",
        with_pip / "bin" / "python",
        "install",
        "--quiet",
    ]
    subprocess.run([*pip, "--only-binary", ":all:", *common], check=True)
    first, second = installed(with_uv), installed(with_pip)
    assert len(first) > 800
    assert first == second
    laid_out = trees.have(
        lock.read_bytes(), interpreter, {}, lambda: got.folder, python=sys.executable, cache=tmp_path / "cache"
    )
    ours = {}
    for tree in laid_out.values():
        ours |= installed(tree / trees.FILES)
    assert ours == first
