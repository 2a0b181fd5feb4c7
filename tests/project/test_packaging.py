"""The wheel: built, installed into an environment of its own, working on a job of another interpreter."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"
JOB = ROOT / "tests" / "jobs" / "far-data"

pytestmark = pytest.mark.xdist_group("packaging")  # One worker, one wheel.


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built as a user's pip would build it, from a copy so that nothing here changes."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("runbook", "templates"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*pip, target, source], check=True)
    [built] = target.glob("runbook-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """`runbook` as pipx or `uv tool` leave it: in a virtual environment of its own, without any test tool."""
    venv = tmp_path_factory.mktemp("tool") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/python", "-m", "pip", "install", "--quiet", wheel], check=True)
    return venv / "bin" / "runbook"


def test_the_wheel_holds_the_package_its_templates_and_its_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    templates = {p.relative_to(ROOT / "templates").as_posix() for p in (ROOT / "templates").rglob("*.j2")}
    assert {f"runbook/templates/{name}" for name in templates} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "runbook/py.typed" in names
    assert not [name for name in names if name.startswith(("tests", "examples"))]


def test_the_installed_tool_answers(installed):
    for arguments in (["--version"], ["--help"], ["doctor", "--json"]):
        said = subprocess.run([installed, *arguments], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stderr
        assert said.stdout


def test_the_installed_tool_captures_a_job_of_another_interpreter(installed, tmp_path):
    other = tmp_path / "other"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    project = tmp_path / "project"
    shutil.copytree(JOB, project)
    bundle = tmp_path / "fit.runbook"
    options = ["--capture", "--offline", "-o", bundle, "--input", "../measurements", "--metric", "rmse=is: (.+)"]
    done = subprocess.run(
        [installed, "run", *options, "--", other / "bin/python", "fit.py"],
        cwd=project / "scripts",
        env={**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((bundle / "data" / "record.json").read_text())
    interpreter = record["environment"]["interpreter"]["value"]
    assert interpreter["executable"].startswith(str(other))
    assert "packages" not in record["environment"]  # empty: nothing is installed there
    assert [m["name"] for m in record["metrics"]] == ["rmse"]
