"""Every installed package ends up locked, carried or named, in real environments with a real index."""

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.environment.lock import LockResult
from runbook.environment.repack import INSTALLERS_OWN
from runbook.model.environment import Package
from runbook.model.requirements import parse_requirements
from tests.environment.conftest import Environment, OwnIndex
from tests.observe.wheelmaker import make_project, make_wheel

Make = Callable[..., Environment]


def named(result: LockResult, name: str) -> Package:
    return next(p for p in result.packages if p.name == name)


def pins(result: LockResult) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {r.name: (r.version, r.hashes) for r in parse_requirements(result.requirements.read_bytes())}


def carried(result: LockResult) -> dict[str, str]:
    return {w.package: w.made for w in result.lock.carried}


def reinstalled(make: Make, result: LockResult, name: str = "again") -> Environment:
    again = make(name)
    again.install("--require-hashes", "--find-links", result.wheels, "-r", result.requirements)
    return again


def contents(environment: Environment) -> dict[str, bytes]:
    files = [p for p in environment.site.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    own = {*INSTALLERS_OWN, "RECORD"}
    kept = [p for p in files if p.name not in own and not p.name.startswith("_virtualenv")]
    return {p.relative_to(environment.site).as_posix(): p.read_bytes() for p in kept}


def test_what_an_index_has_is_locked_by_all_its_hashes(
    make_environment: Make, own_index: OwnIndex, tmp_path: Path
) -> None:
    wheels = [
        make_wheel(tmp_path, "demo", "1.0", {"demo.py": t}, tag=t) for t in ("py3-none-any", "cp39-cp39-win32")
    ]
    for wheel in wheels:
        own_index.add(wheel)
    environment = make_environment()
    environment.install("demo==1.0", "--find-links", tmp_path)
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", *own_index.pip_args())
    expected = tuple(sorted(hashlib.sha256(w.read_bytes()).hexdigest() for w in wheels))
    assert pins(result) == {"demo": ("1.0", expected)}
    assert named(result, "demo").shipped == "locked"
    assert result.lock.carried == ()
    assert result.lock.sha256 == hashlib.sha256(result.requirements.read_bytes()).hexdigest()


def test_a_package_changed_by_hand_is_carried_as_it_is(
    make_environment: Make, own_index: OwnIndex, tmp_path: Path
) -> None:
    files = {"demo/__init__.py": "VALUE = 1\n", "demo/deep/__init__.py": "", "demo/data.txt": "x"}
    own_index.add(make_wheel(tmp_path, "demo", "1.0", files))
    environment = make_environment()
    environment.install("demo==1.0", "--find-links", tmp_path)
    for path in ("demo/__init__.py", "demo/deep/added.py"):  # hard links into uv's cache are broken first
        file = environment.site / path
        text = file.read_text() if file.exists() else ""
        file.unlink(missing_ok=True)
        file.write_text(text + "VALUE = 2\n")
    (environment.site / "demo/data.txt").unlink()
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", *own_index.pip_args())
    assert carried(result) == {"demo": "repacked"}
    assert "changed by hand" in named(result, "demo").shipped_reason
    again = reinstalled(make_environment, result)
    assert again.run("import demo, demo.deep.added as a; print(demo.VALUE, a.VALUE)") == "2 2"
    assert contents(again) == contents(environment)


def test_a_version_that_no_index_has_is_carried_as_its_own_wheel(
    make_environment: Make, own_index: OwnIndex, tmp_path: Path
) -> None:
    own_index.add(make_wheel(tmp_path, "demo", "1.0", {"demo.py": ""}))
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = make_wheel(folder, "demo", "1.0+cpu", {"demo.py": "CPU = 1\n"})
    environment = make_environment()
    environment.install("demo==1.0+cpu", "--find-links", folder)
    arguments = (*own_index.pip_args(), "--find-links", str(folder))
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", *arguments)
    assert carried(result) == {"demo": "copied"}
    assert (result.wheels / wheel.name).read_bytes() == wheel.read_bytes()
    assert named(result, "demo").origin == "off-index"
    assert pins(result)["demo"][0] == "1.0+cpu"


def test_a_wheel_beside_that_holds_something_else_is_not_taken_for_the_original(
    make_environment: Make, tmp_path: Path
) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = make_wheel(folder, "demo", "1.0", {"demo.py": "VALUE = 'installed'\n"})
    environment = make_environment()
    environment.install(wheel)
    make_wheel(folder, "demo", "1.0", {"demo.py": "VALUE = 'replaced'\n"})
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    assert carried(result) == {"demo": "repacked"}
    assert reinstalled(make_environment, result).run("import demo; print(demo.VALUE)") == "installed"


def test_an_editable_install_is_built_and_nothing_is_left_in_its_source(
    make_environment: Make, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project", "edit-me", "0.3", {"edit_me.py": "VALUE = 3\n"})
    environment = make_environment()
    environment.install("--no-build-isolation", "-e", project)
    before = sorted(p for p in project.rglob("*") if "__pycache__" not in p.parts)
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    assert carried(result) == {"edit-me": "built"}
    assert sorted(p for p in project.rglob("*") if "__pycache__" not in p.parts) == before
    shutil.rmtree(project)
    assert reinstalled(make_environment, result).run("import edit_me; print(edit_me.VALUE)") == "3"


def test_an_editable_install_that_cannot_be_built_is_named_with_the_reason(
    make_environment: Make, tmp_path: Path
) -> None:
    project = make_project(tmp_path / "project", "edit-me", "0.3", {"edit_me.py": ""})
    environment = make_environment()
    environment.install("--no-build-isolation", "-e", project)
    (project / "backend.py").write_text("raise SystemExit('the compiler is gone')\n")
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    assert "the compiler is gone" in result.lock.absent["edit-me"]
    assert named(result, "edit-me").shipped == "absent"
    assert [f.id for f in result.findings] == ["package-absent"]
    assert pins(result) == {}


def test_an_install_from_version_control_is_packed_again(make_environment: Make, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", "from-git", "0.1", {"from_git/__init__.py": "VALUE = 4\n"})
    git = ["git", "-C", str(project), "-c", "user.name=t", "-c", "user.email=t@example"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    environment = make_environment()
    environment.install("--no-build-isolation", f"git+file://{project}")
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    assert carried(result) == {"from-git": "repacked"}
    assert named(result, "from-git").origin == "vcs"
    again = reinstalled(make_environment, result)
    assert contents(again) == contents(environment)


def test_without_a_network_everything_is_carried_and_the_reason_said(
    make_environment: Make, tmp_path: Path
) -> None:
    make_wheel(tmp_path, "demo", "1.0", {"demo.py": "VALUE = 5\n"})
    environment = make_environment()
    environment.install("demo==1.0", "--find-links", tmp_path)
    arguments = ("--isolated", "--index-url", "http://127.0.0.1:9/simple")
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", *arguments)
    assert carried(result) == {"demo": "repacked"}
    assert "refused" in named(result, "demo").shipped_reason
    assert [f.id for f in result.findings] == ["index-unreachable"]
    assert reinstalled(make_environment, result).run("import demo; print(demo.VALUE)") == "5"


def test_a_source_only_release_is_carried(make_environment: Make, own_index: OwnIndex, tmp_path: Path) -> None:
    (tmp_path / "demo-1.0.tar.gz").write_bytes(b"source")
    own_index.add(tmp_path / "demo-1.0.tar.gz")
    make_wheel(tmp_path, "demo", "1.0", {"demo.py": ""})
    environment = make_environment()
    environment.install("demo==1.0", "--find-links", tmp_path)
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", *own_index.pip_args())
    assert carried(result) == {"demo": "repacked"}
    assert "source only" in named(result, "demo").shipped_reason


def test_scripts_data_and_modes_come_back(make_environment: Make, tmp_path: Path) -> None:
    dist = "tool-1.0"
    files = {
        "tool/__init__.py": "def main():\n    print('entry')\n",
        f"{dist}.dist-info/entry_points.txt": "[console_scripts]\ntool-entry = tool:main\n",
        f"{dist}.data/scripts/tool-script": "#!python\nimport sys\nprint(sys.prefix)\n",
        f"{dist}.data/data/share/tool/table.txt": "table\n",
        f"{dist}.data/headers/tool.h": "#define TOOL\n",
    }
    wheel = make_wheel(tmp_path, "tool", "1.0", files)
    environment = make_environment()
    environment.install(wheel)
    wheel.unlink()
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    assert carried(result) == {"tool": "repacked"}
    again = reinstalled(make_environment, result)
    told = subprocess.run([again.folder / "bin/tool-script"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(again.folder)
    entry = subprocess.run([again.folder / "bin/tool-entry"], capture_output=True, text=True, check=True)
    assert entry.stdout == "entry\n"
    assert (again.folder / "share/tool/table.txt").read_text() == "table\n"
    assert list((again.folder / "include").rglob("tool.h"))


def test_scripts_beside_an_edited_one_are_not_the_packages(make_environment: Make, tmp_path: Path) -> None:
    """An environment that was moved or copied has other first lines in its scripts than their RECORD says."""
    script = "#!python\nprint('done')\n"
    tool = make_wheel(tmp_path, "tool", "1.0", {"tool.py": "", "tool-1.0.data/scripts/tool-script": script})
    environment = make_environment()
    environment.install(tool)
    tool.unlink()
    with (environment.folder / "bin/tool-script").open("a") as moved:
        moved.write("# moved\n")
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    assert carried(result) == {"tool": "repacked"}
    (wheel,) = result.wheels.glob("tool-*.whl")
    held = [name for name in zipfile.ZipFile(wheel).namelist() if "/scripts/" in name]
    assert held == ["tool-1.0.data/scripts/tool-script"]


def test_the_same_environment_locked_twice_gives_the_same_bytes(
    make_environment: Make, own_index: OwnIndex, tmp_path: Path
) -> None:
    own_index.add(make_wheel(tmp_path, "demo", "1.0", {"demo.py": ""}))
    other = make_wheel(tmp_path, "other", "2.0", {"other/__init__.py": "", "other/x.py": "x = 1\n"})
    project = make_project(tmp_path / "project", "edit-me", "0.3", {"edit_me.py": ""})
    environment = make_environment()
    environment.install("demo==1.0", "other==2.0", "--find-links", tmp_path)
    environment.install("--no-build-isolation", "-e", project)
    other.unlink()
    results = [
        environment.lock(tmp_path / f"lock{n}", tmp_path / f"cache{n}", *own_index.pip_args()) for n in (1, 2)
    ]
    first, second = (
        {p.name: p.read_bytes() for p in r.requirements.parent.rglob("*.*") if p.is_file()} for r in results
    )
    assert first == second
    assert results[0].lock == results[1].lock
    assert carried(results[0]) == {"other": "repacked", "edit-me": "built"}


def test_a_repacked_wheel_is_a_wheel_that_pip_takes(make_environment: Make, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo", "1.0", {"demo/__init__.py": "VALUE = 7\n"})
    environment = make_environment()
    environment.install(wheel)
    wheel.unlink()
    result = environment.lock(tmp_path / "lock", tmp_path / "cache", "--isolated", "--no-index")
    [file] = result.lock.carried
    with zipfile.ZipFile(result.wheels / file.file) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[-1] == "demo-1.0.dist-info/RECORD"
        assert "demo-1.0.dist-info/INSTALLER" not in archive.namelist()


def test_packages_of_the_distribution_are_carried_from_their_own_database(tmp_path: Path) -> None:
    owner = shutil.which("dpkg-query")
    site = Path("/usr/lib/python3/dist-packages")
    found = sorted(site.glob("*.egg-info")) if owner else []
    if not found:
        pytest.skip("no Debian packages of Python distributions on this host")
    from runbook.environment.repack import repack
    from runbook.observe.probing import run_probe
    from tests.environment.conftest import interpreter_of

    probe = run_probe("/usr/bin/python3", {}, tmp_path, record_check=False)
    made = 0
    for one in probe.distributions:
        if one.kind == "egg-info" and one.location == str(site):
            try:
                wheel = repack(one, interpreter_of(probe), tmp_path)
            except ValueError:
                continue
            with zipfile.ZipFile(wheel) as archive:
                assert any(n.endswith(".dist-info/METADATA") for n in archive.namelist())
                assert len(archive.namelist()) > 3
            made += 1
    assert made


@pytest.mark.network
def test_a_real_environment_is_locked_from_the_users_own_index(make_environment: Make, tmp_path: Path) -> None:
    environment = make_environment()
    pip = ["pip", "install", "--quiet", "--python", environment.python, "idna==3.10", "markupsafe==3.0.2"]
    from tests.environment.conftest import uv

    uv(*pip)
    result = environment.lock(tmp_path / "lock", tmp_path / "cache")
    assert {p.name: p.shipped for p in result.packages} == {"idna": "locked", "markupsafe": "locked"}
    assert len(pins(result)["markupsafe"][1]) > 20
