"""Where things go inside a container: pure decisions."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.engine import gpu
from runbook.engine.interface import Mount, Sandbox
from runbook.engine.placement import Placement, place, variables
from runbook.errors import EnvironmentNotRebuilt, NeedMissing
from runbook.model.code import Shape

BIN = "/opt/runbook/env/bin"
PREFIX = "/usr/local"


def laid_out(root: str, *mounts: Mount, prefix: str = PREFIX, **values: object) -> Placement:
    return place(sandbox(root, *mounts, **values), prefix, BIN)


def sandbox(root: str, *mounts: Mount, argv: tuple[str, ...] = ("python", "t.py"), **recorded: object) -> Sandbox:
    return Sandbox(
        argv=argv,
        root=root,
        cwd=".",
        work=Path("/host/work"),
        shape=Shape(),
        mounts=mounts,
        variables={k: str(v) for k, v in recorded.items()},
        stdout=Path("/host/o"),
        stderr=Path("/host/e"),
    )


parts = st.lists(st.sampled_from(["usr", "etc", "home", "opt", "runbook", "..", ".", "a b", "proc", "tmp", "lib"]))


@given(parts)
def test_no_project_ever_hides_a_part_of_the_system(names: list[str]) -> None:
    try:
        found = laid_out("/" + "/".join(names))
    except NeedMissing:
        return
    for system in (
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        "/usr/bin",
        "/usr/lib",
        "/opt/runbook",
        "/run/runbook",
        PREFIX,
    ):
        assert not (found.root + "/").startswith(system + "/")
        assert not (system + "/").startswith(found.root.rstrip("/") + "/")
    assert ".." not in found.root.split("/")


@given(parts)
def test_no_input_ever_hides_a_part_of_the_system(names: list[str]) -> None:
    target = "/" + "/".join(names)
    try:
        found = laid_out("/home/a/p", Mount(Path("/host/d"), target))
    except NeedMissing:
        return
    placed = [bind.target for bind in found.binds if bind.read_only]
    assert all(bind.read_only for bind in found.binds if bind.target != found.root)
    for system in ("/proc", "/etc", "/usr/bin", "/opt/runbook", PREFIX):
        assert not any((system + "/").startswith(p.rstrip("/") + "/") for p in placed)
        assert not any((p + "/").startswith(system + "/") for p in placed if system != PREFIX)


def test_words_of_the_command_move_with_the_project() -> None:
    found = laid_out("/usr", argv=("/usr/x/run.py", "--out=/usr/y", "/usr/z", "/usrlocal"))  # type: ignore[arg-type]
    assert found.argv == ("/workspace/x/run.py", "--out=/usr/y", "/workspace/z", "/usrlocal")


def test_inputs_inside_a_moved_project_move_with_it() -> None:
    found = laid_out("/usr", Mount(Path("/host/d"), "/usr/project/data.csv"))
    assert [b.target for b in found.binds] == ["/workspace", "/workspace/project/data.csv"]


@pytest.mark.parametrize(("root", "at"), [("/home/ada/x", "/workspace"), ("/usr/local", "/workspace-elsewhere")])
def test_a_project_that_is_to_lie_elsewhere_lies_where_no_other_replay_has_it(root: str, at: str) -> None:
    found = place(replace(sandbox(root, argv=("python", f"{root}/t.py")), elsewhere=True), PREFIX, BIN)
    assert (found.root, found.argv) == (at, ("python", f"{at}/t.py"))
    assert found.root != laid_out(root).root


def test_the_home_stays_where_it_was_unless_that_hides_the_interpreter() -> None:
    assert laid_out("/srv/p", HOME="/home/alice").home == "/home/alice"
    hidden = laid_out(
        "/root/p", Mount(Path("/host/d"), "/root/.cache/x"), prefix="/root/.pyenv/versions/3.11.7", HOME="/root"
    )
    assert hidden.home == "/tmp/home"
    assert json.loads(hidden.spec)["links"] == [["/tmp/home/.cache/x", "/root/.cache/x"]]


def test_what_libraries_keep_is_found_at_its_place_in_folders_that_the_job_may_write_to() -> None:
    def hub(home: str, *caches: str, prefix: str = PREFIX) -> Placement:
        mounts = (
            Mount(Path("/host/0"), f"{caches[0]}/models--a", tree=True),
            Mount(Path("/host/1"), f"{caches[0]}/x.bin"),
            Mount(Path("/host/2"), "/home/alice/data.csv"),
        )
        return place(replace(sandbox("/srv/p", *mounts, HOME=home), caches=caches), prefix, BIN)

    found = hub("/home/alice", "/home/alice/.cache/hub")
    spec = json.loads(found.spec)
    assert (found.home, found.tmpfs) == ("/home/alice", ())
    assert [(b.source, b.target) for b in found.binds[1:]] == [
        ("/host/0", "/run/runbook-inputs/0"),
        ("/host/1", "/run/runbook-inputs/1/x.bin"),
        ("/host/2", "/home/alice/data.csv"),
    ]
    assert [(f["source"], f["target"]) for f in spec["farms"]] == [
        ("/run/runbook-inputs/0", "/home/alice/.cache/hub/models--a")
    ]
    assert spec["links"] == [["/home/alice/.cache/hub/x.bin", "/run/runbook-inputs/1/x.bin"]]
    apart = hub("/home/alice", "/scratch/hub")
    assert apart.tmpfs == ("/scratch/hub",)
    beside = hub("/home/alice", "/home/alice/.cache/hub", prefix="/home/alice/python")
    assert (beside.home, beside.tmpfs) == ("/tmp/home", ("/home/alice/.cache/hub",))


def test_folders_that_variables_name_are_kept_only_where_they_exist() -> None:
    given_values = sandbox(
        "/srv/p",
        HOME="/home/alice",
        XDG_CACHE_HOME="/scratch/cache",
        XDG_DATA_HOME="/home/alice/d",
        TMPDIR="/scratch",
    )
    found = variables(given_values, place(given_values, PREFIX, BIN), {"PATH": "/usr/bin"}, BIN)
    assert found["XDG_CACHE_HOME"] == "/home/alice/.cache"
    assert found["XDG_DATA_HOME"] == "/home/alice/d"
    assert found["TMPDIR"] == "/tmp"
    assert found["PATH"] == f"{BIN}:/usr/bin"
    assert "MPLCONFIGDIR" not in found


@pytest.mark.parametrize(
    "image",
    [
        {"LD_LIBRARY_PATH": "/usr/local/nvidia/lib:/usr/local/nvidia/lib64"},
        {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
        {"NVIDIA_REQUIRE_CUDA": "cuda>=12.4 brand=tesla,driver>=470"},
        {},
    ],
)
def test_variables_of_official_gpu_images_pass(image: dict[str, str]) -> None:
    gpu.check(image)


@pytest.mark.parametrize(
    "image",
    [
        {"LD_LIBRARY_PATH": "/proc/self/cwd"},
        {"LD_LIBRARY_PATH": "/usr/local/cuda/../../../tmp/x"},
        {"NVIDIA_VISIBLE_DEVICES": "all;x"},
        {"NVIDIA_DRIVER_CAPABILITIES": "../x"},
        {"NVIDIA_SOMETHING": "x"},
    ],
)
def test_other_values_never_reach_a_gpu_container(image: dict[str, str]) -> None:
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        gpu.check(image)
    assert caught.value.id == "base-gpu-variable"


def test_an_old_container_toolkit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-ctk"
    tool.write_text("#!/bin/sh\necho 'NVIDIA Container Toolkit CLI version 1.17.7'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(NeedMissing) as caught:
        gpu.check({})
    assert caught.value.id == "gpu-toolkit-unsafe"
    tool.write_text("#!/bin/sh\necho 'NVIDIA Container Toolkit CLI version 1.17.8'\n")
    gpu.check({})
