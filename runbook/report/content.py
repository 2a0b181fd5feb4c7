"""What a report says, as plain rows: every format lays out the same content."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runbook.model.artifact import Artifacts
from runbook.model.carrying import held_wheels, lacks
from runbook.model.environment import Package
from runbook.model.fact import Fact
from runbook.model.metric import brief
from runbook.model.record import Record
from runbook.model.verdict import REPRODUCED, MetricComparison, Parting
from runbook.report import watching
from runbook.report.cell import Cell
from runbook.report.figures import count, seconds, size
from runbook.report.interface import Report

Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True)
class Headline:
    """The verdict in words and one sentence."""

    tone: Tone
    word: str
    sentence: str


@dataclass(frozen=True)
class Row:
    """One fact of the original and, where there is one, of the replay."""

    label: str
    original: Cell
    replay: Cell | None = None

    @property
    def changed(self) -> bool:
        """Whether the two sides read differently."""
        return self.replay is not None and self.replay.text != self.original.text


@dataclass(frozen=True)
class Section:
    """Rows under one heading."""

    title: str
    rows: tuple[Row, ...]


def headline(report: Report) -> Headline:
    """The first thing that a reader sees."""
    comparison = report.comparison
    if report.bisection is not None:
        found = report.bisection
        return Headline("good" if found.status == "found" else "unsure", found.status.capitalize(), found.sentence)
    if comparison is None:
        return Headline("plain", "Run book", _summary(report.original))
    replayed = report.replay is not None and report.replay.kind == "replay"
    if comparison.verdict in REPRODUCED:
        word = f"{'Reproduced' if replayed else 'The metrics agree'}: {comparison.verdict}"
        return Headline("good", word, comparison.reason)
    if comparison.verdict == "partial":
        return Headline("unsure", "Spot check: agrees as far as it went", comparison.reason)
    if comparison.verdict == "different":
        return Headline("bad", "Different: not reproduced" if replayed else "Different", comparison.reason)
    return Headline("unsure", comparison.verdict.capitalize(), comparison.reason)


def remark(metric: MetricComparison) -> list[str]:
    """What is to be said of one metric beside its numbers: why this verdict, and how its curves part."""
    said = [metric.reason] if metric.reason else []
    if metric.better:
        said.append(f"the replay is {metric.better}")
    if metric.parting is not None:
        said += [describe(metric.parting), metric.parting.reading]
    elif metric.first_parting is not None:
        said.append(f"first parting at step {metric.first_parting}")
    return said


def describe(parting: Parting) -> str:
    """By how much the curves part and how the gap goes on, in one sentence."""
    said = f"the curves part at step {parting.step} by {brief(parting.gap)}"
    if isinstance(parting.relative, int | float) and parting.relative:
        said += f" ({parting.relative:.2g} of the value)"
    if parting.growth == "unknown":
        return said
    said += f"; the gap {parting.growth}, {brief(parting.last)} at the end"
    if parting.growth == "stays":
        said = said.replace("the gap stays", "the gap stays about as large")
    if parting.law == "exponential":
        said += f", doubling about every {parting.rate:.3g} steps (R² {parting.fit:.2f})"
    elif parting.law == "power":
        said += f", about as steps^{parting.rate:.2g} (R² {parting.fit:.2f})"
    return said


def sections(report: Report) -> tuple[Section, ...]:
    """Job, code, data, environment, host and accelerators: both sides beside each other."""
    a, b = report.original, report.replay
    return tuple(
        Section(title, _beside(rows(a), rows(b) if b else None))
        for title, rows in (
            ("Job and outcome", _job),
            ("Seeds and parameters", _seeds),
            ("What was seen while it ran", watching.rows),
            ("Code", _code),
            ("Environment", _environment),
            ("Host", _host),
            ("Accelerators", _accelerators),
        )
    )


@dataclass(frozen=True)
class File:
    """One output file for a table: what it is, and where it differs first and by how much."""

    path: str
    kind: str
    verdict: str
    words: str
    more: tuple[str, ...]
    """Its other parts that differ, one sentence each."""


def files(artifacts: Artifacts) -> list[File]:
    """The output files that are not the same bytes, the weakest verdict first."""
    return [
        File(
            one.path,
            one.kind or "–",
            one.verdict,
            one.words(),
            tuple(f"{part.name}: {part.words()}" for part in one.parts[1:]),
        )
        for one in artifacts.files
        if one.verdict != "identical bytes"
    ]


def seed_sentence(record: Record) -> str:
    """Which seeds were seen, or that none was."""
    if not record.seeds:
        return "no seed seen: a second run may well differ"
    return ", ".join(f"{s.name} = {s.value}" for s in record.seeds)


def bundle_id(report: Report) -> str:
    """The bundle's id with its algorithm, `sha256:…`; empty when there is none."""
    return f"sha256:{report.bundle_id.removeprefix('sha256:')}" if report.bundle_id else ""


def other_side(report: Report) -> str:
    """What the second record is called: `Replay`, or `Other run` where two runs are only compared."""
    return "Replay" if report.replay is None or report.replay.kind == "replay" else "Other run"


def command(record: Record) -> str:
    """The command, quoted for a shell, with the file that it was fed."""
    fed = record.job.stdin
    return shlex.join(record.job.argv) + (f" < {shlex.quote(fed.path)}" if fed else "")


def packages(report: Report) -> list[tuple[Package | None, Package | None]]:
    """Packages side by side; what differs comes first."""
    a = {p.name: p for p in report.original.environment.packages}
    b = {p.name: p for p in report.replay.environment.packages} if report.replay else {}
    pairs = [(a.get(name), b.get(name)) for name in sorted({*a, *b})]
    return sorted(pairs, key=lambda pair: _versions(pair)[0] == _versions(pair)[1]) if report.replay else pairs


def _versions(pair: tuple[Package | None, Package | None]) -> tuple[str | None, str | None]:
    a, b = pair
    return a.version if a else None, b.version if b else None


def _summary(record: Record) -> str:
    how = {
        "completed": "It completed",
        "failed": "It failed",
        "killed": "It was killed",
        "timeout": "It ran out of time",
        "interrupted": "It was interrupted",
        "stopped": "It was stopped",
        "unobserved": "It was declared, not observed",
    }[record.outcome.status]
    took = f" in {seconds(d)}" if (d := record.outcome.duration_s.value) is not None else ""
    return f"{how}{took}, with {count(len(record.metrics), 'metric')}; {seed_sentence(record)}."


def _beside(left: Sequence[tuple[str, Cell]], right: Sequence[tuple[str, Cell]] | None) -> tuple[Row, ...]:
    if right is None:
        return tuple(Row(label, cell) for label, cell in left)
    a, b = dict(left), dict(right)
    none = Cell("–")
    return tuple(Row(label, a.get(label, none), b.get(label, none)) for label in dict.fromkeys([*a, *b]))


def _fact(fact: Fact[Any], show: Any = str) -> Cell:
    if not fact.known:
        return Cell(fact.reason, "missing")
    text = show(fact.value)
    return Cell(f"{text} ({fact.reason})" if fact.reason else text, fact.evidence)


def _job(record: Record) -> list[tuple[str, Cell]]:
    job, outcome, used = record.job, record.outcome, record.resources
    ended = outcome.status + (f" ({outcome.signal})" if outcome.signal else "")
    rows = [
        ("Command", Cell(command(record), verbatim=True)),
        ("Root", Cell(job.root, verbatim=True)),
        ("Working folder", Cell(job.cwd, verbatim=True)),
        ("Outcome", Cell(f"{ended}: {outcome.reason}" if outcome.reason else ended)),
        ("Exit code", _fact(outcome.exit_code)),
        ("Started", _fact(outcome.started)),
        ("Ended", _fact(outcome.ended)),
        ("Duration", _fact(outcome.duration_s, seconds)),
        ("CPU time, user", _fact(used.cpu_user_s, seconds)),
        ("CPU time, system", _fact(used.cpu_system_s, seconds)),
        ("Peak memory", _fact(used.peak_rss_bytes, size)),
        ("Peak GPU memory", _fact(used.peak_gpu_memory_bytes, size)),
        ("Ran on", Cell(record.engine)),
        *([("Packed from", Cell(f"sha256:{record.packed_from}", verbatim=True))] if record.packed_from else []),
    ]
    if record.hybrid is not None:
        made = record.hybrid
        rows += [("Made of", Cell(f"sha256:{made.a} with parts of sha256:{made.b}", verbatim=True))]
        rows += [("Taken of the second", Cell(", ".join(made.taken) or "nothing"))]
    rows += [(f"${v.name}", Cell("(redacted)" if v.redacted else v.value)) for v in job.variables]
    rows.append(("Other variables", Cell(f"{job.variables_dropped} not kept: not on the allow-list")))
    return rows


def _seeds(record: Record) -> list[tuple[str, Cell]]:
    seen: dict[str, Cell] = {}
    for seed in record.seeds:
        before = f"{seen[seed.name].text}, " if seed.name in seen else ""
        where = f" ({seed.where})" if seed.where else ""
        seen[seed.name] = Cell(f"{before}{seed.value}{where}", seed.evidence)
    rows = [(f"Seed: {name}", cell) for name, cell in seen.items()]
    if not rows:
        rows = [("Seeds", Cell("no seed seen: a second run may well differ", "missing"))]
    return rows + [(f"Parameter: {n}", Cell(v)) for n, v in sorted(record.job.parameters.items())]


def _code(record: Record) -> list[tuple[str, Cell]]:
    code = record.code
    rows = [
        ("Source tree", Cell(f"{count(code.tree.files, 'file')}, {size(code.tree.bytes)}")),
        ("Tree digest", Cell(f"sha256:{code.tree.digest}", verbatim=True)),
    ]
    git = code.git.value
    if git is None:
        rows.append(("Git", _fact(code.git)))
    else:
        changed = f"{count(len(git.modified), 'modified file')}, {len(git.untracked)} untracked"
        rows += [
            ("Git commit", _fact(git.commit)),
            ("Git branch", _fact(git.branch)),
            ("Git remote", _fact(git.remote)),
            ("Git state", Cell(f"uncommitted changes: {changed}" if git.dirty else "clean")),
        ]
        rows += [(f"Submodule {m.path}", _fact(m.commit)) for m in git.submodules]
    if code.narrowed_to:
        rows.append(("Narrowed to", Cell(", ".join(code.narrowed_to))))
    return rows + [(f"Left out ({n})", Cell(text)) for n, text in enumerate(code.left_out, 1)]


def _environment(record: Record) -> list[tuple[str, Cell]]:
    env = record.environment
    return [
        ("Python", _fact(env.interpreter, lambda i: f"{i.implementation} {i.version} ({i.abi}, {i.machine})")),
        ("C library", _fact(env.interpreter, lambda i: i.libc or "none named")),
        ("Packages", Cell(str(len(env.packages)))),
        ("Lock", _fact(env.lock, _lock)),
        ("Base", _fact(env.base, lambda b: f"{b.kind}: {b.reference or b.digest} ({b.platform}). {b.why}")),
        ("In the bundle", _carried(record)),
        ("OS packages", _fact(env.os_packages)),
        ("Environment id", _fact(env.id)),
        *((f"Library: {name}", Cell(version)) for name, version in sorted(env.frameworks.items())),
        *((f"Library: {x.soname}", _fact(x.os_package)) for x in env.libraries),
    ]


def _carried(record: Record) -> Cell:
    if not record.environment.lock.known:
        return Cell(record.environment.lock.reason, "missing")
    missing = lacks(record)
    return Cell(f"not carried: {'; '.join(missing)}" if missing else "self-contained: all that a replay needs")


def _lock(lock: Any) -> str:
    held = len(held_wheels(lock))
    carried = f", {count(held, 'wheel')} carried" if held else ""
    absent = f", {len(lock.absent)} absent: {', '.join(sorted(lock.absent))}" if lock.absent else ""
    return f"{count(lock.packages, 'package')} by hash{carried}{absent}; {lock.tool}; sha256:{lock.sha256}"


def _host(record: Record) -> list[tuple[str, Cell]]:
    host = record.host
    return [
        ("CPU", _fact(host.cpu_model)),
        ("Cores: logical", _fact(host.cores_logical)),
        ("Cores: physical", _fact(host.cores_physical)),
        ("Cores: usable", _fact(host.cores_usable)),
        ("Memory", _fact(host.memory_bytes, size)),
        ("Operating system", _fact(host.os)),
        ("Kernel", _fact(host.kernel)),
        ("Machine", _fact(host.machine)),
        ("libc", _fact(host.libc)),
        ("BLAS", _fact(host.blas)),
        *((f"${name}", _fact(fact)) for name, fact in sorted(host.threads.items())),
        ("Locale", _fact(host.locale)),
        ("Time zone", _fact(host.timezone)),
        ("Container", _fact(host.container)),
        ("CPU flags", _fact(host.cpu_flags, " ".join)),
    ]


def _accelerators(record: Record) -> list[tuple[str, Cell]]:
    found = record.accelerators.value
    if found is None:
        return [("Accelerators", _fact(record.accelerators))]
    rows = [
        ("Driver", _fact(found.driver)),
        ("CUDA of the driver", _fact(found.cuda)),
        ("NVML", _fact(found.nvml)),
    ]
    for gpu in found.devices:
        rows += [
            (f"GPU {gpu.index}: model", _fact(gpu.model)),
            (f"GPU {gpu.index}: UUID", _fact(gpu.uuid)),
            (f"GPU {gpu.index}: memory", _fact(gpu.memory_bytes, size)),
            (f"GPU {gpu.index}: compute capability", _fact(gpu.compute_capability)),
            (f"GPU {gpu.index}: ECC", _fact(gpu.ecc, _on)),
            (f"GPU {gpu.index}: MIG", _fact(gpu.mig, _on)),
        ]
    return rows + [(f"Link {pair}", Cell(kind)) for pair, kind in sorted(found.topology.items())]


def _on(value: bool) -> str:
    return "on" if value else "off"
