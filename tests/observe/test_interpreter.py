import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from runbook.observe.interpreter import find_interpreter

from .conftest import Venv


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def find(venv, tmp_path):
    """Find the interpreter of a command; PATH begins with nothing of this machine but its basic tools."""

    def look(*argv, **env):
        cwd = tmp_path / "job"
        cwd.mkdir(exist_ok=True)
        variables = {"PATH": f"{venv.path / 'bin'}:/usr/bin:/bin", **env}
        return find_interpreter(argv, cwd, variables)

    return look


def test_python_is_found_through_the_jobs_own_path(find, venv):
    fact = find("python", "train.py")
    assert (fact.evidence, fact.value) == ("observed", str(venv.python))


def test_the_link_of_a_virtual_environment_is_not_resolved_away(find, venv):
    assert venv.python.is_symlink()
    assert find(str(venv.python), "train.py").value == str(venv.python)
    assert find("../venv/bin/python", "train.py").value == str(venv.python)


@pytest.mark.parametrize(
    "line", ["#!{python}", "#!{python} -u", "#!/usr/bin/env python", "#!/usr/bin/env -S python -u"]
)
def test_a_script_is_followed_by_its_first_line(find, venv, tmp_path, line):
    torchrun = script(tmp_path / "bin/torchrun", line.format(python=venv.python) + "\nimport sys\n")
    fact = find(torchrun, "--nproc-per-node", "2", "train.py")
    assert (fact.evidence, fact.value) == ("observed", str(venv.python))


def test_pips_form_for_long_paths_is_understood(find, tmp_path):
    long = Venv(tmp_path / ("long " * 8).strip() / "venv")
    text = f"#!/bin/sh\n'''exec' \"{long.python}\" \"$0\" \"$@\"\n' '''\nimport sys\n"
    assert find(script(tmp_path / "tool", text)).value == str(long.python)


def test_a_console_script_that_uv_installed_is_followed(find, venv, tmp_path):
    from .wheelmaker import make_project

    project = make_project(tmp_path / "p", "tool", "1", {"tool.py": "def main(): ...\n"})
    backend = (project / "backend.py").read_text()
    entry = 'members[f"{info}/entry_points.txt"] = b"[console_scripts]\\ntool = tool:main\\n"\n    rows = []'
    (project / "backend.py").write_text(backend.replace("rows = []", entry, 1))
    venv.install(project)
    assert find("tool", "--x").value == str(venv.python)


def test_env_sets_the_path_that_decides(find, tmp_path):
    other = Venv(tmp_path / "other")
    assert find("env", "-i", f"PATH={other.path}/bin", "SEED=1", "python", "x.py").value == str(other.python)
    assert find("env", "-u", "FOO", "-S", f"{other.python} -u", "x.py").value == str(other.python)


@pytest.mark.parametrize(
    "prefix", [("nice", "-n", "5"), ("timeout", "60"), ("nohup",), ("stdbuf", "-o0"), ("nice", "timeout", "1m")]
)
def test_prefix_programs_are_seen_through(find, venv, prefix):
    fact = find(*prefix, "python", "x.py")
    assert (fact.evidence, fact.value) == ("observed", str(venv.python))


@pytest.mark.parametrize(
    "text",
    [
        "python train.py",
        "cd sub && OMP_NUM_THREADS=1 python train.py | tee log",
        "set -e; for i in 1 2; do python train.py --seed $i; done",
        "exec {python} train.py",
        "if true; then {python} train.py; fi",
    ],
)
def test_a_shells_text_is_read_for_its_first_python(find, venv, text):
    fact = find("sh", "-c", text.format(python=venv.python))
    assert (fact.evidence, fact.value) == ("inferred", str(venv.python))
    assert "sh -c" in fact.reason


def test_an_environment_that_a_script_activates_is_used(find, tmp_path):
    other = Venv(tmp_path / "other")
    path = script(tmp_path / "job/run.sh", f"#!/bin/bash\nsource {other.path}/bin/activate\n\npython train.py\n")
    for argv in ((path,), ("bash", "run.sh"), ("bash", "-e", path)):
        assert find(*argv).value == str(other.python)


def test_a_makefile_is_read_for_its_first_python(find, venv, tmp_path):
    (tmp_path / "job").mkdir()
    (tmp_path / "job/Makefile").write_text(f"all:\n\t@echo hello\n\t{venv.python} train.py\n")
    fact = find("make", "all")
    if shutil.which("make", path="/usr/bin:/bin") is None:
        assert fact.reason == "make is not found"
    else:
        assert (fact.evidence, fact.value) == ("inferred", str(venv.python))


def test_a_shell_without_a_python_falls_back_to_path_and_says_so(find, venv):
    fact = find("sh", "-c", "./binary --x")
    assert (fact.evidence, fact.value) == ("inferred", str(venv.python))
    assert "first on PATH" in fact.reason


def test_uv_run_uses_the_projects_environment(find, venv, tmp_path):
    project = Venv(tmp_path / "job/.venv")
    script(venv.path / "bin/uv", "#!/bin/sh\nexit 1\n")
    for argv in (("uv", "run", "train.py"), ("uv", "run", "--extra", "x", "python", "train.py")):
        fact = find(*argv)
        assert (fact.evidence, fact.value) == ("inferred", str(project.python))
    assert "throw-away" in find("uv", "run", "--with", "numpy", "train.py").reason


def test_poetry_run_asks_poetry(find, venv, tmp_path):
    project = Venv(tmp_path / "project")
    poetry = script(
        tmp_path / "poetry", f"#!/bin/sh\n[ \"$*\" = 'env info --executable' ] && echo {project.python}\n"
    )
    fact = find(poetry, "run", "python", "train.py")
    assert (fact.evidence, fact.value) == ("inferred", str(project.python))


@pytest.mark.parametrize(
    "flags", [("-n", "exp"), ("--name=exp",), ("--no-capture-output", "-n", "exp"), ("-p", "{envs}/exp")]
)
def test_conda_run_uses_the_named_environment(find, tmp_path, flags):
    named = Venv(tmp_path / "conda/envs/exp")
    conda = script(tmp_path / "conda/bin/conda", "#!/bin/sh\n")
    flags = [f.format(envs=tmp_path / "conda/envs") for f in flags]
    assert find(conda, "run", *flags, "python", "train.py").value == str(named.python)


def test_a_wrapper_is_resolved_by_asking_the_interpreter(find, venv, tmp_path):
    wrapper = script(tmp_path / "shims/python", f'#!/bin/sh\nexec {venv.python} "$@"\n')
    fact = find(wrapper, "train.py")
    assert (fact.evidence, fact.value) == ("observed", str(venv.python))


def test_a_pyenv_shim_of_a_script_is_followed_by_pyenvs_word(find, venv, tmp_path):
    real = script(tmp_path / "real/torchrun", f"#!{venv.python}\n")
    script(tmp_path / "pyenv/bin/pyenv", f"#!/bin/sh\n[ \"$*\" = 'which torchrun' ] && echo {real}\n")
    shim = script(tmp_path / "pyenv/shims/torchrun", '#!/usr/bin/env bash\nexec pyenv exec "$0" "$@"\n')
    assert find(shim, "train.py").value == str(venv.python)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        ((), "there is no command"),
        (("no-such-program",), "no-such-program is not found"),
        (("/bin/true",), "true is a program without a Python"),
        (("env", "A=1"), "env runs no command"),
    ],
)
def test_a_job_without_a_python_has_a_reason(find, argv, reason):
    fact = find(*argv)
    assert fact.evidence == "missing"
    assert reason in fact.reason


def test_scripts_that_run_each_other_end_with_a_reason(find, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    script(one, f"#!{two}\n")
    script(two, f"#!{one}\n")
    assert find(str(one)).evidence == "missing"


def test_a_broken_interpreter_has_a_reason(find, tmp_path):
    broken = script(tmp_path / "python3", "#!/bin/sh\nexit 1\n")
    assert find(broken).reason == f"{broken} does not run as a Python"


def test_an_empty_environment_is_no_error(tmp_path):
    fact = find_interpreter(["python3", "x.py"], tmp_path, {})
    assert fact.known == any(Path(f"{p}/python3").exists() for p in os.defpath.split(os.pathsep) if p)


def test_nothing_of_the_job_is_run(find, venv, tmp_path):
    marker = tmp_path / "ran"
    train = script(tmp_path / "job/train.py", f"#!{venv.python}\nopen({str(marker)!r}, 'w')\n")
    find(train)
    find("sh", "-c", f"touch {marker}; {train}")
    assert not marker.exists()
    assert stat.S_IMODE(os.stat(train).st_mode) == 0o755
    subprocess.run([train], check=True)
    assert marker.exists()
