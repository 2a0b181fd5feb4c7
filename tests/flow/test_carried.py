"""What bundles carry: nothing, what is needed, everything; packing one into another; bases of registries."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from loopback_registry import registry_tool, serving
from private_engine import NO_ROUTE, empty, missing, private_engine

from runbook.bundle.read import open_bundle
from runbook.bundle.write import BundleWriter
from runbook.environment.closure import build_closure
from runbook.observe.probing import run_probe
from tests.environment.conftest import OwnIndex, interpreter_of
from tests.environment.conftest import serving as serving_index
from tests.flow.conftest import Done, Project
from tests.observe.wheelmaker import make_wheel

pytestmark = pytest.mark.docker

_JOB = """
import ctypes, importlib.util, random
from pathlib import Path
import publicpkg, privatepkg
random.seed(4)
native = importlib.util.find_spec("nativepkg").submodule_search_locations[0]
summed = ctypes.CDLL(f"{native}/summing.so").summed
print("sum:", publicpkg.VALUE + privatepkg.VALUE + len(Path("data.txt").read_text()))
print("native:", summed(3) + random.random())
"""
_NATIVE = """
#include <omp.h>
int summed(int n) {
  int total = 0;
  #pragma omp parallel for reduction(+ : total) num_threads(2)
  for (int i = 0; i <= n; i++) total += i;
  return total;
}
"""


class Carried:
    """One recorded run whose packages are: one on an index, one on none, and one that loads libgomp."""

    def __init__(self, project: Project, index: OwnIndex, cache: Path) -> None:
        self.project, self.index, self.cache = project, index, cache

    @property
    def env(self) -> dict[str, str]:
        """Variables of every command: pip's index and the caches are the test's own."""
        return {
            "PIP_INDEX_URL": f"{self.index.url}/simple/",
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "PIP_CONFIG_FILE": "/dev/null",
            "XDG_CACHE_HOME": str(self.cache),
        }

    def runbook(self, *arguments: str | Path, **env: str) -> Done:
        """Run the real executable."""
        return self.project.runbook(*arguments, env=self.env | env)

    def bundle(self, name: str, *arguments: str | Path, verb: str = "capture") -> Path:
        """Capture or pack into a bundle of this name."""
        path = self.project.folder / f"{name}.runbook"
        done = self.runbook(verb, *arguments, "-o", path)
        assert done.code == 0, done.err
        return path


def _record(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "data/record.json").read_text())


def _native_wheel(folder: Path) -> Path:
    """A wheel with a shared object that needs libgomp, compiled here."""
    source = folder / "summing.c"
    source.write_text(_NATIVE)
    library = folder / "summing.so"
    command = ["gcc", "-shared", "-fPIC", "-fopenmp", "-O1", "-s", "-o", library, source]
    subprocess.run(command, check=True)
    tag = f"py3-none-linux_{platform.machine()}"
    files = {"nativepkg/__init__.py": "", "nativepkg/summing.so": library.read_bytes()}
    return make_wheel(folder, "nativepkg", "1.0", files, tag=tag)


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Carried]:
    """The run; its environment takes a compiler."""
    if shutil.which("gcc") is None:
        pytest.skip("needs a C compiler: apt-get install gcc")
    folder = tmp_path_factory.mktemp("carried")
    wheels = folder / "wheels"
    wheels.mkdir()
    public = make_wheel(wheels, "publicpkg", "1.0", {"publicpkg.py": "VALUE = 1\n"})
    private = make_wheel(wheels, "privatepkg", "2.0", {"privatepkg.py": "VALUE = 2\n"})
    native = _native_wheel(wheels)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--isolated", "--disable-pip-version-check"]
    with serving_index(OwnIndex()) as index:
        index.add(public)
        source = ("--index-url", f"{index.url}/simple/")
        subprocess.run([*pip, "install", "-q", *source, "publicpkg", private, native], check=True)
        made = Carried(Project(folder / "project", python, folder / "home"), index, folder / "cache")
        made.project.write("train.py", _JOB)
        made.project.write("data.txt", "1.5\n2.5\n")
        assert made.runbook("run", "--", python, "train.py").code == 0
        yield made


@pytest.fixture(scope="module")
def bare_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An engine of its own without images; its DOCKER_HOST."""
    if reason := missing():
        pytest.skip(reason)
    with private_engine(tmp_path_factory.mktemp("engine") / "log") as host:
        yield host


@pytest.fixture(scope="module")
def thin(carried: Carried) -> Path:
    """The run with nothing carried."""
    return carried.bundle("thin", "--thin")


@pytest.fixture(scope="module")
def full(carried: Carried) -> Path:
    """The run with everything carried."""
    return carried.bundle("full", "--self-contained")


def test_three_ways_to_capture_carry_what_they_say_and_name_the_rest(
    carried: Carried, thin: Path, full: Path
) -> None:
    said = carried.runbook("capture", "-o", carried.project.folder / "usual.runbook")
    usual = carried.project.folder / "usual.runbook"
    held = {
        bundle.stem: (
            sorted(p.name.partition("-")[0] for p in bundle.glob("data/lock/wheels/*")),
            (bundle / "data/image").exists(),
            _record(bundle)["inputs"][0]["stored"],
        )
        for bundle in (thin, usual, full)
    }
    assert held == {
        "thin": ([], False, "reference"),
        "usual": (["nativepkg", "privatepkg"], True, "code"),
        "full": (["nativepkg", "privatepkg", "publicpkg"], True, "code"),
    }
    assert "not carried  1 wheel of an index\n" in said.err
    verified = carried.runbook("verify", thin, "--json").json
    assert verified["lacks"][:2] == ["1 wheel of an index", "2 wheels that no index has"]
    assert [text.split()[1] for text in verified["lacks"][2:]] == ["base", "input"]
    assert "self-contained" in carried.runbook("verify", full).out
    identities = {_record(b)["environment"]["id"]["value"] for b in (thin, usual, full)}
    assert len(identities) == 1, "what is carried does not name another environment"


def test_a_thin_bundle_packed_is_whole_names_where_it_came_from_and_compares_as_the_same_run(
    carried: Carried, thin: Path
) -> None:
    packed = carried.bundle("packed", thin, "--self-contained", verb="pack")
    origin = carried.runbook("verify", thin, "--json").json["id"]
    verified = carried.runbook("verify", packed, "--json").json
    assert (verified["packed_from"], verified["lacks"]) == (origin, [])
    assert f"packed from sha256:{origin}" in carried.runbook("verify", packed).out
    assert origin in carried.runbook("show", packed).out
    assert origin in (packed / "data/RUNBOOK.md").read_text()
    assert origin in (packed / "data/report.html").read_text()
    assert origin in (packed / "data/ro-crate-metadata.json").read_text()
    assert (packed / "data/inputs/data.txt/data.txt").read_text() == "1.5\n2.5\n"
    same = carried.runbook("diff", thin, packed, "--json")
    assert (same.code, same.json["comparison"]["differences"]) == (0, [])
    again = carried.bundle("again", thin, "--self-contained", verb="pack")
    assert (again / "manifest-sha256.txt").read_bytes() == (packed / "manifest-sha256.txt").read_bytes()
    back = carried.bundle("back", packed, "--thin", verb="pack")
    told = carried.runbook("verify", back, "--json").json
    assert (told["packed_from"], told["lacks"]) == (
        verified["id"],
        carried.runbook("verify", thin, "--json").json["lacks"],
    )


def test_packing_takes_nothing_that_is_not_what_the_bundle_records(
    carried: Carried, thin: Path, tmp_path: Path
) -> None:
    target = carried.project.folder / "wrong.runbook"
    data = carried.project.folder / "data.txt"
    before = data.read_text()
    other = carried.project.write("other.txt", "9.9\n2.5\n")
    refused = carried.runbook("pack", thin, "--self-contained", "-o", target, "--data", f"data.txt={other}")
    assert refused.code == 7, refused.err
    assert "data.txt has another content" in refused.err
    moved = data.rename(carried.project.folder / "elsewhere.txt")
    try:
        absent = carried.runbook("pack", thin, "--self-contained", "-o", target)
        assert absent.code == 6
        assert "hint: --data data.txt=PATH" in absent.err
    finally:
        moved.rename(data)
    assert data.read_text() == before
    [wheel] = carried.index.files["publicpkg"]
    carried.index.replaced[wheel.name] = wheel.read_bytes() + b"\0"
    cache = tmp_path / "cache"
    shutil.copytree(carried.cache, cache, ignore=shutil.ignore_patterns("publicpkg-*.whl"))
    try:
        forged = carried.runbook("pack", thin, "--self-contained", "-o", target, XDG_CACHE_HOME=str(cache))
    finally:
        carried.index.replaced.clear()
    assert forged.code == 4, forged.err
    assert "which the lock does not name" in forged.err
    assert not target.exists()
    assert not target.with_name(f"{target.name}.partial").exists()
    assert carried.runbook("pack", thin).code == 2


def test_a_base_that_rotted_in_the_cache_is_made_again_or_refused(
    carried: Carried, thin: Path, tmp_path: Path
) -> None:
    digest = _record(thin)["environment"]["base"]["value"]["digest"].removeprefix("sha256:")
    cache = tmp_path / "cache"
    shutil.copytree(carried.cache, cache)
    for blob in (cache / "runbook/closures").glob(f"*/blobs/sha256/{digest}"):
        blob.write_bytes(b"\0" + blob.read_bytes()[1:])
    target = tmp_path / "made.runbook"
    done = carried.runbook("pack", thin, "--self-contained", "-o", target, XDG_CACHE_HOME=str(cache))
    assert done.code == 0, done.err
    assert carried.runbook("verify", target).code == 0


def test_a_self_contained_bundle_replays_with_no_network_no_cache_and_no_image(
    carried: Carried, full: Path, bare_engine: str, tmp_path: Path
) -> None:
    empty(bare_engine)
    done = _replay_bare(full, bare_engine, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "identical"


def _replay_bare(bundle: Path, engine: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Replay where there is neither a route nor a cache nor a home."""
    command = [*NO_ROUTE, sys.executable, "-m", "runbook", "replay", bundle, "--engine", "docker", "--json"]
    env = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(folder), "DOCKER_HOST": engine, "NO_COLOR": "1"}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def minimal(bare_engine: str, carried: Carried, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry with a base of this Python that lacks libgomp; the image's name."""
    if registry_tool() is None:
        pytest.skip("needs docker-registry: apt-get install docker-registry")
    folder = tmp_path_factory.mktemp("minimal")
    with serving(folder) as host:
        closure = build_closure(interpreter_of(run_probe(sys.executable, {}, folder)), cache=folder / "cache")
        [told] = json.loads((closure.layout / "manifest.json").read_bytes())
        name = f"{host}/minimal:1"
        docker = ["docker", "--host", bare_engine]
        packed = subprocess.run(["tar", "-C", closure.layout, "-c", "."], capture_output=True, check=True)
        subprocess.run([*docker, "load"], input=packed.stdout, check=True, capture_output=True)
        subprocess.run([*docker, "tag", told["RepoTags"][0], name], check=True)
        subprocess.run([*docker, "push", "--quiet", name], check=True, capture_output=True)
        yield name


@pytest.fixture(scope="module")
def on_minimal(carried: Carried, minimal: str) -> Path:
    """The run with everything carried, on the base that lacks libgomp."""
    return carried.bundle("on-minimal-full", "--image", minimal, "--self-contained")


def test_a_base_of_a_registry_is_carried_with_the_library_that_it_lacks(
    carried: Carried, minimal: str, on_minimal: Path
) -> None:
    usual = carried.bundle("on-minimal", "--image", minimal)
    recorded = {one["soname"]: one for one in _record(on_minimal)["environment"]["libraries"]}
    assert "libgomp" in recorded["libgomp.so.1"]["os_package"]["value"]
    file = on_minimal / "data/lock/libraries/libgomp.so.1"
    assert file.stat().st_size == recorded["libgomp.so.1"]["size"]
    base = [_record(b)["environment"]["base"]["value"] for b in (usual, on_minimal)]
    assert base[0]["digest"] == base[1]["digest"]
    assert [b.get("layout", "") for b in base] == ["", "data/image"]
    assert carried.runbook("verify", on_minimal).code == 0


def test_a_library_that_the_base_lacks_is_named_and_is_brought_as_soon_as_it_is_there(
    on_minimal: Path, bare_engine: str, tmp_path: Path
) -> None:
    without = _without_libraries(on_minimal, tmp_path / "without.runbook")
    empty(bare_engine)
    failed = _replay_bare(without, bare_engine, tmp_path)
    assert failed.returncode == 3, failed.stderr
    report = next(tmp_path.glob(".runbook/runs/*/report.md")).read_text()
    assert "neither the base nor the bundle has libgomp.so.1" in report
    # It has the same environment id, and its image must not stand in for the whole one.
    done = _replay_bare(on_minimal, bare_engine, tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "identical"
    assert "the base lacks libgomp.so.1 (libgomp1 " in done.stderr
    assert "which nativepkg loads: brought along" in done.stderr


def _without_libraries(bundle: Path, target: Path) -> Path:
    """The same bundle as it would be of a machine whose library is no longer there: its path leads nowhere."""
    with open_bundle(bundle) as read, BundleWriter(target) as writer:
        record = read.record
        libraries = tuple(
            msgspec.structs.replace(one, size=0, path=f"/nowhere/{one.soname}")
            for one in record.environment.libraries
        )
        environment = msgspec.structs.replace(record.environment, libraries=libraries)
        for name in read.names:
            if name == "data/record.json":
                changed = msgspec.structs.replace(record, environment=environment)
                writer.add_bytes(name, msgspec.json.encode(changed))
            elif not name.startswith("data/lock/libraries/"):
                with read.open(name) as file:
                    writer.add_stream(name, file)
        writer.finish()
    return target


def test_plain_docker_brings_the_library_too(on_minimal: Path, bare_engine: str, tmp_path: Path) -> None:
    empty(bare_engine)
    env = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(tmp_path), "DOCKER_HOST": bare_engine}
    env |= {"DOCKER_BUILDKIT": "0"}
    command = [*NO_ROUTE, "sh", on_minimal / "data/replay.sh", tmp_path / "out"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    original = (on_minimal / "data/outputs/stdout.log").read_text()
    assert done.stdout == original
