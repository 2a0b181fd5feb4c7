"""Data by reference on the whole road: from the source of the record, from a cache, from where --data says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from web import Web, serving

from runbook.model.fact import declared
from tests.factories import make_bundle, make_input, make_record
from tests.flow.conftest import Done, Project

SUMS = """
from pathlib import Path
rows = [float(x) for p in sorted(Path("corpus").rglob("*.txt")) for x in p.read_text().split()]
print("total:", sum(rows))
"""
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKEY"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def project(project: Project, tmp_path: Path) -> Project:
    """With a cache of its own: what one test fetched is not at hand in the next."""
    own = Project(project.folder, project.python, tmp_path / "home")
    shared = project.home / "cache"
    shared.mkdir(exist_ok=True)
    (tmp_path / "home/cache").mkdir(parents=True)
    for name in ("closures", "layers", "environments", "wheels"):  # What takes long to make.
        (shared / "runbook" / name).mkdir(parents=True, exist_ok=True)
    shutil.copytree(shared / "runbook", tmp_path / "home/cache/runbook", symlinks=True)
    return own


def frozen(project: Project, web: Web, *options: str) -> Path:
    """A run whose data lies on the web and not in the bundle, and no longer here."""
    data = project.folder / "data.txt"
    web.files["/data.txt"] = data.read_bytes()
    source = f"data.txt={web.url}/data.txt"
    declared = ("--metrics", "metrics.json", "--input", source)
    assert project.runbook("run", *declared, "--", str(project.python), "train.py").code == 0
    bundle = project.capture("x.runbook", "--embed-limit", "0", *options)
    data.unlink()
    return bundle


def replay(project: Project, bundle: Path, *options: str, env: dict[str, str] | None = None) -> Done:
    return project.runbook("replay", bundle, "--engine", "local", *options, env=env)


def test_data_is_fetched_from_its_source_once_for_all_replays(project: Project, web: Web) -> None:
    bundle = frozen(project, web)
    [one] = project.runbook("show", bundle, "--json").json["inputs"]
    assert (one["stored"], one["source"]) == (
        "reference",
        {"evidence": "declared", "value": f"{web.url}/data.txt"},
    )
    plan = project.runbook("replay", bundle, "--engine", "local", "--plan", "--json").json
    assert {"what": "input data.txt", "action": "fetch", "bytes": 13, "source": f"{web.url}/data.txt"} in plan[
        "sizes"
    ]
    assert web.asked("GET") == []
    first = replay(project, bundle)
    assert first.code == 0, first.err
    assert f"fetching the input data.txt from {web.url}/data.txt" in first.err
    web.status = 503
    again = replay(project, bundle)
    assert again.code == 0, again.err
    assert len(web.asked("GET")) == 1


def test_what_cannot_be_had_exits_6_and_another_content_7_before_anything_is_built(
    project: Project, web: Web
) -> None:
    bundle = frozen(project, web)
    offline = replay(project, bundle, "--offline")
    assert offline.code == 6 and "nothing is fetched (offline)" in offline.err
    web.status = 404
    for options in ((), ("--plan",)):
        gone = replay(project, bundle, *options)
        assert gone.code == 6, gone.err
    web.status, web.files["/data.txt"] = 200, b"1.5\n2.5\n3.26\n"
    other = replay(project, bundle)
    assert other.code == 7 and "another content" in other.err
    web.files["/data.txt"] += b"4\n"
    longer = replay(project, bundle, "--plan")
    assert longer.code == 7 and "another size" in longer.out
    for done in (offline, other):
        assert "building" not in done.err
        assert "hint:" in done.err


def test_data_may_be_named_as_a_url_too(project: Project, web: Web) -> None:
    bundle = frozen(project, web)
    web.files = {"/mirror/d.txt": web.files["/data.txt"]}
    done = replay(project, bundle, "--data", f"data.txt={web.url}/mirror/d.txt")
    assert done.code == 0, done.err
    unknown = replay(project, bundle, "--data", f"corpus={web.url}/x")
    assert unknown.code == 2 and "its inputs: data.txt" in unknown.err


def test_a_source_is_named_at_capture_too(project: Project, web: Web) -> None:
    web.files["/there"] = (project.folder / "data.txt").read_bytes()
    project.run()
    wrong = project.runbook("capture", "-o", "x.runbook", "--source", "nosuch=http://host/x")
    assert wrong.code == 2 and "its inputs: data.txt" in wrong.err
    bundle = project.capture("x.runbook", "--embed-limit", "0", "--source", f"data.txt={web.url}/there")
    (project.folder / "data.txt").unlink()
    assert replay(project, bundle).code == 0


def test_a_folder_is_fetched_file_by_file(project: Project, web: Web) -> None:
    for number in range(5):
        text = f"{number}.5\n"
        project.write(f"corpus/part {number}/a.txt", text)
        web.files[f"/c/part {number}/a.txt"] = text.encode()
    project.write("sums.py", SUMS)
    project.write(
        "runbook.yaml",
        f"command: [{project.python}, sums.py]\npatterns: {{total: 'total: ([0-9.]+)'}}\n"
        f"inputs: [{{path: corpus, source: '{web.url}/c/'}}]\nembed_limit: 0\n",
    )
    assert project.runbook("run").code == 0
    bundle = project.capture("x.runbook")
    shutil.rmtree(project.folder / "corpus")
    web.cut = 3
    done = replay(project, bundle)
    assert done.code == 0, done.err
    assert project.runbook("replay", bundle, "--plan", "--engine", "local").code == 0


@pytest.mark.docker
def test_fetched_data_reaches_a_job_in_a_container(project: Project, web: Web) -> None:
    bundle = frozen(project, web)
    done = project.runbook("replay", bundle, "--engine", "docker")
    assert done.code == 0, done.err


def test_a_source_with_credentials_is_refused_before_the_job_runs(project: Project) -> None:
    project.write("mark.py", "open('ran', 'w').close()")
    for url in ("https://ada:hunter2@host/data.txt", "https://host/data.txt?X-Amz-Signature=hunter2"):
        done = project.runbook("run", "--input", f"data.txt={url}", "--", str(project.python), "mark.py")
        assert done.code == 2 and "holds credentials" in done.err
        assert "hunter2" not in done.err
        assert not (project.folder / "ran").exists()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real S3 server (moto's) on loopback; its URL."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_data_in_s3_is_fetched_with_the_users_own_credentials_which_stay_his(
    project: Project, s3: str, tmp_path: Path
) -> None:
    import boto3

    login = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}
    env = login | {"AWS_ENDPOINT_URL": s3, "AWS_DEFAULT_REGION": "us-east-1"}
    client = boto3.client(
        "s3",
        endpoint_url=s3,
        region_name="us-east-1",
        aws_access_key_id=login["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="corpora")
    client.put_object(Bucket="corpora", Key="v1/data.txt", Body=(project.folder / "data.txt").read_bytes())
    project.run()
    bundle = project.capture("x.runbook", "--embed-limit", "0", "--source", "data.txt=s3://corpora/v1/data.txt")
    (project.folder / "data.txt").unlink()
    plan = project.runbook("replay", bundle, "--plan", "--engine", "local", "--json", env=env)
    assert plan.code == 0, plan.out + plan.err
    done = replay(project, bundle, env=env)
    assert done.code == 0, done.err
    client.put_object(Bucket="corpora", Key="v1/data.txt", Body=b"9\n")
    shutil.rmtree(tmp_path / "home/cache/runbook/data")
    assert replay(project, bundle, env=env).code == 7
    client.delete_object(Bucket="corpora", Key="v1/data.txt")
    gone = replay(project, bundle, env=env)
    assert gone.code == 6 and "s3://corpora/v1/data.txt" in gone.err
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path
    assert SECRET not in done.out + done.err + gone.err


@pytest.mark.parametrize("path", ["../../../../escaped", "/tmp/escaped-data", "a//b", "a/../b"])
def test_a_manifest_that_leads_out_of_the_cache_is_refused(
    tmp_path: Path, web: Web, runbook_cli: Callable[..., subprocess.CompletedProcess[str]], path: str
) -> None:
    files = {path: b"1", "x": b"2"}
    one = make_input("c", files, stored="reference", source=declared(f"{web.url}/c"))
    bundle = make_bundle(tmp_path, make_record(inputs=(one,)), inputs={"c": files})
    for option in ("--plan", "--engine=local"):
        done = runbook_cli("replay", bundle, option)
        assert done.returncode == 5, done.stderr
        assert "a file name in the manifest of the input c" in done.stderr
    assert web.requests == []
    assert not list(tmp_path.rglob("escaped"))
