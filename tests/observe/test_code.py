import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.errors import UsageError
from runbook.observe.code import read_code


def git_value(listing):
    assert listing.git.value is not None, listing.git.reason
    return listing.git.value


def ids(listing):
    return [f.id for f in listing.findings]


def test_tracked_and_untracked_files_belong_and_ignored_ones_do_not(repository):
    repository.write("train.py")
    repository.write(".gitignore", "*.log\nout/\n")
    commit = repository.commit()
    repository.write("new.py")
    repository.write("run.log")
    repository.write("out/model.pt")
    listing = read_code(repository.path)
    git = git_value(listing)
    assert listing.files == (".gitignore", "new.py", "train.py")
    assert (git.commit.value, git.branch.value, git.dirty, git.untracked) == (commit, "main", False, ("new.py",))
    assert git.remote.reason == "no remote"
    assert listing.patch == b""


def test_the_uncommitted_state_is_what_belongs_and_the_patch_leads_to_it(repository, tmp_path):
    repository.write("changed.py", "old\n")
    repository.write("staged.py", "old\n")
    repository.write("deleted.py", "gone\n")
    (repository.path / "blob.bin").write_bytes(bytes(range(256)))
    repository.commit()
    repository.write("changed.py", "new\n")
    repository.write("staged.py", "staged\n")
    repository.git("add", "staged.py")
    (repository.path / "blob.bin").write_bytes(bytes(range(255, -1, -1)))
    (repository.path / "deleted.py").unlink()
    listing = read_code(repository.path)
    assert listing.files == ("blob.bin", "changed.py", "staged.py")
    assert git_value(listing).modified == ("blob.bin", "changed.py", "deleted.py", "staged.py")
    assert git_value(listing).dirty
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", repository.path, clone], check=True)
    subprocess.run(["git", "apply", "-"], input=listing.patch, cwd=clone, check=True)
    assert {n: (clone / n).read_bytes() for n in listing.files} == {
        n: (repository.path / n).read_bytes() for n in listing.files
    }
    assert not (clone / "deleted.py").exists()


def test_submodules_belong_with_their_commit_and_their_uncommitted_files(new_repository):
    inner, middle, outer = (new_repository(n) for n in ("inner", "middle", "outer"))
    inner.write("deep.py")
    inner.commit()
    middle.write("mid.py")
    middle.git("submodule", "add", "-q", str(inner.path), "inner")
    commit = middle.commit()
    outer.write("main.py")
    outer.git("submodule", "add", "-q", str(middle.path), "libs/middle")
    outer.git("submodule", "update", "-q", "--init", "--recursive")
    outer.commit()
    outer.write("libs/middle/mid.py", "dirty\n")
    outer.write("libs/middle/inner/untracked.py")
    listing = read_code(outer.path)
    git = git_value(listing)
    assert {"libs/middle/mid.py", "libs/middle/inner/deep.py", "libs/middle/inner/untracked.py"} < set(
        listing.files
    )
    assert [s.path for s in git.submodules] == ["libs/middle", "libs/middle/inner"]
    assert (git.submodules[0].commit.value, git.submodules[0].remote.value) == (commit, str(middle.path))
    assert git.modified == ("libs/middle/mid.py",)
    assert git.untracked == ("libs/middle/inner/untracked.py",)
    assert b"+++ b/libs/middle/mid.py" in listing.patch
    assert read_code(outer.path, narrow=["libs/middle/inner/deep.py"]).files == ("libs/middle/inner/deep.py",)
    assert b"mid.py" in read_code(outer.path, narrow=["libs/middle/mid.py"]).patch


def test_a_submodule_that_is_not_checked_out_is_a_finding(new_repository, tmp_path):
    inner, outer = new_repository("inner"), new_repository("outer")
    inner.write("a.py")
    inner.commit()
    outer.git("submodule", "add", "-q", str(inner.path), "inner")
    outer.commit()
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", outer.path, clone], check=True)
    listing = read_code(clone)
    assert ids(listing) == ["submodule-absent"]
    assert git_value(listing).submodules[0].commit.known
    assert git_value(listing).submodules[0].remote.reason == "not checked out"


def test_a_checkout_nested_in_another_belongs_with_its_commit(repository, new_repository):
    repository.write("a.py")
    repository.commit()
    nested = new_repository("repository/nested")
    nested.write("b.py")
    commit = nested.commit()
    listing = read_code(repository.path)
    assert listing.files == ("a.py", "nested/b.py")
    assert git_value(listing).submodules[0].commit.value == commit


def test_before_the_first_commit_the_files_belong_and_the_commit_is_missing(repository):
    repository.write("a.py")
    repository.write("b.py")
    repository.git("add", "a.py")
    listing = read_code(repository.path)
    git = git_value(listing)
    assert listing.files == ("a.py", "b.py")
    assert (git.commit.reason, git.branch.value, listing.patch) == ("no commit yet", "main", b"")


def test_a_detached_head_has_no_branch_and_a_work_tree_is_a_checkout(repository, tmp_path):
    repository.write("a.py")
    commit = repository.commit()
    repository.git("worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    listing = read_code(tmp_path / "tree")
    assert listing.files == ("a.py",)
    assert (git_value(listing).commit.value, git_value(listing).branch.reason) == (commit, "detached HEAD")


def test_a_subfolder_of_a_checkout_is_listed_relative_to_itself(repository):
    repository.write("lib/a.py")
    repository.write("other/b.py")
    commit = repository.commit()
    repository.write("lib/a.py", "new\n")
    repository.write("other/b.py", "new\n")
    listing = read_code(repository.path / "lib")
    assert (listing.files, git_value(listing).modified) == (("a.py",), ("a.py",))
    assert git_value(listing).commit.value == commit
    assert listing.patch.startswith(b"diff --git a/a.py b/a.py")
    assert b"other" not in listing.patch


def test_a_sparse_checkout_says_what_it_leaves_out(repository):
    repository.write("here/a.py")
    repository.write("away/b.py")
    repository.commit()
    repository.git("sparse-checkout", "set", "here")
    listing = read_code(repository.path)
    assert listing.files == ("here/a.py",)
    assert listing.left_out == ("1 tracked files that the sparse checkout leaves out",)
    assert not git_value(listing).dirty


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://bob:hunter2@git.example/a/b.git", "https://git.example/a/b.git"),
        ("https://ghp_abcdef@git.example/a/b.git", "https://git.example/a/b.git"),
        ("ssh://git:pw@git.example:22/a.git", "ssh://git@git.example:22/a.git"),
        ("git@git.example:a/b.git", "git@git.example:a/b.git"),
        ("https://git.example/a.git?private_token=abc&x=1", "https://git.example/a.git?x=1"),
    ],
)
def test_credentials_never_leave_the_remote(repository, url, shown):
    repository.git("remote", "add", "origin", url)
    assert git_value(read_code(repository.path)).remote.value == shown


def test_the_remote_that_the_branch_follows_comes_first(repository):
    repository.git("remote", "add", "origin", "https://a.example/x")
    repository.git("remote", "add", "upstream", "https://b.example/x")
    repository.git("config", "branch.main.remote", "upstream")
    assert git_value(read_code(repository.path)).remote.value == "https://b.example/x"


def test_odd_names_are_listed_or_left_out_by_name(repository):
    for name in ("sp ace.py", '"quoted".py', "ünï.py", "-dash.py", "$(touch pwned).py"):
        repository.write(name)
    repository.write("line\nbreak.py")
    repository.write("back\\slash.py")
    Path(os.fsdecode(os.fsencode(repository.path) + b"/bytes\xff.py")).write_text("")
    listing = read_code(repository.path)
    assert set(listing.files) == {"sp ace.py", '"quoted".py', "ünï.py", "-dash.py", "$(touch pwned).py"}
    assert ids(listing) == ["name-not-storable"]
    assert "line\\nbreak.py" in listing.findings[0].text
    assert not (repository.path / "pwned").exists()


def test_links_modes_and_empty_folders_are_the_shape(repository):
    repository.write("run.sh").chmod(0o755)
    (repository.path / "to").symlink_to("run.sh")
    (repository.path / "dangling").symlink_to("/nowhere")
    (repository.path / "empty/inside").mkdir(parents=True)
    listing = read_code(repository.path)
    assert [(link.path, link.target) for link in listing.shape.links] == [
        ("dangling", "/nowhere"),
        ("to", "run.sh"),
    ]
    assert (listing.shape.executables, listing.shape.empty_directories) == (("run.sh",), ("empty/inside",))
    assert listing.files == ("run.sh",)


def test_a_folder_that_became_a_link_does_not_lead_outside(repository, tmp_path):
    repository.write("data/a.py")
    repository.commit()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/a.py").write_text("secret")
    (repository.path / "data/a.py").unlink()
    (repository.path / "data").rmdir()
    (repository.path / "data").symlink_to(tmp_path / "outside")
    assert read_code(repository.path).files == ()


@pytest.mark.parametrize("with_git", [True, False])
def test_bundles_and_virtual_environments_never_belong(repository, venv, with_git):
    if not with_git:
        subprocess.run(["rm", "-rf", repository.path / ".git"], check=True)
    names = (
        "train.py",
        ".runbook/runs/x",
        "a.runbook/bagit.txt",
        "sub/b.runbook.zip",
        "c.runbook.partial",
        "d.partial/e",
    )
    for name in names:
        repository.write(name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", repository.path / "my-env"], check=True)
    listing = read_code(repository.path)
    assert listing.files == ("train.py",)
    assert any("a virtual environment" in text for text in listing.left_out)
    assert any("runbook's own" in text for text in listing.left_out)


def test_the_ignore_file_narrows_what_git_tracks(repository):
    repository.write("train.py")
    repository.write("data/big.csv")
    repository.write("data/keep.csv")
    repository.write(".runbookignore", "data/*\n!data/keep.csv\n")
    repository.commit()
    listing = read_code(repository.path)
    assert listing.files == (".runbookignore", "data/keep.csv", "train.py")
    assert listing.left_out == ("data/big.csv: named by .runbookignore",)
    assert read_code(repository.path, exclude=["*.py"]).files == (".runbookignore", "data/keep.csv")


def test_narrowing_keeps_only_the_named_paths_and_is_recorded(repository):
    for name in ("a/x.py", "ab/y.py", "b.py", "c/d/e.py"):
        repository.write(name)
    repository.commit()
    repository.write("b.py", "new")
    repository.write("ab/y.py", "new")
    listing = read_code(repository.path, narrow=["a", "./b.py", str(repository.path / "c")])
    assert (listing.files, listing.narrowed_to) == (("a/x.py", "b.py", "c/d/e.py"), ("a", "b.py", "c"))
    assert git_value(listing).modified == ("b.py",)
    assert b"ab/y.py" not in listing.patch


@pytest.mark.parametrize(("path", "id"), [("nope", "code-path-missing"), ("../x", "code-path-outside")])
def test_a_wrong_narrowing_path_is_refused(repository, path, id):
    with pytest.raises(UsageError) as caught:
        read_code(repository.path, narrow=[path])
    assert caught.value.id == id


def test_lfs_pointers_are_a_finding(repository):
    repository.write("m.bin", f"version https://git-lfs.github.com/spec/v1\noid sha256:{0:064}\nsize 12345\n")
    assert ids(read_code(repository.path)) == ["lfs-pointer"]


def test_the_largest_folders_are_told(repository):
    repository.write("big/a", "x" * 1000)
    repository.write("big/b", "x" * 1000)
    repository.write("small/c", "x" * 10)
    repository.write("top", "x" * 5)
    listing = read_code(repository.path)
    assert listing.largest_folders(2) == (("big", 2, 2000), ("small", 1, 10))
    assert listing.bytes == 2015


def test_without_git_everything_but_caches_belongs(tmp_path):
    root = tmp_path / "plain"
    for name in ("a.py", "sub/b.py", "__pycache__/a.pyc", ".venv/x", "node_modules/m", ".ipynb_checkpoints/n"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    listing = read_code(root)
    assert listing.files == ("a.py", "sub/b.py")
    assert listing.git.reason == "not a git checkout"


def test_a_folder_that_its_checkout_ignores_is_walked(repository):
    repository.write(".gitignore", "scratch/\n")
    repository.write("scratch/job.py")
    repository.commit()
    listing = read_code(repository.path / "scratch")
    assert listing.files == ("job.py",)
    assert listing.git.reason == "the git checkout around this folder ignores it"


def test_a_checkout_of_another_user_is_walked_with_the_way_to_allow_it(repository):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    repository.write("a.py")
    repository.commit()
    for folder, _, names in os.walk(repository.path):
        for path in (folder, *(os.path.join(folder, n) for n in names)):
            os.chown(path, 12345, 12345)
    listing = read_code(repository.path)
    assert listing.files == ("a.py",)
    assert f"safe.directory {repository.path}" in listing.git.reason


def test_without_the_git_program_the_folder_is_walked(repository, monkeypatch, tmp_path):
    repository.write("a.py")
    monkeypatch.setenv("PATH", str(tmp_path))
    listing = read_code(repository.path)
    assert (listing.files, listing.git.reason) == (("a.py",), "git is not installed")


def test_settings_of_the_repository_run_nothing(repository, tmp_path):
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    repository.write("a.py")
    repository.commit()
    repository.write("a.py", "changed\n")
    repository.git("config", "core.fsmonitor", str(program))
    repository.git("config", "diff.external", str(program))
    listing = read_code(repository.path)
    assert b"+changed" in listing.patch
    assert not (tmp_path / "ran").exists()


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda n: n not in (".", "..", ".git") and len(n.encode()) < 200
)


@settings(max_examples=25, deadline=None)
@given(st.sets(NAMES, max_size=6))
def test_no_name_is_lost_without_a_word(names):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "r"
        root.mkdir()
        for name in names:
            (root / name).write_text("x")
        on_disk = set(os.listdir(root))
        subprocess.run(["git", "init", "-q"], cwd=root, check=True)
        listing = read_code(root)
        assert set(listing.files) <= on_disk
        assert set(listing.files) == on_disk or listing.left_out
        assert all(listing.sizes[name] == 1 for name in listing.files)
