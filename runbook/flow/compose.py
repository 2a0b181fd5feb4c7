"""Compose a Record from what was observed. The original's and the replay's record are made by this same code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from runbook import __version__
from runbook.launch.metrics.interface import Readings
from runbook.model.code import Code
from runbook.model.data import Input, Output
from runbook.model.environment import Environment
from runbook.model.execution import Execution
from runbook.model.fact import Fact, missing
from runbook.model.files import ReadOrder, SeenFile
from runbook.model.hubs import Cache
from runbook.model.job import Job, Outcome, Resources, StandardInput
from runbook.model.metric import Choice, Tolerance
from runbook.model.record import Finding, Record, Seed
from runbook.model.watch import Stage, Watched
from runbook.observe.interface import Context
from runbook.observe.parameters import from_argv
from runbook.observe.variables import allowed
from runbook.registry import members

_FIELDS = ("host", "accelerators", "seeds")
"""Fields of the record that a collector fills; what any other finds goes to `extra`."""


@dataclass(frozen=True)
class Declared:
    """What nobody has to observe because it was stated."""

    run: str
    name: str
    experiment: str = ""
    seeds: tuple[Seed, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of environment variables to keep besides the built-in allow-list."""
    sources: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    keep_metrics: tuple[str, ...] = ()
    drop_metrics: tuple[str, ...] = ()
    tolerances: tuple[Tolerance, ...] = ()
    stdin: StandardInput | None = None
    parameters: Mapping[str, str] | None = None
    """None: read from the argv."""


@dataclass(frozen=True)
class Looked:
    """What was seen of one run, wherever it ran."""

    context: Context
    execution: Execution | None
    """None for a run that nobody observed."""
    code: Code
    environment: Environment
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    readings: Readings
    findings: Sequence[Finding] = ()
    seeds: Sequence[Seed] = ()
    """Seeding calls that were seen."""
    watch: Fact[Watched] = missing("the job was not watched")
    stages: tuple[Stage, ...] = ()
    files: tuple[SeenFile, ...] = ()
    orders: tuple[ReadOrder, ...] = ()
    caches: tuple[Cache, ...] = ()


def compose(declared: Declared, looked: Looked, *, replay_of: str = "", engine: str = "host") -> Record:
    """The record of one run."""
    context, execution = looked.context, looked.execution
    fields, extra = collect(context)
    seen = (*fields["seeds"], *looked.seeds)
    seeds = (*seen, *(s for s in declared.seeds if s.name not in {x.name for x in seen}))
    findings = [*looked.findings, *looked.readings.findings, *(execution.findings if execution else ())]
    if not seeds:
        findings.append(
            Finding(id="no-seed-seen", level="warning", text="no seed was seen: a second run may differ")
        )
    kept, dropped = allowed(context.env, declared.variables)
    parameters = from_argv(context.argv) if declared.parameters is None else declared.parameters
    return Record(
        runbook=__version__,
        run=declared.run,
        name=declared.name,
        kind="replay" if replay_of else "original",
        replay_of=replay_of,
        engine=engine,
        experiment=declared.experiment,
        job=Job(
            argv=context.argv,
            root=str(context.root),
            cwd=context.cwd.relative_to(context.root).as_posix(),
            stdin=declared.stdin,
            variables=kept,
            variables_dropped=dropped,
            parameters=dict(parameters),
        ),
        outcome=execution.outcome if execution else unobserved(),
        resources=execution.resources if execution else unmeasured(),
        code=looked.code,
        environment=looked.environment,
        host=fields["host"],
        accelerators=fields["accelerators"],
        seeds=seeds,
        watch=looked.watch,
        stages=looked.stages,
        files=looked.files,
        orders=looked.orders,
        caches=looked.caches,
        inputs=tuple(sorted(looked.inputs, key=lambda i: i.name)),
        outputs=tuple(sorted(looked.outputs, key=lambda o: o.path)),
        metrics=looked.readings.metrics,
        sources=declared.sources,
        choices=declared.choices,
        keep_metrics=declared.keep_metrics,
        drop_metrics=declared.drop_metrics,
        tolerances=declared.tolerances,
        findings=tuple(dict.fromkeys(findings)),
        extra=extra,
    )


def collect(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask every collector: the record's fields by name, and the rest for `extra` as plain JSON."""
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, collector in members("observe").items():
        value = collector.collect(context)
        if name in _FIELDS:
            fields[name] = value
        else:
            extra[name] = msgspec.to_builtins(value)
    return fields, extra


def unobserved() -> Outcome:
    """The outcome of a run that was declared, not watched."""
    why = "the run was declared, not observed"
    return Outcome(
        status="unobserved",
        exit_code=missing(why),
        started=missing(why),
        ended=missing(why),
        duration_s=missing(why),
    )


def unmeasured() -> Resources:
    """The resources of a run that was declared, not watched."""
    why = "the run was declared, not observed"
    return Resources(
        cpu_user_s=missing(why),
        cpu_system_s=missing(why),
        peak_rss_bytes=missing(why),
        read_bytes=missing(why),
        written_bytes=missing(why),
        peak_processes=missing(why),
        peak_gpu_memory_bytes=missing(why),
    )
