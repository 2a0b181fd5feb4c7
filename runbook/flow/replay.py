"""`replay`: verify → preflight → rebuild → rerun → observe → compare → report. It is kept as a run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import platformdirs

from runbook.bundle import layout
from runbook.bundle.read import Bundle, open_bundle
from runbook.bundle.verify import verify
from runbook.catalog.store import RunFolder, RunStore
from runbook.compare.verdict import compare
from runbook.config import Declaration
from runbook.digest.beneath import open_beneath
from runbook.engine.interface import Built, Engine, Limits, Mount, Plan, Sandbox
from runbook.environment.index import Index
from runbook.environment.wheels import fetch
from runbook.errors import EnvironmentNotRebuilt, JobFailed, NeedMissing
from runbook.flow import artifacts, codebase
from runbook.flow.compose import Declared, Looked, compose
from runbook.flow.preflight import Preflight, find_engine, look_ahead
from runbook.launch.metrics import encode_series, read_metrics
from runbook.launch.metrics.interface import Readings
from runbook.model import manifest
from runbook.model.code import Tree
from runbook.model.data import Input
from runbook.model.environment import Environment
from runbook.model.execution import Execution
from runbook.model.fact import inferred, missing, observed
from runbook.model.metric import Tolerance
from runbook.model.record import Record
from runbook.model.verdict import EXIT, Comparison
from runbook.observe.interface import Context
from runbook.observe.packages import read_packages
from runbook.observe.probing import Probe, framework_versions, parse_probe, probe_script, read_interpreter
from runbook.progress import SILENT, Progress
from runbook.registry import members
from runbook.report.interface import Report

_MANIFEST_CAP = 256 << 20
"""Bytes of a code manifest; a million files take about 150 MiB."""


@dataclass(frozen=True)
class Choices:
    """How to replay."""

    engine: str = "auto"
    tolerances: tuple[Tolerance, ...] = ()
    data: Mapping[str, Path] = field(default_factory=dict)
    limits: Limits = Limits()
    network: bool = False
    target: Path | None = None
    """Folder for the report and the outputs; None: the run's own folder in the run store."""
    offline: bool = False
    echo: bool = True


@dataclass(frozen=True)
class Replayed:
    """A finished replay."""

    folder: Path
    report: Report
    exit_code: int

    @property
    def comparison(self) -> Comparison:
        """The comparison, which a finished replay always has."""
        assert self.report.comparison is not None
        return self.report.comparison


def plan(path: Path, choices: Choices, progress: Progress = SILENT) -> Preflight:
    """What a replay would do and need; executes nothing."""
    verify(path, quick=True, progress=progress)
    with open_bundle(path) as bundle:
        return look_ahead(bundle, find_engine(choices.engine), choices.data)


def replay(path: Path, choices: Choices, progress: Progress = SILENT) -> Replayed:
    """Replay a bundle. Raises BundleRejected, NeedMissing, EnvironmentNotRebuilt, JobFailed, NotComparable."""
    progress.say("verifying the bundle")
    verify(path, progress=progress)
    engine = find_engine(choices.engine)
    engine.sweep()
    with open_bundle(path) as bundle, tempfile.TemporaryDirectory(prefix="runbook-replay-") as scratch:
        look_ahead(bundle, engine, choices.data).check()
        with RunStore(codebase.find_root(Path.cwd())).recording() as folder:
            built = _rebuild(bundle, engine, Path(scratch), choices, progress)
            stage = _stage(bundle, Path(scratch), choices)
            progress.say(f"running the job on {engine.name}")
            execution = engine.run(built, _sandbox(bundle.record, stage, folder, choices), progress)
            progress.say("reading metrics and environment")
            record, readings = _observe(bundle, engine, built, stage, execution, folder)
            folder.write(record)
            (folder.path / "series.json").write_bytes(encode_series(readings.series))
            comparison = compare(
                bundle.record,
                record,
                bundle.series,
                readings.series,
                overrides=choices.tolerances,
                replaying=True,
                substitutions=(*built.substitutions, *execution.substitutions),
            )
            report = Report(
                original=bundle.record,
                bundle_id=bundle.id,
                bundle_name=bundle.name,
                replay=record,
                comparison=comparison,
                series=bundle.series,
                replay_series=readings.series,
                engine=engine.describe(),
                isolation=engine.isolation,
                cached=built.cached,
                title=bundle.record.name,
                notes=(*engine.warnings(), *(("the network was allowed",) if choices.network else ())),
            )
            target = _keep(report, folder, stage.work, choices)
    outcome = record.outcome
    if outcome.status != "completed":
        code = outcome.exit_code.text()
        raise JobFailed(
            f"the job {outcome.status} on replay, exit code {code}",
            _last_line(folder.stderr) or outcome.signal,
            hint=f"its output: {folder.stderr}",
        )
    return Replayed(target, report, EXIT[comparison.verdict])


@dataclass(frozen=True)
class Stage:
    """The project, ready to run."""

    work: Path
    mounts: tuple[Mount, ...]
    inputs: tuple[Input, ...]


def _rebuild(bundle: Bundle, engine: Engine, scratch: Path, choices: Choices, progress: Progress) -> Built:
    """Find the environment built, or fetch its wheels and build it offline."""
    environment = bundle.record.environment
    base, interpreter, identity = environment.base.value, environment.interpreter.value, environment.id.value
    lock = environment.lock.value
    if base is None or interpreter is None or identity is None or lock is None:
        why = environment.base.reason or environment.interpreter.reason
        raise EnvironmentNotRebuilt("the bundle does not hold an environment", why, hint="capture it again")
    bundle.unpack("data/lock", scratch / "lock")
    wheels = scratch / "wheels"
    carried_base = None
    if base.layout:
        bundle.unpack(layout.IMAGE, scratch / "image")
        carried_base = scratch / "image"

    def gather() -> Path:
        cache = platformdirs.user_cache_path("runbook")
        index = Index(cache, ("--no-index",) if choices.offline else ())
        requirements, carried = scratch / "lock" / "requirements.txt", scratch / "lock" / "wheels"
        fetch(requirements, interpreter, carried, wheels, index=index, cache=cache, progress=progress)
        return wheels

    return engine.build(
        Plan(
            environment_id=identity,
            base=base,
            layout=carried_base,
            interpreter=interpreter,
            requirements=scratch / "lock" / "requirements.txt",
            wheels=gather,
            frozen=tuple(
                f"{p.name}=={p.version}" for p in environment.packages if p.shipped in ("locked", "carried")
            ),
        ),
        progress,
    )


def _stage(bundle: Bundle, scratch: Path, choices: Choices) -> Stage:
    """Lay out a writable copy of the project, and every input where the job will look for it."""
    work = scratch / "work"
    work.mkdir()
    bundle.unpack(layout.CODE, work)
    mounts, inputs = [], []
    written = {one.path for one in bundle.record.files if one.written}
    for one in bundle.record.inputs:
        if one.stored in ("code", "package"):
            inputs.append(one)
            continue
        if one.stored == "embedded":
            source = scratch / "inputs" / one.name
            bundle.unpack(f"{layout.INPUTS}/{one.name}", source)
            if one.kind == "file":
                source = next(source.iterdir())
        else:
            source = artifacts.locate(one, choices.data.get(one.name))
        if one.kind == "file" and one.path in written and not one.path.startswith("/"):
            # The job writes over it: a copy among the code, which it may change.
            (work / one.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, work / one.path)
            inputs.append(msgspec.structs.replace(one, changed=missing("the job wrote to its own copy")))
            continue
        target = one.path if one.path.startswith("/") else f"{bundle.record.job.root}/{one.path}"
        mounts.append(Mount(source=source, target=target, shape=one.shape))
        inputs.append(msgspec.structs.replace(one, changed=observed(False)))
    return Stage(work, tuple(mounts), tuple(inputs))


def _sandbox(record: Record, stage: Stage, folder: RunFolder, choices: Choices) -> Sandbox:
    return Sandbox(
        argv=record.job.argv,
        root=record.job.root,
        cwd=record.job.cwd,
        work=stage.work,
        shape=record.code.tree.shape,
        mounts=stage.mounts,
        variables={v.name: v.value for v in record.job.variables if not v.redacted},
        stdout=folder.stdout,
        stderr=folder.stderr,
        limits=choices.limits,
        network="allowed" if choices.network else "none",
        gpus=bool(record.accelerators.value and record.accelerators.value.devices),
        echo=choices.echo,
    )


def _observe(
    bundle: Bundle, engine: Engine, built: Built, stage: Stage, execution: Execution, folder: RunFolder
) -> tuple[Record, Readings]:
    """The replay's own record, made by the same code as the original's."""
    original, job = bundle.record, bundle.record.job
    root = Path(job.root)
    variables = {v.name: v.value for v in job.variables if not v.redacted}
    probe = parse_probe(engine.probe(built, probe_script(), variables), "the replay's environment")
    readings = read_metrics(original.sources, stage.work, execution.stdout)
    files = Declaration(
        metrics=tuple(o.path for o in original.outputs if o.role == "metrics"),
        outputs=tuple(o.path for o in original.outputs if o.role == "artifact" and not o.path.startswith("/")),
    )
    outputs, absent = artifacts.look_at_outputs(stage.work, files, SILENT)
    code = manifest.parse(bundle.read(layout.CODE_MANIFEST, _MANIFEST_CAP))
    tree = Tree(
        digest=manifest.digest(manifest.render(code)),
        files=len(code),
        bytes=sum(e.size for e in code),
        shape=original.code.tree.shape,
    )
    record = compose(
        Declared(
            run=folder.id,
            name=original.name,
            experiment=original.experiment,
            seeds=tuple(s for s in original.seeds if s.evidence == "declared"),
            variables=tuple(variables),
            sources=original.sources,
            tolerances=original.tolerances,
            parameters=job.parameters,
        ),
        Looked(
            context=Context(
                argv=job.argv,
                root=root,
                cwd=root if job.cwd == "." else root / job.cwd,
                env=variables,
                interpreter=observed(built.python),
                probe=probe,
            ),
            execution=execution,
            code=msgspec.structs.replace(original.code, tree=tree),
            environment=_environment(original.environment, probe),
            inputs=stage.inputs,
            outputs=outputs,
            readings=readings,
            findings=absent,
        ),
        replay_of=bundle.id,
        engine=engine.name,
    )
    return record, readings


def _environment(original: Environment, probe: Probe) -> Environment:
    """What stands in the rebuilt environment, by its own Python; base and lock are those it was built from."""
    return Environment(
        interpreter=observed(read_interpreter(probe)),
        packages=read_packages(probe),
        libraries=original.libraries,
        frameworks=framework_versions(probe),
        os_packages=missing("not listed on replay"),
        lock=inferred(original.lock.value, "built from it") if original.lock.value else original.lock,
        base=inferred(original.base.value, "built on it") if original.base.value else original.base,
        id=original.id,
    )


def _keep(report: Report, folder: RunFolder, work: Path, choices: Choices) -> Path:
    """Write the reports, and the outputs the record names; the folder they are in."""
    target = choices.target or folder.path
    target.mkdir(parents=True, exist_ok=True)
    for reporter in members("report").values():
        if reporter.suffix in (".html", ".json", ".md"):
            (target / f"report{reporter.suffix}").write_bytes(reporter.render(report))
    assert report.replay is not None
    for output in report.replay.outputs:
        if not output.path.startswith("/"):
            place = target / "outputs" / output.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with open_beneath(work, output.path) as source, place.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    if target != folder.path:
        for log in (folder.stdout, folder.stderr, folder.draft):
            shutil.copyfile(log, target / ("record.json" if log == folder.draft else log.name))
    return target


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4096))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        raise NeedMissing("the replay's log cannot be read", path, hint=str(error)) from None
    return lines[-1][:300] if lines else ""
