"""What a bundle proves and what it does not, and how to check it with tools that an auditor already has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runbook.model.carrying import held_wheels
from runbook.model.record import Record
from runbook.model.verdict import REPRODUCED
from runbook.report.figures import count
from runbook.report.interface import Report


@dataclass(frozen=True)
class Claim:
    """One claim, how far the bundle supports it, by what, and what stays open."""

    claim: str
    support: Literal["yes", "partly", "no"]
    evidence: str
    open: str


def claims(report: Report) -> tuple[Claim, ...]:
    """The table. Nothing here says that a rule is met: only which evidence is present."""
    record = report.original
    return (
        Claim(
            "The files are the ones that were frozen",
            "yes",
            "a sha256 for every file, in manifest-sha256.txt; the bundle id is its digest",
            "who froze them and when: an unsigned bundle can be made by anyone, and its times are its maker's",
        ),
        _observed(record),
        Claim(
            "This is the code that ran",
            "yes" if record.outcome.status != "unobserved" else "partly",
            f"{count(record.code.tree.files, 'file')} in data/code, tree digest {record.code.tree.digest[:12]}…",
            "that it does what its author says; code that the job fetched or wrote while it ran",
        ),
        _packages(record),
        _base(record),
        _data(record),
        _randomness(record),
        _result(report),
    )


def checks() -> tuple[tuple[str, str], ...]:
    """What to check, and the command that does it without runbook; run inside the bundle's folder."""
    return (
        ("Every file is as it was frozen", "sha256sum -c manifest-sha256.txt"),
        ("The manifests themselves too", "sha256sum -c tagmanifest-sha256.txt"),
        ("It is a complete BagIt bag", "bagit.py --validate ."),
        ("Its description is a Process Run Crate", "rocrate-validator validate -p process-run-crate data"),
        ("The bundle id", "sha256sum manifest-sha256.txt"),
        ("Run it again with Docker alone", "sh data/replay.sh"),
    )


def _observed(record: Record) -> Claim:
    if record.outcome.status == "unobserved":
        return Claim(
            "This run took place as described",
            "no",
            "the run was declared after it had happened: nothing was watched",
            "everything about the run itself; a replay is the only test of it",
        )
    return Claim(
        "This run took place as described",
        "partly",
        f"runbook {record.runbook} started the job and recorded its end, output and cost",
        "nothing here was witnessed by a third party",
    )


def _packages(record: Record) -> Claim:
    lock = record.environment.lock.value
    if lock is None:
        return Claim(
            "These packages were installed", "no", f"no lock: {record.environment.lock.reason}", "all of it"
        )
    edited = [p.name for p in record.environment.packages if p.record == "modified"]
    parts = [f"{count(lock.packages, 'package')} with hashes"]
    if held := len(held_wheels(lock)):
        parts.append(f"{count(held, 'wheel')} carried inside")
    if edited:
        parts.append(f"changed by hand: {', '.join(edited[:5])}")
    gone = f"not in the bundle: {', '.join(sorted(lock.absent)[:5])}; " if lock.absent else ""
    return Claim(
        "These packages were installed",
        "partly" if lock.absent else "yes",
        ", ".join(parts),
        f"{gone}hashes protect the way, not against a package that was harmful from the start",
    )


def _base(record: Record) -> Claim:
    base = record.environment.base.value
    if base is None:
        reason = record.environment.base.reason
        return Claim("The system below them can be had again", "no", f"no base: {reason}", "all of it")
    where = "carried inside" if base.layout else "named by digest, to be had from a registry or the engine"
    return Claim(
        "The system below them can be had again",
        "yes" if base.layout else "partly",
        f"{base.kind}, {base.digest[:19]}…, {where}",
        "the kernel, the driver and the hardware: they are recorded, not carried",
    )


def _data(record: Record) -> Claim:
    if not record.inputs:
        return Claim(
            "These data went in", "no", "no input was declared or seen", "files that the job may have read unseen"
        )
    inside = sum(i.stored != "reference" for i in record.inputs)
    altered = [i.name for i in record.inputs if i.changed.value]
    evidence = f"{count(len(record.inputs), 'input')} by sha256, {inside} of them inside the bundle"
    if altered:
        evidence += f"; changed while the job ran: {', '.join(altered[:5])}"
    return Claim(
        "These data went in",
        "yes" if inside == len(record.inputs) and not altered else "partly",
        evidence,
        "that the data are right, lawful or representative; " + _unseen(record),
    )


def _unseen(record: Record) -> str:
    if record.watch.value is None:
        return "inputs that nobody declared"
    return "inputs that native code read" if record.watch.value.tracers == ("python",) else "what the tracers lost"


def _randomness(record: Record) -> Claim:
    if not record.seeds:
        return Claim(
            "Its randomness was pinned", "no", "no seed was seen", "a second run may differ without anything amiss"
        )
    return Claim(
        "Its randomness was pinned",
        "partly",
        ", ".join(f"{s.name} = {s.value} ({s.evidence})" for s in record.seeds[:5]),
        "generators that were seeded elsewhere, and order of arithmetic across threads",
    )


def _result(report: Report) -> Claim:
    record, comparison = report.original, report.comparison
    if comparison is None or report.replay is None or report.replay.kind != "replay":
        return Claim(
            "The result can be had again",
            "no" if not record.metrics else "partly",
            f"{count(len(record.metrics), 'metric')} recorded from one run",
            "only a replay shows it: runbook replay",
        )
    return Claim(
        "The result can be had again",
        "yes" if comparison.verdict in REPRODUCED else "partly" if comparison.verdict == "partial" else "no",
        f"one replay: {comparison.verdict}" + (f", {partial.text()}" if (partial := comparison.partial) else ""),
        "one run against one run says nothing about how the result spreads over seeds and machines",
    )
