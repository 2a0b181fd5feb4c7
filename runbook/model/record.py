"""The Record: a run as one document."""

from __future__ import annotations

from typing import Any, Final, Literal

from runbook.model.bisection import Hybrid
from runbook.model.calibration import Calibration
from runbook.model.code import Code
from runbook.model.data import Input, Output
from runbook.model.environment import Environment
from runbook.model.fact import Evidence, Fact, Value, missing
from runbook.model.files import ReadOrder, SeenFile
from runbook.model.host import Accelerators, Host
from runbook.model.hubs import Cache
from runbook.model.job import Job, Outcome, Resources
from runbook.model.metric import Choice, Metric, Tolerance
from runbook.model.watch import Stage, Watched

SCHEMA: Final = "runbook/record/1"


class Seed(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One seed: where it was seen and its value as text."""

    name: str
    """`argv --seed`, `PYTHONHASHSEED`, `numpy.random.seed` …"""
    value: str
    evidence: Evidence
    where: str = ""
    """The line of the job that made the call, `train.py:12`, where the job was watched."""


class Finding(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Something a person should know about this run."""

    id: str
    """Kebab-case and stable: `no-seed-seen`, `package-modified`."""
    level: Literal["note", "warning"]
    text: str


class Redaction(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was masked before hashing: where, and what kind of secret. Never the value or its hash."""

    where: str
    kind: str


class Record(Value, frozen=True, kw_only=True, omit_defaults=False):
    """Everything that decided a run's result. It holds no time but the run's own."""

    schema: Literal["runbook/record/1"] = SCHEMA
    runbook: str
    """Version of runbook that froze it."""
    run: str
    """Run id."""
    name: str
    kind: Literal["original", "replay"]
    replay_of: str = ""
    """Bundle id that a replay replays."""
    packed_from: str = ""
    """Id of the bundle that this one was packed from: the same run, with other parts of it carried."""
    hybrid: Hybrid | None = None
    """Of a bundle that `bisect` made of two others: which, and what of it is whose. None: a run of its own."""
    engine: str = "host"
    """Where it ran: `host`, or the replay's engine."""
    experiment: str = ""
    job: Job
    outcome: Outcome
    resources: Resources
    code: Code
    environment: Environment
    host: Host
    accelerators: Fact[Accelerators]
    seeds: tuple[Seed, ...] = ()
    watch: Fact[Watched] = missing("the job was not watched")
    """What was seen from inside the job, but for its files."""
    stages: tuple[Stage, ...] = ()
    """Its steps, where it had several, each with what it read and wrote; empty for one step."""
    files: tuple[SeenFile, ...] = ()
    """Every path that the job touched, sorted, with the reason."""
    orders: tuple[ReadOrder, ...] = ()
    """In which order it read the inputs of a folder, where one process read them all."""
    caches: tuple[Cache, ...] = ()
    """Where libraries keep what they downloaded, as far as inputs lie there."""
    inputs: tuple[Input, ...] = ()
    outputs: tuple[Output, ...] = ()
    metrics: tuple[Metric, ...] = ()
    sources: tuple[str, ...] = ()
    """Metric sources as declared, so that a replay reads them with the same code (see launch.metrics)."""
    choices: tuple[Choice, ...] = ()
    """Of what was found without being declared: what was taken for a metric, what was left out, and why."""
    keep_metrics: tuple[str, ...] = ()
    """Names or globs that were declared to be metrics although they look like none."""
    drop_metrics: tuple[str, ...] = ()
    """Names or globs that were declared to be no metrics."""
    tolerances: tuple[Tolerance, ...] = ()
    calibration: Fact[Calibration] = missing("no repeats were run")
    """Repeated replays that show how far each metric spreads by itself."""
    findings: tuple[Finding, ...] = ()
    redactions: tuple[Redaction, ...] = ()
    extra: dict[str, Any] = {}
    """What collectors of other packages found: name → JSON value."""


def offline(record: Record) -> dict[str, str]:
    """The switches that keep libraries from asking the network for what their caches hold, by variable."""
    return {name: value for one in record.caches for name, value in sorted(one.offline.items())}


def rewritten(record: Record) -> frozenset[str]:
    """Paths of the input files below the root that the job, as far as was seen, writes over: it needs copies."""
    written = {one.path for one in record.files if one.written}
    return frozenset(
        one.path
        for one in record.inputs
        if one.kind == "file" and not one.path.startswith("/") and (one.path in written or one.changed.value)
    )
