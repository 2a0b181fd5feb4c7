"""The run store."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from records import ended, record

from runbook.catalog.store import RunStore, describe, find_store
from runbook.errors import UsageError


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path)


def test_ids_sort_by_time_and_name_folders(store):
    runs = [store.new() for _ in range(3)]
    assert all(re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", run.id) for run in runs)
    assert store.list() == sorted(runs, key=lambda run: run.id)
    assert all(run.code.is_dir() and run.path.stat().st_mode & 0o77 == 0 for run in runs)


def test_runs_that_share_a_second_stand_in_the_order_of_their_starts(store):
    runs = []
    for _ in range(50):
        runs.append(store.new())
        assert store.load("last") == runs[-1]
    assert store.list() == runs


def test_many_runs_at_once_never_share_a_folder(store):
    with ThreadPoolExecutor(16) as pool:
        runs = list(pool.map(lambda _: store.new(), range(200)))
    assert len({run.path for run in runs}) == 200 == len(store.list())


def test_a_draft_comes_back_as_it_was_written(store):
    run = store.new()
    run.write(record(run.id))
    run.write(record(run.id, outcome=ended()))
    assert run.read() == record(run.id, outcome=ended())
    assert sorted(p.name for p in run.path.iterdir()) == ["code", "draft.json"]


def test_a_run_without_a_record_is_plainly_unfinished(store):
    run = store.new()
    assert "unfinished" in describe(run)
    with pytest.raises(UsageError, match="has not ended"):
        store.load().read()
    run.write(record(run.id, outcome=ended(1)))
    assert "failed" in describe(run)


def test_git_sees_nothing_of_the_store(store, tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    run = store.new()
    run.write(record(run.id))
    seen = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain", "--untracked-files=all"], check=True, capture_output=True
    )
    assert seen.stdout == b""


def test_runs_are_found_by_id_by_a_unique_beginning_and_as_the_last(store):
    ids = ["20260101-000000-aaaa", "20260101-000000-abbb", "20260202-000000-cccc"]
    for id in ids:
        (store.path / "runs" / id).mkdir(parents=True)
    (store.path / "runs" / "notes").mkdir()
    assert [run.id for run in store.list()] == ids
    assert store.load().id == store.load("last").id == ids[2]
    assert store.load("20260202").id == ids[2] and store.load(ids[0]).id == ids[0]
    for wanted, says in (("20260101", "2 runs begin like this"), ("2027", "no such run"), ("", "no such run")):
        with pytest.raises(UsageError, match=says) as caught:
            store.load(wanted)
        assert ids[0] in caught.value.hint


def test_no_run_at_all_says_how_to_record_one(store):
    assert store.list() == []
    with pytest.raises(UsageError, match="no run is recorded here") as caught:
        store.load()
    assert "runbook run" in caught.value.hint


def test_a_draft_that_is_absent_broken_or_of_another_version_is_a_usage_error(store):
    run = store.new()
    for text in (b"", b"{", b"[]", msgspec.json.encode(record(run.id)).replace(b"record/1", b"record/9")):
        run.draft.write_bytes(text)
        with pytest.raises(UsageError, match="cannot be read"):
            run.read()
    assert "unreadable" in describe(run)


def test_the_store_is_found_from_a_folder_below(store, tmp_path):
    store.new()
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_store(tmp_path / "a" / "b") == store


def test_a_kill_while_writing_leaves_the_old_draft(store):
    run = store.new()
    run.write(record(run.id))
    code = (
        "import sys, msgspec; from pathlib import Path; from runbook.catalog.store import RunFolder\n"
        "run = RunFolder(sys.argv[1], Path(sys.argv[2])); record = run.read()\n"
        "print('ready', flush=True)\n"
        "while True: run.write(record)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, run.id, str(run.path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    for _ in range(200):
        assert run.read() == record(run.id)
    process.kill()
    process.wait()
    process.stdout.close()
    assert run.read() == record(run.id)
    assert os.path.exists(run.draft)
