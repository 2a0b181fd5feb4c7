"""The host closure: the interpreter of this host runs in a container that has nothing else of it."""

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.environment.closure import Closure, build_closure, find_base_python
from runbook.environment.elf import load_closure, read_elf
from runbook.environment.layer import Tree, verify_layout, write_layout
from runbook.errors import BundleRejected, NeedMissing
from runbook.model.environment import Interpreter
from runbook.observe.probing import run_probe
from tests.environment.conftest import interpreter_of
from tests.factories import make_interpreter

LOADS = """
import bz2, ctypes, decimal, getpass, hashlib, json, locale, lzma, multiprocessing, os, platform, socket, sqlite3
import ssl, subprocess, sys, sysconfig, uuid, zlib, zoneinfo
shell = subprocess.run("ls / | grep usr && id -u", shell=True, capture_output=True, text=True)
pip = subprocess.run([sys.executable, "/opt/runbook/pip", "--version"], capture_output=True, text=True)
print(json.dumps({
    "version": platform.python_version(),
    "libc": " ".join(platform.libc_ver()),
    "soabi": sysconfig.get_config_var("SOABI"),
    "executable": sys.executable,
    "shell": shell.stdout.split(),
    "user": getpass.getuser(),
    "zone": str(zoneinfo.ZoneInfo("Europe/Berlin")),
    "multiprocessing": multiprocessing.Queue() is not None,
    "pip": pip.stdout[:4],
}))
"""


@pytest.fixture(scope="module")
def closure(interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> Closure:
    return build_closure(interpreter, timezone="Europe/Berlin", cache=tmp_path_factory.mktemp("cache"))


def layer_of(closure: Closure) -> Path:
    return closure.layout / "blobs" / "sha256" / closure.digest.removeprefix("sha256:")


def members(closure: Closure) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(layer_of(closure)) as archive:
        return {m.name: m for m in archive}


def files(closure: Closure) -> dict[str, str]:
    found = sorted(p for p in closure.layout.rglob("*") if p.is_file())
    return {p.relative_to(closure.layout).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def test_the_same_host_gives_the_same_bytes(closure: Closure, interpreter: Interpreter, tmp_path: Path) -> None:
    again = build_closure(interpreter, timezone="Europe/Berlin", cache=tmp_path)
    assert files(again) == files(closure)
    assert again.digest == closure.digest


def test_a_second_capture_packs_nothing(closure: Closure, interpreter: Interpreter) -> None:
    before = layer_of(closure).stat()
    again = build_closure(interpreter, timezone="Europe/Berlin", cache=closure.layout.parent.parent)
    assert again == closure
    assert layer_of(again).stat().st_ino == before.st_ino


def test_a_damaged_cache_is_packed_again(interpreter: Interpreter, tmp_path: Path) -> None:
    first = build_closure(interpreter, cache=tmp_path)
    with layer_of(first).open("r+b") as file:
        file.seek(1000)
        file.write(b"rot")
    again = build_closure(interpreter, cache=tmp_path)
    assert again.digest == first.digest
    verify_layout(again.layout)


def test_nothing_of_the_host_but_programs_is_inside(closure: Closure) -> None:
    found = members(closure)
    for name, member in found.items():
        assert (member.uid, member.gid, member.mtime) == (0, 0, 315532800)
        assert member.isdir() or member.isreg() or member.issym()
        assert "site-packages" not in name
        assert not name.endswith((".pyc", ".pem.key", "_history"))
    etc = {n for n in found if n.startswith("etc/") and not found[n].isdir()}
    allowed = {
        "passwd",
        "group",
        "nsswitch.conf",
        "os-release",
        "localtime",
        "mime.types",
        "services",
        "alternatives",
        "protocols",
    }
    assert {n.split("/")[1] for n in etc} <= allowed | {
        n.split("/")[1] for n in etc if n.startswith("etc/python3")
    }
    with tarfile.open(layer_of(closure)) as archive:
        passwd = archive.extractfile("etc/passwd")
        assert passwd is not None
        assert passwd.read().count(b"\n") == 2


def test_every_library_that_is_needed_is_inside(closure: Closure, interpreter: Interpreter) -> None:
    found = members(closure)
    python = find_base_python(interpreter)
    assert str(python).lstrip("/") in found
    loaded = load_closure([python], interpreter.machine)
    assert loaded.lost == {}
    for path in [*loaded.found.values(), *map(Path, loaded.loaders)]:
        assert str(path.resolve()).lstrip("/") in found


def test_what_a_layout_says_is_what_is_in_it(closure: Closure) -> None:
    verify_layout(closure.layout)
    [image] = json.loads((closure.layout / "manifest.json").read_text())
    config = json.loads((closure.layout / image["Config"]).read_text())
    with subprocess.Popen(["gzip", "-dc", layer_of(closure)], stdout=subprocess.PIPE) as plain:
        assert plain.stdout is not None
        digest = hashlib.file_digest(plain.stdout, "sha256").hexdigest()  # type: ignore[arg-type]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert all(not v.startswith(("HOME=", "LANG=")) for v in config["config"]["Env"])


def test_one_flipped_bit_in_any_blob_is_found(tmp_path: Path) -> None:
    tree = Tree()
    tree.put("etc/hello", b"hello")
    write_layout(tree, tmp_path / "layout", architecture="amd64", path="/bin")
    for blob in sorted((tmp_path / "layout" / "blobs" / "sha256").iterdir()):
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(BundleRejected) as caught:
            verify_layout(tmp_path / "layout")
        assert caught.value.exit_code == 5
        blob.write_bytes(data)
    (tmp_path / "layout" / "stranger").write_text("")
    with pytest.raises(BundleRejected):
        verify_layout(tmp_path / "layout")


def test_links_on_the_way_to_a_file_are_kept(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file.so.1.2").write_text("x")
    (tmp_path / "real" / "file.so").symlink_to("file.so.1.2")
    (tmp_path / "way").symlink_to("real")
    tree = Tree()
    tree.add(tmp_path / "way" / "file.so")
    inside = str(tmp_path).lstrip("/")
    assert tree.items[f"{inside}/way"].target == "real"
    assert tree.items[f"{inside}/real/file.so"].target == "file.so.1.2"
    assert tree.items[f"{inside}/real/file.so.1.2"].kind == "f"


def test_a_host_without_the_interpreter_says_so(tmp_path: Path) -> None:
    with pytest.raises(NeedMissing) as caught:
        build_closure(make_interpreter(base_prefix=str(tmp_path)), cache=tmp_path)
    assert caught.value.id == "closure-no-python"
    with pytest.raises(NeedMissing):
        build_closure(make_interpreter(system="darwin"), cache=tmp_path)


def test_what_is_no_elf_file_is_none(tmp_path: Path) -> None:
    for content in (b"", b"\x7fELF", b"\x7fELF" + b"\0" * 100, b"#!/bin/sh\n"):
        (tmp_path / "file").write_bytes(content)
        read_elf.cache_clear()
        assert read_elf(tmp_path / "file") is None


@pytest.fixture
def load(docker_client: Any) -> Iterator[Any]:
    """Load a layout the way a person without runbook does: a tar of the folder."""
    loaded = []

    def call(layout: Path) -> str:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(layout, arcname=".")
        stream.seek(0)
        list(docker_client.load_image(stream))
        [image] = json.loads((layout / "manifest.json").read_text())
        loaded.append(image["RepoTags"][0])
        return str(image["RepoTags"][0])

    yield call
    for tag in loaded:
        docker_client.remove_image(tag, force=True)


def pythons() -> list[str]:
    import sys

    system = "/usr/bin/python3"
    return [sys.executable, *([system] if Path(system).exists() else [])]


@pytest.mark.docker
@pytest.mark.parametrize("python", pythons())
def test_the_interpreter_runs_in_a_container_without_network(
    python: str, load: Any, docker_client: Any, tmp_path: Path
) -> None:
    interpreter = interpreter_of(run_probe(python, {}, tmp_path, record_check=False))
    closure = build_closure(interpreter, cache=tmp_path / "cache")
    image = load(closure.layout)
    host = docker_client.create_host_config(
        network_mode="none", read_only=True, cap_drop=["ALL"], tmpfs={"/tmp": "", "/dev/shm": ""}
    )
    container = docker_client.create_container(
        image, [closure.python, "-c", LOADS], user="65534:65534", host_config=host
    )
    try:
        docker_client.start(container)
        code = docker_client.wait(container)["StatusCode"]
        said = docker_client.logs(container).decode()
    finally:
        docker_client.remove_container(container, force=True)
    assert code == 0, said
    told = json.loads(said)
    assert told["version"] == interpreter.version
    assert told["libc"] == interpreter.libc
    assert told["soabi"] == interpreter.soabi
    assert told["shell"] == ["usr", "65534"]
    assert told["user"] == "nobody"
    assert told["pip"] == "pip "
