import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runbook.errors import NeedMissing
from runbook.observe.probing import (
    OUTPUT_CAP,
    SENTINEL,
    blas,
    framework_versions,
    parse_probe,
    probe_script,
    read_interpreter,
    run_probe,
)

from .conftest import Venv, other_pythons


def test_the_probe_imports_the_standard_library_only_and_is_ascii():
    tree = ast.parse(probe_script().decode("ascii"))
    names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {(n.module or "").split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("python", other_pythons())
def test_every_python_of_this_machine_tells_about_itself(python, tmp_path):
    probe = run_probe(python, {}, tmp_path)
    told = subprocess.run(
        [python, "-c", "import platform, sys; print(platform.python_version(), sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    ).stdout.split()
    interpreter = read_interpreter(probe)
    assert [interpreter.version, interpreter.prefix] == told
    assert interpreter.abi.startswith("cp3")
    assert interpreter.system == "linux"
    assert probe.libc.split()[0] in ("glibc", "musl")


def test_as_a_file_it_ignores_its_own_folder(tmp_path):
    (tmp_path / "probe.py").write_bytes(probe_script())
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [sys.executable, "probe.py", "--no-record-check"], cwd=tmp_path, capture_output=True, check=True
    )
    assert str(tmp_path) not in parse_probe(done.stdout).interpreter.path
    assert sorted(p.name for p in tmp_path.iterdir() if p.suffix == ".py") == ["json.py", "probe.py"]


def test_modules_of_the_working_folder_do_not_shadow_the_standard_library(venv, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    assert venv.probe(cwd=tmp_path).interpreter.prefix == str(venv.path)


def test_what_a_sitecustomize_prints_does_not_disturb(venv):
    (venv.site / "sitecustomize.py").write_text(
        f"import atexit\nprint('hello'); print('{SENTINEL}'); print('{{}}')\natexit.register(print, 'bye')\n"
    )
    assert venv.probe().sites == (str(venv.site),)


def test_a_package_tells_its_name_version_requirements_and_imports(venv):
    venv.package(
        "tool-box", "2.1", {"toolbox/__init__.py": "", "_single.py": ""}, requires=["other>=1 ; extra == 'x'"]
    )
    one = venv.probe().distribution("Tool_Box")
    assert (one.name, one.version, one.imports) == ("tool-box", "2.1", ("_single", "toolbox"))
    assert one.requires == ("other>=1 ; extra == 'x'",)
    assert (one.installer, one.requested, one.record.status) == ("uv", True, "intact")
    assert one.location == str(venv.site)


def test_hand_edited_and_deleted_files_are_found_by_record(venv):
    venv.package("lib", files={"lib/a.py": "a = 1\n", "lib/b.py": "b = 1\n", "lib/c.py": "c = 1\n"})
    (venv.site / "lib/a.py").write_text("a = 2\n")
    (venv.site / "lib/b.py").unlink()
    record = venv.probe().distribution("lib").record
    assert (record.status, record.modified, record.missing, record.differing) == (
        "modified",
        ("lib/a.py",),
        ("lib/b.py",),
        2,
    )


def test_a_large_file_is_checked_too(venv):
    venv.package("big", files={"big.bin": bytes(3 << 20)})
    with (venv.site / "big.bin").open("r+b") as stream:
        stream.seek(2 << 20)
        stream.write(b"x")
    assert venv.probe().distribution("big").record.modified == ("big.bin",)


def test_the_record_check_can_be_left_out(venv):
    venv.package("lib")
    (venv.site / "lib.py").write_text("changed")
    probe = venv.probe(record_check=False)
    assert not probe.record_checked
    assert probe.distribution("lib").record.status == "unchecked"


def test_files_that_belong_to_no_package_are_named(venv):
    venv.package("lib", files={"lib/__init__.py": ""})
    (venv.site / "dropped.py").write_text("")
    (venv.site / "lib/extra.py").write_text("")
    (venv.site / "folder/sub").mkdir(parents=True)
    (venv.site / "folder/sub/m.py").write_text("")
    (venv.site / "lib/__pycache__").mkdir()
    (venv.site / "lib/__pycache__/x.cpython-311.pyc").write_bytes(b"")
    (venv.site / "empty").mkdir()
    probe = venv.probe()
    assert sorted(p.removeprefix(f"{venv.site}/") for p in probe.stray) == [
        "dropped.py",
        "folder/",
        "lib/extra.py",
    ]


def test_many_stray_files_are_counted_and_fifty_named(venv):
    for number in range(70):
        (venv.site / f"m{number:03}.py").write_text("")
    probe = venv.probe()
    assert (len(probe.stray), probe.stray_count) == (50, 70)


def test_a_file_name_that_is_not_utf8_does_not_break_the_document(venv):
    (Path(os.fsdecode(os.fsencode(venv.site) + b"/bad\xff.py"))).write_text("")
    assert venv.probe().stray[0].endswith("bad\\udcff.py")


def test_python_files_of_an_egg_link_and_of_egg_info_are_read(venv, tmp_path):
    source = tmp_path / "old"
    (source / "old.egg-info").mkdir(parents=True)
    (source / "old.egg-info/PKG-INFO").write_text("Name: old\nVersion: 0.3\n")
    (source / "old.egg-info/requires.txt").write_text("numpy\n\n[extra:python_version<'4']\nscipy>1\n")
    (venv.site / "old.egg-link").write_text(f"{source}\n.")
    (venv.site / "easy-install.pth").write_text(f"{source}\n")
    one = venv.probe().distribution("old")
    assert (one.kind, one.version, one.editable, one.record.status) == ("egg-info", "0.3", str(source), "absent")
    assert one.requires == ("numpy", "scipy>1 ; (python_version<'4') and extra == \"extra\"")


def test_frameworks_are_told_without_importing_them(venv):
    torch = "__version__ = '2.9.1+cu128'\ncuda: Optional[str] = '12.8'\nhip: Optional[str] = None\n"
    venv.package(
        "torch", "2.9.1", {"torch/version.py": torch, "torch/__init__.py": "raise SystemExit('imported')"}
    )
    config = 'CONFIG = {"Build Dependencies": {"blas": {"name": "scipy-openblas", "version": "0.3.29"}}}'
    venv.package("numpy", "2.3.0", {"numpy/__config__.py": config})
    venv.package("nvidia-cudnn-cu12", "9.10.2.21", {"nvidia/cudnn/lib/x": ""})
    probe = venv.probe()
    assert framework_versions(probe) == {
        "cudnn": "9.10.2.21",
        "numpy-blas": "scipy-openblas 0.3.29",
        "torch": "2.9.1+cu128",
        "torch-cuda": "12.8",
    }
    assert blas(probe).value == "scipy-openblas 0.3.29 (numpy)"


def test_shared_objects_of_the_environment_are_listed_once(venv):
    venv.package("ext", files={"ext/_c.abi3.so": "", "ext.libs/libz.so.1.2": "", "ext/not.so.txt": ""})
    assert venv.probe().shared_objects == tuple(
        f"{venv.site}/{n}" for n in ("ext.libs/libz.so.1.2", "ext/_c.abi3.so")
    )


def test_an_environment_of_the_systems_packages_is_seen_through(tmp_path):
    base = Venv(tmp_path / "base")
    base.package("below")
    upper = Venv(tmp_path / "upper")
    upper.package("above")
    probe = upper.probe(env={**os.environ, "PYTHONPATH": str(base.site)})
    assert {d.name for d in probe.distributions} == {"above", "below"}
    assert set(probe.sites) == {str(upper.site), str(base.site)}


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", "exit code 3"),
        ("echo no python here >&2; exit 1", "no python here"),
        ("cat >/dev/null; echo hello", "it printed no document"),
        (f"cat >/dev/null; echo; echo '{SENTINEL}'; echo '[1]'", "its document is malformed"),
    ],
)
def test_a_program_that_is_no_python_has_one_clear_reason(tmp_path, script, reason):
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    with pytest.raises(NeedMissing, match=reason) as caught:
        run_probe(str(fake), dict(os.environ), tmp_path)
    assert caught.value.id == "probe-failed"


def test_an_interpreter_that_is_not_there_has_a_reason(tmp_path):
    with pytest.raises(NeedMissing, match="No such file"):
        run_probe(str(tmp_path / "none"), {}, tmp_path)


@example(b'{"probe": 1, "interpreter": "\xff"}')
@given(st.binary(max_size=300))
def test_hostile_output_is_refused_by_its_id(data):
    for output in (data, f"\n{SENTINEL}\n".encode() + data, f"\n{SENTINEL}\n".encode() + b"[" * 5000):
        with pytest.raises(NeedMissing) as caught:
            parse_probe(output)
        assert caught.value.id == "probe-failed"


def test_too_much_output_is_not_parsed():
    with pytest.raises(NeedMissing, match="more than"):
        parse_probe(b"x" * (OUTPUT_CAP + 1))


def test_fields_of_a_wrong_type_are_refused(venv):
    document = json.loads(
        subprocess.run(
            [venv.python, "-"], input=probe_script(), capture_output=True, check=True
        ).stdout.splitlines()[-1]
    )
    document["distributions"] = [{"name": 3}]
    with pytest.raises(NeedMissing, match="malformed"):
        parse_probe(f"\n{SENTINEL}\n{json.dumps(document)}\n".encode())
