"""Programs that a shell line names by their path, in an environment that lies elsewhere."""

import pytest

from runbook.engine.enter import translated


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (".venv/bin/python a.py && /home/me/v/bin/python3.11 b.py", "python a.py && python b.py"),
        ("stage a '/home/me/v/bin/python' a.py", "stage a 'python' a.py"),
        ("X=1 v/bin/train --lr 1; (v/bin/python b.py)", "X=1 train --lr 1; (python b.py)"),
        ("/bin/echo python; cat data/bin/notes", "/bin/echo python; cat data/bin/notes"),
        ("python a.py > out/bin/python.txt", "python a.py > out/bin/python.txt"),
        ("/usr/bin/env python a.py", "/usr/bin/env python a.py"),
    ],
)
def test_a_shell_line_runs_the_rebuilt_environment(tmp_path, text, inside):
    for name in ("python", "train"):
        (tmp_path / name).touch()
    assert translated(["sh", "-ec", text, "x"], str(tmp_path)) == ["sh", "-ec", inside, "x"]


def test_other_commands_stay_as_they_are(tmp_path):
    (tmp_path / "python").touch()
    for argv in (["python", "-c", "'/v/bin/python'"], ["sh", "run.sh"], ["sh", "-c"], ["make"]):
        assert translated(argv, str(tmp_path)) == argv
