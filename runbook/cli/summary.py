"""What `run` tells when the job has ended: a few lines on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from runbook.cli.console import err

if TYPE_CHECKING:
    from runbook.model.record import Record

_NAMED = 4


def tell_recorded(run: str, record: Record) -> None:
    """Inputs, outputs, metrics, seeds and findings of a run that was just recorded."""
    from rich.filesize import decimal
    from rich.text import Text

    from runbook.cli.record import line

    lines = [f"recorded {run}: {record.outcome.status}, {len(record.metrics)} metrics"]
    if record.inputs or record.watch.value is not None:
        size = decimal(sum(one.bytes for one in record.inputs))
        inputs = [_short(one.path) + ("/" if one.kind == "tree" else "") for one in record.inputs]
        lines.append(f"  inputs   {_count(inputs)}" + (f" ({size}): {_some(inputs)}" if inputs else ""))
        outputs = [one.path for one in record.outputs]
        lines.append(f"  outputs  {_count(outputs)}" + (f": {_some(outputs)}" if outputs else ""))
        finals = [f"{metric.name} {metric.final}" for metric in record.metrics]
        lines.append(f"  metrics  {_count(finals)}" + (f": {_some(finals)}" if finals else ""))
        seeds = [f"{seed.name} {seed.value}" for seed in record.seeds]
        lines.append(f"  seeds    {_count(seeds)}" + (f": {_some(dict.fromkeys(seeds))}" if seeds else ""))
    if len(record.stages) > 1:
        lines.append(f"  steps    {' → '.join(stage.name for stage in record.stages)}")
    for text in lines:
        err().print(Text(line(text)))
    for finding in record.findings:
        style = "yellow" if finding.level == "warning" else "dim"
        err().print(Text(line(f"  {finding.level}: {finding.text}"), style=style))


def _short(path: str) -> str:
    """A file of a package from where its packages are."""
    return path.rpartition("/site-packages/")[2]


def _count(items: Sequence[str]) -> str:
    return str(len(items)) if items else "none"


def _some(items: Iterable[str]) -> str:
    names = list(items)
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
