"""`run`: look at code and inputs → launch → look again → ask the environment → read metrics → keep."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runbook.catalog.store import RunFolder, RunStore
from runbook.config import Declaration
from runbook.errors import NeedMissing, UsageError
from runbook.flow import artifacts, codebase
from runbook.launch.process import launch
from runbook.launch.watch import prepare, read_watch
from runbook.model import manifest
from runbook.model.fact import Fact, declared, inferred, missing, observed
from runbook.model.record import Finding, Seed
from runbook.progress import SILENT, Progress

if TYPE_CHECKING:
    from runbook.flow import watched
    from runbook.flow.artifacts import Seen
    from runbook.flow.codebase import Codebase
    from runbook.flow.compose import Declared
    from runbook.model.environment import Environment
    from runbook.model.execution import Execution
    from runbook.model.files import SeenFile
    from runbook.model.record import Record
    from runbook.model.watch import Stage, Watched
    from runbook.observe.interface import Context
    from runbook.observe.probing import Probe

# NOTE: The job waits for what is imported here. What is needed when it has ended is imported then, in functions.

Trace = Literal["python", "native", "none"]


@dataclass(frozen=True)
class Request:
    """What to run or to declare, and how to look at it. Paths in `declaration` are relative to the root."""

    argv: tuple[str, ...]
    declaration: Declaration
    root: Path
    cwd: Path
    timeout: float | None = None
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    tee: bool = True
    trace: Trace = "python"
    """How the job is watched: from inside its Python processes, by a system-level tracer too, or not at all."""
    log: Path | None = None
    """Saved standard output of a run that nobody observed."""


@dataclass(frozen=True)
class Ran:
    """A recorded run: where it is kept, its record, and the job's own exit code."""

    folder: RunFolder
    record: Record
    exit_code: int


@dataclass(frozen=True)
class Surroundings:
    """The job's environment as its own Python tells it."""

    context: Context
    probe: Probe | None
    environment: Environment
    findings: tuple[Finding, ...]


def run_and_record(request: Request, progress: Progress = SILENT) -> Ran:
    """Run the job under observation and keep its record; a failing job is a record too."""
    return _record(request, observe=True, progress=progress)


def declare_and_record(request: Request, progress: Progress = SILENT) -> Ran:
    """Record a run that already happened, from what was declared. Never executes the job."""
    return _record(request, observe=False, progress=progress)


def _record(request: Request, *, observe: bool, progress: Progress) -> Ran:
    declaration, root = request.declaration, request.root
    if not request.argv:
        raise UsageError("no command to run", hint="runbook run -- python train.py", id="no-command")
    sources = metric_sources(declaration, root)
    before = artifacts.look_at_inputs(root, declaration.inputs, progress)
    code = codebase.look(root, declaration, progress)
    store = RunStore(root)
    with store.recording() as folder:
        codebase.keep(code, root, folder, before)
        began_ns = time.time_ns()
        execution = _launch(request, folder) if observe else None
        if not observe:
            _adopt(request, folder)
        from runbook.flow import watched
        from runbook.flow.compose import Looked, compose
        from runbook.launch.metrics import encode_series, read_metrics

        raw = _read(request, folder) if observe and request.trace != "none" else None
        surroundings = look_at_environment(request, raw)
        declared_inputs = artifacts.look_again(before, progress) if observe else before
        scene = watched.Scene(root, request.cwd, dict(request.env), code, began_ns, folder.watch, folder.objects)
        saw = _saw(raw, scene, surroundings.probe, declared_inputs, progress)
        shutil.rmtree(folder.watch, ignore_errors=True)
        inputs = (*declared_inputs, *saw.inputs)
        readings = read_metrics(sources, root, folder.stdout, since=began_ns / 1e9 if observe else None)
        outputs, absent = artifacts.look_at_outputs(root, declaration, progress, saw.written)
        findings = [*saw.code.findings, *surroundings.findings, *artifacts.changed_inputs(inputs), *absent]
        findings += saw.findings
        (folder.path / "code.manifest").write_bytes(manifest.render(saw.code.entries))
        record = compose(
            _declared(request, folder, sources),
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
            ),
        )
        for one in inputs:
            (folder.path / f"input-{one.value.name}.manifest").write_bytes(manifest.render(one.entries))
        (folder.path / "series.json").write_bytes(encode_series(readings.series))
        if surroundings.probe is not None:
            import msgspec

            (folder.path / "probe.json").write_bytes(msgspec.json.encode(surroundings.probe))
        folder.write(record)
    return Ran(folder, record, _exit_code(execution))


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


def _saw(
    raw: Watched | None, scene: watched.Scene, probe: Probe | None, named: tuple[Seen, ...], progress: Progress
) -> _Saw:
    from runbook.flow import watched

    if raw is None:
        return _Saw(scene.code)
    found = watched.sort(raw, scene, probe)
    kept, files = watched.in_record(raw, found.files, probe)
    return _Saw(
        code=codebase.narrowed(scene.code, watched.without_products(scene.code, found)),
        inputs=tuple(watched.inputs(found, scene, named, progress)),
        written=found.written,
        files=files,
        stages=watched.stages(raw, found.files),
        seeds=tuple(watched.seeds(raw)),
        watch=observed(kept),
        findings=(*found.findings, *watched.findings(raw, probe, scene)),
    )


def _declared(request: Request, folder: RunFolder, sources: tuple[str, ...]) -> Declared:
    from runbook.flow.compose import Declared

    said = request.declaration
    return Declared(
        run=folder.id,
        name=said.name or codebase.default_name(request.argv),
        experiment=said.experiment,
        seeds=tuple(Seed(name=n, value=v, evidence="declared") for n, v in sorted(said.seeds.items())),
        variables=said.env,
        sources=sources,
        tolerances=said.tolerances,
    )


def metric_sources(declaration: Declaration, root: Path) -> tuple[str, ...]:
    """The metric sources as a record keeps them; raises UsageError for one that nothing reads."""
    if not (declaration.metrics or declaration.patterns):
        return ()
    from runbook.launch.metrics import file_source, pattern_source

    files = [file_source(path, root, root) for path in declaration.metrics]
    return (*files, *(pattern_source(name, pattern) for name, pattern in declaration.patterns.items()))


def look_at_environment(request: Request, seen: Watched | None) -> Surroundings:
    """Find the job's own Python and ask it what is installed. seen: what was watched of the job."""
    from runbook.flow import watched
    from runbook.observe import libraries, packages
    from runbook.observe.interface import Context
    from runbook.observe.interpreter import find_interpreter
    from runbook.observe.probing import run_probe

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
    from runbook.model.environment import Environment
    from runbook.observe import libraries, packages
    from runbook.observe.probing import framework_versions, read_interpreter

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
    from runbook.model.environment import Environment

    return Environment(
        interpreter=missing(reason),
        os_packages=missing(reason),
        lock=missing(reason),
        base=missing(reason),
        id=missing(reason),
    )


def _later() -> Fact[Any]:
    return missing("the run is recorded, not captured yet")


def _read(request: Request, folder: RunFolder) -> Watched:
    """What the tracers saw, together."""
    from runbook.launch.combine import combine
    from runbook.launch.native import read_native

    seen = read_watch(folder.watch)
    return combine(seen, read_native(folder.watch, request.cwd) if request.trace == "native" else None)


def _launch(request: Request, folder: RunFolder) -> Execution:
    env = request.env if request.trace == "none" else prepare(folder.watch, request.env)
    before: Sequence[str] = ()
    if request.trace == "native":
        from runbook.launch.native import starter

        before = starter(folder.watch)
    return launch(
        request.argv,
        request.cwd,
        env,
        stdout=folder.stdout,
        stderr=folder.stderr,
        timeout=request.timeout,
        tee=request.tee,
        starter=before,
    )


def _adopt(request: Request, folder: RunFolder) -> None:
    """Take the saved log of an unobserved run, if there is one."""
    try:
        folder.stdout.write_bytes(request.log.read_bytes() if request.log else b"")
    except OSError as error:
        hint = "--log names the saved standard output"
        raise UsageError(f"the log cannot be read ({error.strerror})", request.log or "", hint=hint) from None
    folder.stderr.write_bytes(b"")


def _exit_code(execution: Execution | None) -> int:
    return (execution.outcome.exit_code.value or 0) if execution else 0
