"""Jobs that download: what real clients fetched is there on replay, when server and cache are gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.conftest import Project
from tests.support.hub_server import COMMIT, HubServer

REPOSITORY = {"config.json": b'{"scale": 3}', "weights.bin": bytes(range(256)) * 64}
ROWS = {
    "/rows.csv": b"1\n2\n",
    "/more.csv": b"3\n4\n",
    "/far.csv": b"9\n",
    "/kept.csv": b"6\n",
}

CLIENTS = """
import json, os, urllib.request
import pooch, requests
from huggingface_hub import hf_hub_download, snapshot_download

base = os.environ["HF_ENDPOINT"]

def total(path):
    return sum(float(line) for line in open(path))

config = json.load(open(hf_hub_download("org/tiny", "config.json")))
weights = snapshot_download("org/tiny") + "/weights.bin"
print("scale:", config["scale"])
print("weights:", sum(open(weights, "rb").read()))
if not os.path.exists("rows.csv"):
    urllib.request.urlretrieve(base + "/rows.csv", "rows.csv")
print("urllib loss:", total("rows.csv"))
if not os.path.exists("more.csv"):
    with open("more.csv", "wb") as file:
        file.write(requests.get(base + "/more.csv").content)
print("requests loss:", total("more.csv"))
if not os.path.exists("here.csv"):
    answer = requests.get(base + "/here.csv")
    with open("here.csv", "wb") as file:
        file.write(answer.content)
print("redirect loss:", total("here.csv"))
kept = pooch.create(path=pooch.os_cache("rows"), base_url=base + "/", registry={"kept.csv": None})
print("pooch loss:", total(kept.fetch("kept.csv")))
try:
    requests.get(base.replace("//", "//me:hunter2@") + "/rows.csv", params={"token": "hunter2"})
except requests.ConnectionError:
    pass
"""


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the real client libraries."""
    venv = tmp_path_factory.mktemp("clients") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        venv / "bin/python",
        "install",
        "-q",
    ]
    subprocess.run([*pip, "huggingface_hub", "requests", "pooch"], check=True, capture_output=True)
    return venv / "bin" / "python"


@pytest.mark.docker
@pytest.mark.network
def test_what_real_clients_fetched_is_there_when_server_and_cache_are_gone(
    project: Project, clients: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    project.write("train.py", CLIENTS)
    with HubServer({"models/org/tiny": REPOSITORY}, ROWS, {"/here.csv": "/far.csv"}) as hub:
        env = {"HOME": str(mine), "HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "apart")}
        bundle = project.folder / "x.runbook"
        done = project.runbook("run", "--capture", "-o", bundle, "--", clients, "train.py", env=env)
        assert done.code == 0, done.err
    record = project.runbook("show", bundle, "--json").json
    inputs = {one["path"]: one for one in record["inputs"]}
    repository = str(tmp_path / "apart/huggingface/hub/models--org--tiny")
    assert set(inputs) == {
        repository,
        "rows.csv",
        "more.csv",
        "here.csv",
        str(tmp_path / "apart/rows/kept.csv"),
    }
    assert inputs[repository]["source"]["value"] == f"{hub.url}/org/tiny"
    assert inputs[repository]["version"]["value"] == COMMIT
    for name in ("rows.csv", "more.csv", "here.csv"):
        assert inputs[name]["source"]["value"] == f"{hub.url}/{name}"
    assert all(not one["changed"].get("value") for one in inputs.values())
    assert [one["path"] for one in record["outputs"] if one["role"] == "artifact" and one["path"][0] == "/"] == []
    (lost,) = [one["text"] for one in record["findings"] if one["id"] == "download-not-kept"]
    assert f"{hub.url}/rows.csv?token" in lost and "hunter2" not in lost
    assert not any(one["id"] in ("input-changed", "credentials-read") for one in record["findings"])
    shutil.rmtree(mine)
    shutil.rmtree(tmp_path / "apart")
    for name in ("rows.csv", "more.csv", "here.csv"):
        (project.folder / name).unlink()
    for engine in ("docker", "local"):
        done = project.runbook("replay", bundle, "--engine", engine, "--json")
        assert done.code == 0, done.err
        metrics = {one["name"]: one["verdict"] for one in done.json["comparison"]["metrics"]}
        assert metrics.keys() >= {"scale", "weights", "requests loss", "pooch loss"}
        assert set(metrics.values()) == {"identical"}
        assert any("HF_HUB_OFFLINE=1" in note for note in done.json["notes"])
        assert {"name": "HF_HUB_OFFLINE", "value": "1"} in done.json["replay"]["job"]["variables"]
    assert not (tmp_path / "apart").exists()


@pytest.mark.docker
def test_a_hubs_cache_replays_from_the_bundle_alone_and_with_plain_docker_too(
    project: Project, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    hub = mine / ".cache/huggingface/hub/models--org--tiny"
    for path, text in (("blobs/abc", "2\n3\n"), ("refs/main", COMMIT), ("snapshots/old/unread", "x")):
        (hub / path).parent.mkdir(parents=True, exist_ok=True)
        (hub / path).write_text(text)
    (hub / "snapshots" / COMMIT).mkdir()
    (hub / "snapshots" / COMMIT / "rows.csv").symlink_to("../../blobs/abc")
    script = """
import os
from pathlib import Path
hub = Path.home() / ".cache/huggingface/hub/models--org--tiny"
snapshot = hub / "snapshots" / (hub / "refs/main").read_text()
if os.environ.get("HF_HUB_OFFLINE"):
    assert (snapshot / "rows.csv").is_symlink()
    (hub / "lock").write_text("a library locks what it reads")
print("loss:", sum(float(x) for x in (snapshot / "rows.csv").open()))
"""
    project.write("train.py", script)
    bundle = project.folder / "x.runbook"
    env = {"HOME": str(mine), "XDG_CACHE_HOME": str(tmp_path / "apart")}
    done = project.runbook("run", "--capture", "-o", bundle, "--", project.python, "train.py", env=env)
    assert done.code == 0, done.err
    shutil.rmtree(mine)
    for engine in ("docker", "local"):
        done = project.runbook("replay", bundle, "--engine", engine, "--json")
        assert done.code == 0, done.err
        assert done.json["verdict"] == "identical"
    output = tmp_path / "output"
    plain = subprocess.run(["sh", bundle / "data/replay.sh", output], capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout == "loss: 5.0\n"


@pytest.mark.docker
def test_a_job_that_downloads_anew_fails_without_network_and_the_record_says_what_it_asked_for(
    project: Project,
) -> None:
    script = "import sys, urllib.request\nurllib.request.urlretrieve(sys.argv[1], 'rows.csv')\n"
    project.write("train.py", script + "print('loss:', sum(float(x) for x in open('rows.csv')))\n")
    with HubServer(files=ROWS) as hub:
        bundle = project.folder / "x.runbook"
        command = ("run", "--capture", "-o", bundle, "--", project.python, "train.py", f"{hub.url}/rows.csv")
        assert project.runbook(*command).code == 0
    done = project.runbook("replay", bundle, "--engine", "docker")
    assert done.code == 3
    findings = project.runbook("show", "last", "--json").json["findings"]
    assert any(one["id"] == "tried-network" and f"{hub.url}/rows.csv" in one["text"] for one in findings)
