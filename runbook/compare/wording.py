"""The one sentence that says what a comparison found, and the likeliest cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from runbook.model.determinism import Determinism
from runbook.model.verdict import REPRODUCED, STRENGTH, Difference, MetricComparison, Partial, Verdict

_SAYS: dict[Verdict, tuple[str, str]] = {
    "identical": ("is identical", "are identical"),
    "within tolerance": ("is within its tolerance", "are within their tolerance"),
    "equivalent": ("is equivalent", "are equivalent"),
    "partial": ("agrees as far as it was compared", "agree as far as they were compared"),
    "inconclusive": ("is inconclusive", "are inconclusive"),
    "different": ("differs", "differ"),
    "not comparable": ("cannot be compared", "cannot be compared"),
}


def sentence(
    verdict: Verdict,
    metrics: Sequence[MetricComparison],
    differences: Sequence[Difference],
    *,
    broken: Sequence[str],
    replaced: Sequence[str],
    seeded: bool,
    determinism: Determinism | None = None,
    partial: Partial | None = None,
) -> str:
    """What was found, in one sentence: broken preconditions first, else the metrics and their likeliest cause.

    Before anything else is blamed for a difference it is said whether the job gives the same twice where it ran.
    """
    if broken:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"The replay is not of this bundle: {broken[0]}{more}."
    if partial is not None:
        compared = f"Compared: {partial.text()}."
        if not metrics:
            return f"It was stopped before there was anything to compare: {partial.why}."
        said = sentence(verdict, metrics, differences, broken=(), replaced=replaced, seeded=seeded)
        return f"{said} {compared}"
    if not metrics:
        return "There is no metric on either side to compare."
    counts = Counter(m.verdict for m in metrics)
    if len(counts) == 1:
        found = f"{_all(len(metrics))} {_says(verdict, len(metrics))}"
    else:
        parts = [f"{counts[v]} {_says(v, counts[v])}" for v in reversed(STRENGTH) if counts[v]]
        found = f"Of {len(metrics)} metrics, {', '.join(parts[:-1])} and {parts[-1]}"
    if verdict in REPRODUCED or verdict == "partial":
        return f"{found}{_in_spite(verdict, replaced, seeded)}."
    said = f"{found}{_cause(metrics, differences, replaced, seeded)}."
    if determinism is None or determinism.verdict == "cannot tell":
        return said
    first = f"{determinism.words[:1].upper()}{determinism.words[1:]}"
    if determinism.verdict != "not deterministic":
        return f"{first}; what differs from the bundle is no chance of this machine. {said}"
    return f"{first}; that it differs from the bundle needs no other cause. {said}"


def _in_spite(verdict: Verdict, replaced: Sequence[str], seeded: bool) -> str:
    if replaced:
        return f", in spite of {len(replaced)} substitution{'s' * (len(replaced) > 1)}"
    return "" if verdict == "identical" or seeded else "; no seed was seen"


def _cause(
    metrics: Sequence[MetricComparison], differences: Sequence[Difference], replaced: Sequence[str], seeded: bool
) -> str:
    causes = []
    seed = next((d for d in differences if d.family == "seed"), None)
    high = next((d for d in differences if d.risk == "high"), None)
    if replaced and any(m.reason.endswith("under a substitution") for m in metrics):
        causes.append(f"what was substituted: {replaced[0]}")
    elif seed is not None:
        causes.append(f"the seed is another ({seed.what}: {seed.original} → {seed.replay})")
    elif high is not None:
        causes.append(f"first to look at: {high.family}, {high.what}: {high.original} → {high.replay}")
    if not seeded:
        causes.append("no seed was seen, so a second run may well differ")
    if not causes:
        causes.append("nothing that is known to change results differs between the two runs")
    partings = [m.first_parting for m in metrics if m.first_parting is not None]
    where = f"; the curves part at step {min(partings)}" if partings else ""
    return where + "".join(f"; {c}" for c in causes)


def _all(count: int) -> str:
    return "The only metric" if count == 1 else "Both metrics" if count == 2 else f"All {count} metrics"


def _says(verdict: Verdict, count: int) -> str:
    return _SAYS[verdict][count != 1]
