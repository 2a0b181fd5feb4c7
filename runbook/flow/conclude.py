"""What came of a replay: observe → compare → report. Loaded while the job runs, which is when there is time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from runbook import render
from runbook.bundle import layout
from runbook.bundle.read import Bundle
from runbook.catalog.store import RunFolder
from runbook.compare.prefix import Stop
from runbook.compare.verdict import compare
from runbook.config import Declaration
from runbook.digest.beneath import open_beneath
from runbook.engine.interface import Built, Engine
from runbook.engine.placement import ELSEWHERE, WORKSPACE
from runbook.flow import artifacts, downloads, logged, outputs, stages, watched
from runbook.flow.attempts import attempts
from runbook.flow.compose import Declared, Looked, compose
from runbook.launch.logged import read_logged
from runbook.launch.metrics import encode_series, read_metrics
from runbook.launch.metrics.interface import Readings
from runbook.launch.watch import read_watch
from runbook.model import manifest
from runbook.model.code import Tree
from runbook.model.data import Input
from runbook.model.environment import Environment
from runbook.model.execution import Execution
from runbook.model.fact import inferred, missing, observed
from runbook.model.metric import Tolerance
from runbook.model.record import Finding, Record, offline
from runbook.model.watch import Watched
from runbook.observe.interface import Context
from runbook.observe.orders import read_orders
from runbook.observe.packages import read_packages
from runbook.observe.probing import Probe, framework_versions, parse_probe, read_interpreter
from runbook.progress import SILENT
from runbook.registry import members
from runbook.report.interface import Report

_FORMATS = (".html", ".json", ".md")
"""Endings of the reports that every replay writes."""


@dataclass(frozen=True)
class Ended:
    """A job that has run again, whatever came of it."""

    bundle: Bundle
    asked: Record
    """The bundle's record, its job with the seeds that this replay was asked for."""
    engine: Engine
    built: Built
    work: Path
    """The working copy, with what the job wrote."""
    inputs: tuple[Input, ...]
    variables: Mapping[str, str]
    """Those that the sandbox was given."""
    execution: Execution
    probe: bytes
    """What the probe printed in the environment that the job ran in."""
    network: bool
    """Whether the job was allowed the network."""
    since: float
    """Unix time before the job was started: what is older was not written by it."""
    varied: bool = False
    """Whether the hook was to change something inside the job, which is watched for it."""
    stop: Stop | None = None
    """Why it was stopped before its end, when it was."""
    remarks: tuple[str, ...] = ()
    """What else a reader of the report must know, one sentence each."""


def load() -> None:
    """Find every collector, metric reader and reporter, and compile the templates, as `conclude` would."""
    for family in ("observe", "launch.metrics", "report"):
        members(family)
    render.load()


def conclude(ended: Ended, folder: RunFolder, tolerances: Sequence[Tolerance], target: Path | None) -> Report:
    """Record the replay in its run's folder, compare it, and write the reports there or into `target`."""
    bundle, engine, built = ended.bundle, ended.engine, ended.built
    record, readings = _observe(ended, folder)
    folder.write(record)
    (folder.path / "series.json").write_bytes(encode_series(readings.series))
    comparison = compare(
        ended.asked,
        record,
        bundle.series,
        readings.series,
        overrides=tuple(tolerances),
        replaying=True,
        substitutions=(*built.substitutions, *ended.execution.substitutions),
        stop=ended.stop,
    )
    if ended.stop is None:  # A job that was stopped has not written all of its outputs.
        held = outputs.held_in_bundle(bundle), outputs.held_beneath(ended.work)
        compared = outputs.compare_outputs(ended.asked, record, *held)
        comparison = msgspec.structs.replace(comparison, artifacts=compared)
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
        notes=(*engine.warnings(), *_notes(ended), *ended.remarks),
    )
    _keep(report, record, folder, ended.work, target or folder.path)
    return report


def _notes(ended: Ended) -> Iterator[str]:
    """What of the replay itself a reader must know."""
    if ended.network:
        yield "the network was allowed"
    switches = {} if ended.network else offline(ended.bundle.record)
    if switches:
        names = ", ".join(dict.fromkeys(one.name for one in ended.bundle.record.caches if one.offline))
        yield f"set for {names}: {' '.join(f'{name}={value}' for name, value in switches.items())}"


def _observe(ended: Ended, folder: RunFolder) -> tuple[Record, Readings]:
    """The replay's own record, made by the same code as the original's."""
    bundle, original, job = ended.bundle, ended.asked, ended.asked.job
    root = Path(job.root)
    probe = parse_probe(ended.probe, "the replay's environment")
    raw = read_watch(folder.watch) if original.watch.known or ended.varied else None
    apart = not ended.network and ended.engine.name != "local"
    asked = original.watch.value.connections if original.watch.value else ()
    refused = downloads.refused(raw.connections, asked) if raw is not None and apart else ()
    said = read_logged(folder.watch, folder.path)
    how = stages.progressed(stages.again(original), folder.watch, ended.execution.outcome)
    roots = (job.root, str(ended.work), WORKSPACE, ELSEWHERE)
    again = stages.files_again(raw, original, roots) if raw else []
    steps = stages.recorded(raw, again, how)
    shutil.rmtree(folder.watch, ignore_errors=True)
    cut, stdout = ended.stop is not None, ended.execution.stdout
    readings = read_metrics(original.sources, ended.work, stdout, since=ended.since, growing=cut)
    if cut:  # What is not there yet is no finding.
        came = tuple(one for one in readings.findings if one.id != "metric-absent")
        readings = replace(readings, findings=came)
    inside = [o for o in original.outputs if not o.path.startswith("/")]
    behind = {o.path: finding for o in inside if (finding := _behind(ended.work, o.path))}
    files = Declaration(
        metrics=tuple(o.path for o in inside if o.role == "metrics" and o.path not in behind),
        outputs=tuple(o.path for o in inside if o.role == "artifact" and o.path not in behind),
    )
    written, absent = artifacts.look_at_outputs(ended.work, files, SILENT)
    code = bundle.manifest(layout.CODE_MANIFEST)
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
            variables=tuple(ended.variables),
            sources=original.sources,
            tolerances=original.tolerances,
            stdin=job.stdin,
            parameters=logged.replayed(job.parameters, said),
        ),
        Looked(
            context=Context(
                argv=job.argv,
                root=root,
                cwd=root if job.cwd == "." else root / job.cwd,
                env=ended.variables,
                interpreter=observed(ended.built.python),
                probe=probe,
            ),
            execution=ended.execution,
            code=msgspec.structs.replace(original.code, tree=tree),
            environment=_environment(original.environment, probe),
            inputs=ended.inputs,
            outputs=written,
            readings=readings,
            findings=[
                *behind.values(),
                *(() if cut else absent),
                *said.findings,
                *refused,
                *_attempts(raw, ended),
                *stages.findings(how),
            ],
            seeds=watched.seeds(raw) if raw else (),
            watch=observed(watched.in_record(raw, (), probe)[0])
            if raw
            else missing("the original was not watched"),
            stages=steps,
            orders=read_orders(zip(again, raw.files, strict=True)) if raw else (),
        ),
        replay_of=bundle.id,
        engine=ended.engine.name,
    )
    return record, readings


def _behind(work: Path, path: str) -> Finding | None:
    """What is said of an output that the job left as anything but a file: a link would lead to this machine's."""
    try:
        open_beneath(work, path).close()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        text = f"{path} is or lies behind a link, or is no regular file: it was not read"
        return Finding(id="output-not-a-file", level="warning", text=text)
    return None


def _attempts(raw: Watched | None, ended: Ended) -> list[Finding]:
    """What the job tried beyond its sandbox; on this machine itself nothing is beyond it."""
    if raw is None or ended.engine.name == "local":
        return []
    job = ended.bundle.record.job
    variables = {v.name: v.value for v in job.variables}
    return list(attempts(raw, job.root, variables))


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


def write_reports(report: Report, target: Path) -> None:
    """Write the page and its kin into a folder, which is made when absent."""
    target.mkdir(parents=True, exist_ok=True)
    for reporter in members("report").values():
        if reporter.suffix in _FORMATS:
            (target / f"report{reporter.suffix}").write_bytes(reporter.render(report))


def _keep(report: Report, record: Record, folder: RunFolder, work: Path, target: Path) -> None:
    """Write the reports, and the outputs the record names."""
    write_reports(report, target)
    for output in record.outputs:
        if not output.path.startswith("/"):
            place = target / "outputs" / output.path
            place.parent.mkdir(parents=True, exist_ok=True)
            with open_beneath(work, output.path) as source, place.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    if target != folder.path:
        for log in (folder.stdout, folder.stderr, folder.draft):
            shutil.copyfile(log, target / ("record.json" if log == folder.draft else log.name))
