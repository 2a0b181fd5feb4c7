"""Numbers as people read them."""

from __future__ import annotations

from runbook.model.metric import Number, brief
from runbook.model.verdict import MetricComparison


def exact(number: Number | None) -> str:
    """Every digit, so that what is shown identifies the value; a dash for none."""
    return "–" if number is None else str(number)


def signed(metric: MetricComparison) -> str:
    """The difference with its sign; a dash where there is none."""
    if metric.difference is None or metric.difference == "NaN":
        return "–"
    if metric.difference == 0:
        return "0"
    text = brief(metric.difference)
    return text if text.startswith("-") else f"+{text}"


def size(count: int) -> str:
    """Bytes in binary units: `1.2 MiB`."""
    if count < 1024:
        return f"{count} B"
    power = min((count.bit_length() - 1) // 10, 5)
    return f"{count / 1024**power:.1f} {'KMGTP'[power - 1]}iB"


def seconds(amount: float) -> str:
    """`0.42 s`, `3 min 12 s`, `2 h 05 min`."""
    if amount < 60:
        return f"{amount:.3g} s"
    if amount < 3600:
        return f"{int(amount // 60)} min {int(amount % 60):02} s"
    return f"{int(amount // 3600)} h {int(amount % 3600 // 60):02} min"


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
