"""A job that behaves while it is recorded, and on replay leaves what would lead a reader of its outputs astray."""

import json

JOB = """
import os, sys
from pathlib import Path
print("accuracy: 0.5")
replaying = os.environ.get("USER") == "runbook"
if not replaying:
    Path("link.txt").write_text("mine")
    Path("kept").mkdir()
    Path("kept/model.bin").write_text("mine")
    Path("folder.txt").write_text("mine")
    sys.exit()
secret = sys.argv[1]
os.symlink(secret, "link.txt")
os.symlink(os.path.dirname(secret), "kept")
os.mkdir("folder.txt")
os.symlink(secret, "folder.txt/x")
"""


def test_outputs_that_are_links_on_replay_are_named_and_not_read(project, tmp_path):
    secret = tmp_path / "host" / "model.bin"
    secret.parent.mkdir()
    secret.write_text("a secret of the host")
    project.write("train.py", JOB)
    outputs = [word for name in ("link.txt", "kept/model.bin", "folder.txt") for word in ("--output", name)]
    done = project.runbook("run", *outputs, "--", project.python, "train.py", secret)
    assert done.code == 0, done.err
    bundle = project.capture("demo.runbook")
    done = project.runbook("replay", "--engine", "local", "-o", tmp_path / "out", bundle)
    assert done.code == 0, done.err
    record = json.loads((tmp_path / "out" / "record.json").read_text())
    named = [f["text"].split()[0] for f in record["findings"] if f["id"] == "output-not-a-file"]
    assert sorted(named) == ["folder.txt", "kept/model.bin", "link.txt"]
    assert not {"link.txt", "kept/model.bin", "folder.txt"} & {one["path"] for one in record["outputs"]}
    assert b"secret of the host" not in b"".join(
        p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
