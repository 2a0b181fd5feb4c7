"""Bundles whose base or wheels are hostile, through `runbook replay` on a real engine: refused, or harmless."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from interpreter_base import base_tag, make_layout, python_path

from runbook.model.data import Output
from runbook.model.environment import Base, CarriedWheel, Lock, Package, environment_id
from runbook.model.fact import missing, observed
from runbook.model.job import Job
from runbook.model.metric import Metric
from runbook.model.requirements import Requirement, render_requirements
from tests.factories import make_bundle, make_code, make_environment, make_host, make_interpreter, make_record
from tests.observe.wheelmaker import make_wheel

pytestmark = pytest.mark.docker

JOB = b"""
import os
print("accuracy: 0.5", flush=True)
mark = "touched-by-a-bundle"
found = [f for f, _, names in os.walk("/") if mark in names and not f.startswith("/proc")]
open("who.txt", "w").write(f"{os.getuid()} {found}")
"""
MARK = "touched-by-a-bundle"
"""No file of this name may appear on this machine."""


@dataclass(frozen=True)
class Case:
    """What is hostile about a bundle, and how its replay ends."""

    exit: int
    id: str = ""
    """A part of what is said."""
    config: dict[str, Any] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    wheel: dict[str, str] = field(default_factory=dict)
    """Files of the carried wheel besides its module."""
    raw: bytes = b""
    """Instead of a wheel."""


def touching(where: str) -> str:
    """Python that leaves the mark in some folders, if it is let."""
    return f"import os; [open(os.path.join(d, {MARK!r}), 'w') for d in {where} if os.access(d, os.W_OK)]"


CASES = {
    "a base that starts things by itself": Case(
        exit=0,
        config={
            "OnBuild": ["RUN touch /" + MARK, "USER root"],
            "Entrypoint": ["/bin/sh", "-c", "exit 9"],
            "Cmd": ["/bin/sh"],
            "Healthcheck": {"Test": ["CMD-SHELL", "touch /" + MARK], "Interval": 1},
            "Volumes": {"/vol": {}},
            "User": "0:0",
            "WorkingDir": "/nowhere",
            "Shell": ["/bin/evil"],
            "StopSignal": "SIGUSR1",
            "ExposedPorts": {"22/tcp": {}},
            "Labels": {"org.runbook.environment": "sha256:" + "0" * 64, "org.runbook.owner": "evil"},
        },
        # A .pth line is code of the environment, as the job is: it runs where the job runs, and nowhere else.
        wheel={
            "demo.pth": touching("['/', '/root', '/tmp']"),
            "demo-1.0.data/scripts/uv": "#!python\n" + touching("['/', '/tmp']"),
        },
    ),
    "a base that preloads a library": Case(exit=4, id="LD_PRELOAD", variables=("LD_PRELOAD=/evil.so",)),
    # Refused before a byte of it is unpacked.
    "a wheel that climbs": Case(
        exit=4,
        id="no plain file name",
        wheel={
            "../../../../../../" + MARK: "x",
            "/" + MARK: "x",
            "demo-1.0.data/data/../../../../../../" + MARK: "x",
            "demo-1.0.data/scripts/../../../../../../" + MARK: "x",
        },
    ),
    "a wheel that is no zip": Case(exit=4, raw=b"#!/bin/sh\ntouch /" + MARK.encode()),
    "a wheel of another name inside": Case(exit=4, raw=b"other"),
}


def wheel_bytes(case: Case, folder: Path) -> bytes:
    """The carried wheel of a case."""
    if case.raw == b"other":
        return Path(make_wheel(folder, "other", "2.0", {"other.py": ""})).read_bytes()
    if case.raw:
        return case.raw
    path = Path(make_wheel(folder, "demo", "1.0", {"demo.py": "VALUE = 1\n"}))
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith("/RECORD"):
                text = "".join(f"{more},,\n" for more in case.wheel).encode() + text
            new.writestr(name, text)
        for name, more in case.wheel.items():
            new.writestr(zipfile.ZipInfo(name), more)
    return path.read_bytes()


def bundle_of(case: Case, folder: Path) -> tuple[Path, Path]:
    """(bundle, layout of its base)."""
    base_folder = folder / "base"
    digest = make_layout(base_folder, variables=case.variables, **case.config)
    wheel = wheel_bytes(case, folder)
    name, sha256 = "demo-1.0-py3-none-any.whl", hashlib.sha256(wheel).hexdigest()
    text = render_requirements([Requirement("demo", "1.0", (sha256,))])
    carried = CarriedWheel(file=name, sha256=sha256, size=len(wheel), package="demo", origin="vcs", made="built")
    lock = Lock(sha256=hashlib.sha256(text).hexdigest(), packages=1, carried=(carried,), tool="t")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    base = Base(
        kind="image",
        requested="evil",
        digest=digest,
        platform=f"linux/{machine}",
        python=python_path(),
        layout="data/image",
        why="test",
    )
    abi = f"cp{sys.version_info.major}{sys.version_info.minor}"
    interpreter = make_interpreter(version=platform.python_version(), abi=abi, machine=platform.machine())
    environment = make_environment(
        interpreter=observed(interpreter),
        base=observed(base),
        lock=observed(lock),
        packages=(Package(name="demo", version="1.0", origin="vcs", record="intact", shipped="carried"),),
        id=observed(environment_id(base, interpreter, lock, ())),
    )
    record = make_record(
        job=Job(argv=("python", "train.py"), root="/home/ada/demo", cwd="."),
        code=make_code({"train.py": JOB}),
        environment=environment,
        host=make_host(machine=observed(platform.machine())),
        inputs=(),
        outputs=(
            Output(
                path="who.txt", digest="0" * 64, bytes=1, stored="reference", role="artifact", evidence="observed"
            ),
        ),
        seeds=(),
        metrics=(Metric(name="accuracy", final=0.5, source="stdout: x", evidence="observed"),),
        sources=("stdout:accuracy=accuracy: ([0-9.]+)",),
        watch=missing("not watched"),
    )
    files = {
        f"data/image/{path.relative_to(base_folder).as_posix()}": path.read_bytes()
        for path in base_folder.rglob("*")
        if path.is_file()
    }
    extra = {**files, "data/lock/requirements.txt": text, f"data/lock/wheels/{name}": wheel}
    return make_bundle(folder, record, code={"train.py": JOB}, extra=extra, series={}), base_folder


@pytest.fixture
def removed(docker_client: Any) -> Iterator[list[str]]:
    """Names of images that go with the test."""
    from docker.errors import ImageNotFound

    names: list[str] = []
    yield names
    for name in names:
        with suppress(ImageNotFound):
            docker_client.remove_image(name, force=True)


def _volumes(client: Any) -> set[str]:
    return {one["Name"] for one in client.volumes()["Volumes"] or []}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_base_or_wheel_is_refused_or_harmless(
    name: str, tmp_path: Path, removed: list[str], docker_client: Any
) -> None:
    case = CASES[name]
    bundle, layout = bundle_of(case, tmp_path)
    removed += [base_tag(layout), f"runbook/env:{_identity(bundle)[7:31]}"]
    work = tmp_path / "work"
    work.mkdir()
    variables = {**os.environ, "HOME": str(work), "XDG_CACHE_HOME": str(work / "cache"), "NO_COLOR": "1"}
    before = _volumes(docker_client)
    done = subprocess.run(
        [sys.executable, "-m", "runbook", "replay", "--engine", "docker", "--offline", bundle],
        cwd=work,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == case.exit, done.stdout + done.stderr
    assert case.id in done.stderr
    assert "error: unexpected" not in done.stderr and "\x1b" not in done.stdout + done.stderr
    here = [path for top in ("/", "/tmp", "/root", "/etc") for path in Path(top).glob(MARK)]
    assert here == [] and list(tmp_path.rglob(MARK)) == []
    for _ in range(100):  # Others' containers come and go.
        if not (left := _volumes(docker_client) - before):
            break
        time.sleep(0.2)
    assert not left
    if case.exit == 0:
        uid, _, found = _who(work).partition(" ")
        # In memory, beside the job, by code that is the job's own: nowhere else.
        assert uid != "0" and found in ("[]", "['/tmp']")


def _who(work: Path) -> str:
    """What the job wrote down; the replay keeps declared outputs."""
    return next(work.rglob("outputs/who.txt")).read_text()


def _identity(bundle: Path) -> str:
    record = msgspec.json.decode((bundle / "data/record.json").read_bytes())
    return str(record["environment"]["id"]["value"])
