"""Bundles to and from a real registry on loopback."""

from __future__ import annotations

import base64
import filecmp
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_registry import registry_tool, serving

from runbook.remote import registry
from tests.factories import make_bundle, make_input, make_record

pytestmark = pytest.mark.skipif(
    registry_tool() is None, reason="needs a registry: apt-get install docker-registry"
)

PASSWORD = "not-a-secret-of-anybody"
HTPASSWD = "ada:$2y$05$ssXmP3rbj3IQ0VpU/nDHIeAAf1igETZAO.i/sJp0DDQtaVc/e2wbe"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants no login."""
    with serving(tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that wants one."""
    with serving(tmp_path_factory.mktemp("guarded"), htpasswd=HTPASSWD) as host:
        yield host


def same(one: Path, other: Path) -> bool:
    found = filecmp.dircmp(one, other)
    return not (found.left_only or found.right_only or found.diff_files) and all(
        same(one / name, other / name) for name in found.subdirs
    )


def test_a_bundle_comes_back_as_it_was_and_shares_what_is_equal(runbook, host, bundle, second, tmp_path):
    remote = f"oci://{host}/team/demo"
    pushed = runbook("push", "--json", bundle, f"{remote}:v1")
    assert pushed.code == 0, pushed.err
    assert pushed.json["moved"] == pushed.json["bytes"]
    again = runbook("push", "--json", second, f"{remote}:v2").json
    assert again["moved"] < 200_000 < again["bytes"]
    assert runbook("push", "--json", bundle, f"{remote}:v1").json["moved"] == 0
    pulled = runbook("pull", "--json", f"{remote}:v1")
    assert pulled.code == 0, pulled.err
    assert pulled.json["id"] == pushed.json["id"]
    assert same(bundle, tmp_path / "work/demo.runbook")
    assert runbook("verify", tmp_path / "work/demo.runbook").code == 0
    pinned = f"{remote}@{pushed.json['manifest']}"
    assert runbook("pull", pinned, "-o", "x.runbook.zip").code == 0
    assert json.loads(runbook("verify", "--json", "x.runbook.zip").out)["id"] == pushed.json["id"]
    assert not list((tmp_path / "home/cache/runbook/pulled").iterdir())


def test_a_zip_and_its_folder_are_one_artifact(runbook, host, tmp_path):
    record = make_record(name="a")
    folder, packed = make_bundle(tmp_path, record, name="a"), make_bundle(tmp_path, record, name="a", form="zip")
    first = runbook("push", "--json", folder, f"oci://{host}/team/forms:folder").json
    second = runbook("push", "--json", packed, f"oci://{host}/team/forms:zip").json
    assert first["manifest"] == second["manifest"] and second["moved"] == 0


def test_what_is_not_there_is_said(runbook, host, bundle):
    absent = runbook("pull", f"oci://{host}/team/absent:v1")
    assert absent.code == 2 and "no such remote" in absent.err and "hint: " in absent.err
    nobody = runbook("push", bundle, "oci://127.0.0.1:1/team/demo:v1")
    assert nobody.code == 6 and "no registry answered" in nobody.err


@pytest.mark.parametrize(
    "remote", ["oci://UPPER/x", "oci://x:y:z/a", "oci://a@b/c", "demo", "oci://h.example/a b"]
)
def test_what_is_no_remote_is_a_usage_error(runbook, bundle, remote):
    assert runbook("push", bundle, remote).code == 2


def test_a_login_comes_from_dockers_own_store_and_shows_nowhere(runbook, guarded, bundle, tmp_path, monkeypatch):
    remote = f"oci://{guarded}/team/demo:v1"
    refused = runbook("push", bundle, remote)
    assert refused.code == 6 and f"docker login {guarded}" in refused.err
    settings = tmp_path / "home/.docker/config.json"
    settings.parent.mkdir()
    auth = base64.b64encode(f"ada:{PASSWORD}".encode()).decode()
    settings.write_text(json.dumps({"auths": {guarded: {"auth": auth}}}))
    pushed = runbook("push", bundle, remote)
    assert pushed.code == 0, pushed.err
    # The same by a helper, as desktops and clouds have it.
    helper = tmp_path / "bin/docker-credential-own"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": guarded, "Username": "ada", "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    settings.write_text(json.dumps({"credHelpers": {guarded: "own"}}))
    pulled = runbook("pull", remote)
    assert pulled.code == 0, pulled.err
    shown = pushed.out + pushed.err + pulled.out + pulled.err
    files = b"".join(path.read_bytes() for path in (tmp_path / "work").rglob("*") if path.is_file())
    assert PASSWORD not in shown and auth not in shown
    assert PASSWORD.encode() not in files and auth.encode() not in files


def test_an_upload_that_breaks_is_taken_up_again(runbook, host, relay, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_CHUNK", 1 << 20)
    contents = {"weights.bin": os.urandom(6 << 20), "x": b"x"}
    record = make_record(inputs=(make_input("big", contents),))
    bundle = make_bundle(tmp_path, record, inputs={"big": contents})
    proxy = relay(host)
    proxy.drop_after = (2 << 20) + 300_000  # Of one connection, so in the middle of a part.
    pushed = runbook("push", "--json", bundle, f"oci://{proxy.host}/team/broken:v1")
    assert pushed.code == 0, pushed.err
    assert proxy.dropped == 1
    assert runbook("pull", "--json", f"oci://{host}/team/broken:v1").json["id"] == pushed.json["id"]


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo: apt-get install skopeo")
def test_skopeo_copies_it_between_registries_and_layouts(runbook, host, bundle, tmp_path):
    def copy(*words: str) -> None:
        done = subprocess.run(["skopeo", "copy", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    pushed = runbook("push", "--json", bundle, f"file://{tmp_path}/share/runs/demo").json
    shared, there = f"{tmp_path}/share/runs/blobs", f"docker://{host}/copied/demo:v1"
    copy("--dest-tls-verify=false", "--src-shared-blob-dir", shared, f"oci:{tmp_path}/share/runs/demo", there)
    copy("--src-tls-verify=false", "--dest-tls-verify=false", there, f"docker://{host}/copied/again:v1")
    pulled = runbook("pull", "--json", f"oci://{host}/copied/again:v1").json
    assert (pulled["id"], pulled["manifest"]) == (pushed["id"], pushed["manifest"])
