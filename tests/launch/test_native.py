"""What strace sees of real jobs, and what its log tells however it was cut."""

import io
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.errors import NeedMissing
from runbook.launch import native
from runbook.launch.combine import combine
from runbook.launch.process import launch
from runbook.launch.strace import Call, events, names, unescape
from runbook.launch.traced import Reader
from runbook.launch.watch import prepare, read_watch
from runbook.launch.watched import Fold
from runbook.model.watch import Process, Subprocess, Watched

C_READER = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.fread.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
file = libc.fopen(sys.argv[1].encode(), b"rb")
buffer = ctypes.create_string_buffer(100)
size = libc.fread(buffer, 1, 100, file)
libc.fclose(file)
print(buffer.raw[:size])
"""


class Traced:
    """A folder in which jobs run beside strace."""

    def __init__(self, folder):
        self.folder = folder / "job"
        self.watch = folder / "watch"
        self.logs = folder / "out.log", folder / "err.log"
        self.folder.mkdir()
        self.end = None

    def run(self, *argv, hook=False, **options):
        shutil.rmtree(self.watch, ignore_errors=True)
        env = prepare(self.watch, os.environ) if hook else os.environ
        starter = native.starter(self.watch)
        out, err = self.logs
        self.end = launch(
            argv, self.folder, env, stdout=out, stderr=err, tee=False, sample_gpu=False, starter=starter, **options
        )
        return native.read_native(self.watch, self.folder)

    def shell(self, script, **options):
        return self.run("/bin/sh", "-c", script, **options)

    def python(self, code, *argv, **options):
        return self.run(sys.executable, "-c", code, *argv, **options)

    def uses(self, watched):
        """By name, those beneath the job's folder."""
        return {
            os.path.relpath(use.path, self.folder): use
            for use in watched.files
            if use.path.startswith(f"{self.folder}/")
        }


@pytest.fixture
def traced(tmp_path):
    return Traced(tmp_path)


needs_strace = pytest.mark.strace


def took_part(watched, use):
    return {watched.processes[number].argv[0] for number in use.readers}


@needs_strace
def test_a_file_that_c_code_reads_is_missed_by_the_hook_and_found_by_strace(traced):
    (traced.folder / "data.bin").write_bytes(b"numbers")
    outside = traced.python(C_READER, "data.bin", hook=True)
    assert traced.logs[0].read_bytes() == b"b'numbers'\n"
    inside = read_watch(traced.watch)
    alone, both = combine(inside), combine(inside, outside)
    assert "data.bin" not in traced.uses(alone)
    assert alone.tracers == ("python",) and "--trace native" in alone.lost[0]
    use = traced.uses(both)["data.bin"]
    assert (use.read, use.written, use.first, use.seen_by) == (True, False, "read", ("native",))
    assert both.tracers == ("python", "native") and not both.lost
    # It is the very process that the hook knows.
    assert use.readers == (0,) and both.processes[0].python and len(both.processes) == 1


@needs_strace
def test_each_use_says_who_saw_it(traced):
    (traced.folder / "both.txt").write_text("x")
    outside = traced.python(
        "import subprocess; open('both.txt').read(); subprocess.run(['cp', 'both.txt', 'new'])", hook=True
    )
    seen = combine(read_watch(traced.watch), outside)
    uses = traced.uses(seen)
    assert uses["both.txt"].seen_by == ("python", "native")
    assert uses["new"].seen_by == ("native",)
    assert took_part(seen, uses["both.txt"]) == {sys.executable, "cp"}
    assert [one.argv for one in seen.subprocesses] == [("cp", "both.txt", "new")]
    child = seen.processes[uses["new"].writers[0]]
    assert (child.parent, child.python, child.cwd) == (0, "", str(traced.folder))


@needs_strace
def test_the_hooks_own_files_are_no_files_of_the_job(traced):
    seen = traced.python("pass", hook=True)
    assert [use.path for use in seen.files if use.path.startswith(str(traced.watch))] == []


@needs_strace
def test_other_programs(traced):
    (traced.folder / "a").write_text("1")
    database = traced.folder / "db.sqlite"
    code = "import sqlite3; sqlite3.connect('db.sqlite').execute('create table t(x)')"
    seen = traced.shell(f'cat a > b; {sys.executable} -c "{code}"')
    uses = traced.uses(seen)
    assert database.exists()
    assert (uses["a"].read, uses["a"].written) == (True, False)
    assert (uses["b"].read, uses["b"].written, uses["b"].first) == (False, True, "written")
    assert uses["db.sqlite"].written
    assert uses["db.sqlite-journal"].removed
    assert took_part(seen, uses["a"]) == {"cat"}


@needs_strace
def test_what_is_no_input(traced):
    (traced.folder / "sub").mkdir()
    seen = traced.shell(
        "cat absent 2>/dev/null; ls sub; cat /proc/self/stat >/dev/null; head -c1 /dev/zero >/dev/null"
    )
    assert traced.uses(seen) == {}
    assert not [use.path for use in seen.files if use.path.startswith(("/proc", "/dev", "/sys"))]


@needs_strace
def test_relative_paths_after_a_change_of_folder_in_a_child(traced):
    for folder in ("one", "two/deep"):
        (traced.folder / folder).mkdir(parents=True)
    (traced.folder / "one/x").write_text("1")
    (traced.folder / "two/deep/y").write_text("2")
    (traced.folder / "z").write_text("3")
    code = """
import os, subprocess
subprocess.run(["sh", "-c", "cat x; mv x x2; rm x2"], cwd="one")
if not os.fork():
    os.chdir("two"); d = os.open("deep", os.O_DIRECTORY); os.rename("y", "w", src_dir_fd=d, dst_dir_fd=d)
    os.fchdir(d); open("w").read(); os.unlink("w"); os._exit(0)
os.wait()
open("z").read()
"""
    uses = traced.uses(traced.python(code))
    assert set(uses) == {"one/x", "one/x2", "two/deep/y", "two/deep/w", "z"}
    assert (uses["one/x"].first, uses["one/x"].removed) == ("read", True)
    assert (uses["one/x2"].renamed_from, uses["one/x2"].removed) == (str(traced.folder / "one/x"), True)
    assert uses["two/deep/w"].renamed_from == str(traced.folder / "two/deep/y")


@needs_strace
def test_a_file_that_was_there_before_and_is_renamed_is_an_input(traced):
    (traced.folder / "old").write_text("content")
    uses = traced.uses(traced.shell("mv old new; echo x > part; mv part whole; ln whole link"))
    assert (uses["old"].read, uses["old"].first, uses["old"].removed) == (True, "read", True)
    assert (uses["new"].written, uses["new"].renamed_from) == (True, str(traced.folder / "old"))
    assert (uses["part"].read, uses["part"].first, uses["part"].removed) == (False, "written", True)
    assert (uses["whole"].first, uses["whole"].removed, uses["link"].written) == ("written", False, True)


@needs_strace
def test_a_folder_that_is_renamed_takes_its_files_along(traced):
    uses = traced.uses(traced.shell("mkdir tmp; echo 1 > tmp/a; echo 2 > tmp/b; mv tmp final; cat final/a"))
    assert {name for name, use in uses.items() if not use.removed} == {"final/a", "final/b"}
    assert (uses["final/a"].first, uses["final/a"].read) == ("written", True)


@needs_strace
def test_reading_and_then_overwriting_is_told_from_writing_and_then_reading(traced):
    for name in ("in", "out", "updated"):
        (traced.folder / name).write_text("old")
    seen = traced.shell("cat in > /dev/null; echo > in; echo > out; cat out > /dev/null; echo 1<>updated")
    uses = traced.uses(seen)
    assert {name: use.first for name, use in uses.items()} == {"in": "read", "out": "written", "updated": "read"}


@needs_strace
def test_a_path_that_leads_out_of_a_folder_that_is_a_link(traced):
    (traced.folder / "far/away").mkdir(parents=True)
    (traced.folder / "far/x").write_text("1")
    (traced.folder / "link").symlink_to("far/away")
    (traced.folder / "plain").write_text("2")
    uses = traced.uses(traced.shell("cat link/../x far/../plain"))
    assert set(uses) == {"far/x", "plain"}


@needs_strace
@pytest.mark.parametrize(
    "name",
    [
        *(b'qu"ote', b"back\\slash", b"new\nline", b"\xff\xfe", "äöü €".encode(), b"a<b>c", b" = 3", b"tab\t"),
        *(b'", O_RDONLY) = 4', b"\x7f\x1b[0m", b"<unfinished ...>", b"\x1f"),
    ],
)
def test_names_come_back_exactly(traced, name):
    path = os.fsencode(traced.folder) + b"/" + name
    Path(os.fsdecode(path)).write_text("x")
    new = os.fsdecode(name + b".new")
    uses = traced.uses(traced.run("sh", "-c", 'cat "$1" >/dev/null; mv "$1" "$1.new"', "sh", os.fsdecode(name)))
    assert uses[os.fsdecode(name)].read
    assert uses[new].renamed_from == os.fsdecode(path)


@needs_strace
def test_threads_forks_and_programs_that_replace_themselves(traced):
    for number in range(4):
        (traced.folder / f"t{number}").write_text("1")
    code = """
import os, threading
def read(n):
    for _ in range(50): open(f"t{n}").read()
threads = [threading.Thread(target=read, args=(n,)) for n in (0, 1)]
[t.start() for t in threads]; [t.join() for t in threads]
if not os.fork():
    read(2); os._exit(0)
os.wait()
threading.Thread(target=lambda: os.execvp("sh", ["sh", "-c", "exec cat t3"])).start()
threading.Event().wait()
"""
    seen = traced.python(code)
    uses = traced.uses(seen)
    root = seen.processes[0]
    assert uses["t0"].readers == uses["t1"].readers == (0,)
    fork = seen.processes[uses["t2"].readers[0]]
    assert (fork.start, fork.parent, fork.argv) == ("fork", 0, root.argv)
    last = seen.processes[uses["t3"].readers[0]]
    assert (last.argv, last.pid, last.ended) == (("cat", "t3"), root.pid, True)
    assert [(one.argv[0], one.exec) for one in seen.subprocesses] == [("sh", True), ("cat", True)]
    assert traced.logs[0].read_bytes() == b"1"


@needs_strace
def test_many_threads_that_start_programs_in_their_own_folders(traced):
    code = """
import os, subprocess, threading
def work(n):
    os.makedirs(f"d{n}")
    for i in range(10): subprocess.run(["touch", f"f{i}"], cwd=f"d{n}", check=True)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
"""
    assert set(traced.uses(traced.python(code))) == {f"d{n}/f{i}" for n in range(4) for i in range(10)}


@needs_strace
def test_connections_that_were_attempted(traced):
    code = """
import socket
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    try: socket.socket(family).connect((host, 9))
    except OSError: pass
"""
    assert [(one.host, one.port) for one in traced.python(code).connections] == [("127.0.0.1", 9), ("::1", 9)]


@needs_strace
@pytest.mark.parametrize(
    "ending", ["exit 0", "exit 3", "exit 77", "kill -KILL $$", "kill -SEGV $$", "kill -TERM $$"]
)
def test_the_end_is_the_same_as_without(traced, tmp_path, ending):
    script = f"echo out; echo err >&2; {ending}"
    seen = traced.shell(script)
    out, err = tmp_path / "plain.out", tmp_path / "plain.err"
    plain = launch(["/bin/sh", "-c", script], traced.folder, os.environ, stdout=out, stderr=err, tee=False)
    mine, theirs = traced.end.outcome, plain.outcome
    assert (mine.status, mine.exit_code, mine.signal) == (theirs.status, theirs.exit_code, theirs.signal)
    assert (
        [log.read_bytes() for log in traced.logs] == [out.read_bytes(), err.read_bytes()] == [b"out\n", b"err\n"]
    )
    assert not seen.lost


@needs_strace
def test_the_limit_of_time_ends_the_whole_tree_and_the_record_is_whole(traced):
    (traced.folder / "data").write_text("x")
    seen = traced.shell("cat data; sleep 600 & sleep 600", timeout=1.5)
    assert traced.end.outcome.status == "timeout"
    assert traced.uses(seen)["data"].read and not seen.lost
    left = [
        one for one in psutil.process_iter(["cmdline"]) if str(traced.watch) in " ".join(one.info["cmdline"] or ())
    ]
    assert psutil.wait_procs(left, timeout=20)[1] == []


@needs_strace
def test_what_the_job_leaves_behind_does_not_hold_it_up(traced):
    process = None
    try:
        traced.shell("setsid sleep 300 >/dev/null 2>&1 & echo $!; exit 5")
        process = psutil.Process(int(traced.logs[0].read_text()))
        assert traced.end.outcome.exit_code.value == 5
        assert process.is_running()
    finally:
        if process is not None:
            process.kill()


@needs_strace
def test_a_job_that_traces_itself_fails_in_its_own_words_and_that_is_said(traced):
    seen = traced.run("strace", "-o", "mine", "true")
    assert traced.end.outcome.status == "failed"
    assert b"strace" in traced.logs[1].read_bytes()
    assert any("debugger" in sentence for sentence in seen.lost)


@needs_strace
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_works_as_another_user(tmp_path):
    (tmp_path / "x").write_text("1")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    watch = tmp_path / "watch"
    command = [*native.starter(watch), "cat", "x"]
    watch.chmod(0o777)
    done = subprocess.run(
        command, cwd=tmp_path, user=65534, group=65534, extra_groups=[], capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"1", b"")
    assert str(tmp_path / "x") in {use.path for use in native.read_native(watch).files}


RECENT = 'test "$1" = --version && exec echo version 6.1'


def test_without_strace_the_reason_and_the_remedy_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NeedMissing) as caught:
        native.starter(tmp_path / "watch")
    assert (caught.value.id, caught.value.exit_code) == ("strace-missing", 6)
    assert "apt-get install strace" in caught.value.hint


@pytest.mark.parametrize(
    "script, id",
    [
        ("echo 'strace -- version 5.3'", "strace-too-old"),
        (f"{RECENT}; echo 'strace: ptrace: Not permitted' >&2; exit 1", "strace-forbidden"),
        (f"{RECENT}; exit 0", "strace-forbidden"),
    ],
)  # fmt: skip
def test_a_strace_that_cannot_be_used(tmp_path, monkeypatch, script, id):
    """A stand-in: whether the kernel lets us trace is not ours to change."""
    (tmp_path / "strace").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "strace").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert native.missing().id == id
    assert native.missing().hint


# --- the log ---


def read(text):
    fold = Fold()
    reader = Reader(fold, b"/watch", b"/start")
    for event in events(io.BytesIO(text)):
        reader.take(event)
    return fold.result()


def test_calls_that_were_interrupted_are_put_together():
    seen = read(
        b'10    execve("/bin/sh", ["sh"], 0x7ff /* 3 vars */) = 0\n'
        b'10    openat(AT_FDCWD</w>, "a", O_RDONLY <unfinished ...>\n'
        b'11    openat(AT_FDCWD</w>, "never", O_RDONLY <unfinished ...>\n'
        b"10    <... openat resumed>)             = 3</w/a>\n"
        b"12    <... openat resumed>)             = 3</w/of nothing>\n"
        b"11    +++ killed by SIGKILL +++\n"
        b'10    openat(AT_FDCWD</w>, "cut'
    )
    assert [use.path for use in seen.files] == ["/bin/sh", "/w/a"]


def test_a_strace_that_does_not_tell_the_working_folder():
    seen = read(
        b'10 execve("/bin/sh", ["sh"], 0x7ff /* 3 vars */) = 0\n'
        b'10 openat(AT_FDCWD, "a", O_RDONLY) = 3</start/a>\n'
        b'10 chdir("/nowhere/at/all") = 0\n'
        b"10 vfork( <unfinished ...>\n"
        b'11 open("b", O_RDONLY) = 3</nowhere/at/all/b>\n'
        b'11 chdir("sub") = 0\n'
        b'11 unlink("c") = 0\n'
        b'11 rename("d", "e") = 0\n'
        b"10 <... vfork resumed>) = 11\n"
        b'10 openat(AT_FDCWD, "f", O_WRONLY|O_CREAT, 0666) = 3</nowhere/at/all/f>\n'
    )
    there = "/nowhere/at/all/"
    assert [use.path for use in seen.files if use.path != "/bin/sh"] == [
        *(there + name for name in ("b", "f", "sub/d", "sub/e")),
        "/start/a",
    ]


def test_an_exec_by_a_second_thread_keeps_the_process():
    seen = read(
        b'10 execve("/bin/a", ["a"], 0x7ff /* 3 vars */) = 0\n'
        b"10 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, exit_signal=0} => {parent_tid=[11]}, 88) = 11\n"
        b'11 execve("/bin/b", ["b"], 0x7ff /* 3 vars */ <pid changed to 10 ...>\n'
        b"10 +++ superseded by execve in pid 11 +++\n"
        b"10 <... execve resumed>) = -1 (errno 18446744073709551359)\n"
        b'10 openat(AT_FDCWD</w>, "x", O_RDONLY) = 3</w/x>\n'
        b"10 +++ exited with 0 +++\n"
    )
    assert [(one.argv, one.pid, one.ended) for one in seen.processes] == [(("a",), 10, False), (("b",), 10, True)]
    assert [use.readers for use in seen.files if use.path == "/w/x"] == [(1,)]


def test_a_log_that_is_not_there_or_was_cut_says_so(tmp_path):
    assert "no log" in native.read_native(tmp_path).lost[0]
    (tmp_path / native.LOG).write_bytes(b'10 openat(AT_FDCWD</w>, "x", O_RDONLY) = 3</w/x>\n10 ope')
    seen = native.read_native(tmp_path)
    assert [use.path for use in seen.files] == ["/w/x"]
    assert "ended before the job" in seen.lost[0]


def test_a_hundred_thousand_opens_are_read_in_little_memory():
    def log(rounds):
        yield b'10 execve("/bin/sh", ["sh"], 0x7ff /* 3 vars */) = 0\n'
        for i in range(rounds):
            yield b'10 openat(AT_FDCWD</w>, "f%d", O_RDONLY) = 3</w/f%d>\n' % (i % 1000, i % 1000)
            yield b"10 clone(child_stack=NULL, flags=CLONE_FS|CLONE_THREAD) = %d\n" % (20 + i)
            yield b"%d +++ exited with 0 +++\n" % (20 + i)

    class Lines(io.RawIOBase):
        def __init__(self, rounds):
            self.rest = log(rounds)

        def readline(self, size=-1):
            return next(self.rest, b"")

    def peak(rounds):
        fold = Fold()
        reader = Reader(fold, b"/watch", b"/start")
        tracemalloc.start()
        for event in events(Lines(rounds)):
            reader.take(event)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(fold.result().files) == 1001
        return size

    assert peak(100_000) < 1.5 * peak(2_000)


def escaped(name, everything):
    """As strace's -x writes it: plain where it can be, else every byte in hex."""
    if everything or any(byte < 32 or byte > 126 for byte in name):
        return b"".join(b"\\x%02x" % byte for byte in name)
    return name.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"<", b"\\74").replace(b">", b"\\76")


NAME = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


@given(NAME, NAME, st.booleans())
def test_any_name_survives_the_escaping(folder, name, everything):
    assert unescape(escaped(name, everything)) == name
    line = b'7 openat(9</%s>, "%s", O_RDONLY|O_CLOEXEC) = 3</%s>\n' % (
        escaped(folder, everything),
        escaped(name, everything),
        escaped(name, everything),
    )
    (call,) = events(io.BytesIO(line))
    assert isinstance(call, Call)
    assert (call.pid, call.name, call.result, call.path) == (7, "openat", 3, b"/" + name)
    (named,) = names(call.arguments)
    wanted = (b"/" + folder).removesuffix(b" (deleted)")
    assert (named.text, named.folder) == (name, wanted)


SNIPPETS = (
    *(
        b'12 openat(AT_FDCWD</a>, "x", O_RDWR) = 3</x>',
        b"12 clone(flags=CLONE_FS) = 13",
        b"12 vfork( <unfinished ...>",
    ),
    *(
        b"12 ",
        b"\n",
        b"<... vfork resumed>) = 14",
        b'13 execve("/b", ["b", "c"...], 0x1 /* 2 vars */) = 0',
        b"\\x",
    ),
    *(
        b'rename("a", "b") = 0',
        b'"',
        b"<",
        b"= ?",
        b"13 <pid changed to 5 ...>",
        b"+++ exited with 0 +++",
        b"chdir(",
    ),
    *(b"fchdir(3</q>) = 0", b'openat2(3, "y", {flags=O_WRONLY}, 24) = 4', b"connect(3, {sa_family=AF_INET, "),
    b'sin_port=htons(99999999), sin_addr=inet_addr("1.2.3.4")}, 16) = 0',
)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=30)), max_size=40))
def test_no_log_whatever_makes_the_reader_fail(pieces):
    seen = read(b"".join(pieces))
    assert all(use.path.startswith("/") for use in seen.files)


# --- what is said without a tracer ---


def job(**told):
    return Watched(processes=(Process(number=0, pid=1, argv=("python", "train.py")),), **told)


def test_without_a_tracer_the_limit_is_said_and_more_where_it_matters():
    (limit,) = combine(job(imports=("json", "numpy"))).lost
    assert re.search(r"Arrow.*--trace native", limit)
    programs = (
        Subprocess(argv=("/usr/bin/unzip", "data.zip"), process=0),
        Subprocess(argv=("python3.11", "child.py"), process=0),
        Subprocess(argv=("./train.py",), process=0),
        Subprocess(argv=("uname", "-p"), process=0),
    )
    _, readers, others = combine(job(imports=("pyarrow", "h5py"), subprocesses=programs)).lost
    assert "imported h5py, pyarrow:" in readers and "started unzip," in others


def test_with_a_tracer_nothing_of_that_is_said():
    outside = Watched(tracers=("native",))
    assert combine(job(imports=("pyarrow",)), outside).lost == ()
