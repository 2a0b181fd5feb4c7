"""A record laid out for a terminal: every fact with its evidence, or the reason why it is missing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

    from runbook.model.record import Record
    from runbook.model.watch import Stage

_MANY = 6
"""Items of a list that are shown."""


class _Row(NamedTuple):
    label: str
    text: str
    evidence: str


def blocks(record: Record, title: str) -> Iterator[Any]:
    """What is printed, section by section. title: what it is, `bundle sha256:…`."""
    from rich.text import Text

    from runbook.model.carrying import lacks

    yield Text.assemble((line(record.name), "bold"), f"  {line(title)}", "\n")
    identity = {"kind": record.kind, "run": record.run, "experiment": record.experiment, "engine": record.engine}
    identity |= {"replay of": record.replay_of, "frozen by": f"runbook {record.runbook}"}
    identity |= {"packed from": record.packed_from and f"sha256:{record.packed_from}"}
    if record.hybrid is not None:
        made = record.hybrid
        identity |= {"made of": f"sha256:{made.a} with parts of sha256:{made.b}", "parts": ", ".join(made.taken)}
    yield _section("Run", [_Row(k, v, "") for k, v in identity.items() if v])
    job = [_Row("command", shlex.join(record.job.argv), "observed" if record.kind == "replay" else "")]
    job += _rows(record.job, skip=("argv", "variables", "stdin"))
    fed = record.job.stdin
    if fed:
        job.append(_Row("standard input", fed.path, f"from byte {fed.offset}" if fed.offset else "read"))
    job += [_Row(v.name, "(masked)" if v.redacted else v.value, "variable") for v in record.job.variables]
    yield _section("Job", job)
    yield _section("Outcome", _rows(record.outcome))
    yield _section("Resources", _rows(record.resources))
    yield _section("Code", _rows(record.code))
    yield _section("Environment", [*_rows(record.environment), *_packages(record)])
    if record.kind == "original" and record.environment.lock.known:
        yield _section(
            "Not carried", [_Row("", text, "") for text in lacks(record)], "nothing: it is self-contained"
        )
    yield _section("Accelerators", _fact("accelerators", record.accelerators))
    yield _section("Host", _rows(record.host))
    yield _section("Seeds", [_Row(s.name, s.value, s.evidence) for s in record.seeds], "no seed was recorded")
    if record.stages:
        yield _section("Steps", _steps(record.stages))
    for name, items in (("Input", record.inputs), ("Output", record.outputs)):
        for item in items:
            yield _section(
                f"{name} {line(item.path)}", [r for r in _rows(item) if r.label not in ("path", "shape")]
            )
    metrics = [_Row(m.name, f"{m.final}{_points(m.points)}  from {m.source}", m.evidence) for m in record.metrics]
    yield _section("Metrics", metrics, "no metric was recorded")
    left = [_Row(c.name or "(file)", f"{c.source}: {c.why}", "left out") for c in record.choices if not c.kept]
    if left:
        yield _section("Not taken for metrics", left)
    tolerances = [_Row(t.pattern, t.words(), "") for t in record.tolerances]
    yield _section("Tolerances", tolerances, "none: equality is exact")
    yield _section("Findings", [_Row(f.level, f.text, f.id) for f in record.findings], "none")
    if record.redactions:
        yield _section("Masked", [_Row(r.kind, r.where, "") for r in record.redactions])
    if record.extra:
        yield _section("More", (row for k, v in record.extra.items() for row in _plain(k, v)))


def _steps(stages: Sequence[Stage]) -> Iterator[_Row]:
    """What each step read, and from which step it came; what it wrote."""
    for stage in stages:
        yield _Row(
            stage.name, shlex.join(stage.argv), stage.status or ("declared" if stage.declared else "observed")
        )
        made = {path: one.name for one in stages if one.name in stage.after for path in one.outputs}
        for path in stage.inputs[:_MANY]:
            maker = next((n for o, n in made.items() if path == o or f"{path}/".startswith(f"{o}/")), "")
            maker = maker or next((n for o, n in made.items() if o.startswith(f"{path}/")), "")
            yield _Row("  reads", path, f"from {maker}" if maker else "")
        if len(stage.inputs) > _MANY:
            yield _Row("  reads", f"and {len(stage.inputs) - _MANY} more", "")
        if stage.outputs:
            yield _Row("  writes", _text("", stage.outputs), "")


def _section(title: str, rows: Iterable[_Row], empty: str = "") -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", title_style="bold cyan", box=None, show_header=False, expand=False
    )
    table.add_column(min_width=18, style="dim", overflow="fold")
    table.add_column(overflow="fold")
    table.add_column(style="dim")
    for row in rows:
        style = "yellow" if row.evidence == "missing" or row.label == "warning" else ""
        table.add_row(Text(line(row.label)), Text(line(row.text), style=style), Text(line(row.evidence)))
    if not table.row_count and empty:
        table.add_row(Text(empty), "", "")
    return table


def _rows(value: Any, evidence: str = "", skip: tuple[str, ...] = ()) -> Iterator[_Row]:
    """A value's fields as rows; nested values are laid out flat."""
    from runbook.model.code import Shape
    from runbook.model.environment import Package, SystemLibrary

    for name in value.__struct_fields__:
        item = getattr(value, name)
        long = isinstance(item, tuple) and item and isinstance(item[0], Package | SystemLibrary)
        if name not in skip and not long and not isinstance(item, Shape):
            yield from _fact(name, item, evidence)


def _fact(name: str, item: Any, evidence: str = "") -> Iterator[_Row]:
    import msgspec

    from runbook.model.fact import Fact

    if isinstance(item, Fact):
        if not item.known:
            yield _Row(_label(name), f"missing: {item.reason}", "missing")
            return
        rows = list(_fact(name, item.value, item.evidence))
        yield from rows
        if item.reason and len(rows) == 1:
            yield _Row("", f"({item.reason})", "")
    elif isinstance(item, msgspec.Struct):
        yield from _rows(item, evidence)
    elif isinstance(item, dict):
        for key, part in item.items():
            yield from _fact(key, part, evidence)
    elif isinstance(item, tuple) and item and isinstance(item[0], msgspec.Struct):
        for part in item[:_MANY]:
            yield from _rows(part, evidence)
        if len(item) > _MANY:
            yield _Row(_label(name), f"and {len(item) - _MANY} more", evidence)
    elif item not in ("", (), None):
        yield _Row(_label(name), _text(name, item), evidence)


def _plain(name: str, item: Any) -> Iterator[_Row]:
    """Plain JSON of a foreign collector."""
    import msgspec

    yield _Row(name, msgspec.json.encode(item).decode(), "")


def _packages(record: Record) -> Iterator[_Row]:
    packages = record.environment.packages
    counts = {state: sum(p.shipped == state for p in packages) for state in ("locked", "carried", "absent")}
    shipped = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield _Row("packages", f"{len(packages)} installed" + (f": {shipped}" if shipped else ""), "observed")
    for package in packages:
        if package.record == "modified":
            files = _text("", package.modified)
            yield _Row(package.name, f"{package.version}: files edited after installation: {files}", "observed")


def _label(name: str) -> str:
    return name.removesuffix("_bytes").removesuffix("_s").replace("_", " ")


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(("bytes", "size")):
        from rich.filesize import decimal

        return decimal(value)
    if isinstance(value, float):
        return f"{value:g} s" if name.endswith("_s") else f"{value:g}"
    if isinstance(value, tuple):
        more = f" and {len(value) - _MANY} more" if len(value) > _MANY else ""
        return ", ".join(str(x) for x in value[:_MANY]) + more
    return str(value)


def _points(count: int) -> str:
    return f" ({count} points)" if count > 1 else ""


def line(text: str) -> str:
    """A text from a record on one line, safe for a terminal."""
    from runbook.model.text import printable

    return printable(text).replace("\n", "\\n")
