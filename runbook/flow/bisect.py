"""`bisect`: verify both → what differs → replay both as they are → swap and replay → prove → report.

A mixture is a bundle of its own, replayed as any other; what it gives is held against what A and B gave here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from runbook.bundle.read import Bundle, open_bundle
from runbook.bundle.verify import verify_opened
from runbook.compare import factors
from runbook.compare.delta import Search, Taken, Unit, WholeDiffers
from runbook.compare.factors import Differing
from runbook.compare.tolerances import choose
from runbook.errors import NotComparable, UsageError
from runbook.flow.diff import diff
from runbook.flow.hybrid import Mixture, side
from runbook.flow.own import is_own
from runbook.flow.preflight import find_engine
from runbook.flow.replay import Choices
from runbook.flow.trials import Answer, Budget, BudgetSpent, Ends, Trials
from runbook.model.bisection import Bisection, Cause, Part, Proof
from runbook.model.metric import brief, to_float
from runbook.model.verdict import Comparison, MetricComparison
from runbook.progress import SILENT, Progress
from runbook.report.bisecting import listed, sentence
from runbook.report.interface import Report


@dataclass(frozen=True)
class Bisected:
    """A finished bisection."""

    report: Report
    exit_code: int


def bisect(
    a: str, b: str, choices: Choices, budget: Budget, *, metric: str = "", progress: Progress = SILENT
) -> Bisected:
    """Find what of B moves a metric from A's value to B's. `choices` says how each replay is made.

    Raises UsageError and BundleRejected for a side that is no bundle, NotComparable where there is no difference,
    nothing to swap, or where a side does not reproduce here; and what a replay raises.
    """
    with ExitStack() as stack:
        bundles = _open(a, stack), _open(b, stack)
        for name, bundle in zip("AB", bundles, strict=True):
            progress.say(f"verifying {name}")
            verify_opened(bundle, progress=progress)
        _check_data(bundles, choices)
        compared = diff(a, b, overrides=choices.tolerances).report
        assert compared.comparison is not None
        sides = side(bundles[0]), side(bundles[1])
        # Chosen once: a mixture is nobody's bundle.
        engine = find_engine(choices.engine, own=all(is_own(bundle.id) for bundle in bundles))
        choices = replace(choices, engine=engine.name)
        differing = factors.differing(*sides, based=engine.name != "local")
        parts = [part for factor in differing.factors for part in factor.parts]
        if not parts:
            raise _nothing_to_swap(differing)
        chosen = _metric(compared.comparison, metric)
        names = {part.id: part.difference.what for part in parts}

        def write(taken: Taken, target: Path) -> str:
            return Mixture(bundles, sides, parts, taken).write(target)

        trials = Trials(
            bundles=bundles,
            metric=chosen.name,
            applied=choose(chosen.name, bundles[0].record.tolerances, choices.tolerances),
            choices=choices,
            budget=budget,
            write=write,
            told=lambda taken: _told(taken, names),
            progress=progress,
        )
        with trials.logging():
            try:
                found = _Bisect((a, b), differing, trials).found()
            except KeyboardInterrupt:
                progress.say(f"what was replayed is kept in {trials.folder}: the same command goes on from there")
                raise
        code = 0 if found.status == "found" else NotComparable.exit_code
        return Bisected(replace(compared, bisection=found), code)


def _open(what: str, stack: ExitStack) -> Bundle:
    path = Path.cwd() / what
    if not path.exists():
        hint = f"a run is frozen first: runbook capture {what} -o {what}.runbook"
        raise UsageError("no such bundle", what, hint=hint, id="no-such-bundle")
    return stack.enter_context(open_bundle(path))


def _check_data(bundles: tuple[Bundle, Bundle], choices: Choices) -> None:
    known = {one.name for bundle in bundles for one in bundle.record.inputs}
    if unknown := sorted(choices.data.keys() - known):
        hint = f"one of: {', '.join(sorted(known)) or 'none'}"
        raise UsageError("neither bundle has such an input", ", ".join(unknown), hint=hint, id="no-such-input")


def _nothing_to_swap(differing: Differing) -> NotComparable:
    if differing.fixed:
        said = ", ".join(d.what for d in differing.fixed[:5])
        hint = "replay both on one machine: runbook replay tells whether each reproduces here"
        return NotComparable("nothing that differs can be swapped", said, hint=hint, id="nothing-to-swap")
    hint = "a job that varies by itself: runbook calibrate tells how far"
    return NotComparable(
        "A and B are of the same code, data, command and environment: there is nothing to swap",
        hint=hint,
        id="nothing-to-swap",
    )


def _metric(comparison: Comparison, asked: str) -> MetricComparison:
    """The one that was asked for, else the one that differs most, relative to its size."""
    differ = [m for m in comparison.metrics if m.verdict == "different"]
    if asked:
        metric = next((m for m in comparison.metrics if m.name == asked), None)
        if metric is None or metric.original is None or metric.replay is None:
            both = [m.name for m in comparison.metrics if m.original is not None and m.replay is not None]
            hint = f"one of: {', '.join(both) or 'none'}"
            raise UsageError("no metric of both sides", asked, hint=hint, id="no-such-metric")
        differ = [metric] if metric.verdict == "different" else []
    if not differ:
        what = asked or "all metrics"
        hint = "runbook diff shows both side by side; a --tolerance may be wider than the difference"
        raise NotComparable("A and B agree, so there is no cause to be found", what, hint=hint, id="no-difference")
    return max(differ, key=_gap)


def _gap(metric: MetricComparison) -> float:
    """|a - b| / max(|a|, |b|); infinite where one is no number."""
    assert metric.original is not None
    assert metric.replay is not None
    try:
        a, b = to_float(metric.original), to_float(metric.replay)
        gap = abs(a - b) / max(abs(a), abs(b)) if a != b else 0.0
    except OverflowError:
        return float("inf")
    return gap if gap == gap else float("inf")  # noqa: PLR0124 - NaN


def _told(taken: Taken, names: dict[str, str]) -> str:
    """The mixture for a person, by what is the shorter to say."""
    left = names.keys() - taken
    if not left:
        return "A with all of B that can be swapped"
    if len(left) < len(taken):
        return f"A with all of B but {listed([names[id] for id in sorted(left)])}"
    return f"A with B's {listed([names[id] for id in sorted(taken)])}"


class _Bisect:
    """The search over the factors of two bundles."""

    def __init__(self, named: tuple[str, str], differing: Differing, trials: Trials) -> None:
        self._named = named
        self._differing = differing
        self._trials = trials
        self._parts = {part.id: part for factor in differing.factors for part in factor.parts}
        self._all: Taken = frozenset(self._parts)
        self._search: Search[Answer] = Search(trials.ask, lambda answer: answer.unresolved)
        self._causes: list[Cause] = []
        self._sure: Taken = frozenset()
        """What is known to be part of the cause that is looked for."""
        self._rest: Answer | None = None
        """What everything but the causes gives."""

    def found(self) -> Bisection:
        """Replay until the smallest sets are known, or the budget is spent."""
        trials = self._trials
        try:
            trials.ends = Ends(trials.end(0), trials.end(1))
        except BudgetSpent:
            hint = "give it more: --replays, --minutes"
            raise NotComparable(
                "the budget does not even reach for A and B themselves", hint=hint, id="budget"
            ) from None
        if trials.like(trials.ends.b, trials.ends.a):
            said = f"{trials.metric} is {brief(trials.ends.a.trial.value or 0)} for both"
            hint = "the machine of the run may be what mattered: runbook diff names it"
            raise NotComparable("A and B agree when both are replayed here", said, hint=hint, id="no-difference")
        try:
            self._look()
        except BudgetSpent:
            return self._concluded("narrowed")
        except WholeDiffers:
            raise self._not_swappable() from None
        return self._concluded("found")

    def _look(self) -> None:
        self._causes.append(self._cause(self._all, lambda x: x.trial.outcome == "B", sure=False))
        while rest := self._all - self._named_ids():
            answer = self._rest = self._trials.ask(rest)
            if answer.unresolved or answer.trial.outcome == "A":
                return

            def like(other: Answer, target: Answer = answer) -> bool:
                return self._trials.like(other, target) and other.trial.outcome != "A"

            self._causes.append(self._cause(rest, like, sure=True))

    def _named_ids(self) -> Taken:
        return frozenset(part.id for cause in self._causes for part in cause.parts)

    def _cause(self, among: Taken, like: Callable[[Answer], bool], *, sure: bool) -> Cause:
        """The smallest set among these that moves it there: factors first, then what is inside of them."""
        units = [
            Unit(ids, factors.weight(f))
            for f in self._differing.factors
            if (ids := among & {p.id for p in f.parts})
        ]
        self._sure = frozenset()
        chosen = self._search.smallest(units, like, sure=sure)
        kept: Taken = frozenset().union(*(u.ids for u in chosen))
        for unit in chosen:
            if len(unit.ids) > 1:
                others = kept - unit.ids
                self._sure = others
                inner = [Unit(frozenset((id,)), self._weight(id)) for id in self._ordered(unit.ids)]
                kept = others.union(*(u.ids for u in self._search.smallest(inner, like, others)))
        self._sure = frozenset()
        answer = self._trials.ask(kept)
        parts = self._told_parts(kept)
        return Cause(parts=parts, outcome=answer.trial.outcome, value=answer.trial.value)

    def _ordered(self, ids: Iterable[str]) -> list[str]:
        wanted = frozenset(ids)
        return [id for id in self._parts if id in wanted]

    def _weight(self, id: str) -> float:
        return factors.weight_of(self._parts[id])

    def _not_swappable(self) -> NotComparable:
        fixed = self._differing.fixed
        said = (
            f"what cannot be swapped here: {', '.join(d.what for d in fixed[:5])}"
            if fixed
            else ("it lies in what neither record holds")
        )
        hint = "runbook diff A B shows all that differs"
        what = "A with everything of B that can be swapped does not give B's value"
        return NotComparable(what, said, hint=hint, id="not-swappable")

    # What is told in the end

    def _concluded(self, status: str) -> Bisection:
        trials = self._trials
        assert trials.ends is not None
        a, b = trials.ends.a.trial, trials.ends.b.trial
        assert a.value is not None
        assert b.value is not None
        left = self._sure.union(*(u.ids for u in (*self._search.found, *self._search.candidates)))
        done = Bisection(
            a=self._named[0],
            b=self._named[1],
            a_id=trials.bundles[0].id,
            b_id=trials.bundles[1].id,
            metric=trials.metric,
            tolerance=trials.applied.words(),
            value_a=a.value,
            value_b=b.value,
            status="found" if status == "found" else "narrowed",
            sentence="",
            causes=tuple(self._with_parts(cause) for cause in self._causes),
            sure=() if status == "found" else self._told_parts(self._sure_ids() - self._named_ids()),
            candidates=() if status == "found" else self._told_parts(left - self._sure_ids() - self._named_ids()),
            factors=self._differing.factors,
            fixed=self._differing.fixed,
            trials=tuple(answer.trial for answer in trials.made),
            proof=tuple(self._proof()) if status == "found" else (),
            rest=self._rest.trial.outcome if self._rest else "A" if status == "found" else "",
            replays=len(trials.made),
        )
        return msgspec.structs.replace(done, sentence=sentence(done))

    def _sure_ids(self) -> Taken:
        return self._sure.union(*(u.ids for u in self._search.found if len(u.ids) == 1))

    def _told_parts(self, ids: Iterable[str]) -> tuple[Part, ...]:
        return tuple(self._parts[id] for id in self._ordered(ids))

    def _with_parts(self, cause: Cause) -> Cause:
        """Of several that are needed, what each gives alone, where that was tried."""
        alone = {t.trial.taken[0]: t.trial for t in self._trials.made if len(t.trial.taken) == 1}
        told = tuple((p.id, alone[p.id].value, alone[p.id].share) for p in cause.parts if p.id in alone)
        return msgspec.structs.replace(cause, alone=told) if len(cause.parts) > 1 else cause

    def _proof(self) -> Iterator[Proof]:
        """The bundles whose replays show it, written to stay; the replays themselves were made."""
        metric = self._trials.metric
        for number, cause in enumerate(self._causes):
            ids = frozenset(p.id for p in cause.parts)
            target = f"only-{number + 1}" if number else "only"
            says = f"{metric} {brief(cause.value or 0)} with nothing of B but this"
            yield self._written(ids, target, says)
        rest = self._all - self._named_ids()
        if rest and self._rest is not None and not self._rest.unresolved:
            says = f"{metric} {brief(self._rest.trial.value or 0)} with everything of B but this"
            yield self._written(rest, "rest", says)

    def _written(self, ids: Taken, name: str, says: str) -> Proof:
        trial = self._trials.ask(ids).trial
        target = self._trials.folder / f"{name}.runbook"
        made = self._trials.write(ids, target)
        assert made == trial.bundle  # The same parts give the same bytes.
        return Proof(says=says, path=str(target), bundle=made, run=trial.run)
