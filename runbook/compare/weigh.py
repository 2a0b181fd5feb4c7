"""What is known to matter in general, in the light of two runs: what they touched, and how their curves part.

`rank` says how much a kind of difference matters; here a package that was never imported cannot, a changed line is
shown, a variable that the code looks up can, and the only candidate that is left is the likely one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from runbook.compare import program, rank
from runbook.compare.contents import Manifests
from runbook.compare.pointers import pointer
from runbook.compare.rows import compare_rows
from runbook.compare.touched import Touched
from runbook.model.data import Input
from runbook.model.manifest import Entry
from runbook.model.record import Record
from runbook.model.verdict import REPRODUCED, Difference, MetricComparison

Sign = Literal["", "arithmetic"]
"""What the way in which curves part points to."""

ARITHMETIC = frozenset(("threads", "cpu", "accelerator", "library", "interpreter", "base", "engine"))
"""Families that change how numbers are rounded and in which order they are summed."""
_NAMED = 5
_ALONE = "nothing else that is known to matter differs"


class Weigher:
    """Two runs and what is at hand of their files."""

    def __init__(self, a: Record, b: Record, manifests: tuple[Manifests, Manifests] | None) -> None:
        self.records = (a, b)
        self.manifests = manifests or (Manifests(), Manifests())
        self.touched = tuple(Touched(r, m) for r, m in zip(self.records, self.manifests, strict=True))
        self._judges: dict[str, Callable[[Difference], Difference]] = {
            "lock": self._package,
            "code": self._code,
            "data": self._data,
            "seed": self._seed,
            "variable": self._variable,
            "threads": self._threads,
        }

    def weighed(
        self, differences: Iterable[Difference], metrics: Sequence[MetricComparison]
    ) -> tuple[Difference, ...]:
        """The differences with evidence and places, those first that are likeliest to have moved the metrics."""
        found = [self._judges.get(d.family, _as_it_is)(d) for d in differences if not self._is_data(d)]
        found = [self._umbrella(d, found) for d in found]
        sign = sign_of(metrics)
        if any(m.verdict not in REPRODUCED for m in metrics):
            found = list(self._by_elimination(found, sign))
        a, b = self.records
        placed = [msgspec.structs.replace(d, pointers=(pointer(d, a), pointer(d, b))) for d in found]
        return rank.ranked(placed, first=ARITHMETIC if sign else frozenset())

    def _is_data(self, difference: Difference) -> bool:
        """Whether a file of the code is one that the job read as data, and so is named there."""
        if difference.family != "code":
            return False
        return any(_within(difference.what, i.path) for r in self.records for i in r.inputs)

    def _umbrella(self, difference: Difference, all_of_them: Sequence[Difference]) -> Difference:
        """The whole tree matters as much as the weightiest of its files, where these are named."""
        if (difference.family, difference.what) != ("code", "source tree"):
            return difference
        if self.manifests[0].code is None or self.manifests[1].code is None:
            return difference
        files = [d.risk for d in all_of_them if d.family == "code" and self._entries(d.what) != (None, None)]
        risk: rank.Risk = "none" if all(one == "none" for one in files) else "low"
        return msgspec.structs.replace(difference, risk=risk, why="what changed in it is named file by file")

    def _package(self, difference: Difference) -> Difference:
        name = difference.what.removesuffix(" (files)")
        if name == "requirements file":
            return difference
        holding = [
            t.imported(name)
            for t, r in zip(self.touched, self.records, strict=True)
            if any(p.name == name for p in r.environment.packages)
        ]
        if holding and all(one is False for one in holding):
            return _judged(difference, "none", "no run imported it")
        if True in holding and difference.risk != "low":
            return _judged(difference, difference.risk, f"{difference.why}; the job imported it")
        return difference

    def _entries(self, path: str) -> tuple[Entry | None, Entry | None]:
        a, b = (next((e for e in m.code or () if e.path == path), None) for m in self.manifests)
        return a, b

    def _code(self, difference: Difference) -> Difference:
        path = difference.what
        entries = self._entries(path)
        if entries == (None, None):
            return difference
        there = [t.opened(path) for t, e in zip(self.touched, entries, strict=True) if e is not None]
        if all(one is False for one in there):
            return _judged(difference, "none", "no run opened it")
        texts = [None if e is None else m.read("", e) for e, m in zip(entries, self.manifests, strict=True)]
        if any(text is None and e is not None for text, e in zip(texts, entries, strict=True)):
            return difference
        a, b = texts
        if a is not None and b is not None and program.same_program(path, a, b):
            return _judged(difference, "none", "only comments, docstrings or layout are others")
        lines = program.changed_lines(path, a, b)
        read = difference.risk == "low" and any(one is True for one in there)
        if read:
            return _judged(difference, "medium", "the job read it", lines)
        return _judged(difference, difference.risk, difference.why, lines)

    def _data(self, difference: Difference) -> Difference:
        sides = [_input(r, difference.what) for r in self.records]
        if sides[0] is None or sides[1] is None:
            return difference
        lists = [m.inputs.get(i.name) for i, m in zip(sides, self.manifests, strict=True) if i]
        if lists[0] is None or lists[1] is None:
            return difference
        found, why = self._rows(sides, lists[0], lists[1], difference.what)
        return _judged(difference, difference.risk, why or difference.why, found)

    def _rows(
        self, sides: Sequence[Input | None], a: Sequence[Entry], b: Sequence[Entry], what: str
    ) -> tuple[tuple[str, ...], str]:
        """Which rows of which files are others, and that in one phrase."""
        left, right = {e.path: e for e in a}, {e.path: e for e in b}
        changed = [p for p in sorted({*left, *right}) if _digest(left.get(p)) != _digest(right.get(p))]
        contents = [Counter(e.sha256 for e in one) for one in (a, b)]
        phrases, evidence = [], []
        for path in changed[:_NAMED]:
            x, y = left.get(path), right.get(path)
            shown = what if all(i and i.kind == "file" for i in sides) else f"{what}/{path}"
            if x is None or y is None:
                evidence.append(f"{shown} (only in {'B' if x is None else 'A'})")
                continue
            texts = [
                m.read(i.name, e) if i else None for m, i, e in zip(self.manifests, sides, (x, y), strict=True)
            ]
            sizes = f"{shown}: {x.size:,} B → {y.size:,} B"
            if texts[0] is None or texts[1] is None:
                evidence.append(f"{sizes}; its rows are not at hand (a bundle of the run may hold them)")
            elif rows := compare_rows(shown, texts[0], texts[1]):
                phrases.append(rows.why)
                evidence += rows.evidence
            else:
                evidence.append(f"{sizes}; it is no text, so it has no rows")
        if len(changed) > _NAMED:
            evidence.append(f"and {len(changed) - _NAMED:,} more files")
        why = f"the job read other bytes: {phrases[0]}" if len(phrases) == len(changed) == 1 else ""
        if len(changed) > 1:
            why = f"the job read other bytes in {len(changed):,} files"
            if contents[0] == contents[1]:
                why = f"{len(changed):,} files have each other's content: the same data under other names"
        return tuple(evidence), why

    def _seed(self, difference: Difference) -> Difference:
        places = [
            f"{s.where}: {s.name}({s.value}) in {side}"
            for side, r in zip("AB", self.records, strict=True)
            for s in r.seeds
            if s.name == difference.what and s.where
        ]
        return _judged(difference, difference.risk, difference.why, tuple(dict.fromkeys(places))[:_NAMED])

    def _variable(self, difference: Difference) -> Difference:
        places = [t.looks_up(difference.what) for t in self.touched]
        named = tuple(dict.fromkeys(one for found in places for one in found or ()))
        if named:
            return _judged(
                difference,
                "high",
                "the job's own code looks it up",
                tuple(f"{one} names it" for one in named[:_NAMED]),
            )
        if difference.risk == "low" and None not in places:
            return _judged(difference, "low", "the job's own code does not name it; a library may look it up")
        return difference

    def _threads(self, difference: Difference) -> Difference:
        pools = []
        for record in self.records:
            switches = record.watch.value.switches if record.watch.value else ()
            pools.append({s.name: s.value for s in switches if s.name.startswith(("threadpool", "torch.num_"))})
        a, b = pools
        changed = [
            f"{name}: {a[name].split(' ')[0]} → {b[name].split(' ')[0]}"
            for name in sorted({*a} & {*b})
            if a[name] != b[name]
        ]
        return _judged(difference, difference.risk, difference.why, tuple(changed[:_NAMED]))

    def _by_elimination(self, found: Sequence[Difference], sign: Sign) -> Iterator[Difference]:
        """What is only possible becomes likely, where nothing else can be it or the curves speak for it."""
        high = any(d.risk == "high" for d in found)
        medium = [d for d in found if d.risk == "medium"]
        families = {d.family for d in medium}
        alone = not high and len(families) == 1 and not unseeded(self.records[0])
        for d in found:
            if d.risk == "medium" and alone:
                yield _judged(d, "high", f"{d.why}; {_ALONE}", d.evidence)
            elif d.risk == "medium" and sign == "arithmetic" and d.family in ARITHMETIC and not high:
                why = f"{d.why}; the curves come apart by rounding first, as they do from it"
                yield _judged(d, "high", why, d.evidence)
            else:
                yield d

    def advice(self, differences: Sequence[Difference], metrics: Sequence[MetricComparison]) -> tuple[str, ...]:
        """What is to be known besides, and what to try next; nothing where the metrics agree."""
        if all(m.verdict in REPRODUCED for m in metrics):
            return ()
        return tuple(self._advice([d for d in differences if d.risk in ("high", "medium")]))

    def _advice(self, candidates: Sequence[Difference]) -> Iterator[str]:
        a = self.records[0]
        if not candidates:
            yield "nothing that is recorded and known to matter differs, so no cause can be named from the records"
        if unseeded(a):
            drawn = [f"{u.library}{f' at {u.where}' if u.where else ''}" for u in _draws(a)]
            of = f": {', '.join(dict.fromkeys(drawn[:_NAMED]))}" if drawn else ""
            yield f"no seed was seen for the random numbers that it drew{of}: it may differ by itself every time"
        if not candidates:
            for place in program.clocks(self.touched[0].programs)[:_NAMED]:
                yield f"it gives something else in every run: {place}"
            if not any(s.name == "PYTHONHASHSEED" for s in a.seeds):
                yield "PYTHONHASHSEED was not set, so sets of text come in another order in every run"
            if a.job.variables_dropped:
                yield (
                    f"{a.job.variables_dropped} environment variables are not in the record; "
                    "`runbook run --env NAME` keeps one"
                )
            yield "`runbook replay --twice` shows whether the job gives the same result twice at all"
        elif len(candidates) > 1:
            yield "`runbook bisect A B` swaps what differs one by one, and shows which of it moves the metric"


def unseeded(record: Record) -> bool:
    """Whether nobody seeded the random numbers that the job drew, or nothing is known of any seed."""
    if record.watch.known:
        return bool(_draws(record)) or not record.seeds
    return not any(s.name != "PYTHONHASHSEED" for s in record.seeds)


def _draws(record: Record) -> list:  # type: ignore[type-arg]
    watch = record.watch.value
    return [u for u in watch.uses if not u.seeded and not u.by_library] if watch else []


def sign_of(metrics: Sequence[MetricComparison]) -> Sign:
    """What the first parting of the curves points to: rounding, or growth from a later point on, is arithmetic."""
    partings = [m.parting for m in metrics if m.parting is not None]
    if not partings:
        return ""
    first = min(partings, key=lambda p: p.index)
    return "arithmetic" if "arithmetic" in first.reading else ""


def _as_it_is(difference: Difference) -> Difference:
    return difference


def _judged(difference: Difference, risk: rank.Risk, why: str, evidence: tuple[str, ...] = ()) -> Difference:
    return msgspec.structs.replace(difference, risk=risk, why=why, evidence=evidence)


def _input(record: Record, path: str) -> Input | None:
    """The input at this path; by its name, where the two runs had it in different places."""
    return next((i for i in record.inputs if path in (i.path, i.name)), None)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _digest(entry: Entry | None) -> str:
    return "" if entry is None else entry.sha256
