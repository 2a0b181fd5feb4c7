"""What differs between two runs' code, data, command, variables, parameters and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.compare import rank
from runbook.compare.contents import Manifests
from runbook.compare.facts import ABSENT, differ
from runbook.model.code import Code
from runbook.model.data import Input
from runbook.model.files import ReadOrder
from runbook.model.job import Job, Variable
from runbook.model.manifest import Entry
from runbook.model.record import Record, Seed
from runbook.model.verdict import Difference

_NAMED = 200
"""Files of one tree that are named; the rest is counted."""


def compare_code(
    original: Code, replay: Code, files_a: Sequence[Entry] | None = None, files_b: Sequence[Entry] | None = None
) -> Iterator[Difference]:
    """The tree's content first; then its shape and where it stood in git, which do not decide it."""
    if original.tree.digest != replay.tree.digest:
        shown = [f"{c.tree.files} files, {c.tree.digest[:12]}" for c in (original, replay)]
        judged: tuple[rank.Risk, str] = ("high", "the code is what the result comes from")
        yield differ("code", "source tree", shown[0], shown[1], judged)
        if files_a is not None and files_b is not None:
            yield from compare_files("code", files_a, files_b)
    links = [{x.path: x.target for x in c.tree.shape.links} for c in (original, replay)]
    for path in sorted({*links[0], *links[1]}):
        left, right = (f"link to {side[path]}" if path in side else ABSENT for side in links)
        if left != right:
            yield differ("code", path, left, right, ("medium", "the job may read through this link"))
    yield from _git(original, replay)


def compare_files(family: str, original: Sequence[Entry], replay: Sequence[Entry]) -> Iterator[Difference]:
    """Files added, removed and changed between two manifests; at most 200 are named."""
    a, b = {e.path: e for e in original}, {e.path: e for e in replay}
    paths = [p for p in sorted({*a, *b}) if _content(a.get(p)) != _content(b.get(p))]
    for path in paths[:_NAMED]:
        judged = rank.source_file(path) if family == "code" else ("high", "the job read other bytes")
        yield differ(family, path, _file(a.get(path)), _file(b.get(path)), judged)
    if len(paths) > _NAMED:
        yield differ(family, f"{len(paths) - _NAMED} more files", "…", "…", ("high", "too many to name"))


def compare_inputs(
    original: Sequence[Input], replay: Sequence[Input], manifests: tuple[Manifests, Manifests] | None = None
) -> Iterator[Difference]:
    """Inputs by name: absent on a side, or other content."""
    a, b = {i.name: i for i in original}, {i.name: i for i in replay}
    for name in sorted({*a, *b}):
        x, y = a.get(name), b.get(name)
        if x is not None and y is not None and (x.kind, x.digest) == (y.kind, y.digest):
            continue
        places = {one.path for one in (x, y) if one is not None}
        path = places.pop() if len(places) == 1 else name
        yield differ("data", path, _input(x), _input(y), ("high", "the job read other bytes"))
        if manifests and x is not None and y is not None and "tree" in (x.kind, y.kind):
            left, right = (m.inputs.get(name) for m in manifests)
            if left is not None and right is not None:
                yield from compare_files("data", _below(path, left), _below(path, right))


def compare_orders(original: Sequence[ReadOrder], replay: Sequence[ReadOrder]) -> Iterator[Difference]:
    """Folders whose files, the same on both sides, were read in another order."""
    b = {o.path: o for o in replay}
    for x in original:
        y = b.get(x.path)
        if y is not None and x.members == y.members and x.digest != y.digest:
            how = "the order in which the files of a folder were read"
            sorts = " and one side sorted them" if x.by_name or y.by_name else ""
            judged: tuple[rank.Risk, str] = (
                "medium",
                f"{how}: as the file system lists them, or as the job shuffles{sorts}",
            )
            yield differ("order", x.path, _order(x), _order(y), judged)


def _order(order: ReadOrder) -> str:
    names = ", ".join(order.first[:3])
    return f"{names}{' …' if order.files > 3 else ''}"


def _below(folder: str, entries: Sequence[Entry]) -> list[Entry]:
    return [entry._replace(path=f"{folder}/{entry.path}") for entry in entries]


def compare_seeds(original: Record, replay: Record) -> Iterator[Difference]:
    """Seeds by where they were seen. Calls count only where both jobs were watched: else nobody could see them."""
    both = original.watch.known and replay.watch.known
    a, b = (_seeds([s for s in one.seeds if both or not s.where]) for one in (original, replay))
    for name in sorted({*a, *b}):
        left, right = a.get(name, ABSENT), b.get(name, ABSENT)
        if left != right:
            yield differ("seed", name, left, right, ("high", "another random stream"))


def compare_jobs(original: Record, replay: Record) -> Iterator[Difference]:
    """Command, parameters and variables. What a seed already names is not named twice."""
    a, b = original.job, replay.job
    seeds = {x.what for x in compare_seeds(original, replay)}
    told = {s.value for r in (original, replay) for s in r.seeds if s.name in seeds}
    for name in sorted({*a.parameters, *b.parameters}):
        left, right = a.parameters.get(name, ABSENT), b.parameters.get(name, ABSENT)
        if left == right:
            continue
        if not (
            {left, right} - {ABSENT} <= told
            and any(s.rpartition(" ")[2].lstrip("-") == name.lstrip("-") for s in seeds)
        ):
            yield differ(
                "argv", f"parameter {name}", left, right, ("high", "the job was asked for something else")
            )
        told |= {left, right}
    if not _explained(a.argv, b.argv, told):
        judged: tuple[rank.Risk, str] = ("high", "another command was run")
        yield differ("argv", "command", _shown(a.argv), _shown(b.argv), judged)
    if a.cwd != b.cwd:
        yield differ("argv", "working folder", a.cwd, b.cwd, ("medium", "relative paths are looked up from it"))
    threads = {*original.host.threads, *replay.host.threads} | seeds
    yield from _variables(a, b, threads)


def _variables(a: Job, b: Job, told: set[str]) -> Iterator[Difference]:
    left, right = {v.name: v for v in a.variables}, {v.name: v for v in b.variables}
    for name in sorted({*left, *right} - told):
        x, y = _variable(left.get(name)), _variable(right.get(name))
        if x != y:
            yield differ("variable", name, x, y, rank.variable(name))


def _variable(variable: Variable | None) -> str:
    if variable is None:
        return "(not set)"
    return "(redacted)" if variable.redacted else variable.value


def _explained(a: tuple[str, ...], b: tuple[str, ...], told: set[str]) -> bool:
    """Whether the two commands differ only in words that parameters or seeds already name."""
    if len(a) != len(b):
        return False
    changed = [(x, y) for x, y in zip(a, b, strict=True) if x != y]
    return all(word in told or word.partition("=")[2] in told for pair in changed for word in pair)


def _shown(argv: tuple[str, ...]) -> str:
    return " ".join(argv)


def _seeds(seeds: Sequence[Seed]) -> dict[str, str]:
    """Name → value; a name that was seen with several values shows them in order."""
    values: dict[str, list[str]] = {}
    for seed in seeds:
        if seed.value not in values.setdefault(seed.name, []):
            values[seed.name].append(seed.value)
    return {name: ", ".join(seen) for name, seen in values.items()}


def _git(original: Code, replay: Code) -> Iterator[Difference]:
    a, b = original.git.value, replay.git.value
    if a is None or b is None:
        return
    low: tuple[rank.Risk, str] = ("low", "the tree's digest decides what ran, not its commit")
    for what, x, y in (("git commit", a.commit, b.commit), ("git branch", a.branch, b.branch)):
        if x.known and y.known and x.value != y.value:
            yield differ("code", what, x.text(), y.text(), low)
    if a.dirty != b.dirty:
        states = ["uncommitted changes" if g.dirty else "clean" for g in (a, b)]
        yield differ("code", "git state", states[0], states[1], low)


def _content(entry: Entry | None) -> tuple[int, str] | None:
    return None if entry is None else (entry.size, entry.sha256)


def _file(entry: Entry | None) -> str:
    return ABSENT if entry is None else f"{entry.size:,} B, {entry.sha256[:12]}"


def _input(value: Input | None) -> str:
    if value is None:
        return ABSENT
    files = "" if value.kind == "file" else f"{value.files:,} files, "
    return f"{files}{value.bytes:,} B, {value.digest[:12]}"
