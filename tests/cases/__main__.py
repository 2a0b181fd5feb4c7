"""`make cases`: public training scripts, unedited, nothing declared: run, capture, replay without a network.

usage: python tests/cases [--self-contained] [NAME-PREFIX…]

CASES_DIR=FOLDER holds the checkouts where there is no way out. With --self-contained the bundles carry everything,
and each is replayed with empty caches, in a network namespace without a route, on an engine of its own from which
every image was removed; that needs root.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from jobs import BUILD, ROOT, docker_reachable, job_python, runbook, say
from private_engine import NO_ROUTE, empty, missing, private_engine
from table import CASES, Case

CHECKOUTS = ROOT / ".cases"
HUB = os.environ.get("CASES_HUB", "https://github.com")


def checkout(case: Case) -> Path:
    """A clean checkout of the case at its commit, from CASES_DIR or from where it is published."""
    name = case.repository.rpartition("/")[2]
    owned = CHECKOUTS / name
    given = os.environ.get("CASES_DIR")
    source = str(Path(given).resolve() / name) if given else f"{HUB}/{case.repository}"
    if not (owned / ".git").is_dir():
        say(f"cloning {case.repository}")
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", source, owned], check=True)
    git = ["git", "-C", owned]
    if subprocess.run([*git, "cat-file", "-e", case.commit], capture_output=True, check=False).returncode:
        subprocess.run([*git, "fetch", "--quiet", "origin", case.commit], check=True)
    sparse = ["set", *case.parts] if case.parts else ["disable"]
    subprocess.run([*git, "sparse-checkout", *sparse], check=True)
    subprocess.run([*git, "checkout", "--quiet", "--force", "--detach", case.commit], check=True)
    subprocess.run([*git, "clean", "--quiet", "-dffx"], check=True)
    return owned


@dataclass(frozen=True)
class Road:
    """How a case is frozen and replayed."""

    freezing: tuple[str, ...] = ()
    engine: str = ""
    """DOCKER_HOST of an engine that is emptied before every replay, which then sees no network either."""


def run_case(case: Case, work: Path, road: Road) -> dict[str, Any]:
    """Run, capture and replay one case; returns its row."""
    top = checkout(case)
    folder = top / case.folder
    slug = re.sub(r"[^a-z0-9]+", "-", case.name.lower()).strip("-")
    python = job_python(slug.partition("-")[0], case.requirements)
    bundle = work / f"{slug}.runbook"
    env = {**case.env, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    limit = () if case.time_limit is None else ("--timeout", str(case.time_limit))
    say(f"{case.name}: run and capture")
    began = time.monotonic()
    ran = runbook(
        "run",
        "--capture",
        *road.freezing,
        "-o",
        bundle,
        *limit,
        "--",
        *case.argv,
        cwd=folder,
        env=env,
        expect=None,
    )
    took = time.monotonic() - began
    wrong = [] if ran.returncode == case.run_exit else [f"run exits {ran.returncode}: {ran.stderr[-1500:]}"]
    if not bundle.exists():
        return {"case": case.name, "wrong": [*wrong, "no bundle"], "exit": None, "verdict": "none"}
    record = json.loads(runbook("show", bundle, "--json", cwd=work).stdout)
    wrong += list(misses(case, record))
    if road.engine:
        wrong += list(shortcomings(bundle, work))
    say(f"{case.name}: replay in Docker, no network")
    where = work / f"{slug}-replay"
    with tempfile.TemporaryDirectory(prefix="runbook-cases-") as cache:
        bare: dict[str, Any] = {}
        if road.engine:
            empty(road.engine)
            bare = {"env": {"DOCKER_HOST": road.engine, "XDG_CACHE_HOME": cache}, "under": NO_ROUTE}
        began = time.monotonic()
        replay = ("replay", bundle, "--engine", "docker", "-o", where, "--json")
        done = runbook(*replay, cwd=work, expect=None, **bare)
    replayed = time.monotonic() - began
    answer = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    verdict = answer.get("verdict", "none")
    if verdict not in case.verdicts or done.returncode not in case.exit_codes:
        wrong.append(f"replay: {verdict}, exit {done.returncode}: {done.stderr[-1500:]}")
    report = where / "report.md"
    said = done.stderr + (report.read_text() if report.exists() else "")
    if case.says and case.says not in said:
        wrong.append(f"the report does not say {case.says!r}")
    return {
        "case": case.name,
        "wrong": wrong,
        "exit": done.returncode,
        "verdict": verdict,
        "metrics": {
            m["name"]: [m["original"], m["replay"]] for m in answer.get("comparison", {}).get("metrics", [])
        },
        "inputs": [one["path"] for one in record["inputs"]],
        "outputs": [one["path"] for one in record["outputs"]],
        "seeds": [f"{one['name']}={one['value']} ({one.get('where', '')})" for one in record["seeds"]],
        "findings": [one["text"] for one in record["findings"]],
        "run_s": round(took, 1),
        "replay_s": round(replayed, 1),
        "bundle_bytes": sum(p.stat().st_size for p in bundle.rglob("*") if p.is_file()),
    }


def shortcomings(bundle: Path, work: Path) -> Iterator[str]:
    """What a bundle that was asked to be self-contained does not hold, as `verify` says."""
    for text in json.loads(runbook("verify", bundle, "--json", cwd=work).stdout)["lacks"]:
        yield f"not self-contained: {text}"


def misses(case: Case, record: dict[str, Any]) -> Iterator[str]:
    """What the record does not say of what the script really does, or says too much of."""
    inputs = {one["path"] for one in record["inputs"]}
    if inputs != case.inputs:
        yield f"inputs {sorted(inputs)} instead of {sorted(case.inputs)}"
    outputs = {one["path"] for one in record["outputs"]}
    if not case.outputs <= outputs:
        yield f"outputs {sorted(outputs)} without {sorted(case.outputs - outputs)}"
    metrics = {one["name"] for one in record["metrics"]}
    if not case.metrics <= metrics:
        yield f"metrics {sorted(metrics)} without {sorted(case.metrics - metrics)}"
    seeds = {(one["name"], one["value"]) for one in record["seeds"]}
    if not case.seeds <= seeds or (not case.seeds and seeds):
        yield f"seeds {sorted(seeds)} instead of {sorted(case.seeds)}"
    found = [(one["id"], one["text"]) for one in record["findings"]]
    for id, part in case.findings:
        if not any(i == id and part in text for i, text in found):
            yield f"no finding {id} with {part!r}"
    variables = {one["name"]: one["value"] for one in record["job"]["variables"]}
    for name, value in case.env.items():
        if variables.get(name) != value:
            yield f"the variable {name} is not in the record"


def main(arguments: list[str]) -> int:
    """Run the chosen cases, print the table, return the number of wrong ones."""
    prefixes = [word for word in arguments if word != "--self-contained"]
    if len(prefixes) == len(arguments):
        if docker_reachable():
            return run_cases(prefixes, Road())
        say("error: the cases replay in Docker, and no engine is reachable; see `runbook doctor`")
        return 6
    if reason := missing():
        say(f"error: NOT RUN: {reason}")
        return 6
    BUILD.mkdir(exist_ok=True)
    with private_engine(BUILD / "cases-engine.log") as host:
        say(f"replays see no route, no cache, and an engine without images: {host}")
        return run_cases(prefixes, Road(("--self-contained",), host))


def run_cases(prefixes: list[str], road: Road) -> int:
    """Run the chosen cases on this road, print the table, return the number of wrong ones."""
    work = BUILD / "cases"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    chosen = [c for c in CASES if not prefixes or any(c.name.startswith(p) for p in prefixes)]
    rows = []
    head = f"{'case':36} {'verdict':15} {'exit':>4} {'run':>8} {'replay':>8} {'bundle':>9}"
    print(f"{head}   metrics: original → replay", flush=True)
    for case in chosen:
        rows.append(run_case(case, work, road))
        (work / "results.json").write_text(json.dumps(rows, indent=2) + "\n")
        for line in _lines(rows[-1]):
            print(line, flush=True)
    return sum(bool(row["wrong"]) for row in rows)


def _lines(row: dict[str, Any]) -> Iterator[str]:
    pairs = ", ".join(f"{name} {a} → {b}" for name, (a, b) in list(row.get("metrics", {}).items())[:4])
    mark = "   WRONG" if row["wrong"] else ""
    times = f"{row.get('run_s', '-'):>7}s {row.get('replay_s', '-'):>7}s"
    size = f"{row.get('bundle_bytes', 0) / 1e6:>7.0f}MB"
    yield f"{row['case']:36} {row['verdict']:15} {row['exit']!s:>4} {times} {size}   {pairs}{mark}"
    for name in ("inputs", "outputs", "seeds", "findings"):
        if row.get(name):
            yield f"    {name}: {'; '.join(row[name][:6])}"
    for text in row["wrong"]:
        yield f"    WRONG {text}"


if __name__ == "__main__":
    raise SystemExit(min(main(sys.argv[1:]), 6))
