"""`make corpus`: every bundle of the corpus through the real command line, as a table."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.corpus.trial import CASES, tried


def main() -> int:
    """Try them all; 1 when one escapes, or is judged otherwise than the table says."""
    kinds: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    escaped: Counter[str] = Counter()
    for case in CASES.values():
        with tempfile.TemporaryDirectory() as folder:
            outcome = tried(case, Path(folder))
        kind = case.name.partition(":")[0]
        kinds[kind] += 1
        if outcome.escapes:
            escaped[kind] += 1
            print(f"ESCAPED {case.name}: {'; '.join(outcome.escapes)}")
        if (outcome.exit, outcome.id) != (case.exit, case.id):
            wrong[kind] += 1
            print(f"WRONG   {case.name}: exit {outcome.exit} {outcome.id}, not {case.exit} {case.id}")
    print(f"{'bundles':<10} {'tried':>6} {'wrong':>6} {'escapes':>8}")
    for kind, count in kinds.items():
        print(f"{kind:<10} {count:>6} {wrong[kind]:>6} {escaped[kind]:>8}")
    hostile, fled, misjudged = kinds.total() - kinds["good"], escaped.total(), wrong.total()
    print(f"hostile bundles tried: {hostile}, escapes: {fled}, wrongly judged: {misjudged}")
    return 1 if wrong or escaped else 0


if __name__ == "__main__":
    sys.exit(main())
