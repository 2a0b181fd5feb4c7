"""A bundle appears whole or not at all, is the same bytes for the same content, and other tools accept it."""

import hashlib
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

from runbook.bundle import layout
from runbook.bundle.read import open_bundle
from runbook.bundle.verify import verify
from runbook.bundle.write import BundleWriter
from runbook.errors import BundleRejected, RunbookError, UsageError
from tests.factories import make_bundle

ROOT = Path(__file__).parents[2]
FORMS = ("directory", "zip")
SUFFIX = {"directory": ".runbook", "zip": ".runbook.zip"}


def content(path: Path) -> dict[str, bytes]:
    """Every file below a folder, or the file itself."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_sha256sum_accepts_it(tmp_path):
    bundle = make_bundle(tmp_path)
    for manifest in (layout.MANIFEST, layout.TAG_MANIFEST):
        subprocess.run(["sha256sum", "--strict", "-c", manifest], cwd=bundle, check=True, capture_output=True)


def test_bagit_accepts_it(tmp_path):
    bundle = make_bundle(tmp_path)
    tool = Path(sys.executable).parent / "bagit.py"
    done = subprocess.run([tool, "--validate", bundle], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "is valid" in done.stderr


def test_unzip_and_python_read_the_zip_and_find_the_directory_in_it(tmp_path):
    directory, packed = make_bundle(tmp_path), make_bundle(tmp_path, form="zip")
    with zipfile.ZipFile(packed) as file:
        assert file.testzip() is None
        file.extractall(tmp_path / "out")
    assert content(tmp_path / "out" / "bundle.runbook") == content(directory)
    assert verify(tmp_path / "out" / "bundle.runbook").id == verify(packed).id == verify(directory).id


@pytest.mark.parametrize("form", FORMS)
def test_the_same_content_gives_the_same_bytes_and_id(form, tmp_path):
    names = ("code/a.py", "inputs/x/y", "b", "B-c", "a/é ü.txt")
    results = []
    for number, order in enumerate((names, names[::-1])):
        target = tmp_path / f"{number}{SUFFIX[form]}"
        with BundleWriter(target, form=form) as writer:
            for name in order:
                writer.add_bytes(f"data/{name}", name.encode())
            results.append((writer.finish(), content(target)))
        os.utime(target, (0, 0))
    assert results[0] == results[1]


def test_the_id_is_the_digest_of_the_manifest(tmp_path):
    bundle = make_bundle(tmp_path)
    manifest = (bundle / "manifest-sha256.txt").read_bytes()
    with open_bundle(bundle) as opened:
        assert opened.id == hashlib.sha256(manifest).hexdigest()


@pytest.mark.parametrize("form", FORMS)
def test_an_existing_bundle_is_replaced_only_when_told(form, tmp_path):
    target = make_bundle(tmp_path, form=form)
    before = content(target)
    with pytest.raises(UsageError) as caught, BundleWriter(target, form=form):
        raise AssertionError("not reached")
    assert caught.value.id == "target-exists"
    assert content(target) == before
    with BundleWriter(target, form=form, replace=True) as writer:
        writer.add_bytes("data/new", b"new")
        writer.finish()
    assert content(target) != before
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_bundle_is_never_replaced(form, tmp_path):
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter1.tex").write_text("precious")
    with pytest.raises(UsageError), BundleWriter(target, form=form, replace=True):
        raise AssertionError("not reached")
    assert (target / "chapter1.tex").read_text() == "precious"


def test_a_target_that_appears_meanwhile_is_not_overwritten(tmp_path):
    target = tmp_path / "x.runbook"
    with pytest.raises(UsageError), BundleWriter(target) as writer:
        writer.add_bytes("data/a", b"a")
        target.mkdir()
        writer.finish()
    assert list(tmp_path.iterdir()) == [target]
    assert not list(target.iterdir())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_nothing_is_left_after_an_error_or_ctrl_c(form, error, tmp_path):
    with pytest.raises(type(error)), BundleWriter(tmp_path / "x", form=form) as writer:
        writer.add_bytes("data/deep/a", b"a")
        raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_leftovers_of_a_dead_writer_are_replaced_and_a_living_one_is_respected(form, tmp_path):
    target = tmp_path / "x"
    stale = tmp_path / "x.partial"
    (stale / "data").mkdir(parents=True)
    (stale / "data" / "old").write_text("old")
    with BundleWriter(target, form=form) as writer:
        writer.add_bytes("data/new", b"new")
        with pytest.raises(UsageError) as caught, BundleWriter(target, form=form):
            raise AssertionError("not reached")
        assert caught.value.id == "busy"
        writer.finish()
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    with open_bundle(target) as bundle:
        assert bundle.names == ("data/new",)


def test_a_folder_that_only_looks_like_a_leftover_is_not_touched(tmp_path):
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "precious.txt").write_text("mine")
    with pytest.raises(UsageError), BundleWriter(tmp_path / "x"):
        raise AssertionError("not reached")
    assert (tmp_path / "x.partial" / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("data/../evil", "unstorable-name"),
        ("/etc/passwd", "unstorable-name"),
        ("bagit.txt", "unstorable-name"),
        ("data/a\nb", "unstorable-name"),
        ("data/50%.csv", "unstorable-name"),
        ("data/" + "x" * 240, "unstorable-name"),
        ("data/twice", "duplicate-entry"),
    ],
)
def test_names_that_a_bundle_cannot_hold_are_refused_by_name(name, id, tmp_path):
    with pytest.raises(UsageError) as caught, BundleWriter(tmp_path / "x") as writer:
        writer.add_bytes("data/twice", b"")
        writer.add_bytes(name, b"")
    assert caught.value.id == id
    assert caught.value.value == name


def test_names_that_collide_elsewhere_are_refused_by_name(tmp_path):
    with pytest.raises(UsageError) as caught, BundleWriter(tmp_path / "x") as writer:
        writer.add_bytes("data/code/Makefile", b"")
        writer.add_bytes("data/code/makefile", b"")
        writer.finish()
    assert caught.value.value == "code/Makefile and code/makefile"
    assert not list(tmp_path.iterdir())


def test_a_file_that_changed_since_it_was_hashed_is_refused(tmp_path):
    (tmp_path / "a").write_text("new")
    with pytest.raises(UsageError) as caught, BundleWriter(tmp_path / "x") as writer:
        writer.add_file("data/a", tmp_path / "a", sha256=hashlib.sha256(b"old").hexdigest())
    assert caught.value.id == "changed-meanwhile"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError) as caught, BundleWriter(tmp_path / "x") as writer:
        writer.add_file("data/pipe", tmp_path / "pipe")
    assert caught.value.id == "not-a-file"


def test_a_missing_folder_is_a_usage_error_with_the_command(tmp_path):
    with pytest.raises(UsageError, match="no such folder") as caught, BundleWriter(tmp_path / "no" / "x"):
        raise AssertionError("not reached")
    assert caught.value.hint.startswith("mkdir -p ")


DRIVER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path

    root, where, form, task = sys.argv[1:]
    sys.path.insert(0, root)
    import runbook.bundle.write, runbook.digest.atomic
    from runbook.bundle.write import BundleWriter
    from tests.factories import make_bundle

    WRITES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "fcntl.flock"}
    count = deadly = 0

    def step():
        global count
        count += 1
        if count == deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event, arguments):
        # Whatever asks the kernel to make, write, name or remove something.
        if event in WRITES or (event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            step()

    def around(real):
        def counted(*arguments):
            step()
            real(*arguments)
            step()
        return counted

    for name in ("sync_tree", "sync_folder", "rename_new", "exchange"):
        setattr(runbook.bundle.write, name, around(getattr(runbook.bundle.write, name)))

    def write(folder):
        if task == "make":
            make_bundle(folder, form=form)
            return
        with BundleWriter(folder / "demo.runbook", replace=True) as writer:
            writer.add_bytes("data/new", b"new")
            writer.finish()

    make_bundle(Path(where), name="warm")  # Everything is imported before the first child.
    while True:
        deadly += 1
        folder = Path(where, str(deadly))
        folder.mkdir()
        if task == "replace":
            make_bundle(folder)
        child = os.fork()
        if child == 0:
            count = 0
            sys.addaudithook(hook)
            write(folder)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    """
)


def kill_at_every_step(where: Path, form: str, task: str) -> list[Path]:
    """Write a bundle again and again, killed one step later each time; the folders, the last one not killed."""
    command = [sys.executable, "-c", DRIVER, str(ROOT), str(where), form, task]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted((p for p in where.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))


@pytest.mark.parametrize("form", FORMS)
def test_killed_at_any_write_it_is_absent_partial_or_whole(form, tmp_path):
    seen = set()
    folders = kill_at_every_step(tmp_path, form, "make")
    for folder in folders:
        target, partial = folder / f"demo{SUFFIX[form]}", folder / f"demo{SUFFIX[form]}.partial"
        assert {*folder.iterdir()} <= {target, partial}
        if target.exists():
            verify(target)
            seen.add("whole")
        elif not partial.exists():
            seen.add("absent")
        elif form == "directory" and (partial / layout.MANIFEST).exists():
            seen.add("complete, and plainly not named yet")
        else:
            seen.add("partial")
            with pytest.raises(BundleRejected):
                verify(partial)
        if not target.exists():  # Whatever was left, the next capture succeeds and clears it.
            make_bundle(folder, form=form)
            assert verify(target).files == 21
            assert [*folder.iterdir()] == [target]
    assert {"absent", "partial", "whole"} <= seen
    assert len(folders) > 50


def test_killed_while_replacing_either_the_old_or_the_new_stands(tmp_path):
    new = set()
    for folder in kill_at_every_step(tmp_path, "directory", "replace"):
        with open_bundle(folder / "demo.runbook") as bundle:
            bundle.hash()
            new.add(bundle.names == ("data/new",))
    assert new == {True, False}


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("NOT RUN: mounting a tiny file system needs root")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"NOT RUN: cannot mount a tiny file system ({done.stderr.strip()})")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [100_000, 140_000, 300_000])
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(form, size, tiny_disk):
    if form == "directory" and size < 200_000:
        size = 240_000 + size % 7  # Fills the disk with the tag files.
    with pytest.raises(RunbookError) as caught, BundleWriter(tiny_disk / "x", form=form) as writer:
        writer.add_bytes("data/a", bytes(size))
        for number in range(20):
            writer.add_bytes(f"data/{number}", b"x" * 4096)
        writer.finish()
    assert caught.value.id == "disk-full"
    assert caught.value.exit_code == 6
    assert not list(tiny_disk.iterdir())
