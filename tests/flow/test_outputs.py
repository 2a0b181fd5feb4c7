"""Output files through the real command line: found, compared, and never mixed with the verdict of the metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.flow.conftest import Done, Project

JOB = """
import json, os, sys
change = float(sys.argv[1])
os.makedirs("out", exist_ok=True)
with open("out/table.csv", "w") as table:
    table.write(f"epoch,loss\\n1,0.5\\n2,{0.25 + change}\\n")
with open("out/report.json", "w") as report:
    json.dump({"made": os.getpid() if change < 0 else 7, "score": 0.5}, report)
with open("out/same.txt", "w") as same:
    same.write("the same\\n")
if change == 1:
    open("out/more.txt", "w").close()
json.dump({"accuracy": 0.9}, open("metrics.json", "w"))
"""


def _run(project: Project, change: float, *options: str) -> Done:
    project.write("train.py", JOB)
    job = (str(project.python), "train.py", str(change))
    return project.runbook("run", "--metrics", "metrics.json", "--output", "out", *options, "--", *job)


def _files(done: Done) -> dict[str, Any]:
    return {one["path"]: one for one in done.json["comparison"]["artifacts"]["files"]}


def test_outputs_of_two_bundles_are_compared_and_the_metrics_alone_decide(project: Project) -> None:
    assert _run(project, 0.0).code == 0
    one = project.capture("one.runbook")
    assert _run(project, 1.0).code == 0
    other = project.capture("other.runbook.zip")
    done = project.runbook("diff", one, other, "--json")
    assert done.code == 0, done.err
    assert done.json["verdict"] == "identical"
    assert done.json["comparison"]["artifacts"]["verdict"] == "on one side only"
    files = _files(done)
    assert {path: one["verdict"] for path, one in files.items()} == {
        "metrics.json": "identical bytes",
        "out/more.txt": "on one side only",
        "out/report.json": "identical bytes",
        "out/same.txt": "identical bytes",
        "out/table.csv": "different",
    }
    (part,) = files["out/table.csv"]["parts"]
    assert (part["name"], part["where"], part["original"], part["replay"]) == ("loss", "row 2", "0.25", "1.25")
    assert part["largest"] == 1.0
    text = project.runbook("diff", one, other).out
    assert "5 output files: 1 on one side only, 1 different, 3 identical bytes" in text
    assert "first at row 2" in text
    assert "out/same.txt" not in text
    page = project.folder / "page.html"
    assert project.runbook("diff", one, other, "--html", page).code == 0
    assert "first at row 2: 0.25 → 1.25" in page.read_text()


def test_a_run_whose_outputs_were_written_over_is_known_by_digest_alone(project: Project) -> None:
    assert _run(project, 0.0).code == 0
    assert _run(project, 0.5).code == 0
    first, second = (path.name for path in sorted((project.folder / ".runbook" / "runs").iterdir()))
    found = _files(project.runbook("diff", first, second, "--json"))["out/table.csv"]
    assert found["verdict"] == "bytes differ"
    assert "content not held: the original's is known by its digest alone" in found["reason"]
    assert found["bytes"] == len("epoch,loss\n1,0.5\n2,0.25\n")


def test_a_replay_whose_outputs_differ_is_reproduced_and_says_where_they_differ(project: Project) -> None:
    assert _run(project, -1.0).code == 0
    bundle = project.capture("x.runbook")
    done = project.runbook("replay", bundle, "--engine", "local", "--json", "-o", project.folder / "again")
    assert done.code == 0, done.err
    assert done.json["verdict"] == "identical"
    found = _files(done)["out/report.json"]
    assert (found["verdict"], found["kind"]) == ("different", "json")
    assert found["parts"][0]["name"] == "made"
    again = Path(project.folder / "again" / "report.md").read_text()
    assert "Output files" in again
    # A replay is a run: what it wrote is kept, and can be compared again.
    replayed = sorted((project.folder / ".runbook" / "runs").iterdir())[-1].name
    assert project.runbook("diff", bundle, replayed, "--json").code == 0


def test_an_embedded_output_that_was_tampered_with_is_refused(project: Project) -> None:
    assert _run(project, 0.0).code == 0
    one = project.capture("one.runbook")
    assert _run(project, 0.5).code == 0
    other = project.capture("other.runbook")
    (kept,) = one.rglob("table.csv")
    kept.write_text(kept.read_text().replace("0.5", "0.6"))
    done = project.runbook("diff", one, other)
    assert done.code == 5
    assert "table.csv" in done.err
    assert json.loads((project.folder / "metrics.json").read_text()) == {"accuracy": 0.9}
