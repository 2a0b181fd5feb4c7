"""The account of a job that has ended: read what was seen → ask its Python → look again → find metrics → keep.

Loaded while nothing waits for it: what this imports would delay the job.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from runbook.catalog.store import RunFolder, RunStore
from runbook.errors import NeedMissing
from runbook.flow import artifacts, codebase, logged, stages, stdin, watched
from runbook.flow.artifacts import Seen
from runbook.flow.codebase import Codebase
from runbook.flow.compose import Declared, Looked, compose
from runbook.launch.combine import combine
from runbook.launch.logged import Logged, read_logged
from runbook.launch.metrics import discover, encode_series, read_metrics
from runbook.launch.native import read_native
from runbook.launch.standard_input import StandardInput
from runbook.launch.watch import read_watch
from runbook.model import job, manifest
from runbook.model.environment import Environment
from runbook.model.execution import Execution
from runbook.model.fact import Fact, declared, inferred, missing, observed
from runbook.model.files import ReadOrder, SeenFile
from runbook.model.hubs import Cache
from runbook.model.metric import Choice
from runbook.model.record import Finding, Record, Seed
from runbook.model.watch import Stage, Watched
from runbook.observe import libraries, packages
from runbook.observe.interface import Context
from runbook.observe.interpreter import find_interpreter
from runbook.observe.parameters import from_argv
from runbook.observe.probing import Probe, framework_versions, read_interpreter, run_probe
from runbook.progress import Progress

if TYPE_CHECKING:
    from runbook.flow.run import Request

CHOICES_CAP = 300
"""Numbers that a record names as taken for a metric or left out."""


@dataclass(frozen=True)
class Ended:
    """A job that has ended, or was only declared, and what was known before it started."""

    request: Request
    folder: RunFolder
    store: RunStore
    before: tuple[Seen, ...]
    """The declared inputs as they were."""
    code: Codebase
    sources: tuple[str, ...]
    """Declared metric sources."""
    execution: Execution | None
    """None for a run that nobody observed."""
    began_ns: int
    """Unix time when the job was started."""
    stdin: StandardInput
    """Standard input as it was when the job was started."""


@dataclass(frozen=True)
class Surroundings:
    """The job's environment as its own Python tells it."""

    context: Context
    probe: Probe | None
    environment: Environment
    findings: tuple[Finding, ...]


def account(ended: Ended, progress: Progress) -> Record:
    """Find out everything about the run and keep it in its folder."""
    request, folder, execution = ended.request, ended.folder, ended.execution
    declaration, root, observed_run = request.declaration, request.root, execution is not None
    fed = stdin.look(ended.stdin, root) if observed_run else stdin.Fed()
    raw = _read(request, folder) if observed_run and request.trace != "none" else None
    said = read_logged(folder.watch, folder.path)
    parameters, conflicts = logged.parameters(from_argv(request.argv), said)
    surroundings = look_at_environment(request, raw)
    declared_inputs = artifacts.look_again(ended.before, progress) if observed_run else ended.before
    scene = watched.Scene(
        root=root,
        cwd=request.cwd,
        env=dict(request.env),
        code=ended.code,
        began_ns=ended.began_ns,
        watch=folder.watch,
        objects=folder.objects,
        crowded=ended.store.others_since(folder, ended.began_ns),
        stdin=fed.path,
    )
    progressed = stages.progressed(declaration.stages, folder.watch, execution.outcome if execution else None)
    saw = _saw(raw, scene, surroundings.probe, declared_inputs, progressed, progress)
    shutil.rmtree(folder.watch, ignore_errors=True)
    inputs = (*declared_inputs, *saw.inputs)
    sources = (*ended.sources, *said.sources)
    since = ended.began_ns / 1e9 if observed_run else None
    found = discover(
        root,
        saw.written,
        folder.stdout,
        since=since,
        declared=sources,
        keep=declaration.keep_metrics,
        drop=declaration.drop_metrics,
    )
    sources = (*sources, *found.sources)
    readings = read_metrics(sources, root, folder.stdout, since=since)
    named = logged.with_artifacts(declaration, said, root)
    outputs, absent = artifacts.look_at_outputs(root, named, progress, saw.written)
    findings = [*saw.code.findings, *surroundings.findings, *artifacts.changed_inputs(inputs), *absent]
    findings += [*saw.findings, *fed.findings, *said.findings, *conflicts]
    (folder.path / "code.manifest").write_bytes(manifest.render(saw.code.entries))
    record = compose(
        _declared(ended, sources, found.choices, said, parameters, saw.variables, fed.value),
        Looked(
            context=surroundings.context,
            execution=execution,
            code=saw.code.value,
            environment=surroundings.environment,
            inputs=[i.value for i in inputs],
            outputs=outputs,
            readings=readings,
            findings=findings,
            seeds=saw.seeds,
            watch=saw.watch,
            stages=saw.stages,
            files=saw.files,
            orders=saw.orders,
            caches=saw.caches,
        ),
    )
    for one in inputs:
        (folder.path / f"input-{one.value.name}.manifest").write_bytes(manifest.render(one.entries))
    (folder.path / "series.json").write_bytes(encode_series(readings.series))
    if surroundings.probe is not None:
        (folder.path / "probe.json").write_bytes(msgspec.json.encode(surroundings.probe))
    folder.write(record)
    return record


def _read(request: Request, folder: RunFolder) -> Watched:
    """What the tracers saw, together."""
    seen = read_watch(folder.watch)
    return combine(seen, read_native(folder.watch, request.cwd) if request.trace == "native" else None)


@dataclass(frozen=True)
class _Saw:
    """What watching the job adds to its record."""

    code: Codebase
    inputs: tuple[Seen, ...] = ()
    written: tuple[Path, ...] = ()
    files: tuple[SeenFile, ...] = ()
    stages: tuple[Stage, ...] = ()
    seeds: tuple[Seed, ...] = ()
    watch: Fact[Watched] = missing("the job was not watched")
    findings: tuple[Finding, ...] = ()
    orders: tuple[ReadOrder, ...] = ()
    caches: tuple[Cache, ...] = ()
    variables: tuple[str, ...] = ()


def _saw(
    raw: Watched | None,
    scene: watched.Scene,
    probe: Probe | None,
    named: tuple[Seen, ...],
    progressed: stages.Progressed,
    progress: Progress,
) -> _Saw:
    if raw is None:
        return _Saw(
            scene.code,
            inputs=tuple(watched.inputs(watched.only_stdin(scene), scene, named, progress)),
            stages=stages.recorded(None, (), progressed),
            findings=tuple(stages.findings(progressed)),
        )
    found = watched.sort(raw, scene, probe)
    kept, files = watched.in_record(raw, found.files, probe)
    return _Saw(
        code=codebase.narrowed(scene.code, watched.without_products(scene.code, found)),
        inputs=tuple(
            one for one in watched.inputs(found, scene, named, progress) if not progressed.makes(one.value.path)
        ),
        written=found.written,
        files=files,
        stages=stages.recorded(raw, found.files, progressed),
        seeds=tuple(watched.seeds(raw)),
        watch=observed(kept),
        findings=(*found.findings, *stages.findings(progressed), *watched.findings(raw, probe, scene)),
        orders=found.orders,
        caches=found.caches,
        variables=found.variables,
    )


def _declared(
    ended: Ended,
    sources: tuple[str, ...],
    choices: tuple[Choice, ...],
    logged: Logged,
    parameters: dict[str, str],
    variables: tuple[str, ...],
    fed: job.StandardInput | None,
) -> Declared:
    request, said = ended.request, ended.request.declaration
    return Declared(
        run=ended.folder.id,
        name=said.name or codebase.default_name(request.argv),
        experiment=said.experiment or logged.experiment,
        seeds=tuple(Seed(name=n, value=v, evidence="declared") for n, v in sorted(said.seeds.items())),
        variables=(*said.env, *variables),
        sources=sources,
        choices=choices[:CHOICES_CAP],
        keep_metrics=said.keep_metrics,
        drop_metrics=said.drop_metrics,
        tolerances=said.tolerances,
        stdin=fed,
        parameters=parameters,
    )


def look_at_environment(request: Request, seen: Watched | None) -> Surroundings:
    """Find the job's own Python and ask it what is installed. seen: what was watched of the job."""
    named = request.declaration.python
    interpreter: Fact[str] = declared(named) if named else find_interpreter(request.argv, request.cwd, request.env)
    if seen is not None and not named:
        interpreter = watched.interpreter(seen, interpreter)
    probe, failure = None, interpreter.reason
    if interpreter.value is not None:
        try:
            probe = run_probe(interpreter.value, request.env, request.cwd)
        except NeedMissing as error:
            failure = str(error)
    context = Context(
        argv=request.argv,
        root=request.root,
        cwd=request.cwd,
        env=request.env,
        interpreter=interpreter,
        probe=probe,
        probe_failure=failure,
    )
    if probe is None:
        nothing = Finding(id="no-interpreter", level="warning", text=f"the job's Python was not probed: {failure}")
        return Surroundings(context, None, empty_environment(failure), (nothing,))
    library_path = request.env.get("LD_LIBRARY_PATH", "")
    found = (*packages.findings(probe), *libraries.findings(probe, library_path))
    return Surroundings(context, probe, observed_environment(interpreter, probe, library_path), found)


def observed_environment(interpreter: Fact[str], probe: Probe, library_path: str = "") -> Environment:
    """The environment as its own Python tells it; lock, base and id are made at capture."""
    value = read_interpreter(probe)
    return Environment(
        interpreter=inferred(value, interpreter.reason) if interpreter.evidence == "inferred" else observed(value),
        packages=packages.read_packages(probe),
        libraries=libraries.system_libraries(probe, library_path),
        frameworks=framework_versions(probe),
        os_packages=_later(),
        lock=_later(),
        base=_later(),
        id=_later(),
    )


def empty_environment(reason: str) -> Environment:
    """The environment of a job whose Python could not be asked."""
    return Environment(
        interpreter=missing(reason),
        os_packages=missing(reason),
        lock=missing(reason),
        base=missing(reason),
        id=missing(reason),
    )


def _later() -> Fact[Any]:
    return missing("the run is recorded, not captured yet")
