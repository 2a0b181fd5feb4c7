"""`make cases`: public training scripts, unedited: run, capture, replay in Docker without a network, table.

usage: python tests/cases [NAME-PREFIX…]      CASES_DIR=FOLDER holds the checkouts where there is no way out
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from jobs import BUILD, ROOT, docker_reachable, job_python, runbook, say
from table import CASES, Case

CHECKOUTS = ROOT / ".cases"
HUB = os.environ.get("CASES_HUB", "https://github.com")


def checkout(case: Case) -> Path:
    """A clean checkout of the case at its commit, from CASES_DIR or from where it is published."""
    owned, name = CHECKOUTS / case.repository.rpartition("/")[2], case.repository.rpartition("/")[2]
    given = os.environ.get("CASES_DIR")
    source = str(Path(given).resolve() / name) if given else f"{HUB}/{case.repository}"
    if not (owned / ".git").is_dir():
        say(f"cloning {case.repository}")
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", source, owned], check=True)
    git = ["git", "-C", owned]
    if subprocess.run([*git, "cat-file", "-e", case.commit], capture_output=True, check=False).returncode:
        subprocess.run([*git, "fetch", "--quiet", "origin", case.commit], check=True)
    subprocess.run([*git, "checkout", "--quiet", "--force", "--detach", case.commit], check=True)
    subprocess.run([*git, "clean", "--quiet", "-dffx"], check=True)
    return owned


def run_case(case: Case, work: Path) -> dict[str, object]:
    """Run, capture and replay one case; returns its row."""
    folder = checkout(case) / case.folder
    slug = re.sub(r"[^a-z0-9]+", "-", case.name.lower())
    python = job_python(slug.partition("-")[0], case.requirements)
    bundle, env = work / f"{slug}.runbook", dict(case.env)
    say(f"{case.name}: run")
    declared: list[str] = []
    for name, pattern in case.metrics.items():
        declared += ["--metric", f"{name}={pattern}"]
    for path in case.inputs:
        declared += ["--input", path]
    for path in case.code:
        declared += ["--code", path]
    for name in env:
        declared += ["--env", name]
    runbook("run", "--name", slug, *declared, "--", python, *case.argv, cwd=folder, env=env)
    say(f"{case.name}: capture")
    began = time.monotonic()
    runbook("capture", "-o", bundle, cwd=folder)
    captured = time.monotonic() - began
    say(f"{case.name}: replay in Docker, no network")
    began = time.monotonic()
    where = work / f"{slug}-replay"
    done = runbook("replay", bundle, "--engine", "docker", "-o", where, "--json", cwd=work, expect=None)
    took = time.monotonic() - began
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    metrics = {m["name"]: m for m in answer.get("comparison", {}).get("metrics", [])}
    wrong = [name for name in case.metrics if metrics.get(name, {}).get("verdict") != case.verdict]
    right = done.returncode == case.exit_code and answer.get("verdict") == case.verdict and not wrong
    return {
        "case": case.name,
        "right": right,
        "exit": done.returncode,
        "verdict": answer.get("verdict", "none"),
        "metrics": {name: metrics.get(name) for name in case.metrics},
        "capture_s": round(captured, 1),
        "replay_s": round(took, 1),
        "said": "" if right else done.stderr[-4000:],
    }


def main(prefixes: list[str]) -> int:
    """Run the chosen cases, print the table, return the number of wrong verdicts."""
    if not docker_reachable():
        say("error: the cases replay in Docker, and no engine is reachable; see `runbook doctor`")
        return 6
    work = BUILD / "cases"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    chosen = [c for c in CASES if not prefixes or any(c.name.startswith(p) for p in prefixes)]
    rows = [run_case(case, work) for case in chosen]
    (work / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{'case':28} {'verdict':17} {'exit':>4} {'capture':>8} {'replay':>8}   metrics: original → replay")
    for row in rows:
        print(_line(row), flush=True)
        if row["said"]:
            print(row["said"], file=sys.stderr)
    return sum(not row["right"] for row in rows)


def _line(row: dict[str, object]) -> str:
    metrics = row["metrics"]
    assert isinstance(metrics, dict)
    pairs = ", ".join(
        f"{name} {value['original']} → {value['replay']}" if value else f"{name} absent"
        for name, value in metrics.items()
    )
    mark = "" if row["right"] else "   WRONG"
    times = f"{row['capture_s']:>7}s {row['replay_s']:>7}s"
    return f"{row['case']:28} {row['verdict']:17} {row['exit']:>4} {times}   {pairs}{mark}"


if __name__ == "__main__":
    raise SystemExit(min(main(sys.argv[1:]), 6))
