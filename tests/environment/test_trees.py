"""What becomes of a wheel in the cache: what an installer makes of it, plain names only, bounded."""

import hashlib
import platform
import sys
import warnings
import zipfile
from pathlib import Path

import pytest

from runbook.environment import trees
from runbook.environment.layer import TIME
from runbook.errors import EnvironmentNotRebuilt
from runbook.model.environment import Interpreter
from tests.observe.wheelmaker import make_wheel

PYTHON = "/opt/there/bin/python"
INTERPRETER = Interpreter(
    implementation="cpython",
    version="3.11.4",
    abi="cp311",
    machine=platform.machine(),
    system=sys.platform,
    executable=PYTHON,
    prefix="/opt/there",
    base_prefix="/usr",
)


def lay_out(tmp_path: Path, more: dict[str, str], *, fetched: bool = True) -> Path:
    """The files of the tree of a wheel with these members besides its module."""
    folder = tmp_path / "wheels"
    folder.mkdir(exist_ok=True)
    wheel = Path(make_wheel(folder, "demo", "1.0", {"demo.py": "VALUE = 1\n"}))
    with warnings.catch_warnings(), zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # Of a name that is there twice.
        for name, text in more.items():
            archive.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def wheels() -> Path:
        assert fetched, "the wheels were asked for"
        return folder

    carried = {wheel.name: digest}
    lock = f"demo==1.0 --hash=sha256:{digest}\n".encode()
    found = trees.have(lock, INTERPRETER, carried, wheels, python=PYTHON, cache=tmp_path / "cache")
    assert set(found) == {digest}
    return found[digest] / trees.FILES


def test_each_part_of_a_wheel_lies_where_an_installer_puts_it(tmp_path: Path) -> None:
    files = lay_out(
        tmp_path,
        {
            "demo-1.0.data/scripts/tool": "#!python\nprint(1)\n",
            "demo-1.0.data/data/share/demo.txt": "text",
            "demo-1.0.data/headers/demo.h": "int x;",
            "demo-1.0.dist-info/entry_points.txt": "[console_scripts]\nrun-demo = demo:main\n",
        },
    )
    packages = files / "lib/python3.11/site-packages"
    assert (packages / "demo.py").stat().st_mtime == TIME
    assert (files / "bin/tool").read_text().startswith(f"#!{PYTHON}\n")
    assert (files / "bin/run-demo").read_text().startswith(f"#!{PYTHON}\n")
    assert (files / "bin/run-demo").stat().st_mode & 0o777 == 0o755
    assert (files / "share/demo.txt").read_text() == "text"
    assert (files / "include/site/python3.11/demo/demo.h").is_file()
    assert "../../../bin/run-demo" in (packages / "demo-1.0.dist-info/RECORD").read_text()


def test_a_tree_is_made_once_and_again_where_a_file_is_cut_short(tmp_path: Path) -> None:
    module = lay_out(tmp_path, {}) / "lib/python3.11/site-packages/demo.py"
    lay_out(tmp_path, {}, fetched=False)
    module.write_text("")
    lay_out(tmp_path, {})
    assert module.read_text() == "VALUE = 1\n"


@pytest.mark.parametrize(
    "name",
    [
        "../" * 8 + "climbs",
        "/absolute",
        "a//b",
        "a/./b",
        "back\\slash",
        "new\nline",
        "demo.py",
        "demo-1.0.data/nowhere/x",
        "demo-1.0.data/scripts/../../../../x",
    ],
)
def test_a_wheel_with_a_name_that_is_none_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        lay_out(tmp_path, {name: "x"})
    assert caught.value.id == "install-failed"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_script_cannot_be_named_out_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentNotRebuilt):
        lay_out(tmp_path, {"demo-1.0.dist-info/entry_points.txt": "[console_scripts]\n../../evil = demo:main\n"})
    assert not list((tmp_path / "cache").rglob("evil"))


def test_a_wheel_that_unpacks_to_far_more_than_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_ROOMY", 1 << 20)
    with pytest.raises(EnvironmentNotRebuilt, match="far more"):
        lay_out(tmp_path, {"zeros": "\0" * (4 << 20)})
