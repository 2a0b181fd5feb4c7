"""`make causes`: every planted cause run for real on both sides, and what `runbook explain` or `bisect` says.

usage: python -m tests.causes [--explain | --bisect] [NAME | NAME/JOB…]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.causes.bisecting import bisected
from tests.causes.table import CAUSES
from tests.causes.trial import Tried, explained, pair

VERBS = {"--explain": explained, "--bisect": bisected}


def main(arguments: list[str]) -> int:
    """Try the chosen ones and print the table; the number of wrong ones."""
    asked = next((VERBS[word] for word in arguments if word in VERBS), explained)
    names = [word for word in arguments if not word.startswith("--")]
    chosen = [c for c in CAUSES if not names or c.name in names or f"{c.name}/{c.job}" in names]
    counts = dict.fromkeys(("right", "WRONG", "NOT RUN"), 0)
    print(f"{'cause':22} {'job':6} {'planted':38} {'':8} said first", flush=True)
    for cause in chosen:
        planted = ", ".join(f"{f.family} {f.what}" for f in cause.causes) or "nothing that moves it"
        tried = Tried("this machine cannot plant it")
        if cause.needs():
            # Outside of any checkout, whose root would be the job's.
            with tempfile.TemporaryDirectory(prefix="causes-") as folder, pair(cause, Path(folder)) as (a, b):
                tried = asked(cause, a, b)
        mark = "NOT RUN" if not cause.needs() else "WRONG" if tried.wrong else "right"
        counts[mark] += 1
        print(f"{cause.name:22} {cause.job:6} {planted:38} {mark:8} {tried.said}", flush=True)
        for text in tried.wrong:
            print(f"    {text}", flush=True)
    print(", ".join(f"{count} {mark}" for mark, count in counts.items()))
    return counts["WRONG"]


if __name__ == "__main__":
    raise SystemExit(min(main(sys.argv[1:]), 1))
