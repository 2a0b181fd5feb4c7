"""A job run once: its output, its end, its cost. Every job here is a real process."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from runbook.errors import UsageError
from runbook.launch import native
from runbook.launch.process import launch

DRIVER = """
import json, os, sys
from pathlib import Path
import msgspec
from runbook.launch.process import launch
folder, options, argv = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
end = launch(argv, folder, os.environ, stdout=folder / "out.log", stderr=folder / "err.log", **options)
# NOTE: getrusage starts with the peak of the process that forked us; the kernel's VmHWM is our own.
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
text = msgspec.json.encode({"outcome": end.outcome, "resources": end.resources, "findings": end.findings,
                            "own_peak": int(peak) * 1024})
(folder / "end.json").write_bytes(text)
sys.exit(end.outcome.exit_code.value)
"""


class Driver:
    """runbook's side as a process of its own, so that its streams and signals are real."""

    def __init__(self, folder, starter=()):
        self.folder = folder
        self.starter = starter

    def argv(self, *job, **options):
        options.setdefault("starter", self.starter)
        return [sys.executable, "-c", DRIVER, str(self.folder), json.dumps(options), *job]

    def run(self, *job, **options):
        return subprocess.run(self.argv(*job, **options), check=False, capture_output=True, timeout=120)

    def start(self, *job, **options):
        return subprocess.Popen(
            self.argv(*job, **options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    @property
    def end(self):
        return json.loads((self.folder / "end.json").read_text())

    @property
    def out(self):
        return (self.folder / "out.log").read_bytes()

    @property
    def err(self):
        return (self.folder / "err.log").read_bytes()


@pytest.fixture(params=["alone", pytest.param("traced", marks=pytest.mark.strace)])
def driver(request, tmp_path):
    """Every job is run alone and beside strace: nobody may see a difference."""
    return Driver(tmp_path, native.starter(tmp_path / "watch") if request.param == "traced" else ())


def python(code):
    return (sys.executable, "-c", code)


def wait_until_gone(pid):
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)


def test_every_byte_of_both_streams_reaches_us_and_the_logs(driver):
    code = "import os; b = bytes(range(256)) * 999; os.write(1, b); os.write(2, b[::-1])"
    done = driver.run(*python(code))
    every = bytes(range(256)) * 999
    assert (done.stdout, done.stderr) == (every, every[::-1])
    assert (driver.out, driver.err) == (every, every[::-1])
    assert driver.end["outcome"]["status"] == "completed"


def test_output_arrives_while_the_job_still_runs(driver):
    code = "import os, sys; os.write(1, b'no newline yet'); sys.stdin.read()"
    process = subprocess.Popen(
        driver.argv(*python(code)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.read(14) == b"no newline yet"
    assert process.poll() is None
    process.communicate(b"", timeout=60)
    assert process.returncode == 0


def test_the_job_reads_our_standard_input(driver):
    done = subprocess.run(driver.argv("cat"), check=False, input=b"fed", capture_output=True, timeout=60)
    assert done.stdout == b"fed"


def test_without_tee_output_goes_to_the_logs_only(driver):
    done = driver.run("sh", "-c", "echo a; echo b >&2", tee=False)
    assert (done.stdout, done.stderr, driver.out, driver.err) == (b"", b"", b"a\n", b"b\n")


@pytest.mark.parametrize("code", [0, 1, 2, 77, 255])
def test_the_exit_code_is_the_jobs_own(driver, code):
    assert driver.run("sh", "-c", f"exit {code}").returncode == code
    outcome = driver.end["outcome"]
    assert outcome["status"] == ("failed" if code else "completed")
    assert outcome["exit_code"] == {"evidence": "observed", "value": code}


def test_a_job_killed_by_the_system_says_which_signal(driver):
    assert driver.run("sh", "-c", "kill -KILL $$").returncode == 137
    outcome = driver.end["outcome"]
    assert (outcome["status"], outcome["signal"]) == ("killed", "SIGKILL")


def test_times_are_utc(driver):
    driver.run("true")
    outcome = driver.end["outcome"]
    assert outcome["started"]["value"].endswith("Z") and "T" in outcome["started"]["value"]
    assert outcome["started"]["value"] <= outcome["ended"]["value"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_us_reaches_the_job_and_is_recorded(driver, number):
    process = driver.start("sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    outcome = driver.end["outcome"]
    assert (outcome["status"], outcome["signal"]) == ("interrupted", number.name)


def test_a_job_that_handles_ctrl_c_ends_as_it_likes_and_is_recorded_as_interrupted(driver):
    code = "import time\ntry: print('ready', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: print('saved')"
    process = driver.start(*python(code))
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"saved\n", 0)
    assert driver.end["outcome"]["status"] == "interrupted"


def test_the_third_ctrl_c_ends_a_job_that_ignores_it(driver):
    code = "import signal, time; signal.signal(2, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    process = driver.start(*python(code))
    assert process.stdout.readline() == b"ready\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.communicate(timeout=60)
    assert driver.end["outcome"]["signal"] == "SIGKILL"


def test_a_timeout_ends_the_whole_group_even_a_child_that_ignores_sigterm(driver):
    stubborn = "import os, signal, time; signal.signal(15, 1); print(os.getpid(), flush=True); time.sleep(90)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {stubborn!r}]); time.sleep(90)"
    done = driver.run(*python(code), timeout=2)
    assert done.returncode == 143
    outcome = driver.end["outcome"]
    assert (outcome["status"], outcome["signal"]) == ("timeout", "SIGTERM")
    assert "2 s" in outcome["reason"]
    wait_until_gone(int(done.stdout))


def test_a_job_that_ignores_sigterm_is_killed_after_the_timeout(driver):
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(90)"
    assert driver.run(*python(code), timeout=0.5).returncode == 137
    outcome = driver.end["outcome"]
    assert (outcome["status"], outcome["signal"]) == ("timeout", "SIGKILL")


def test_a_child_left_behind_that_keeps_the_pipe_does_not_hold_us_up(driver):
    done = driver.run("sh", "-c", "sleep 60 & echo $!; exit 3")
    try:
        assert done.returncode == 3
        assert [f["id"] for f in driver.end["findings"]] == ["process-left-behind"]
        assert psutil.pid_exists(int(done.stdout))  # It is the job's own business.
    finally:
        os.kill(int(done.stdout), signal.SIGKILL)


def test_a_child_left_behind_that_floods_the_pipe_does_not_hold_us_up(driver):
    done = driver.run("sh", "-c", "yes & echo $! >&2", tee=False)
    assert done.returncode == 0
    wait_until_gone(int(driver.err))  # Its pipe is gone.


def test_a_job_that_closes_its_output_runs_to_its_end(driver):
    code = "import os, time; os.close(1); os.close(2); time.sleep(0.5); open('done', 'w').close()"
    assert driver.run(*python(code)).returncode == 0
    assert (driver.folder / "done").exists()


def test_a_flood_of_both_streams_keeps_memory_flat_and_is_cut_in_the_middle(driver):
    job = "head -c 100000000 /dev/zero >&2 & head -c 200000000 /dev/zero; wait; echo final=0.5"
    with subprocess.Popen(
        driver.argv("sh", "-c", job, log_cap=4_000_000), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        size = 0
        while piece := process.stdout.read1(1 << 20):
            size += len(piece)
            last = piece
    assert process.returncode == 0
    assert size == 200_000_000 + len("final=0.5\n")
    assert last.endswith(b"final=0.5\n")
    assert driver.end["own_peak"] < 120_000_000
    assert driver.out.endswith(b"\0final=0.5\n") and driver.out.startswith(b"\0")
    note = b"\n[runbook: %d bytes were cut here]\n"
    kept = 4_000_000
    assert note % (200_000_010 - kept) in driver.out
    assert note % (100_000_000 - kept) in driver.err
    assert len(driver.out) == kept + len(note % (200_000_010 - kept))
    assert [f["id"] for f in driver.end["findings"]] == ["log-cut", "log-cut"]


def test_a_log_of_exactly_the_cap_is_whole(driver):
    driver.run("head", "-c", "10000", "/dev/zero", log_cap=10_000)
    assert driver.out == bytes(10_000)
    assert driver.end["findings"] == []


def test_a_reader_of_ours_that_goes_away_does_not_end_the_job(driver):
    process = driver.start("sh", "-c", "yes | head -c 10000000; touch done")
    process.stdout.read(2)
    process.stdout.close()
    assert process.wait(60) == 0
    assert (driver.folder / "done").exists() and len(driver.out) == 10_000_000
    process.stderr.close()


def test_a_slow_reader_gets_everything_and_a_timeout_still_holds(driver):
    process = driver.start("yes", timeout=1)
    time.sleep(2.5)  # Nobody reads: the pipe is full, the job is blocked, and its time is up.
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert out == driver.out


def test_a_job_that_asks_the_terminal_gets_an_answer(driver):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, driver.argv(*python("print('name:', flush=True); print('hello', input())")))
    seen = b""
    while b"name:" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"ada\n")
    while b"hello ada" not in seen:
        seen += os.read(terminal, 1000)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert driver.out == b"name:\nhello ada\n"


def test_ctrl_c_typed_in_a_terminal_ends_the_job_once(driver):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(
            sys.executable, driver.argv("sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; sleep 60 & wait")
        )
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    assert status == 5
    assert driver.out == b"ready\ncaught\n"
    assert driver.end["outcome"]["status"] == "interrupted"


def test_the_peak_is_that_of_the_tree_and_not_our_own(driver):
    hold = "import time; x = bytearray(80_000_000); time.sleep(2.5)"
    start = f"[subprocess.Popen([sys.executable, '-c', {hold!r}]) for _ in '12']"
    code = f"import subprocess, sys; [p.wait() for p in {start}]"
    driver.run(*python(code))
    used = driver.end["resources"]
    assert used["peak_rss_bytes"]["value"] > 160_000_000
    assert used["peak_processes"]["value"] == 3
    driver.run("sleep", "0.3")
    assert driver.end["resources"]["peak_rss_bytes"]["value"] < 20_000_000


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the system shows no I/O counters")
def test_bytes_read_and_written_include_those_of_children(driver):
    driver.run("sh", "-c", "head -c 5000000 /dev/zero > file; cat file file > copy")
    used = driver.end["resources"]
    assert used["written_bytes"]["value"] >= 15_000_000
    assert used["read_bytes"]["value"] >= 15_000_000


def test_cpu_time_is_the_jobs(driver):
    driver.run(*python("import time\nwhile time.process_time() < 0.6: pass"))
    assert driver.end["resources"]["cpu_user_s"]["value"] + driver.end["resources"]["cpu_system_s"]["value"] >= 0.6


def test_gpu_memory_is_a_number_or_a_reason(driver):
    driver.run("true")
    fact = driver.end["resources"]["peak_gpu_memory_bytes"]
    assert fact["reason"] if fact["evidence"] == "missing" else fact["value"] >= 0


@pytest.mark.parametrize(
    ("argv", "defect"),
    [
        (["no-such-command-here"], "command-not-found"),
        (["./plain.txt"], "command-not-executable"),
        (["./no-interpreter"], "command-not-startable"),
        ([], "no-command"),
    ],
)
def test_what_cannot_be_started_is_a_usage_error_with_a_hint(tmp_path, argv, defect):
    (tmp_path / "plain.txt").write_text("x")
    (tmp_path / "no-interpreter").write_text("x = 1\n")
    (tmp_path / "no-interpreter").chmod(0o755)
    with pytest.raises(UsageError) as caught:
        launch(argv, tmp_path, os.environ, stdout=tmp_path / "o", stderr=tmp_path / "e")
    assert (caught.value.id, caught.value.exit_code) == (defect, 2)
    assert caught.value.hint


def test_nothing_of_ours_changes_when_a_job_cannot_be_started(tmp_path):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)]
    open_files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UsageError):
        launch(["no-such-command"], tmp_path, os.environ, stdout=tmp_path / "o", stderr=tmp_path / "e")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGTSTP)] == before
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_many_jobs_leak_no_descriptor(tmp_path):
    def once():
        launch(["true"], tmp_path, os.environ, stdout=tmp_path / "o", stderr=tmp_path / "e")

    once()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        once()
    assert len(os.listdir("/proc/self/fd")) == before
