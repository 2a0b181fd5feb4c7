"""`make demo`: a real run, frozen, checked and replayed before your eyes."""

from __future__ import annotations

import shutil

from jobs import BUILD, EXAMPLES, docker_reachable, example_python, runbook, say

EXAMPLE = EXAMPLES / "sklearn-digits"


def main() -> int:
    """Run the demo; the exit code is the replay's own."""
    python = example_python(EXAMPLE.name)
    work = BUILD / "demo"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    bundle = work / "digits.runbook"

    declared = ("--name", "digits", "--code", ".")
    runbook("run", *declared, "--", python, "train.py", "--seed", "7", cwd=EXAMPLE, show=True)
    runbook("capture", "-o", bundle, cwd=EXAMPLE, show=True)
    runbook("verify", bundle, cwd=EXAMPLE, show=True)
    if not docker_reachable():
        say("no Docker engine is reachable: the local engine replays, in a fresh virtual environment, no sandbox")
    replay = ("replay", bundle, "-o", work / "replay")
    code = runbook(*replay, cwd=EXAMPLE, show=True, expect=None).returncode
    say(f"the bundle is in {work.relative_to(BUILD.parent)}: look at digits.runbook/data/report.html")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
