"""The reader of the watch logs: they may be cut, mixed up, or written by somebody who wants to break it."""

import os
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.launch import watched
from runbook.launch.watch import prepare, read_watch
from runbook.model.watch import Watched

TORN = "a log has records that are torn or not ours: they were not read"


def start(pid: int, above: str = "", how: str = "start", cwd: str = "/w") -> bytes:
    return (
        b"P"
        + "\x1f".join(["1", str(pid), above, how, "5", "3.11.7", "/usr/bin/python3", cwd, "/w/.watch/"]).encode()
    )


def log(folder: Path, name: str, *records: bytes) -> None:
    (folder / name).write_bytes(b"".join(record + b"\n\0" for record in records) + bytes(64))


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    sentence = "no Python process was watched: none was started, or with options that keep the hook out"
    assert read_watch(tmp_path) == Watched(lost=(sentence,))
    assert read_watch(tmp_path / "none") == Watched(lost=(sentence,))


def test_processes_are_merged_by_time(tmp_path: Path) -> None:
    log(tmp_path, "1-10.log", b"t16", start(1), b"t100", b"/w/a", b"t300", b"w/w/b", b"Z")
    log(tmp_path, "2-20.log", b"t32", start(2, "1"), b"t90", b"w/w/a", b"t400", b"/w/b")
    seen = read_watch(tmp_path)
    a, b = seen.files
    assert (a.path, a.first, a.writers, a.readers) == ("/w/a", "written", (1,), (0,))
    assert (b.path, b.first, b.writers, b.readers) == ("/w/b", "written", (0,), (1,))
    assert [(p.pid, p.parent, p.ended) for p in seen.processes] == [(1, None, True), (2, 0, False)]
    assert seen.lost == ()


def test_a_record_that_was_being_written_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "1-1.log").write_bytes(start(1) + b"\n\0/w/a\n\0/w/hal" + bytes(100))
    seen = read_watch(tmp_path)
    assert [use.path for use in seen.files] == ["/w/a"]
    assert seen.lost == (TORN,)


def test_what_follows_zeros_is_read(tmp_path: Path) -> None:
    (tmp_path / "1-1.log").write_bytes(start(1) + b"\n\0" + bytes(200_000) + b"/w/a\n\0")
    assert [use.path for use in read_watch(tmp_path).files] == ["/w/a"]


@pytest.mark.parametrize(
    "record",
    [
        b"S", b"S1\x1ff", b"Sx\x1ff\x1fv\x1fw", b"D\x1fa\x1fb\x1fc", b"k/w/a\x1f../../etc/passwd", b"m/w/a", b"?",
        b"q", b"\xff\xfe", b"/" + b"a" * 5000, start(3), b"V\x1f", b"G\x1f", b"C\x1f\x1f", b"X", b"f/w/a",
        b"h/w/a", b"S" + b"9" * 20_000 + b"\x1ff\x1fv\x1fw", b"/\xff/../..", b"d", b"w", b"u", b"n", b"L",
        b"I", b"A",
    ],
)  # fmt: skip
def test_a_record_that_makes_no_sense_is_passed_over(tmp_path: Path, record: bytes) -> None:
    log(tmp_path, "1-1.log", start(1), record, b"/w/a")
    seen = read_watch(tmp_path)
    assert "/w/a" in [use.path for use in seen.files]
    assert not any(use.kept for use in seen.files)


def test_a_log_of_another_version_and_one_without_a_process(tmp_path: Path) -> None:
    log(tmp_path, "1-1.log", start(1).replace(b"P1", b"P2"), b"/w/a")
    log(tmp_path, "2-2.log", b"/w/b")
    seen = read_watch(tmp_path)
    assert seen.files == () and seen.processes == ()
    assert "a log is in the format of another version of runbook and was not read" in seen.lost
    assert TORN in seen.lost


def test_links_and_devices_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    log(tmp_path, "secret", start(1), b"/w/a")
    (tmp_path / "watch/1-1.log").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "watch/2-2.log")
    (tmp_path / "watch/3-3.log").mkdir()
    seen = read_watch(tmp_path / "watch")
    assert seen.processes == () and any("no regular file" in one for one in seen.lost)


def test_more_files_than_are_listed_are_counted_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "FILES", 3)
    records = [f"/w/{i % 2}/{i}".encode() for i in range(10)]
    log(tmp_path, "1-1.log", start(1), *records, b"w/w/0/x")
    seen = read_watch(tmp_path)
    assert len(seen.files) == 3
    assert [(f.path, f.read, f.written) for f in seen.folders] == [("/w/0", 3, 1), ("/w/1", 4, 0)]


def test_what_is_in_the_watch_folder_is_ours(tmp_path: Path) -> None:
    log(tmp_path, "1-1.log", start(1), b"/w/.watch/inside/_runbook_hook.py", b"/w/a")
    assert [use.path for use in read_watch(tmp_path).files] == ["/w/a"]


def test_preparing_keeps_the_callers_path(tmp_path: Path) -> None:
    env = prepare(tmp_path / "w", {"PYTHONPATH": "/mine", "A": "1"})
    assert env == {"PYTHONPATH": f"{tmp_path}/w/inside:/mine", "A": "1", "RUNBOOK_WATCH": f"{tmp_path}/w"}
    assert prepare(tmp_path / "w", {}, seen_as="/run/w")["PYTHONPATH"] == "/run/w/inside"


_FIELD = st.one_of(st.binary(max_size=20), st.sampled_from([b"1", b"/w/a", b"/w", b"", b"start", b"1-1", b"-5"]))
_RECORD = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda kind, fields: kind + b"\x1f".join(fields),
        st.sampled_from([bytes([one]) for one in b"PAVt/?wunmhdkfISYGCXDLZ"]),
        st.lists(_FIELD, max_size=9),
    ),
)


@given(st.lists(st.lists(_RECORD, max_size=12), max_size=3), st.binary(max_size=30))
def test_any_bytes_are_survived(logs: list[list[bytes]], tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, records in enumerate(logs):
            head = [start(number)] if number % 2 else []
            body = b"".join(record + b"\n\0" for record in [*head, *records])
            (folder / f"{number}-{number}.log").write_bytes(body + tail)
        seen = read_watch(folder)
    # What is read is what the values say, so that it can be recorded.
    texts = msgspec.structs.replace(seen, files=(), folders=())
    assert msgspec.convert(msgspec.to_builtins(texts), Watched) == texts
    msgspec.json.encode(texts)
