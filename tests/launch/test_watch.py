"""The hook, in real processes: how it enters, what it sees, and that the job does not notice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from runbook.launch.watch import prepare, read_watch
from tests.launch.watching import PYTHON, environment, script, watch
from tests.observe.conftest import other_pythons

READ = "import sys; open('data.txt').read(); print(sys.argv[1:], __name__)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "data.txt").write_text("1\n")
    return folder


# --- how it enters ---


@pytest.mark.parametrize("way", ["script", "module", "text", "stdin", "zip"])
def test_enters_however_python_is_started(project: Path, way: str) -> None:
    script(project, READ)
    stdin = b""
    if way == "zip":
        import zipfile

        with zipfile.ZipFile(project / "app.pyz", "w") as archive:
            archive.writestr("__main__.py", READ)
    argv = {
        "script": ["job.py", "--lr", "1"],
        "module": ["-m", "job", "x"],
        "text": ["-c", READ, "x"],
        "stdin": ["-"],
        "zip": ["app.pyz"],
    }[way]
    if way == "stdin":
        stdin = READ.encode()
    seen = watch([PYTHON, *argv], project, stdin=stdin)
    assert seen.code == 0
    (process,) = seen.watched.processes
    assert process.ended and process.parent is None and process.start == "start"
    assert process.argv == (PYTHON, *argv)
    assert process.cwd == str(project)
    assert process.python == ".".join(map(str, sys.version_info[:3]))
    data = seen.file(project / "data.txt")
    assert data is not None and data.read and not data.written and data.first == "read" and data.readers == (0,)
    assert seen.watched.lost == ()


def test_enters_a_venv_and_a_console_script(project: Path) -> None:
    venv.create(project / "env", with_pip=False, symlinks=True)
    python = project / "env/bin/python"
    command = project / "env/bin/train"
    command.write_text(f"#!{python}\n{READ}\n")
    command.chmod(0o755)
    seen = watch([command, "a"], project)
    assert seen.watched.processes[0].executable == str(python)
    assert seen.file(project / "data.txt") is not None


@pytest.mark.parametrize("python", other_pythons())
def test_every_python_on_this_machine(project: Path, python: str) -> None:
    text = """
import os, random, sqlite3, subprocess, sys, threading
random.seed(11)
with open("data.txt") as f: f.read()
with open("out.tmp", "w") as f: f.write("x")
os.replace("out.tmp", "out.txt")
if os.fork() == 0:
    open("child.txt", "w").close()
    os._exit(0)
os.wait()
subprocess.run([sys.executable, "-c", "open('grandchild.txt', 'w').close()"], check=True)
print(random.random(), sorted(m for m in sys.modules if "runbook" in m), random.seed.__name__)
"""
    seen = watch([python, "-X", "dev", "-W", "error", "-bb", script(project, text)], project)
    assert seen.code == 0 and seen.stderr == b""
    assert [process.start for process in seen.watched.processes] == ["start", "fork", "start"]
    assert [process.parent for process in seen.watched.processes] == [None, 0, 0]
    for name in ("out.txt", "child.txt", "grandchild.txt"):
        use = seen.file(project / name)
        assert use is not None and use.written and use.first == "written"
    (seed,) = seen.watched.seeds
    assert (seed.function, seed.value, seed.where) == ("random.seed", "11", "job.py:3")
    assert "sqlite3" in seen.watched.imports
    assert seen.watched.lost == ()


def test_an_old_python_runs_unwatched(project: Path) -> None:
    old = shutil.which("python2")
    if old is None or subprocess.run([old, "-V"], capture_output=True, check=False).returncode:
        pytest.skip("no Python 2 here")
    seen = watch([old, "-c", "print 1"], project)
    assert seen.stdout == b"1\n" and seen.stderr == b""


def test_children_of_every_kind(project: Path) -> None:
    text = """
import concurrent.futures, multiprocessing, os, subprocess, sys, threading

def work(name):
    open(name, "w").close()

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        child = context.Process(target=work, args=(method,))
        child.start(); child.join()
        assert child.exitcode == 0
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        pool.submit(work, "pool").result()
    thread = threading.Thread(target=work, args=("thread",))
    thread.start(); thread.join()
    subprocess.run(["sh", "-c", f"{sys.executable} -c \\"open('shell', 'w')\\""], check=True)
    os.execv(sys.executable, [sys.executable, "-c", "open('exec', 'w')"])
"""
    seen = watch([PYTHON, "-W", "ignore", script(project, text)], project)
    for name in ("fork", "spawn", "forkserver", "pool", "thread", "shell", "exec"):
        use = seen.file(project / name)
        assert use is not None and use.written, name
    assert seen.file(project / "thread").writers == (0,)  # type: ignore[union-attr]
    processes = seen.watched.processes
    (shell,) = seen.file(project / "shell").writers  # type: ignore[union-attr]
    (became,) = seen.file(project / "exec").writers  # type: ignore[union-attr]
    assert processes[shell].parent == 0 and processes[became].parent == 0
    assert processes[became].pid == processes[0].pid and not processes[0].ended
    (forked,) = seen.file(project / "fork").writers  # type: ignore[union-attr]
    assert processes[forked].start == "fork" and processes[forked].ended
    assert [one.argv[0] for one in seen.watched.subprocesses if one.process == 0 and not one.exec] == ["sh"]
    assert [one.argv[0] for one in seen.watched.subprocesses if one.exec] == [PYTHON]


def test_children_that_keep_the_hook_out_are_told(project: Path) -> None:
    text = """
import subprocess, sys
subprocess.run([sys.executable, "-I", "-c", "pass"])
subprocess.run([sys.executable, "-c", "pass"], env={})
"""
    seen = watch([PYTHON, script(project, text)], project)
    assert len(seen.watched.processes) == 1
    assert seen.watched.lost == (
        "a Python process was started with -I and was not watched",
        "a Python process was started with an environment of its own and was not watched",
    )


def test_nothing_entered_is_told(project: Path) -> None:
    assert "no Python process was watched" in watch([PYTHON, "-I", "-c", "pass"], project).watched.lost[0]


# --- what was there before ---


def test_other_customisations_are_honoured(project: Path) -> None:
    own = project / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys; sys.chained = __file__, __spec__.name, __name__\n")
    (own / "helper.py").write_text("value = 5\n")
    text = "import sys, helper, sitecustomize; print(sys.chained, helper.value, sitecustomize.__file__, sys.path)"
    seen = watch([PYTHON, "-c", text], project, env={"PYTHONPATH": str(own)})
    assert b"own/sitecustomize.py" in seen.stdout and b" 5 " in seen.stdout
    base = project / "userbase"
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    user = base / "lib" / version / "site-packages"
    user.mkdir(parents=True)
    (user / "usercustomize.py").write_text("print('user')\n")
    real = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    seen = watch([real, "-c", "print(1)"], project, env={"PYTHONUSERBASE": str(base)})
    assert seen.stdout == b"user\n1\n"


def test_a_broken_sitecustomize_breaks_as_before(project: Path) -> None:
    (project / "sitecustomize.py").write_text("raise ValueError('theirs')\n")
    seen = watch([PYTHON, "-c", "print(1)"], project, env={"PYTHONPATH": str(project)})
    assert b"Error in sitecustomize" in seen.stderr and b"theirs" in seen.stderr


def test_path_and_modules_are_as_without(project: Path) -> None:
    text = "import sys; print(sys.path, sorted(set(sys.modules) - {'mmap', 'atexit'}), len(sys.path_hooks))"
    assert watch([PYTHON, "-c", text], project).code == 0


def test_descriptors_are_as_without(project: Path) -> None:
    assert watch([PYTHON, "-c", "print(open('data.txt').fileno())"], project).stdout == b"3\n"


def test_a_run_inside_a_run(project: Path, tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    env = prepare(inner, prepare(outer, environment()))
    subprocess.run([PYTHON, "-c", "open('data.txt')"], cwd=project, env=env, check=True)
    for folder in (outer, inner):
        assert str(project / "data.txt") in [use.path for use in read_watch(folder).files]


# --- ends ---


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.abort()", -signal.SIGABRT),
        ("raise ValueError('no')", 1),
        ("sys.exit('bad')", 1),
        ("signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_every_end_leaves_the_log_and_is_the_jobs_own(project: Path, end: str, code: int) -> None:
    text = f"import os, sys, signal, ctypes, random\nrandom.seed(1)\nopen('data.txt')\n{end}\n"
    seen = watch([PYTHON, script(project, text)], project)
    assert seen.code == code
    assert seen.file(project / "data.txt") is not None
    assert seen.watched.seeds[0].value == "1"
    assert seen.watched.processes[0].ended == (code in (1, -signal.SIGINT))


@pytest.mark.parametrize("kind", ["ValueError", "TimeoutError"])
def test_an_exception_of_a_signal_handler_is_the_jobs(project: Path, kind: str) -> None:
    text = f"""
import signal
class Late({kind}): pass
def late(*_): raise Late
signal.signal(signal.SIGALRM, late)
caught = 0
for _ in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0003)
        for i in range(10**9): open("/dev/null").close()
    except Late: caught += 1
print(caught)
"""
    assert watch([PYTHON, script(project, text)], project).stdout == b"200\n"


def test_coverage_sees_the_job_as_without(project: Path) -> None:
    text = "import sys\nlines = []\ndef trace(f, e, a):\n    lines.append((f.f_code.co_name, e)); return trace\n"
    text += "sys.settrace(trace)\nopen('data.txt').read()\nimport random\nrandom.seed(1)\nsys.settrace(None)\n"
    text += "print([x for x in lines if x[0] == 'audit'])\n"
    assert watch([PYTHON, script(project, text)], project).stdout == b"[]\n"


# --- where it cannot write ---


def test_a_folder_that_cannot_be_written(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    prepare(folder, {})
    shutil.rmtree(folder / "inside" / "__pycache__", ignore_errors=True)
    gone = prepare(folder, environment())
    (folder / "kept").rmdir()
    for item in (folder / "inside").iterdir():
        shutil.move(item, tmp_path / item.name)
    env = gone | {"PYTHONPATH": str(tmp_path / "none" / "inside")}
    assert subprocess.run([PYTHON, "-c", "print(1)"], env=env, capture_output=True, check=True).stdout == b"1\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        text = "print(sum(open(f'/proc/self/../{i}/none', 'w') is None for i in ()))\n"
        text += "for i in range(30000):\n    try: open(f'/nowhere/{i:0200}')\n    except OSError: pass\n"
        text += "import os\nif os.fork() == 0: open('data.txt'); os._exit(0)\nprint(os.wait()[1])"
        seen = watch([PYTHON, script(project, text)], project, folder=folder)
        assert seen.stdout == b"0\n0\n"
        assert "the log of a process could not grow: what it did from then on is not seen" in seen.watched.lost
        with pytest.raises(OSError), (folder / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        again = subprocess.run(
            [PYTHON, "-c", "print(1)"], env=prepare(folder, environment()), capture_output=True, check=True
        )
        assert again.stdout == b"1\n" and again.stderr == b""
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_folder_of_another_user(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    env = prepare(folder, environment())
    folder.chmod(0o755)
    for parent in (project, *project.parents):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    text = "import json; print(json.dumps(1))"
    run = subprocess.run(
        [os.path.realpath(shutil.which("python3", path="/usr/bin") or PYTHON), "-c", text],
        env=env,
        user=65534,
        capture_output=True,
        cwd="/",
        check=False,
    )
    if b"ermission denied" in run.stderr:
        pytest.skip("no Python here that another user may run")
    assert json.loads(run.stdout) == 1 and run.stderr == b""
    assert read_watch(folder).processes == ()
