"""Replays of mixtures of two bundles: each is made once, kept in a log, and judged by one metric.

The log is `.runbook/bisect/KEY/log.jsonl`, a line for every replay, written when it has ended. KEY names both
bundles and how they are replayed, so that the same question goes on where it was interrupted.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import msgspec

from runbook import __version__
from runbook.bundle.read import Bundle
from runbook.catalog.store import RunFolder, RunStore
from runbook.compare.delta import Taken
from runbook.compare.metrics import compare_metric
from runbook.compare.tolerances import Applied
from runbook.errors import EnvironmentNotRebuilt, JobFailed, NotComparable, UsageError
from runbook.flow import codebase
from runbook.flow.replay import Choices, replay
from runbook.launch.metrics import decode_series
from runbook.model.bisection import Outcome, Trial
from runbook.model.fact import Value
from runbook.model.metric import Metric, Number, Series, to_float
from runbook.progress import SILENT, Progress

_AGREES = frozenset(("identical", "within tolerance"))


class BudgetSpent(Exception):
    """No further replay is allowed."""


class _Line(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One replay in the log."""

    taken: tuple[str, ...]
    end: Literal["", "A", "B"] = ""
    bundle: str
    run: str = ""
    failed: str = ""
    """Why it gave no result; else there is a run."""
    seconds: float


@dataclass(frozen=True)
class Answer:
    """What came of one replay, as far as the metric is concerned."""

    trial: Trial
    metric: Metric | None = None
    series: Series | None = None

    @property
    def unresolved(self) -> bool:
        """Whether it says nothing."""
        return self.metric is None


@dataclass(frozen=True)
class Budget:
    """How much may be spent by one call; what an earlier call replayed costs nothing."""

    replays: int
    minutes: float | None = None


@dataclass
class Ends:
    """The answers that all others are held against."""

    a: Answer
    b: Answer


@dataclass
class Trials:
    """All replays of one question."""

    bundles: tuple[Bundle, Bundle]
    metric: str
    applied: Applied
    choices: Choices
    budget: Budget
    write: Callable[[Taken, Path], str]
    """Writes the mixture with these parts of B to a place; its id."""
    told: Callable[[Taken], str]
    """The mixture for a person."""
    progress: Progress = SILENT
    made: list[Answer] = field(default_factory=list)
    """In the order in which they were first asked for."""
    ends: Ends | None = None
    spent: int = 0

    def __post_init__(self) -> None:
        self._since = time.monotonic()
        self._known: dict[tuple[str, tuple[str, ...]], _Line] = {}
        self._answers: dict[tuple[str, tuple[str, ...]], Answer] = {}
        self.store = RunStore(codebase.find_root(Path.cwd()))
        self.folder = self.store.path / "bisect" / self._key()

    @contextlib.contextmanager
    def logging(self) -> Iterator[None]:
        """Read the log and hold it. Raises UsageError (`busy`) where another runbook asks the same."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a+b") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                hint = "wait for it: what it replays need not be replayed again"
                raise UsageError(
                    "another runbook bisects the same two", self.folder, hint=hint, id="busy"
                ) from None
            log.seek(0)
            held = log.read()
            if held and not held.endswith(b"\n"):
                log.write(b"\n")  # The machine went down within this line: it is none, and is replayed again.
            for text in held.split(b"\n"):
                with contextlib.suppress(msgspec.DecodeError):
                    line = msgspec.json.decode(text, type=_Line)
                    self._known[line.end, line.taken] = line
            self._log = log
            yield

    def end(self, which: int) -> Answer:
        """A (0) or B (1) as it is. Raises NotComparable where it does not come out here as it is recorded."""
        bundle = self.bundles[which]
        name: Literal["A", "B"] = "B" if which else "A"
        answer = self._answer(name, (), f"{name} as it is", lambda _: bundle.path)
        own = next(m for m in bundle.record.metrics if m.name == self.metric)
        found = compare_metric(
            self.metric,
            own,
            answer.metric,
            self.applied,
            series_a=bundle.series.get(self.metric),
            series_b=answer.series,
        )
        if found.verdict not in _AGREES:
            hint = (
                f"look at it alone: runbook replay {bundle.path}; where it varies by itself, `runbook calibrate` "
                f"tells how far, and --tolerance '{self.metric}=abs:X' leaves room for it"
            )
            what = f"{name} does not reproduce here itself, so no swap would tell anything"
            said = answer.trial.reason or f"{self.metric}: {found.reason}"
            raise NotComparable(what, said, hint=hint, id="end-not-reproduced")
        return answer

    def ask(self, taken: Taken) -> Answer:
        """A with these parts of B. Raises BudgetSpent, and what a replay raises but for a failed job."""
        key = tuple(sorted(taken))
        if not key and self.ends is not None:
            return self.ends.a

        def place(scratch: Path) -> Path:
            target = scratch / "mixture.runbook"
            self.write(taken, target)
            return target

        return self._answer("", key, self.told(taken), place)

    def like(self, answer: Answer, other: Answer) -> bool:
        """Whether two replays gave the same, within the tolerance."""
        if answer.metric is None or other.metric is None:
            return False
        found = compare_metric(
            self.metric, other.metric, answer.metric, self.applied, series_a=other.series, series_b=answer.series
        )
        return found.verdict in _AGREES

    def _key(self) -> str:
        c = self.choices
        how = [c.engine, c.network, c.limits.memory_bytes, c.limits.cpus, c.limits.time_s, sorted(c.data.items())]
        asked = [__version__, *(b.id for b in self.bundles), *how]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]

    def _answer(
        self, end: Literal["", "A", "B"], taken: tuple[str, ...], told: str, place: Callable[[Path], Path]
    ) -> Answer:
        if (end, taken) in self._answers:
            return self._answers[end, taken]
        line = self._known.get((end, taken))
        answer = self._remembered(line) if line is not None else None
        if answer is None:
            answer = self._made(end, taken, told, place)
        answer = replace(answer, trial=self._judged(answer))
        self._answers[end, taken] = answer
        self.made.append(answer)
        self._tell(answer, told)
        return answer

    def _remembered(self, line: _Line) -> Answer | None:
        """What an earlier call replayed; None where its run is gone from the run store."""
        if line.failed:
            return Answer(_trial(line, earlier=True))
        return self._of_run(_trial(line, earlier=True))

    def _of_run(self, trial: Trial) -> Answer | None:
        folder = RunFolder(trial.run, self.store.path / "runs" / trial.run)
        try:
            record = folder.read()
            series = decode_series((folder.path / "series.json").read_bytes())
        except (UsageError, OSError, msgspec.MsgspecError):
            return None
        return self._measured(trial, record.metrics, series)

    def _measured(self, trial: Trial, metrics: Sequence[Metric], series: Mapping[str, Series]) -> Answer:
        metric = next((m for m in metrics if m.name == self.metric), None)
        if metric is None:
            trial = msgspec.structs.replace(trial, reason=f"the job gave no {self.metric}")
        return Answer(trial, metric, series.get(self.metric))

    def _made(
        self, end: Literal["", "A", "B"], taken: tuple[str, ...], told: str, place: Callable[[Path], Path]
    ) -> Answer:
        minutes = (time.monotonic() - self._since) / 60
        if self.spent >= self.budget.replays or (
            self.budget.minutes is not None and minutes >= self.budget.minutes
        ):
            raise BudgetSpent
        self.spent += 1
        self.progress.say(f"replay {len(self.made) + 1}: {told}")
        since = time.monotonic()
        bundle, run, failed, report = "", "", "", None
        with tempfile.TemporaryDirectory(prefix="runbook-bisect-") as scratch:
            try:
                path = place(Path(scratch))
                bundle = _id_of(path)
                done = replay(path, self._choices(path))
                report, record = done.report, done.report.replay
                assert record is not None
                run = record.run
                if done.comparison.broken_preconditions:
                    failed = f"what ran is not what was asked for: {done.comparison.broken_preconditions[0]}"
            except (JobFailed, EnvironmentNotRebuilt) as error:
                failed = str(error)
            except NotComparable as error:
                if error.id != "no-such-mixture":
                    raise
                failed = str(error)
        line = _Line(
            taken=taken, end=end, bundle=bundle, run=run, failed=failed, seconds=round(time.monotonic() - since, 3)
        )
        self._log.write(msgspec.json.encode(line) + b"\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        if failed or report is None or report.replay is None:
            return Answer(_trial(line))
        return self._measured(_trial(line), report.replay.metrics, report.replay_series)

    def _choices(self, path: Path) -> Choices:
        """The choices, with the places of those data that this bundle has."""
        from runbook.bundle.read import open_bundle

        with open_bundle(path) as bundle:
            known = {one.name for one in bundle.record.inputs}
        return replace(self.choices, data={k: v for k, v in self.choices.data.items() if k in known}, echo=False)

    def _judged(self, answer: Answer) -> Trial:
        trial, metric = answer.trial, answer.metric
        if metric is None:
            return msgspec.structs.replace(trial, outcome="unresolved")
        if self.ends is None:
            return msgspec.structs.replace(trial, outcome="B" if trial.end == "B" else "A", value=metric.final)
        a, b = self.ends.a, self.ends.b
        share = _share(metric.final, a.trial.value, b.trial.value)
        near = self.like(answer, a), self.like(answer, b)
        outcome: Outcome = "A" if near[0] else "B" if near[1] else "other"
        if near == (True, True) and share is not None and share > 1 / 2:
            outcome = "B"
        return msgspec.structs.replace(trial, outcome=outcome, value=metric.final, share=share)

    def _tell(self, answer: Answer, told: str) -> None:
        trial = answer.trial
        if trial.earlier:
            self.progress.say(f"replayed before: {told}")
        value = "" if trial.value is None else f", {self.metric} {trial.value}"
        said = {"A": "as A", "B": "as B", "other": "neither A's nor B's", "unresolved": "says nothing"}[
            trial.outcome
        ]
        why = f": {trial.reason.splitlines()[0]}" if trial.reason else ""
        self.progress.say(f"  {said}{value}{why}")


def _trial(line: _Line, *, earlier: bool = False) -> Trial:
    return Trial(
        taken=line.taken,
        end=line.end,
        outcome="unresolved",
        bundle=line.bundle,
        run=line.run,
        reason=line.failed,
        seconds=line.seconds,
        earlier=earlier,
    )


def _id_of(path: Path) -> str:
    from runbook.bundle.read import open_bundle

    with open_bundle(path) as bundle:
        return bundle.id


def _share(value: Number, a: Number | None, b: Number | None) -> float | None:
    """How far a value is on the way from A's to B's: 0 is A's, 1 is B's."""
    if a is None or b is None:
        return None
    try:
        x, y, z = to_float(value), to_float(a), to_float(b)
        share = (x - y) / (z - y)
    except (OverflowError, ZeroDivisionError):
        return None
    return share if abs(share) < float("inf") else None
