"""Replay with plain Docker: hostile values survive exactly or are refused, and the script really replays."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runbook.environment.closure import build_closure
from runbook.environment.recipe import dockerfile, image_tag, mount_field, quote, replay_script
from runbook.model.code import Link, Shape
from runbook.model.environment import Base, CarriedWheel, Interpreter, Lock
from runbook.model.fact import missing, observed
from runbook.model.job import Job, Variable
from runbook.model.record import Record
from runbook.model.requirements import Requirement, render_requirements
from tests.environment.conftest import OwnIndex
from tests.factories import DIGEST, INPUTS, make_bundle, make_code, make_environment, make_input, make_record
from tests.observe.wheelmaker import make_wheel

ROOT = Path(__file__).parents[2]
STARTER = (ROOT / "runbook" / "engine" / "enter.py").read_text()
BRINGER = (ROOT / "runbook" / "engine" / "bring.py").read_text()
NASTY = [
    "it's",
    '"quoted"',
    "$(touch /tmp/pwned)",
    "`id`",
    "a\nb",
    "\\",
    "${HOME}",
    "a,b",
    "-x",
    "é☃",
    "*",
    " ",
    "",
]
words = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)


def said_by_shell(script: str) -> list[str]:
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, env={"HOME": "/h"})
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60)
@given(st.lists(words, min_size=1, max_size=8))
def test_quoted_words_survive_a_shell_exactly(values: list[str]) -> None:
    assert said_by_shell(f"printf '%s\\0' {' '.join(map(quote, values))}") == values


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_what_no_argument_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|UTF-8"):
        quote(text)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_a_mount_field_is_read_back_as_one_csv_field(path: str) -> None:
    [row] = csv.reader(["type=bind," + mount_field("target", path) + ",readonly"])
    assert row == ["type=bind", f"target={path}", "readonly"]


@pytest.mark.parametrize("path", ["/a\nb", "/a\rb", "/a\x7f"])
def test_a_mount_with_control_characters_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="control"):
        mount_field("target", path)


def hostile_record(argv: list[str], folder: str, variables: dict[str, str], name: str) -> Record:
    job = Job(
        argv=("python", *argv),
        root=f"/home/ada/{folder}",
        cwd=".",
        variables=tuple(Variable(name=n, value=v) for n, v in sorted(variables.items())),
    )
    return make_record(job=job, name=name)


printable_paths = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1
).filter(lambda t: t not in (".", ".."))


@settings(max_examples=40, deadline=None)
@given(st.lists(words, max_size=4), printable_paths, words, words)
def test_hostile_records_give_scripts_that_hold_every_value_exactly(
    argv: list[str], folder: str, value: str, name: str
) -> None:
    script = replay_script(hostile_record(argv, folder, {"VALUE": value}, name), STARTER, BRINGER)
    assert subprocess.run(["sh", "-n"], input=script.encode(), check=False).returncode == 0
    head, _, rest = script.partition("<<'RUNBOOK-SPEC'\n")
    spec, _, tail = rest.partition("\nRUNBOOK-SPEC\n")
    assert json.loads(spec)["argv"] == ["python", *argv]
    begin = tail.index('set -- "$@" --mount "type=bind,source=$scratch/root')
    arguments = said_by_shell(
        "scratch=/s\nset --\n" + tail[begin : tail.index('mkdir -p "$output"')] + "printf '%s\\0' \"$@\""
    )
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    assert ("--env", f"VALUE={value}") in pairs
    [root] = [next(csv.reader([v])) for f, v in pairs if f == "--mount" and "source=/s/root" in v]
    assert root == ["type=bind", "source=/s/root", f"target=/home/ada/{folder}"]
    staged = head[head.index("\nstage ") : head.index('\ntest ! -d "$here/code"')]
    told = said_by_shell("stage() { printf '%s\\0' \"$@\"; }\n" + staged)
    assert told[4] == f"/home/ada/{folder}/data/iris.csv"


@example("\u2028RUN false")
@example("\u2029RUN false")
@example("\x85RUN false")
@given(st.text(max_size=60))
def test_a_name_cannot_leave_the_comments_of_the_dockerfile(name: str) -> None:
    lines = dockerfile(make_record(name=name)).splitlines()
    assert [line for line in lines if line.startswith(("FROM", "RUN", "USER"))] == [
        "FROM ${BASE} AS build",
        "USER 0",
        "RUN set -eu; \\",
        "FROM ${BASE}",
    ]
    assert len(lines) == len(dockerfile(make_record(name="plain")).splitlines())


def test_a_run_that_a_shell_cannot_express_says_so_and_ends_with_six(tmp_path: Path) -> None:
    record = hostile_record([], "with\nnewline", {}, "x")
    (tmp_path / "replay.sh").write_text(replay_script(record, STARTER, BRINGER))
    done = subprocess.run(["sh", tmp_path / "replay.sh"], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "use runbook replay" in done.stderr


def test_without_an_environment_both_say_so() -> None:
    record = make_record(environment=make_environment(base=missing("no registry and no interpreter")))
    assert "no registry and no interpreter" in dockerfile(record)
    assert "its environment is not known" in replay_script(record, STARTER, BRINGER)
    nameless = make_record(environment=make_environment(id=missing("no base")))
    assert "its environment has no id" in replay_script(nameless, STARTER, BRINGER)


def test_the_tag_is_not_the_one_that_the_engine_trusts() -> None:
    assert image_tag("sha256:" + "ab" * 32) == "runbook/plain:" + "ab" * 12


@pytest.mark.parametrize("kind", ["reference", "carried"])
def test_shellcheck_finds_nothing(kind: str, tmp_path: Path) -> None:
    tool = shutil.which("shellcheck")
    if tool is None:
        pytest.skip("needs shellcheck: apt-get install shellcheck")
    record = hostile_record(NASTY, "it's $(here)", {"A": "a'b"}, "name")
    if kind == "carried":
        base = Base(kind="host-closure", requested="automatic", digest=DIGEST, platform="linux/amd64",
                    python="/usr/bin/python3.11", layout="data/image", why="no registry")  # fmt: skip
        record = msgspec.structs.replace(record, environment=make_environment(base=observed(base)))
    (tmp_path / "replay.sh").write_text(replay_script(record, STARTER, BRINGER))
    done = subprocess.run(
        [tool, "--shell=sh", tmp_path / "replay.sh"], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""


JOB = b"""
import json, os, pathlib, stat, sys, demo
data = pathlib.Path("data")
seen = {
    "argv": sys.argv[1:], "cwd": os.getcwd(), "value": os.environ["VALUE"], "demo": demo.VALUE,
    "iris": (data / "iris.csv").read_text(),
    "images": sorted(str(p) for p in pathlib.Path("/srv/data/images").rglob("*")),
    "linked": os.readlink("/srv/data/images/link.bin"), "code link": os.readlink("to-model"),
    "runs": bool(os.stat("tool.sh").st_mode & stat.S_IXUSR), "empty": os.listdir("empty"),
    "uid": os.getuid(), "host": os.environ.get("SECRET_OF_THE_HOST"), "python": sys.executable,
}
for place, action in {"input": lambda: (data / "iris.csv").write_text("x"), "root": lambda: open("/etc/x", "w"),
                      "network": lambda: __import__("socket").create_connection(("1.1.1.1", 53), 1)}.items():
    try:
        action()
        seen[place] = "possible"
    except OSError:
        seen[place] = "refused"
pathlib.Path("seen.json").write_text(json.dumps(seen))
print("out: \\u2603")
print("err", file=sys.stderr)
sys.exit(3)
"""


class Captured:
    """A whole bundle with a host closure, whose lock has one package."""

    def __init__(self, folder: Path, interpreter: Interpreter, *, carry: bool) -> None:
        self.wheel = make_wheel(folder, "demo", "1.0", {"demo.py": "VALUE = 41 + 1\n"})
        digest = hashlib.sha256(self.wheel.read_bytes()).hexdigest()
        text = render_requirements([Requirement("demo", "1.0", (digest,))])
        carried = CarriedWheel(
            file=self.wheel.name, sha256=digest, size=1, package="demo", origin="vcs", made="repacked"
        )
        closure = build_closure(interpreter, cache=folder / "cache")
        base = Base(kind="host-closure", requested="automatic", digest=closure.digest, platform=closure.platform,
                    python=closure.python, layout="data/image", size=closure.size, why="no registry")  # fmt: skip
        lock = Lock(
            sha256=hashlib.sha256(text).hexdigest(), packages=1, carried=(carried,) if carry else (), tool="t"
        )
        environment = make_environment(
            interpreter=observed(interpreter), base=observed(base), lock=observed(lock), packages=(),
            id=observed("sha256:" + hashlib.sha256(str(folder).encode()).hexdigest()),
        )  # fmt: skip
        code = {"train.py": JOB, "lib/model.py": b"", "tool.sh": b"#!/bin/sh\n"}
        shape = Shape(
            links=(Link(path="to-model", target="lib/model.py"),),
            executables=("tool.sh",),
            empty_directories=("empty",),
        )
        made = make_code(code)
        made = msgspec.structs.replace(made, tree=msgspec.structs.replace(made.tree, shape=shape))
        linked = Shape(links=(Link(path="link.bin", target="two.bin"),))
        inputs = (
            make_input("iris.csv", INPUTS["iris.csv"]),
            make_input("images", INPUTS["images"], path="/srv/data/images", shape=linked),
        )
        self.root = '/home/ada/my, "demo" $(x)'
        self.argv = tuple(NASTY)
        variables = (Variable(name="VALUE", value="a\nb'c"),)
        job = Job(argv=("python", "train.py", *self.argv), root=self.root, cwd=".", variables=variables)
        self.record = make_record(job=job, code=made, inputs=inputs, environment=environment, outputs=())
        image = {f"data/image/{p.relative_to(closure.layout).as_posix()}": p.read_bytes()
                 for p in closure.layout.rglob("*") if p.is_file()}  # fmt: skip
        extra = {
            **image,
            "data/lock/requirements.txt": text,
            "data/Dockerfile": dockerfile(self.record).encode(),
            "data/replay.sh": replay_script(self.record, STARTER, BRINGER).encode(),
        }
        if carry:
            extra[f"data/lock/wheels/{self.wheel.name}"] = self.wheel.read_bytes()
        self.bundle = make_bundle(folder, self.record, code=code, extra=extra)
        self.tag = image_tag(environment.id.value or "")
        self.base = json.loads((closure.layout / "manifest.json").read_text())[0]["RepoTags"][0]


@pytest.fixture
def captured(tmp_path: Path, interpreter: Interpreter, docker_client: Any) -> Any:
    made: list[Captured] = []

    def call(*, carry: bool) -> Captured:
        made.append(Captured(tmp_path, interpreter, carry=carry))
        return made[-1]

    yield call
    from docker.errors import ImageNotFound

    for one in made:
        for tag in (one.tag, one.base):
            try:
                docker_client.remove_image(tag, force=True)
            except ImageNotFound:
                continue


def replay(bundle: Path, output: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", bundle / "data" / "replay.sh", output],
        env={**os.environ, "SECRET_OF_THE_HOST": "x", "DOCKER_BUILDKIT": "0", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@pytest.mark.docker
def test_a_bundle_replays_with_docker_and_a_shell_alone(
    captured: Callable[..., Captured], docker_client: Any, tmp_path: Path
) -> None:
    one = captured(carry=True)
    done = replay(one.bundle, tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert done.stdout == "out: \u2603\n"
    assert (tmp_path / "out" / "stderr.log").read_text() == "err\n"
    seen = json.loads((tmp_path / "out" / "work" / "seen.json").read_text())
    assert seen.pop("uid") != 0
    assert seen == {
        "argv": list(one.argv),
        "cwd": one.root,
        "value": "a\nb'c",
        "demo": 42,
        "iris": INPUTS["iris.csv"]["iris.csv"].decode(),
        "images": [f"/srv/data/images/{p}" for p in ("a", "a/one.bin", "link.bin", "two.bin")],
        "linked": "two.bin",
        "code link": "lib/model.py",
        "runs": True,
        "empty": [],
        "host": None,
        "python": "/opt/runbook/env/bin/python",
        "input": "refused",
        "root": "refused",
        "network": "refused",
    }
    layers = docker_client.history(one.tag)
    assert sum(layer["Size"] for layer in layers[:2]) < 1 << 20, "a wheel or pip was stored in a layer"
    assert not docker_client.containers(all=True, filters={"label": "runbook.stage"})
    assert not docker_client.images(filters={"label": "runbook.stage", "dangling": True})
    again = replay(one.bundle, tmp_path / "out")
    assert again.returncode == 2
    (one.bundle / "data" / "code" / "train.py").write_text("print('other')\n")
    assert replay(one.bundle, tmp_path / "damaged").returncode == 5
    assert not (tmp_path / "damaged").exists()


@pytest.mark.docker
def test_locked_wheels_are_fetched_with_a_network_and_hash_checked(
    captured: Callable[..., Captured], own_index: OwnIndex, docker_client: Any, tmp_path: Path
) -> None:
    one = captured(carry=False)
    own_index.add(one.wheel)
    network = {"RUNBOOK_FETCH_NETWORK": "host", "PIP_INDEX_URL": f"{own_index.url}/simple/"}
    own_index.replaced[one.wheel.name] = one.wheel.read_bytes() + b"\0"
    refused = replay(one.bundle, tmp_path / "refused", **network)
    assert refused.returncode == 4
    assert "hash" in refused.stderr.lower()
    own_index.replaced.clear()
    assert replay(one.bundle, tmp_path / "out", **network).returncode == 3
    own_index.asked.clear()
    assert replay(one.bundle, tmp_path / "again", **network).returncode == 3
    assert own_index.asked == [], "a second replay builds nothing"
    docker_client.remove_image(one.tag, force=True)
    folder = tmp_path / "wheels"
    folder.mkdir()
    shutil.copy(one.wheel, folder)
    assert replay(one.bundle, tmp_path / "offline", RUNBOOK_WHEELS=str(folder)).returncode == 3


def test_without_docker_it_ends_with_six(tmp_path: Path) -> None:
    bundle = make_bundle(
        tmp_path, extra={"data/replay.sh": replay_script(make_record(), STARTER, BRINGER).encode()}
    )
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = replay(bundle, tmp_path / "out", PATH=str(tools))
    assert done.returncode == 6
    assert "docker" in done.stderr
