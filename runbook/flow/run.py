"""`run`: look at code and inputs → launch → account for what it did (account.py). The job waits for all this."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from runbook.catalog.store import RunFolder, RunStore
from runbook.config import Declaration
from runbook.errors import UsageError
from runbook.flow import artifacts, codebase
from runbook.launch.process import launch
from runbook.launch.standard_input import StandardInput
from runbook.launch.watch import logging, prepare
from runbook.progress import SILENT, Progress

if TYPE_CHECKING:
    from runbook.model.execution import Execution
    from runbook.model.record import Record

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


def run_and_record(request: Request, progress: Progress = SILENT) -> Ran:
    """Run the job under observation and keep its record; a failing job is a record too."""
    return _record(request, observe=True, progress=progress)


def declare_and_record(request: Request, progress: Progress = SILENT) -> Ran:
    """Record a run that already happened, from what was declared. Never executes the job."""
    return _record(request, observe=False, progress=progress)


def _record(request: Request, *, observe: bool, progress: Progress) -> Ran:
    if request.declaration.stages:
        from runbook.flow.stages import widened

        request = replace(request, declaration=widened(request.declaration))
    declaration, root = request.declaration, request.root
    if not request.argv:
        raise UsageError("no command to run", hint="runbook run -- python train.py", id="no-command")
    sources = metric_sources(declaration, root)
    before = artifacts.look_at_inputs(root, declaration.inputs, progress)
    code = codebase.look(root, declaration, progress)
    store = RunStore(root)
    with store.recording() as folder:
        codebase.keep(code, root, folder, before)
        began_ns, stdin = time.time_ns(), StandardInput.before()
        execution = _launch(request, folder) if observe else None
        if not observe:
            _adopt(request, folder)
        from runbook.flow.account import Ended, account

        record = account(
            Ended(request, folder, store, before, code, sources, execution, began_ns, stdin), progress
        )
    return Ran(folder, record, _exit_code(execution))


def metric_sources(declaration: Declaration, root: Path) -> tuple[str, ...]:
    """The metric sources as a record keeps them; raises UsageError for one that nothing reads."""
    if not declaration.metrics and not declaration.patterns:
        return ()
    from runbook.launch.metrics import file_source, pattern_source

    files = [file_source(path, root, root) for path in declaration.metrics]
    return (*files, *(pattern_source(name, pattern) for name, pattern in declaration.patterns.items()))


def _launch(request: Request, folder: RunFolder) -> Execution:
    env = logging(folder.watch, request.env) if request.trace == "none" else prepare(folder.watch, request.env)
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
