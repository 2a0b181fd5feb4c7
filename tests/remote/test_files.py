"""Bundles to and from folders, web servers and an S3 server on loopback."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.remote.conftest import LARGE
from tests.remote.test_registry import same


@pytest.fixture
def pushed(runbook, bundle, tmp_path):
    """The bundle in a folder, as `push --json` told of it."""
    done = runbook("push", "--json", bundle, f"file://{tmp_path}/share/demo")
    assert done.code == 0, done.err
    return done.json


def test_a_folder_holds_what_bundles_share_once(runbook, pushed, bundle, second, tmp_path):
    more = runbook("push", "--json", second, f"file://{tmp_path}/share/second").json
    assert more["moved"] < 200_000
    pulled = runbook("pull", "--json", f"file://{tmp_path}/share/demo")
    assert pulled.json["id"] == pushed["id"]
    assert same(bundle, tmp_path / "work/demo.runbook")
    assert not [path for path in (tmp_path / "share").rglob("*") if "partial" in path.name]


def test_a_target_that_is_taken_is_not_touched(runbook, pushed, tmp_path):
    (tmp_path / "work/demo.runbook").write_text("mine")
    done = runbook("pull", f"file://{tmp_path}/share/demo")
    assert done.code == 2 and "already there" in done.err
    assert (tmp_path / "work/demo.runbook").read_text() == "mine"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_web_server_that_breaks_off_is_asked_again(runbook, pushed, bundle, web, tmp_path, ranges):
    web.ranges = ranges
    web.cut = [1_000_000, 500_000]
    done = runbook("pull", "--json", f"{web.url}/demo")
    assert done.code == 0, done.err
    assert done.json["id"] == pushed["id"]
    wanted = [told for path, told in web.asked if told]
    assert wanted == ["bytes=1000000-", "bytes=1500000-" if ranges else "bytes=500000-"]
    assert (done.json["moved"] == done.json["bytes"]) is ranges


def test_a_pull_that_was_given_up_goes_on_where_it_stopped(runbook, pushed, web, tmp_path):
    web.cut = [1_000_000, 200_000, 200_000, 200_000]
    done = runbook("pull", f"{web.url}/demo")
    assert done.code == 6 and "goes on where this one stopped" in done.err
    assert not list((tmp_path / "work").iterdir())
    again = runbook("pull", "--json", f"{web.url}/demo").json
    assert again["id"] == pushed["id"]
    assert again["moved"] == again["bytes"] - 1_600_000 < LARGE


def test_a_web_server_is_only_read_from(runbook, bundle, web):
    done = runbook("push", bundle, f"{web.url}/demo")
    assert done.code == 6 and "only read from" in done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_pull_that_is_ended_leaves_nothing_where_the_bundle_would_be(
    runbook, pushed, web, tmp_path, number, code
):
    web.hold.clear()
    command = [sys.executable, "-m", "runbook", "pull", f"{web.url}/demo", "-o", tmp_path / "work/x.runbook"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert web.held.wait(60)
        process.send_signal(number)
        assert process.wait(30) == code
    web.hold.set()
    assert not list((tmp_path / "work").iterdir())
    assert runbook("pull", "--json", f"{web.url}/demo").json["id"] == pushed["id"]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """Address of an S3 server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_an_object_store_is_a_remote_with_its_clients_own_login(
    runbook, s3, bundle, second, monkeypatch, tmp_path
):
    import boto3
    import fsspec

    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "an-own-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3,
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3", endpoint_url=s3).create_bucket(Bucket="runs")
    fsspec.filesystem("s3", skip_instance_cache=True)
    first = runbook("push", "--json", bundle, "s3://runs/team/demo")
    assert first.code == 0, first.err
    assert runbook("push", "--json", second, "s3://runs/team/second").json["moved"] < 200_000
    assert runbook("push", "--json", bundle, "s3://runs/team/demo").json["moved"] == 0
    pulled = runbook("pull", "--json", "s3://runs/team/demo")
    assert pulled.code == 0, pulled.err
    assert pulled.json["id"] == first.json["id"] and same(bundle, tmp_path / "work/demo.runbook")
    absent = runbook("pull", "s3://runs/team/absent")
    assert absent.code == 2, absent.err
    assert "an-own-secret" not in first.out + first.err + pulled.out + pulled.err


def test_what_nobody_knows_names_what_is_missing(runbook, bundle):
    done = runbook("push", bundle, "gs://bucket/name")
    assert done.code == 6 and "pip install" in done.err
    done = runbook("push", bundle, "nonsense://bucket/name")
    assert done.code == 6


@pytest.mark.parametrize(
    "remote",
    [
        "s3://key:secret@bucket/x",
        "https://host.example/x?token=secret",
        "file:///tmp/x::http://y",
        "file://",
        "s3://x",
    ],
)
def test_a_remote_holds_no_login_and_has_a_name(runbook, bundle, remote):
    done = runbook("push", bundle, remote)
    assert done.code == 2
    assert "secret" not in done.err + done.out
