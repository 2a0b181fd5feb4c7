"""What the documents show is what happens: the README's transcript, and every command for auditors."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import EXAMPLES, example_python
from transcript import Step, matches, play, steps

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = pytest.mark.xdist_group("transcripts")  # One worker, one bundle.


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    """The digits example in a folder, and a person's environment: runbook and the job's Python on PATH."""
    folder = tmp_path_factory.mktemp("terminal")
    project, bin_folder = folder / "project", folder / "bin"
    project.mkdir()
    bin_folder.mkdir()
    shutil.copy(EXAMPLES / "sklearn-digits" / "train.py", project)
    for tool in ("runbook", "bagit.py", "check-jsonschema"):
        (bin_folder / tool).symlink_to(BIN / tool)
    cache = folder / "crate-cache"
    subprocess.run([sys.executable, ROOT / "tests/support/crate_cache.py", cache], check=True)
    validator = bin_folder / "rocrate-validator"  # The page's command, without a network.
    offline = f"--offline --cache-path {cache} --no-paging"
    validator.write_text(f'#!/bin/bash\nexec {BIN}/rocrate-validator "${{@:1:2}}" {offline} "${{@:3}}"\n')
    validator.chmod(0o755)
    python = example_python("sklearn-digits").parent
    path = f"{python}:{bin_folder}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "100"}
    return project, {name: value for name, value in env.items() if name != "VIRTUAL_ENV"}


@pytest.fixture(scope="module")
def bundle(terminal):
    """The bundle of a run of the example."""
    project, env = terminal
    (project / "given").mkdir()
    options = "--name digits --metrics metrics.json --capture -o given/digits.runbook"
    play(Step(f"runbook run {options} -- python train.py --seed 7", ()), project, env)
    play(
        Step("ssh-keygen -q -t ed25519 -N '' -f id && runbook sign given/digits.runbook --key id", ()),
        project,
        env,
    )
    key = " ".join((project / "id.pub").read_text().split()[:2])
    (project / "given" / "allowed_signers").write_text(f"alice@example.org {key}\n")
    return project / "given" / "digits.runbook"


def auditors_commands():
    text = (ROOT / "docs" / "auditors.md").read_text()
    return [block.strip() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]


@pytest.mark.docker
def test_the_transcript_in_the_readme_is_what_happens(terminal):
    project, env = terminal
    for step in steps((ROOT / "README.md").read_text(), "sklearn-digits"):
        play(step, project, env)


def test_a_transcript_that_lies_is_noticed():
    assert matches(("loss 0.…", "…", "done"), "loss 0.25\na\nb\ndone\n")
    assert not matches(("loss 0.…", "…", "done"), "loss 1.25\na\nb\ndone\n")
    assert not matches(("loss 0.…", "done"), "loss 0.25\na\ndone\n")


@pytest.mark.parametrize("command", [c for c in auditors_commands() if "replay.sh" not in c and "diff" not in c])
def test_a_command_for_auditors_accepts_a_bundle(command, terminal, bundle):
    tool = command.removeprefix("cd digits.runbook && ").split()[0]
    _project, env = terminal
    if tool not in ("sha256sum", "bagit.py", "rocrate-validator") and shutil.which(tool, path=env["PATH"]) is None:
        pytest.skip(f"{tool} is not on this machine")
    where = bundle.parent
    if command.startswith("unzip"):
        where = bundle.parent.parent / "zipped"
        where.mkdir(exist_ok=True)
        play(Step(f"runbook capture --zip -o {where}/digits.runbook.zip", ()), bundle.parent.parent, env)
    play(Step(command, ()), where, env)


@pytest.mark.parametrize(
    "command", [c for c in auditors_commands() if c.startswith(("cd digits.runbook", "bagit.py"))]
)
def test_a_command_for_auditors_rejects_a_changed_bundle(command, terminal, bundle, tmp_path):
    _project, env = terminal
    shutil.copytree(bundle, tmp_path / "digits.runbook")
    with (tmp_path / "digits.runbook/data/outputs/files/metrics.json").open("a") as file:
        file.write(" ")
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode != 0


@pytest.mark.docker
def test_plain_docker_replays_the_bundle_as_the_page_says(terminal, bundle):
    _project, env = terminal
    [fetch_and_replay] = [c for c in auditors_commands() if "RUNBOOK_WHEELS" in c]
    [compare] = [c for c in auditors_commands() if c.startswith("diff")]
    play(Step(fetch_and_replay, ()), bundle.parent, env)
    play(Step(compare.replace("replayed/", "replayed-offline/"), ()), bundle.parent, env)
