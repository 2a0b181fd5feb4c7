"""Which base is chosen, and why. Registry and engine are real ones."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from loopback_registry import registry_tool, serving

from runbook.engine.docker_base import _image_of
from runbook.environment.base import resolve_base, settle_base
from runbook.environment.images import find_layout, pull_layout
from runbook.environment.layer import Tree, verify_layout, write_layout
from runbook.errors import NeedMissing, UsageError
from runbook.model.environment import Base, Interpreter
from runbook.model.fact import Fact, missing, observed
from runbook.model.reference import parse_reference
from runbook.progress import SILENT
from runbook.remote.registry import registry_digest

DIGEST = "sha256:" + "c" * 64
_OCI = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


@dataclass(frozen=True)
class Container:
    image: Fact[str]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry on loopback; its `host:port`."""
    if registry_tool() is None or shutil.which("skopeo") is None:
        pytest.skip("needs docker-registry and skopeo: apt-get install docker-registry skopeo")
    with serving(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def pushed(registry: str, interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An image in the registry, under the name that the official Python image would have: `(name, digest)`."""
    layout = tmp_path_factory.mktemp("image") / "layout"
    tree = Tree()
    tree.put("etc/hello", b"hello")
    written = write_layout(tree, layout, architecture="amd64", path="/bin")
    name = f"{registry}/mirror/python"
    for tag in (f"{interpreter.version}-slim-{release}" for release in ("bullseye", "bookworm", "trixie")):
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--preserve-digests", f"oci:{layout}",
             f"docker://{name}:{tag}"], check=True, capture_output=True
        )  # fmt: skip
    return name, written.manifest


def test_an_image_asked_for_by_tag_is_resolved_by_its_registry(
    pushed: tuple[str, str], interpreter: Interpreter, tmp_path: Path
) -> None:
    name, digest = pushed
    requested = f"{name}:{interpreter.version}-slim-bookworm"
    base = resolve_base(interpreter, requested=requested, cache=tmp_path).base
    assert (base.kind, base.requested, base.digest) == ("image", requested, digest)
    assert base.reference == f"{name}@{digest}"
    assert base.layout == ""


def test_automatic_takes_the_official_image_where_a_registry_answers(
    pushed: tuple[str, str], interpreter: Interpreter, tmp_path: Path
) -> None:
    name, digest = pushed
    base = resolve_base(interpreter, official=name, cache=tmp_path).base
    assert (base.kind, base.requested, base.digest) == ("python-image", "automatic", digest)
    assert base.python == f"/usr/local/bin/python{'.'.join(interpreter.version.split('.')[:2])}"


def test_without_a_registry_it_is_the_host_closure_and_the_record_says_why(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    result = resolve_base(interpreter, official="127.0.0.1:9/python", cache=tmp_path)
    assert (result.base.kind, result.base.layout) == ("host-closure", "data/image")
    release = result.base.why.partition("-slim-")[2].partition(",")[0]
    image = f"127.0.0.1:9/python:{interpreter.version}-slim-{release}"
    assert result.base.why == f"no registry answered for {image}, so this machine's own Python is the base"
    assert result.layout is not None
    verify_layout(result.layout)
    assert result.base.size == sum(p.stat().st_size for p in result.layout.rglob("*") if p.is_file())
    offline = resolve_base(interpreter, offline=True, cache=tmp_path)
    assert "offline" in offline.base.why
    assert offline.base.digest == result.base.digest


def test_the_container_of_the_run_is_the_base_when_its_digest_is_known(
    interpreter: Interpreter, tmp_path: Path
) -> None:
    known = Container(observed(f"registry.example/team/train@{DIGEST}"))
    base = resolve_base(interpreter, container=known, cache=tmp_path).base
    assert (base.kind, base.digest) == ("container", DIGEST)
    unknown = Container(missing("no engine socket tells it"))
    other = resolve_base(interpreter, container=unknown, offline=True, cache=tmp_path).base
    assert other.kind == "host-closure"
    assert "no engine socket tells it" in other.why


def test_an_image_by_digest_asks_nobody(interpreter: Interpreter, tmp_path: Path) -> None:
    base = resolve_base(interpreter, requested=f"registry.example/x:1@{DIGEST}", cache=tmp_path).base
    assert base.reference == f"registry.example/x@{DIGEST}"


@pytest.mark.parametrize("text", ["UPPER/case", "a b", "--help", "x@sha256:12", "x:tag:tag", "/x", "x\n", "$(id)"])
def test_what_is_no_image_reference_is_a_usage_error(interpreter: Interpreter, tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_base(interpreter, requested=text, cache=tmp_path)
    assert caught.value.exit_code == 2


def test_an_image_that_nobody_has_is_named(interpreter: Interpreter, tmp_path: Path) -> None:
    with pytest.raises(NeedMissing) as caught:
        resolve_base(interpreter, requested="127.0.0.1:9/no/such:1", cache=tmp_path)
    assert (caught.value.exit_code, caught.value.value) == (6, "127.0.0.1:9/no/such:1")


@pytest.mark.docker
def test_an_image_that_only_the_engine_has_is_carried(
    interpreter: Interpreter, docker_client: Any, tmp_path: Path
) -> None:
    name = f"127.0.0.1:9/runbook-test-{time.time_ns()}:1"
    stream = subprocess.run(
        ["tar", "-cf", "-", "-C", tmp_path, "--files-from", "/dev/null"], capture_output=True, check=True
    )
    docker_client.import_image_from_data(stream.stdout, repository=name.rpartition(":")[0], tag="1")
    try:
        result = resolve_base(interpreter, requested=name, cache=tmp_path / "cache")
    finally:
        docker_client.remove_image(name, force=True)
    assert (result.base.kind, result.base.layout) == ("image", "data/image")
    assert "only this machine's engine has it" in result.base.why
    assert result.layout is not None
    verify_layout(result.layout)
    index = json.loads((result.layout / "index.json").read_text())
    assert index["manifests"][0]["digest"] == result.base.digest


def _fetch(host: str, path: str, digest: str, cache: Path) -> Path:
    reference = parse_reference(f"{host}/{path}@{digest}")
    assert reference is not None
    return pull_layout(reference, "linux/amd64", cache, SILENT)


def test_an_image_is_fetched_as_its_registry_has_it(
    pushed: tuple[str, str], registry: str, interpreter: Interpreter, tmp_path: Path
) -> None:
    name, digest = pushed
    found = resolve_base(interpreter, requested=f"{name}@{digest}", cache=tmp_path)
    carried = settle_base(found, "all", cache=tmp_path)
    assert (carried.base.digest, carried.base.layout) == (digest, "data/image")
    assert carried.layout is not None
    verify_layout(carried.layout)
    assert find_layout(tmp_path, digest) == carried.layout
    left = settle_base(carried, "none")
    assert (left.base.layout, left.base.size, left.layout) == ("", 0, None)
    told = subprocess.run(["skopeo", "inspect", "--raw", f"oci:{carried.layout}"], check=True, capture_output=True)
    assert f"sha256:{hashlib.sha256(told.stdout).hexdigest()}" == digest


def test_of_a_list_of_manifests_the_one_of_the_platform_is_fetched(
    pushed: tuple[str, str], registry: str, tmp_path: Path
) -> None:
    name, digest = pushed
    path = name.removeprefix(f"{registry}/")
    manifest = requests.get(f"http://{registry}/v2/{path}/manifests/{digest}", headers=_OCI, timeout=10).content
    entry = {"mediaType": _OCI["Accept"], "digest": digest, "size": len(manifest)}
    other = {**entry, "platform": {"os": "linux", "architecture": "s390x"}}
    mine = {**entry, "platform": {"os": "linux", "architecture": "amd64"}}
    kind = "application/vnd.oci.image.index.v1+json"
    text = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [other, mine]}).encode()
    listed = f"sha256:{hashlib.sha256(text).hexdigest()}"
    put = f"http://{registry}/v2/{path}/manifests/{listed}"
    requests.put(put, data=text, headers={"Content-Type": kind}, timeout=10).raise_for_status()
    layout = _fetch(registry, path, listed, tmp_path)
    verify_layout(layout)
    base = Base(kind="image", requested="x", digest=listed, platform="linux/amd64", python="", why="test")
    blobs = layout / "blobs" / "sha256"
    document = json.loads(manifest)
    assert _image_of(layout, base) == (
        document["config"]["digest"].removeprefix("sha256:"),
        [layer["digest"].removeprefix("sha256:") for layer in document["layers"]],
    )
    assert (blobs / listed.removeprefix("sha256:")).read_bytes() == text
    with pytest.raises(OSError, match="has no linux/arm64"):
        reference = parse_reference(f"{name}@{listed}")
        assert reference is not None
        pull_layout(reference, "linux/arm64", tmp_path / "other", SILENT)


def test_a_registry_that_gives_other_bytes_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    if registry_tool() is None or shutil.which("skopeo") is None:
        pytest.skip("needs docker-registry and skopeo: apt-get install docker-registry skopeo")
    tree = Tree()
    tree.put("etc/hello", b"hello")
    written = write_layout(tree, tmp_path / "layout", architecture="amd64", path="/bin")
    (tmp_path / "registry").mkdir()
    with serving(tmp_path / "registry") as host:
        copy = ["skopeo", "copy", "--quiet", "--dest-tls-verify=false", "--preserve-digests"]
        subprocess.run([*copy, f"oci:{tmp_path}/layout", f"docker://{host}/x:1"], check=True, capture_output=True)
        layer = written.layer.removeprefix("sha256:")
        [stored] = (tmp_path / "registry").glob(f"data/**/sha256/*/{layer}/data")
        stored.write_bytes(b"\0" * stored.stat().st_size)
        with pytest.raises(OSError, match="other bytes"):
            _fetch(host, "x", written.manifest, tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []
    assert find_layout(tmp_path / "cache", written.manifest) is None


def test_a_registry_that_knows_no_such_tag_says_its_status(registry: str) -> None:
    reference = parse_reference(f"{registry}/no/such:1")
    assert reference is not None
    with pytest.raises(OSError, match="HTTP 404"):
        registry_digest(reference, timeout_s=5)


@pytest.mark.parametrize(
    ("text", "host", "path", "tag"),
    [
        ("python", "", "python", "latest"),
        ("python:3.11-slim", "", "python", "3.11-slim"),
        ("team/image", "", "team/image", "latest"),
        ("localhost/image:1", "localhost", "image", "1"),
        ("registry.example:5000/a/b__c:1", "registry.example:5000", "a/b__c", "1"),
        (f"registry.example/a@{DIGEST}", "registry.example", "a", "latest"),
    ],
)
def test_references_are_read_as_docker_reads_them(text: str, host: str, path: str, tag: str) -> None:
    found = parse_reference(text)
    assert found is not None
    assert (found.host, found.path, found.tag) == (host, path, tag)


@given(st.text(max_size=40))
def test_a_reference_holds_no_character_that_a_shell_or_option_knows(text: str) -> None:
    found = parse_reference(text)
    if found is not None:
        assert not set(found.at(DIGEST)) & set(" \t\n'\"$`\\;|&<>()!*?#~")
        assert not found.at(DIGEST).startswith("-")
