"""What every engine of the family does. A new engine is tested here the moment its file exists."""

import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest
from engine_driver import start_driver, wait_for

from runbook.engine import owner
from runbook.engine.daemon import Daemon
from runbook.engine.docker_api import ApiEngine
from runbook.engine.interface import Limits, Mount, Plan
from runbook.errors import EnvironmentNotRebuilt
from runbook.model.code import Link, Shape
from runbook.progress import SILENT
from runbook.registry import members

from .conftest import ROOT, Runner, engine_names, fresh_id, trees_of, write_wheel

every_engine = pytest.mark.parametrize("runner", engine_names(), indirect=True)


@every_engine
def test_it_says_what_it_is_and_how_strong_its_sandbox_is(runner: Runner) -> None:
    assert runner.engine.available() == ""
    assert runner.engine.describe()
    assert runner.engine.isolation.endswith(".")
    assert runner.built.engine == runner.engine.name


@every_engine
def test_a_second_build_builds_nothing(runner: Runner, plan: Plan) -> None:
    again = runner.engine.build(plan, SILENT)
    assert again.cached
    assert (again.handle, again.python, again.substitutions) == (
        runner.built.handle,
        runner.built.python,
        runner.built.substitutions,
    )


@every_engine
def test_it_says_what_it_has_and_what_cannot_be_had(runner: Runner, plan: Plan) -> None:
    engine = runner.engine
    built = engine.stock(plan.environment_id, plan.base, plan.interpreter, ask=True)
    assert (built.environment, built.problem) == (True, "")
    carried = msgspec.structs.replace(plan.base, layout="data/image")
    fresh = engine.stock(fresh_id(), carried, plan.interpreter, ask=True)
    assert (fresh.environment, fresh.problem) == (False, "")
    impossible = msgspec.structs.replace(plan.interpreter, version="3.3.7")
    nowhere = msgspec.structs.replace(
        plan.base, kind="image", reference=f"127.0.0.1:9/base@{plan.base.digest}", layout=""
    )
    told = engine.stock(fresh_id(), nowhere, impossible, ask=True)
    assert told.problem and told.hint
    assert not told.environment


@every_engine
def test_the_probe_runs_in_the_environment_and_its_output_is_bytes(runner: Runner) -> None:
    script = (
        b"import os, sys, greeting\n"
        b"sys.stdout.buffer.write(b'\\xff\\0' + (greeting.TEXT + os.environ['LANG']).encode())"
    )
    with runner.engine.probing(runner.built, script, {"LANG": "C.UTF-8"}) as probed:
        assert probed() == b"\xff\0helloC.UTF-8"


@every_engine
def test_the_probe_runs_beside_the_job_and_sees_nothing_of_it(runner: Runner) -> None:
    script = b"import time, os; time.sleep(1); print(os.environ.get('OF_THE_JOB'), os.path.exists('of-the-job'))"
    with runner.engine.probing(runner.built, script, {}) as probed:
        job = runner.python("open('of-the-job', 'w').write('1')", variables={"OF_THE_JOB": "1"})
        assert job.outcome.status == "completed"
        assert probed() == b"None False\n"


@every_engine
def test_a_probe_that_nobody_waits_for_ends_with_its_context(runner: Runner) -> None:
    with pytest.raises(KeyError), runner.engine.probing(runner.built, b"import time; time.sleep(600)", {}):
        assert left_behind(runner, os.getpid())
        raise KeyError
    assert left_behind(runner, os.getpid()) == []


@every_engine
def test_a_probe_that_fails_names_its_last_words(runner: Runner) -> None:
    with (
        runner.engine.probing(runner.built, b"raise SystemExit('no such luck')", {}) as probed,
        pytest.raises(EnvironmentNotRebuilt, match="no such luck"),
    ):
        probed()


@every_engine
def test_the_exit_code_is_the_jobs_own(runner: Runner) -> None:
    outcome = runner.python("raise SystemExit(41)").outcome
    assert (outcome.status, outcome.exit_code.value) == ("failed", 41)
    assert outcome.started.value and outcome.ended.value and outcome.duration_s.value is not None


@every_engine
def test_stdout_and_stderr_are_kept_apart_byte_for_byte(runner: Runner) -> None:
    data = bytes(range(256)) * 4096
    (runner.folder / "work").mkdir()
    (runner.work / "data").write_bytes(data)
    end = runner.python(
        "import sys\nd = open('data', 'rb').read()\nsys.stdout.buffer.write(d)\nsys.stderr.buffer.write(d[::-1])"
    )
    assert end.outcome.status == "completed"
    assert end.stdout.read_bytes() == data
    assert end.stderr.read_bytes() == data[::-1]


@every_engine
def test_a_flood_of_output_is_logged_within_bounds_and_said(runner: Runner) -> None:
    end = runner.python("import sys\nfor _ in range(1200): sys.stdout.write('x' * 65535 + '\\n')")
    assert end.outcome.status == "completed"
    assert 60 << 20 < end.stdout.stat().st_size < 66 << 20
    assert [finding.id for finding in end.findings] == ["log-cut"]


@every_engine
def test_a_job_over_its_time_is_ended_and_says_so(runner: Runner) -> None:
    outcome = runner.python("import time; time.sleep(600)", limits=Limits(time_s=1)).outcome
    assert outcome.status == "timeout"


@every_engine
def test_a_job_that_kills_itself_is_killed_not_failed(runner: Runner) -> None:
    outcome = runner.python("import os; os.kill(os.getpid(), 9)").outcome
    assert (outcome.status, outcome.signal, outcome.exit_code.value) == ("killed", "SIGKILL", 137)


@every_engine
def test_the_job_gets_the_recorded_variables_and_nothing_of_ours(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_TOKEN_OF_THE_HOST", "secret")
    said = runner.output(
        "import os; print(os.environ['OMP_NUM_THREADS'], 'A_TOKEN_OF_THE_HOST' in os.environ)",
        variables={"OMP_NUM_THREADS": "3"},
    )
    assert said == "3 False"


@every_engine
def test_the_job_starts_in_its_working_folder_and_writes_there(runner: Runner) -> None:
    (runner.folder / "work" / "sub").mkdir(parents=True)
    said = runner.output("", variables={})
    end = runner.run(
        "python",
        "-c",
        "import os; print(os.path.basename(os.getcwd())); open('out.txt','w').write('1')",
        cwd="sub",
    )
    assert said == ""
    assert end.stdout.read_text() == "sub\n"
    assert (runner.work / "sub" / "out.txt").read_text() == "1"


@every_engine
@pytest.mark.parametrize("name", ["python", "python3", "/home/alice/.venv/bin/python3", ".venv/bin/python"])
def test_any_name_of_the_original_interpreter_runs_the_rebuilt_one(runner: Runner, name: str) -> None:
    end = runner.run(name, "-c", "import greeting, sys; print(greeting.TEXT, sys.prefix)")
    assert end.stdout.read_text() == f"hello {Path(runner.built.python).parents[1]}\n"


@every_engine
@pytest.mark.parametrize("name", ["greeting", "/home/alice/.venv/bin/greeting"])
def test_a_console_script_of_a_package_is_found(runner: Runner, name: str) -> None:
    assert runner.run(name).stdout.read_text() == "hello from the script\n"


@every_engine
def test_links_modes_and_empty_folders_of_the_code_are_restored(runner: Runner) -> None:
    runner.work.mkdir()
    (runner.work / "tool.py").write_text("#!/usr/bin/env python\nprint('ran')\n")
    shape = Shape(
        links=(Link(path="link.py", target="tool.py"),), executables=("tool.py",), empty_directories=("a/b",)
    )
    said = runner.output(
        "import os; print(os.readlink('link.py'), os.access('tool.py', os.X_OK), os.listdir('a'))", shape=shape
    )
    assert said == "tool.py True ['b']"


@every_engine
def test_an_input_inside_the_project_is_where_the_job_looks(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "data.csv"
    source.write_text("1,2\n")
    said = runner.output("print(open('data/in.csv').read())", mounts=(Mount(source, f"{ROOT}/data/in.csv"),))
    assert said == "1,2"


@every_engine
def test_what_is_compiled_into_a_scratch_folder_is_loaded_from_there(runner: Runner) -> None:
    # As the just-in-time compilers of frameworks do, below TMPDIR and HOME.
    code = (
        "import ctypes, os, shutil, tempfile, _ctypes\n"
        "for place in (tempfile.gettempdir() + '/1.so', os.path.expanduser('~/2.so')):\n"
        "  shutil.copy(_ctypes.__file__, place); ctypes.CDLL(place); print('loaded')"
    )
    assert runner.output(code, variables={"HOME": "/home/alice"}).split() == ["loaded", "loaded"]


@every_engine
def test_resources_are_measured_or_say_why_not(runner: Runner) -> None:
    code = "import time\nx = bytearray(64 << 20)\nt = time.time()\nwhile time.time() - t < 1.5: pass"
    resources = runner.python(code).resources
    assert resources.peak_rss_bytes.value is not None and resources.peak_rss_bytes.value > 60 << 20
    assert resources.cpu_user_s.value is not None and resources.cpu_user_s.value > 0.1
    assert resources.peak_gpu_memory_bytes.reason


@every_engine
def test_a_package_whose_bytes_are_others_is_refused_by_name(runner: Runner, plan: Plan, tmp_path: Path) -> None:
    write_wheel(tmp_path, "greeting", {"greeting.py": "TEXT = 'altered'\n"})
    with pytest.raises(EnvironmentNotRebuilt, match="greeting"):
        runner.engine.build(
            replace(
                plan,
                environment_id=fresh_id(),
                wheels=lambda: tmp_path,
                trees=partial(trees_of, tmp_path, plan.requirements()),
            ),
            SILENT,
        )


@every_engine
def test_another_minor_version_of_python_is_not_substituted(runner: Runner, plan: Plan) -> None:
    interpreter = plan.interpreter
    other = type(interpreter)(
        **{f: getattr(interpreter, f) for f in interpreter.__struct_fields__} | {"version": "3.7.1"}
    )
    with pytest.raises(EnvironmentNotRebuilt, match=r"3\.7"):
        runner.engine.build(replace(plan, environment_id=fresh_id(), interpreter=other), SILENT)


@every_engine
def test_ctrl_c_ends_the_job_and_leaves_nothing(runner: Runner, plan: Plan) -> None:
    with start_driver(runner, plan) as driver:
        mark = wait_for(runner.work / "started")
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 130
    assert left_behind(runner, int(mark)) == []


@every_engine
def test_what_a_killed_runbook_left_is_swept_by_the_next(runner: Runner, plan: Plan) -> None:
    with start_driver(runner, plan) as driver:
        mark = wait_for(runner.work / "started")
        before = left_behind(runner, int(mark))
        assert before
        driver.kill()
        driver.wait(60)
    assert runner.engine.sweep() >= len(before)
    assert left_behind(runner, int(mark)) == []


def left_behind(runner: Runner, pid: int) -> list[str]:
    """Containers and folders that the process of this number made."""
    import tempfile

    part = f"-{pid}-"
    found = [
        p.name for p in Path(tempfile.gettempdir()).iterdir() if p.name.startswith("runbook-") and part in p.name
    ]
    if isinstance(runner.engine, ApiEngine):
        daemon = runner.engine.find()
        assert isinstance(daemon, Daemon)
        listed = daemon.api.containers(all=True, filters={"label": owner.LABEL})
        found += [c["Names"][0] for c in listed if part in c["Labels"][owner.LABEL]]
    return found


def test_every_engine_is_found_by_the_registry() -> None:
    assert {"docker", "local", "podman"} <= set(members("engine"))
    assert os.environ["XDG_CACHE_HOME"]
