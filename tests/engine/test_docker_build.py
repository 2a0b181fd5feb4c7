"""What goes into an environment's image, what is refused, and what stays after a failure."""

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from interpreter_base import base_tag, make_layout

from runbook.engine import assemble, owner
from runbook.engine.assemble import PYTHON
from runbook.engine.interface import Plan
from runbook.errors import BundleRejected, EnvironmentNotRebuilt
from runbook.progress import SILENT
from runbook.registry import members

from .conftest import Runner, fresh_id, remove_image, trees_of, write_lock, write_wheel

pytestmark = pytest.mark.docker


@pytest.fixture
def other(plan: Plan, tmp_path: Path) -> Iterator[Callable[..., Plan]]:
    """The plan with another base, laid below `tmp_path`, which outlives this; its images are removed."""
    made: list[Plan] = []

    def change(**changes: Any) -> Plan:
        base = plan.base
        fields = {f: getattr(base, f) for f in base.__struct_fields__} | changes.pop("base", {})
        made.append(replace(plan, environment_id=fresh_id(), base=type(base)(**fields), **changes))
        return made[-1]

    yield change
    for one in made:
        remove_image(f"runbook/env:{one.environment_id[7:31]}")
        if one.layout is not None and one.layout != plan.layout:
            remove_image(base_tag(one.layout()))


def build(plan: Plan) -> Any:
    return members("engine")["docker"].build(plan, SILENT)


def test_the_image_adds_one_layer_to_the_base_and_the_environment_is_linked_beside_it(
    runner: Runner, docker_client: Any
) -> None:
    image = docker_client.inspect_image(runner.built.handle)
    assert len(image["RootFS"]["Layers"]) == 2
    assert runner.built.folder is not None
    module = next(runner.built.folder.glob("lib/python*/site-packages/greeting.py"))
    assert module.stat().st_nlink == 2
    changed = (
        "import os; print([os.path.join(f, n) for f, _, ns in os.walk('/') for n in ns if n.endswith('.whl')])"
    )
    assert runner.output(changed) == "[]"
    assert runner.output("import os; print(os.listdir('/opt/runbook'))") == "['env']"


def test_nothing_of_the_images_configuration_starts_by_itself(runner: Runner, docker_client: Any) -> None:
    config = docker_client.inspect_image(runner.built.handle)["Config"]
    assert not config.get("Entrypoint") and not config.get("OnBuild") and not config.get("Volumes")
    assert config["User"] == "65534:65534"
    assert config["Labels"]["org.runbook.owner"] == ""
    assert [e for e in config["Env"] if e.startswith("PATH=/opt/runbook/env/bin:")]


def test_installed_modules_are_compiled(runner: Runner) -> None:
    assert runner.output("import greeting, os; print(os.path.exists(greeting.__cached__))") == "True"


def test_common_modules_of_the_bases_library_are_compiled(runner: Runner) -> None:
    # A base comes without, and the root is read-only: every start would compile them again.
    modules = "json, datetime, argparse, logging, ctypes, multiprocessing.pool, unittest.mock"
    code = (
        f"import os, sys, {modules}\n"
        f"print([m for m in '{modules}'.split(', ') if not os.path.exists(sys.modules[m].__cached__)])"
    )
    assert runner.output(code) == "[]"


@pytest.mark.parametrize("variable", ["LD_PRELOAD=/evil.so", "LD_AUDIT=/evil.so"])
def test_a_base_that_preloads_code_is_refused(other: Callable[..., Plan], tmp_path: Path, variable: str) -> None:
    digest = make_layout(tmp_path / "base", variables=[variable])
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        build(other(layout=lambda: tmp_path / "base", base={"digest": digest}))
    assert caught.value.id == "base-preloads"


def test_triggers_volumes_and_the_user_of_a_base_do_not_matter(
    other: Callable[..., Plan], tmp_path: Path, docker_client: Any, runner: Runner
) -> None:
    digest = make_layout(
        tmp_path / "base",
        onbuild=["RUN false"],
        volumes=["/vol"],
        user="1234",
        repo_tags=["runbook-test/evil:latest"],
    )
    built = build(other(layout=lambda: tmp_path / "base", base={"digest": digest}))
    assert not built.cached
    assert not docker_client.images("runbook-test/evil")
    there = replace(runner, built=built)
    assert there.output("import os; s = os.statvfs('/vol'); print(s.f_blocks * s.f_frsize)") == str(4 << 30)
    assert docker_client.volumes(filters={"dangling": True})["Volumes"] in (None, [])


def test_a_base_with_a_flipped_bit_is_refused(
    other: Callable[..., Plan], copied_layout: Callable[[], Path]
) -> None:
    folder = copied_layout()
    manifest = json.loads(
        (
            folder / "blobs/sha256" / json.loads((folder / "index.json").read_text())["manifests"][0]["digest"][7:]
        ).read_text()
    )
    layer = folder / "blobs/sha256" / manifest["layers"][0]["digest"][7:]
    content = bytearray(layer.read_bytes())
    content[len(content) // 2] ^= 1
    layer.write_bytes(content)
    config = folder / "blobs/sha256" / manifest["config"]["digest"][7:]
    # Another config, so that the engine has not got this image already.
    fresh = json.loads(config.read_text()) | {"author": "somebody"}
    rewrite(folder, manifest, fresh)
    digest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
    with pytest.raises(BundleRejected) as caught:
        build(other(layout=lambda: folder, base={"digest": digest}))
    assert caught.value.id == "base-corrupt"


def test_a_base_that_would_fill_the_disk_is_refused_before_the_engine_has_it(
    other: Callable[..., Plan],
    copied_layout: Callable[[], Path],
    docker_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = copied_layout()
    blobs = folder / "blobs/sha256"
    named = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"][7:]
    manifest = json.loads((blobs / named).read_text())
    bomb = gzip.compress(bytes(64 << 20))
    digest = hashlib.sha256(bomb).hexdigest()
    (blobs / digest).write_bytes(bomb)
    manifest["layers"].append({"digest": f"sha256:{digest}", "size": len(bomb)})
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_text()) | {"author": fresh_id()}
    rewrite(folder, manifest, config)
    monkeypatch.setattr("runbook.engine.layers.ROOMY", 1 << 20)
    before = {image["Id"] for image in docker_client.images()}
    with pytest.raises(BundleRejected) as caught:
        build(
            other(
                layout=lambda: folder,
                base={"digest": json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]},
            )
        )
    assert caught.value.id == "base-bomb"
    assert f"sha256:{manifest['config']['digest'][7:]}" not in {i["Id"] for i in docker_client.images()} - before


def rewrite(folder: Path, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    def blob(document: Any) -> str:
        content = json.dumps(document).encode()
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs/sha256" / digest).write_bytes(content)
        return f"sha256:{digest}"

    manifest["config"]["digest"] = blob(config)
    (folder / "index.json").write_text(json.dumps({"manifests": [{"digest": blob(manifest)}]}))


def test_a_base_other_than_the_recorded_one_is_refused(other: Callable[..., Plan]) -> None:
    with pytest.raises(BundleRejected) as caught:
        build(other(base={"digest": "sha256:" + "0" * 64}))
    assert caught.value.id == "base-not-as-recorded"


def test_a_base_that_no_registry_gives_is_named(other: Callable[..., Plan]) -> None:
    reference = "registry.invalid/team/base@sha256:" + "1" * 64
    with pytest.raises(EnvironmentNotRebuilt, match=r"registry\.invalid") as caught:
        build(other(layout=None, base={"kind": "image", "reference": reference}))
    assert caught.value.id == "base-unavailable"
    assert caught.value.hint


def test_a_base_in_the_engine_is_used_by_its_digest(
    other: Callable[..., Plan], docker_client: Any, runner: Runner
) -> None:
    parent = docker_client.inspect_image(runner.built.handle)["Parent"]
    built = build(
        other(layout=None, base={"kind": "container", "reference": parent, "digest": parent, "python": ""})
    )
    assert not built.cached


def test_a_base_without_the_right_python_says_which_it_has(other: Callable[..., Plan], plan: Plan) -> None:
    fields = {f: getattr(plan.interpreter, f) for f in plan.interpreter.__struct_fields__}
    wanted = type(plan.interpreter)(**fields | {"version": "3.8.1"})
    with pytest.raises(EnvironmentNotRebuilt, match=r"Python 3\.8") as caught:
        build(other(interpreter=wanted))
    assert caught.value.id == "base-other-python"


def test_another_patch_release_is_used_and_said(other: Callable[..., Plan], plan: Plan) -> None:
    fields = {f: getattr(plan.interpreter, f) for f in plan.interpreter.__struct_fields__}
    wanted = type(plan.interpreter)(**fields | {"version": plan.interpreter.version + "9"})
    changed = other(interpreter=wanted)
    for built in (build(changed), build(changed)):
        assert len(built.substitutions) == 1
        assert f"stands in for Python {wanted.version}" in built.substitutions[0]


def test_a_failed_build_leaves_no_image_and_no_container(
    other: Callable[..., Plan], tmp_path: Path, docker_client: Any
) -> None:
    wheel = tmp_path / "greeting-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK\5\6" + bytes(18))
    changed = other(trees=partial(trees_of, tmp_path, write_lock(wheel, tmp_path / "lock")))
    with pytest.raises(EnvironmentNotRebuilt, match="greeting"):
        build(changed)
    assert not docker_client.images(f"runbook/env:{changed.environment_id[7:31]}")
    assert not docker_client.containers(all=True, filters={"label": f"{owner.LABEL}={owner.owner()}"})
    cache = platformdirs.user_cache_path("runbook")
    assert not list(cache.glob("**/.partial-*"))


def test_a_base_that_lacks_the_libraries_of_uv_will_do(
    other: Callable[..., Plan], tmp_path: Path, runner: Runner
) -> None:
    digest = make_layout(tmp_path / "base", libgcc=False)
    built = build(other(layout=lambda: tmp_path / "base", base={"digest": digest}))
    assert replace(runner, built=built).output("import greeting; print(greeting.TEXT)") == "hello"


def test_a_second_environment_with_the_same_wheels_asks_the_engine_for_no_container(
    other: Callable[..., Plan], runner: Runner, docker_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise AssertionError("a container was made")

    monkeypatch.setattr("runbook.engine.container.created", none)
    built = build(other())
    monkeypatch.undo()
    assert not built.cached
    assert built.handle == runner.built.handle
    assert replace(runner, built=built).output("import greeting; print(greeting.TEXT)") == "hello"


def test_where_the_folder_of_an_environment_is_gone_it_is_made_again(
    other: Callable[..., Plan], runner: Runner
) -> None:
    plan = other()
    first = build(plan)
    assert first.folder is not None
    shutil.rmtree(first.folder)
    again = build(plan)
    assert not again.cached
    assert replace(runner, built=again).output("import greeting; print(greeting.TEXT)") == "hello"
    assert build(plan).cached


def test_a_wheel_writes_nothing_through_a_link_that_the_base_names(
    other: Callable[..., Plan], tmp_path: Path, runner: Runner
) -> None:
    # A base that says its interpreter is a folder of this machine, and a wheel that has files below `bin/python`.
    outside, wheels = tmp_path / "outside", tmp_path / "wheels"
    outside.mkdir()
    wheels.mkdir()
    write_wheel(
        wheels, "evil", {f"evil-1.0.data/data/{name}/x": "x" for name in ("bin/python", "bin/python3", "lib64")}
    )
    python = assemble.Python("sha256:" + "0" * 64, "3.11.1", str(outside), "CPython", "cpython-311")
    lock = write_lock(next(wheels.iterdir()), tmp_path / "lock")
    parts = assemble.parts(trees_of(wheels, lock, PYTHON), python)
    for part in parts:
        part.bytecode.mkdir(parents=True)
        (part.bytecode / "listing.json").write_text("[]")
    assemble.assemble(tmp_path / "env", parts, python)
    assert (tmp_path / "env/bin/python").readlink() == outside
    assert not list(outside.iterdir())
    assert not (tmp_path / "env/lib/x").exists()
