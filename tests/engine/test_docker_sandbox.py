"""What a job inside the Docker sandbox can and cannot do; each line runs in a real container."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runbook.engine import owner
from runbook.engine.interface import Limits, Mount
from runbook.errors import NeedMissing
from runbook.model.code import Link, Shape

from .conftest import ROOT, Runner

pytestmark = pytest.mark.docker


def test_there_is_no_network(runner: Runner) -> None:
    code = (
        "import socket, os\nprint(sorted(os.listdir('/sys/class/net')))\n"
        "try: socket.create_connection(('192.0.2.1', 80), 2)\nexcept OSError as e: print(type(e).__name__)"
    )
    assert runner.output(code).splitlines() == ["['lo']", "OSError"]


def test_the_root_and_the_environment_are_read_only(runner: Runner) -> None:
    code = (
        "import errno\nfor p in ('/x', '/opt/runbook/env/x', '/etc/x', '/run/runbook/x'):\n"
        "  try: open(p, 'w'); print(p)\n  except OSError as e: print(errno.errorcode[e.errno])"
    )
    assert set(runner.output(code).split()) <= {"EROFS", "EACCES"}


def test_it_is_nobody_without_capabilities_and_can_gain_none(runner: Runner) -> None:
    code = "import json\nprint(json.dumps(dict(l.split(':', 1) for l in open('/proc/self/status'))))"
    status = {key: value.strip() for key, value in json.loads(runner.output(code)).items()}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_no_socket_of_the_engine_and_no_device_of_the_host_is_in_sight(runner: Runner) -> None:
    code = (
        "import os\nprint([p for p in ('/var/run/docker.sock', '/run/docker.sock') if os.path.exists(p)],"
        " sorted(os.listdir('/dev')))"
    )
    sockets, _, devices = runner.output(code).partition("] ")
    assert sockets == "["
    assert not {"sda", "vda", "mem", "kmsg", "fuse", "kvm"} & set(json.loads(devices.replace("'", '"')))


def test_processes_are_bounded(runner: Runner) -> None:
    code = (
        "import os, sys, time\nn = 0\ntry:\n  while n < 500:\n"
        "    if os.fork() == 0: time.sleep(60)\n    n += 1\n"
        "except OSError: pass\nprint(n)"
    )
    assert int(runner.output(code, limits=Limits(pids=64, memory_bytes=512 << 20))) < 64


def test_memory_is_bounded_and_the_outcome_says_so(runner: Runner) -> None:
    outcome = runner.python("x = bytearray(1 << 30)\nprint(len(x))", limits=Limits(memory_bytes=64 << 20)).outcome
    assert outcome.status == "killed"
    assert "memory" in outcome.reason


def test_a_working_folder_that_grows_too_far_ends_the_job(runner: Runner) -> None:
    code = "import time\nfor i in range(10000):\n  open(f'f{i}', 'wb').write(b'x' * (1 << 20)); time.sleep(0.002)"
    outcome = runner.python(code, limits=Limits(output_bytes=32 << 20)).outcome
    assert outcome.status == "killed"
    assert "grew by more than" in outcome.reason


def test_one_file_cannot_exceed_the_limit_at_all(runner: Runner) -> None:
    code = "f = open('big', 'wb')\nwhile True: f.write(b'x' * (1 << 20))"
    outcome = runner.python(code, limits=Limits(output_bytes=8 << 20)).outcome
    assert outcome.status in ("failed", "killed")
    assert (runner.work / "big").stat().st_size <= 8 << 20


def test_scratch_in_memory_is_bounded(runner: Runner) -> None:
    code = (
        "import errno\ntry:\n  f = open('/tmp/x', 'wb')\n  while True: f.write(b'x' * (1 << 20))\n"
        "except OSError as e: print(errno.errorcode[e.errno])"
    )
    assert runner.output(code, limits=Limits(tmp_bytes=4 << 20, memory_bytes=256 << 20)) == "ENOSPC"


def test_shared_memory_has_the_size_that_was_asked_for(runner: Runner) -> None:
    code = "import os; s = os.statvfs('/dev/shm'); print(s.f_blocks * s.f_frsize)"
    assert runner.output(code, limits=Limits(shm_bytes=96 << 20)) == str(96 << 20)


def test_an_input_lies_at_its_absolute_path_and_cannot_be_written(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "a.csv").write_text("1\n")
    (source / "a.csv").chmod(0o666)
    code = (
        "print(open('/data/set/a.csv').read().strip())\n"
        "try: open('/data/set/a.csv', 'a')\nexcept OSError as e: print(e.errno)"
    )
    assert runner.output(code, mounts=(Mount(source, "/data/set"),)) == "1\n30"
    assert (source / "a.csv").read_text() == "1\n"


def test_an_input_below_the_home_is_found_through_the_home(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "w.bin"
    source.write_text("weights")
    code = (
        "import os\nhome = os.path.expanduser('~')\n"
        "print(open(home + '/.cache/hub/w.bin').read(), os.access(home, os.W_OK))"
    )
    mounts = (Mount(source, "/home/alice/.cache/hub/w.bin"),)
    assert runner.output(code, mounts=mounts, variables={"HOME": "/home/alice"}) == "weights True"


def test_links_of_an_input_are_restored_inside_and_not_on_the_host(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "set"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "a").write_text("1")
    shape = Shape(links=(Link(path="latest", target="sub"),), empty_directories=("empty",))
    code = (
        "import os\nprint(open('/data/latest/a').read(), os.readlink('/data/latest'),"
        " os.path.isdir('/data/empty'))"
    )
    assert runner.output(code, mounts=(Mount(source, "/data", shape),)) == "1 sub True"
    assert sorted(p.name for p in source.iterdir()) == ["sub"]


def test_the_place_of_an_input_does_not_stay_in_the_working_copy(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("1")
    runner.output("open('data/out', 'w')", mounts=(Mount(source, f"{ROOT}/data/in.csv"),))
    assert sorted(p.name for p in (runner.work / "data").iterdir()) == ["out"]
    runner.output("pass", mounts=(Mount(source, f"{ROOT}/other/in.csv"),))
    assert not (runner.work / "other").exists()


@pytest.mark.parametrize("root", ["/", "/usr", "/etc/project", "/opt/runbook", "/tmp", sys.base_prefix, "/proc/x"])
def test_a_project_at_a_place_of_the_image_is_moved_and_said(runner: Runner, root: str) -> None:
    runner.work.mkdir()
    (runner.work / "job.py").write_text("import os; print(os.getcwd())")
    end = runner.run("python", f"{root.rstrip('/')}/job.py" if root != "/" else "job.py", root=root)
    assert end.stdout.read_text() == "/workspace\n", end.stderr.read_text()
    assert len(end.substitutions) == 1 and "/workspace" in end.substitutions[0]


def test_a_project_below_tmp_stays_there(runner: Runner) -> None:
    end = runner.run("python", "-c", "import os; print(os.getcwd())", root="/tmp/a/b")
    assert (end.stdout.read_text(), end.substitutions) == ("/tmp/a/b\n", ())


@pytest.mark.parametrize("target", ["/etc/passwd", "/usr/lib/x", "/opt/runbook/env/x", "/", sys.base_prefix, ROOT])
def test_an_input_at_a_place_of_the_image_is_refused(runner: Runner, tmp_path: Path, target: str) -> None:
    with pytest.raises(NeedMissing) as caught:
        runner.python("pass", mounts=(Mount(tmp_path, target),))
    assert caught.value.id == "input-cannot-be-placed"


@pytest.mark.skipif(os.getuid() != 0, reason="only root's own files are out of reach of the sandbox's user")
def test_an_input_that_only_root_may_read_is_named_with_the_command_that_mends_it(
    runner: Runner, tmp_path: Path
) -> None:
    source = tmp_path / "private"
    source.write_text("x")
    source.chmod(0o600)
    with pytest.raises(NeedMissing) as caught:
        runner.python("pass", mounts=(Mount(source, "/data/private"),))
    assert caught.value.id == "input-not-readable"
    assert caught.value.hint.startswith("chmod")


def test_a_command_that_the_environment_lacks_ends_as_in_a_shell(runner: Runner) -> None:
    end = runner.run("no-such-tool\x1b[31m")
    assert end.outcome.exit_code.value == 127
    assert "command not found in the rebuilt environment" in end.stderr.read_text()
    assert "\x1b" not in end.stderr.read_text()


def test_output_is_shown_on_stderr_without_terminal_escapes(
    runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.python("print('caf\\u00e9 \\x1b[31mred')", echo=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "caf\u00e9 \\x1b[31mred\n"


def test_no_container_volume_or_folder_is_left(runner: Runner, tmp_path: Path) -> None:
    def seen() -> tuple[str, str]:
        # Other tests use the same engine at the same time: only what this process owns counts.
        ask = ["docker", "ps", "-aq", "--filter", f"label={owner.LABEL}={owner.owner()}"]
        volumes = subprocess.run(
            ["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True
        ).stdout
        return subprocess.run(ask, capture_output=True, text=True, check=True).stdout, volumes

    before = seen()
    runner.python("raise SystemExit(3)")
    assert seen() == before


def test_two_runs_of_one_environment_do_not_disturb_each_other(runner: Runner, tmp_path: Path) -> None:
    other = replace(runner, folder=tmp_path / "other")
    other.folder.mkdir()
    assert runner.output("open('a', 'w').write('1'); print('one')") == "one"
    assert other.output("import os; print(os.listdir('.'))") == "['job.py']"
