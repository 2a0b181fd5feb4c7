"""What goes into an environment's image, what is refused, and what stays after a failure."""

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from interpreter_base import base_tag, make_layout

from runbook.engine import owner
from runbook.engine.interface import Plan
from runbook.errors import BundleRejected, EnvironmentNotRebuilt
from runbook.progress import SILENT
from runbook.registry import members

from .conftest import Runner, fresh_id, remove_image

pytestmark = pytest.mark.docker


@pytest.fixture
def other(plan: Plan) -> Iterator[Callable[..., Plan]]:
    """The plan with another base; its images are removed."""
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


def test_the_image_adds_one_layer_that_holds_the_environment_and_no_wheel(
    runner: Runner, docker_client: Any
) -> None:
    image = docker_client.inspect_image(runner.built.handle)
    assert len(image["RootFS"]["Layers"]) == 2
    changed = (
        "import os; print([os.path.join(f, n) for f, _, ns in os.walk('/') for n in ns if n.endswith('.whl')])"
    )
    assert runner.output(changed) == "[]"
    assert runner.output("import os; print(os.listdir('/opt/runbook'))") == "['env']"


def test_nothing_of_the_images_configuration_starts_by_itself(
    runner: Runner, docker_client: Any, plan: Plan
) -> None:
    config = docker_client.inspect_image(runner.built.handle)["Config"]
    assert not config.get("Entrypoint") and not config.get("OnBuild") and not config.get("Volumes")
    assert config["User"] == "65534:65534"
    assert config["Labels"]["org.runbook.environment"] == plan.environment_id
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


def rewrite(folder: Path, manifest: dict[str, Any], config: dict[str, Any]) -> None:
    import hashlib

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
    changed = other(wheels=lambda: tmp_path)
    with pytest.raises(EnvironmentNotRebuilt, match="greeting"):
        build(changed)
    assert not docker_client.images(f"runbook/env:{changed.environment_id[7:31]}")
    assert not docker_client.containers(all=True, filters={"label": f"{owner.LABEL}={owner.owner()}"})


INSTALLER = """
import greeting as g
print(open(g.__file__.replace("greeting.py", "greeting-1.0.dist-info/INSTALLER")).read())
"""


def test_uv_installs_even_where_the_base_lacks_its_libraries(
    other: Callable[..., Plan], tmp_path: Path, runner: Runner
) -> None:
    digest = make_layout(tmp_path / "base", libgcc=False)
    built = build(other(layout=lambda: tmp_path / "base", base={"digest": digest}))
    assert replace(runner, built=built).output(INSTALLER) == "uv"


def test_where_uv_does_not_start_pip_installs_the_same(
    other: Callable[..., Plan], runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uv.find_uv_bin", lambda: "/bin/false")
    listing = (
        "import os, greeting\nroot = os.path.dirname(greeting.__file__)\n"
        "print(sorted(os.path.relpath(os.path.join(f, n), root) for f, _, ns in os.walk(root) for n in ns))"
    )

    def files(one: Runner) -> list[str]:
        marks = ("REQUESTED", "_virtualenv", "uv_cache.json")  # What each tool leaves for itself.
        return [name for name in ast.literal_eval(one.output(listing)) if not any(mark in name for mark in marks)]

    with_pip = replace(runner, built=build(other()))
    assert (runner.output(INSTALLER), with_pip.output(INSTALLER)) == ("uv", "pip")
    assert files(with_pip) == files(runner)
