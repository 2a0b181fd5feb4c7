"""What runs without a sandbox when nobody chose that: a bundle that this user froze here, and no other."""

import shutil
import sys
from pathlib import Path

from tests.flow.conftest import Project


def test_without_a_sandbox_only_a_bundle_of_ones_own_is_replayed_by_itself(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project", Path(sys.executable), tmp_path)
    project.write("train.py", "open('touched', 'a').write('x')\nprint('loss: 1')\n")
    none = {
        "DOCKER_HOST": f"unix://{tmp_path}/none",
        "CONTAINER_HOST": f"unix://{tmp_path}/none",
        "XDG_DATA_HOME": str(tmp_path / "mine"),
    }
    base = ("--code", "train.py", "--capture", "-o", "x.runbook", "--offline")
    done = project.runbook("run", *base, "--", "python3", "train.py", env=none)
    assert done.code == 0, done.err
    assert "local virtual environment" in project.runbook("replay", "x.runbook", "--plan", env=none).out
    shutil.copytree(tmp_path / "project/x.runbook", tmp_path / "project/sent.runbook")
    stranger = none | {"XDG_DATA_HOME": str(tmp_path / "somebody")}
    # A copy is as good as the bundle: it is known by what is in it.
    assert "local virtual environment" in project.runbook("replay", "sent.runbook", "--plan", env=none).out
    for options in ((), ("--engine", "auto")):
        refused = project.runbook("replay", "sent.runbook", *options, env=stranger)
        assert refused.code == 6, refused.err
        assert "was not captured by you" in refused.err
        assert "--engine local" in refused.err
    assert (tmp_path / "project/touched").read_text() == "x"
    done = project.runbook("pack", "x.runbook", "--thin", "-o", "thin.runbook", env=stranger)
    assert project.runbook("replay", "thin.runbook", env=stranger).code == 6
