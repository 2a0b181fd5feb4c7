"""`replay`: verify → preflight → rebuild → rerun → conclude (observe, compare, report). It is kept as a run."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import platformdirs

from runbook.bundle import layout
from runbook.bundle.read import Bundle, open_bundle
from runbook.bundle.verify import verify_opened
from runbook.catalog.store import RunFolder, RunStore
from runbook.engine.interface import Built, Engine, Limits, Mount, Plan, Sandbox, Tree
from runbook.errors import EnvironmentNotRebuilt, JobFailed, NeedMissing, Terminated
from runbook.fetch.cache import DataCache
from runbook.flow import codebase
from runbook.flow.gpus import wanted_here
from runbook.flow.kept import kept_layout
from runbook.flow.libraries import planned
from runbook.flow.own import is_own
from runbook.flow.preflight import Terms, find_engine, look_ahead, refuse
from runbook.flow.referenced import have
from runbook.flow.seeding import seeded
from runbook.launch.logged import SOURCE
from runbook.model.data import Input
from runbook.model.fact import missing, observed
from runbook.model.metric import Tolerance
from runbook.model.preflight import Preflight
from runbook.model.record import Record, offline, rewritten
from runbook.model.requirements import CAP
from runbook.model.verdict import EXIT, Comparison
from runbook.observe.probing import probe_script
from runbook.progress import SILENT, Progress

if TYPE_CHECKING:
    from runbook.flow.spotcheck import SpotCheck
    from runbook.flow.variations import Variation
    from runbook.report.interface import Report


_ENDED = {"failed": "failed", "killed": "was killed", "timeout": "ran out of time"}


@dataclass(frozen=True)
class Choices:
    """How to replay."""

    engine: str = "auto"
    tolerances: tuple[Tolerance, ...] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    """Input name → PATH or URL where a referenced one is to be had."""
    limits: Limits = Limits()
    network: bool = False
    target: Path | None = None
    """Folder for the report and the outputs; None: the run's own folder in the run store."""
    offline: bool = False
    despite: tuple[str, ...] = ()
    """Ids of checks whose failure does not stop the replay."""
    echo: bool = True
    seed: int | None = None
    """Set in the place of the seeds that the bundle's job declares; None: its own."""
    variation: Variation | None = None
    """What is changed about the job on purpose; None: nothing."""
    until: int | None = None
    """A spot check: the job is stopped when its series have reached this step."""
    time_limit_s: float | None = None
    """A spot check too: the job is stopped after so long."""

    @property
    def terms(self) -> Terms:
        """What of it decides what a replay needs."""
        return Terms(self.data, self.limits, self.offline)


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
    with open_bundle(path) as bundle:
        verify_opened(bundle, quick=True, progress=progress)
        engine: Engine | NeedMissing
        try:
            engine = find_engine(choices.engine, own=is_own(bundle.id))
        except NeedMissing as error:
            engine = error
        return look_ahead(bundle, engine, choices.terms).preflight


def replay(path: Path, choices: Choices, progress: Progress = SILENT) -> Replayed:
    """Verify and replay a bundle. Raises BundleRejected, and what `rerun` raises."""
    with open_bundle(path) as bundle:
        verified(bundle, progress)
        return rerun(bundle, choices, progress)


def verified(bundle: Bundle, progress: Progress) -> None:
    """Verify every byte. What was verified is what is used: each file is checked again while it is unpacked."""
    progress.say("verifying the bundle")
    verify_opened(bundle, progress=progress)


def rerun(bundle: Bundle, choices: Choices, progress: Progress = SILENT) -> Replayed:
    """Replay a verified bundle. Raises NeedMissing, EnvironmentNotRebuilt, JobFailed, NotComparable."""
    with tempfile.TemporaryDirectory(prefix="runbook-replay-") as scratch:
        asked, variation = seeded(bundle.record, choices.seed).record, choices.variation
        if variation is not None:
            asked = variation.of(asked)
        if choices.until is not None:
            from runbook.flow.spotcheck import followed

            followed(bundle.record, bundle.series, choices.until)
        engine = find_engine(choices.engine, own=is_own(bundle.id))
        engine.sweep()
        outlook = look_ahead(bundle, engine, choices.terms)
        overruled = refuse(outlook.preflight, choices.despite)
        cache = DataCache(platformdirs.user_cache_path("runbook"))
        data = {one.value.name: have(one, cache, progress) for one in outlook.offers}
        with RunStore(codebase.find_root(Path.cwd())).recording() as folder:
            built = _rebuild(bundle, engine, Path(scratch), choices, progress)
            variables = _variables(asked, choices.network)
            with engine.probing(built, probe_script(), variables) as probed, _conclusion_loading():
                stage = _stage(bundle, Path(scratch), data)
                progress.say(f"running the job on {engine.name}")
                since = time.time()
                sandbox = _sandbox(asked, stage, folder, variables, choices)
                check = _spot_check(bundle, sandbox, folder, choices, since)
                execution = engine.run(built, replace(sandbox, enough=check.enough if check else str), progress)
                progress.say("reading metrics and environment")
                probe = probed()
            from runbook.flow.conclude import Ended, conclude

            ended = Ended(
                bundle=bundle,
                asked=asked,
                engine=engine,
                built=built,
                work=stage.work,
                inputs=stage.inputs,
                variables=variables,
                execution=execution,
                probe=probe,
                network=choices.network,
                since=since,
                stop=check.stop if check and execution.outcome.status == "stopped" else None,
                varied=bool(variation and variation.inside),
                remarks=(*overruled, *([f"changed on purpose: {variation.how}"] if variation else [])),
            )
            report = conclude(ended, folder, choices.tolerances, choices.target)
    if execution.outcome.status == "interrupted":
        # The job of an engine without a container gets our signal itself.
        raise Terminated if execution.outcome.signal == "SIGTERM" else KeyboardInterrupt
    if execution.outcome.status not in ("completed", "stopped"):
        code = execution.outcome.exit_code.text()
        raise JobFailed(
            f"the job {_ENDED[execution.outcome.status]} on replay, exit code {code}",
            execution.outcome.reason or _last_line(folder.stderr) or execution.outcome.signal,
            hint=f"its output: {folder.stderr}",
        )
    assert report.comparison is not None
    return Replayed(choices.target or folder.path, report, EXIT[report.comparison.verdict])


@contextlib.contextmanager
def _conclusion_loading() -> Iterator[None]:
    """Load what comes after the job while it runs: this process only waits then."""

    def load() -> None:
        # What is wrong with it is said where it is used.
        with contextlib.suppress(Exception):
            from runbook.flow import conclude

            conclude.load()

    thread = threading.Thread(target=load, name="runbook-load", daemon=True)
    thread.start()
    yield
    thread.join()


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

    @cache
    def unpacked(prefix: str) -> Path:
        target = scratch / prefix
        bundle.unpack(prefix, target)
        return target

    def wheels() -> Path:
        from runbook.environment.index import Index
        from runbook.environment.wheels import fetch

        kept, lock, target = platformdirs.user_cache_path("runbook"), unpacked(layout.LOCK), scratch / "wheels"
        index = Index(kept, ("--no-index",) if choices.offline else ())
        requirements = lock / "requirements.txt"
        fetch(requirements, interpreter, lock / "wheels", target, index=index, cache=kept, progress=progress)
        return target

    def trees(python: str) -> list[Tree]:
        from runbook.environment.trees import FILES, have, listing

        carried = {entry.path: entry.sha256 for entry in bundle.below(layout.WHEELS)}
        lock = bundle.read(f"{layout.LOCK}/requirements.txt", CAP)
        kept = platformdirs.user_cache_path("runbook")
        found = have(lock, interpreter, carried, wheels, python=python, cache=kept)
        return [
            Tree(key, folder / FILES, tuple(name for name, _ in listing(folder))) for key, folder in found.items()
        ]

    kept = kept_layout(base)
    libraries, library_files = planned(base, environment.libraries, unpacked)
    return engine.build(
        Plan(
            environment_id=identity,
            base=base,
            layout=(lambda: kept or unpacked(layout.IMAGE)) if base.layout or kept else None,
            interpreter=interpreter,
            requirements=lambda: unpacked(layout.LOCK) / "requirements.txt",
            wheels=wheels,
            trees=trees,
            frozen=tuple(
                f"{p.name}=={p.version}" for p in environment.packages if p.shipped in ("locked", "carried")
            ),
            libraries=libraries,
            library_files=library_files,
        ),
        progress,
    )


def _stage(bundle: Bundle, scratch: Path, data: Mapping[str, Path]) -> Stage:
    """Lay out a writable copy of the project, and every input where the job will look for it."""
    work = scratch / "work"
    work.mkdir()
    bundle.unpack(layout.CODE, work)
    mounts, inputs = [], []
    written = rewritten(bundle.record)
    for one in bundle.record.inputs:
        if one.stored in ("code", "package"):
            inputs.append(one)
            continue
        if one.stored == "embedded":
            source = scratch / "inputs" / one.name
            bundle.unpack(f"{layout.INPUTS}/{one.name}", source)
            source.chmod(0o755)  # The job's user is another than whoever unpacks.
            if one.kind == "file":
                source = next(source.iterdir())
        else:
            source = data[one.name]
        if one.path in written:
            # The job writes over it: a copy among the code, which it may change.
            (work / one.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, work / one.path)
            inputs.append(msgspec.structs.replace(one, changed=missing("the job wrote to its own copy")))
            continue
        target = one.path if one.path.startswith("/") else f"{bundle.record.job.root}/{one.path}"
        mounts.append(Mount(source=source, target=target, shape=one.shape, tree=one.kind == "tree"))
        inputs.append(msgspec.structs.replace(one, changed=observed(False)))
    return Stage(work, tuple(mounts), tuple(inputs))


def _spot_check(
    bundle: Bundle, sandbox: Sandbox, folder: RunFolder, choices: Choices, since: float
) -> SpotCheck | None:
    if choices.until is None and choices.time_limit_s is None:
        return None
    from runbook.flow.spotcheck import SpotCheck, Where

    where = Where(sandbox.work, sandbox.stdout, folder.watch, since)
    return SpotCheck(bundle.record, bundle.series, choices.until, choices.time_limit_s, where)


def _variables(record: Record, network: bool) -> dict[str, str]:
    """What the job's environment holds: as recorded, and without a network the libraries' own offline switches."""
    recorded = {v.name: v.value for v in record.job.variables if not v.redacted}
    return recorded if network else recorded | offline(record)


def _sandbox(
    record: Record, stage: Stage, folder: RunFolder, variables: Mapping[str, str], choices: Choices
) -> Sandbox:
    changed = choices.variation
    inside = changed.inside if changed else ""
    limits = replace(choices.limits, cpus=changed.cpus) if changed and changed.cpus else choices.limits
    return Sandbox(
        argv=record.job.argv,
        root=record.job.root,
        cwd=record.job.cwd,
        work=stage.work,
        shape=record.code.tree.shape,
        mounts=stage.mounts,
        variables=variables,
        stdout=folder.stdout,
        stderr=folder.stderr,
        stdin=record.job.stdin,
        watch=folder.watch if record.watch.known or SOURCE in record.sources or inside else None,
        vary=inside,
        elsewhere=bool(changed and changed.elsewhere),
        caches=tuple(one.folder for one in record.caches),
        limits=limits,
        network="allowed" if choices.network else "none",
        gpus=wanted_here(record),
        echo=choices.echo,
    )


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4096))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        raise NeedMissing("the replay's log cannot be read", path, hint=str(error)) from None
    return lines[-1][:300] if lines else ""
