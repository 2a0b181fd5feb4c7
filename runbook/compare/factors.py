"""What two runs do not have in common and can be swapped between them, part by part. Pure.

A part is the smallest thing that a mixture of both takes from one of them. A factor is a set of parts that are
swapped together first: the files of the code, packages that ask for each other's version, an input and the
argument that names it, and all that the job never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from runbook.compare import rank
from runbook.compare.argv import spans
from runbook.compare.contents import Manifests
from runbook.compare.facts import ABSENT, differ
from runbook.compare.touched import Touched
from runbook.compare.verdict import differences_of
from runbook.model.bisection import Factor, Part
from runbook.model.code import Shape
from runbook.model.environment import Environment, Package
from runbook.model.manifest import Entry
from runbook.model.record import Record
from runbook.model.requirements import Requirement as Pin
from runbook.model.verdict import Difference

_MACHINE = frozenset(("cpu", "accelerator", "host", "engine"))
_WEIGHT: Mapping[rank.Risk, float] = {"high": 4.0, "medium": 2.0, "low": 1.0}
_IDLE = 0.25
_SEEDS = ("seed", "random_state", "random-state")


@dataclass(frozen=True)
class Side:
    """One of the two runs, as far as its parts are concerned."""

    record: Record
    code: Sequence[Entry]
    pins: Mapping[str, Pin]
    """Name → what the lock says of it."""

    @cached_property
    def touched(self) -> Touched:
        """What its job used, as far as was seen."""
        return Touched(self.record, Manifests(self.code))

    def moved(self, text: str, root: str) -> str:
        """Text that names a place below this run's root, as if that lay at `root`."""
        mine = self.record.job.root.rstrip("/")
        return root.rstrip("/") + text[len(mine) :] if text == mine or text.startswith(f"{mine}/") else text


@dataclass(frozen=True)
class Differing:
    """All that differs, and what of it can be swapped."""

    factors: tuple[Factor, ...]
    fixed: tuple[Difference, ...]
    """What cannot be: the machine, and what the records do not hold."""


@dataclass
class _Found:
    parts: list[Part] = field(default_factory=list)
    fixed: list[Difference] = field(default_factory=list)
    together: list[tuple[set[str], str]] = field(default_factory=list)
    """Ids that are swapped together first, and why."""


def differing(a: Side, b: Side, *, based: bool = True) -> Differing:
    """The factors of two runs, the likeliest first.

    based: whether the engine stands on the bundle's base; else only its interpreter can be swapped.
    """
    found = _Found()
    inputs = list(_inputs(a, b))
    owned = {one.path for side in (a, b) for one in side.record.inputs if f"input:{one.name}" in _ids(inputs)}
    code = list(_code(a, b, owned))
    argv = list(_argv(a, b))
    for parts in (inputs, code, argv, _rest(a, b, found.fixed), _packages(a, b), _base(a, b, found.fixed, based)):
        found.parts += parts
    if len(code) > 1:
        found.together.append((_ids(p for p in code if p.touched), "the code as a whole"))
    found.together += _coupled(a, b, _ids(found.parts))
    found.together += _named(a, b, inputs, argv, code)
    machine = [d for d in differences_of(a.record, b.record) if _machine(d)]
    return Differing(_factors(found), (*found.fixed, *machine))


def weight(factor: Factor) -> float:
    """How likely it is the cause, beside others."""
    return max(map(weight_of, factor.parts))


def weight_of(part: Part) -> float:
    """The same of one part: by its risk, and little where the job never touched it."""
    return _WEIGHT[part.difference.risk] if part.touched else _IDLE


def owner(path: str, parts: Iterable[str], inputs: Iterable[tuple[str, str]]) -> str:
    """The id of the part that decides about a file of the code: an input that lies there, else the file itself.

    inputs: (name, path) of all inputs of both sides.
    """
    known = frozenset(parts)
    for name, place in inputs:
        if (path == place or path.startswith(f"{place}/")) and f"input:{name}" in known:
            return f"input:{name}"
    return f"code:{path}"


def _ids(parts: Iterable[Part]) -> set[str]:
    return {p.id for p in parts}


def _machine(d: Difference) -> bool:
    return d.family in _MACHINE or (d.family == "threads" and d.what == "usable cores")


def _part(id: str, difference: Difference, touched: bool = True) -> Part:
    return Part(id=id, difference=difference, touched=touched)


# Code and data


def _code(a: Side, b: Side, owned: set[str]) -> Iterator[Part]:
    left, right = _tree(a), _tree(b)
    for path in sorted({*left, *right}):
        if left.get(path) == right.get(path) or any(path == o or path.startswith(f"{o}/") for o in owned):
            continue
        shown = [ABSENT if path not in side else f"{_words(side[path])}" for side in (left, right)]
        touched = _touched(a, path) or _touched(b, path)
        yield _part(f"code:{path}", differ("code", path, shown[0], shown[1], rank.source_file(path)), touched)


def _tree(side: Side) -> dict[str, tuple[str, ...]]:
    """Path → what stands there: a file's digest and size, a link's target, an empty folder."""
    shape: Shape = side.record.code.tree.shape
    run = set(shape.executables)
    files = {e.path: (e.sha256, str(e.size), *(("executable",) if e.path in run else ())) for e in side.code}
    links = {link.path: ("link", link.target) for link in shape.links}
    return files | links | dict.fromkeys(shape.empty_directories, ("empty folder",))


def _words(what: tuple[str, ...]) -> str:
    if what[0] in ("link", "empty folder"):
        return " to ".join(what)
    return f"{int(what[1]):,} B, {what[0][:12]}" + "".join(f", {more}" for more in what[2:])


def _touched(side: Side, path: str) -> bool:
    """Whether the job read a file of its code, as far as was seen: of one that only it wrote, nothing depends."""
    made = any(f.path == path and f.first == "written" for f in side.record.files)
    return not made and side.touched.opened(path) is not False


def _inputs(a: Side, b: Side) -> Iterator[Part]:
    left, right = ({i.name: i for i in side.record.inputs if i.stored != "package"} for side in (a, b))
    for name in sorted({*left, *right}):
        x, y = left.get(name), right.get(name)
        if x and y and (x.kind, x.digest, x.path) == (y.kind, y.digest, b.moved(y.path, a.record.job.root)):
            continue
        shown = [ABSENT if i is None else f"{i.bytes:,} B, {i.digest[:12]}" for i in (x, y)]
        if x and y and x.digest == y.digest:
            shown = [x.path, y.path]
        place = x.path if x else y.path if y else name
        yield _part(
            f"input:{name}", differ("data", place, shown[0], shown[1], ("high", "the job read other bytes"))
        )


# Command and variables


def _argv(a: Side, b: Side) -> Iterator[Part]:
    root = a.record.job.root
    for number, span in enumerate(spans(a.record.job.argv, [b.moved(w, root) for w in b.record.job.argv])):
        if span.same:
            continue
        shown = [" ".join(words) or ABSENT for words in (span.a, span.b)]
        seed = any(word in span.option.lower() for word in _SEEDS)
        family, why = (
            ("seed", "another random stream") if seed else ("argv", "the job was asked for something else")
        )
        yield _part(f"argv:{number}", differ(family, span.option, shown[0], shown[1], ("high", why)))


def _rest(a: Side, b: Side, fixed: list[Difference]) -> Iterator[Part]:
    """Variables, working folder, standard input."""
    one, other = a.record.job, b.record.job
    left, right = ({v.name: v for v in job.variables if v.name != "RUNBOOK_IMAGE"} for job in (one, other))
    for name in sorted({*left, *right}):
        x, y = left.get(name), right.get(name)
        values = x.value if x else None, b.moved(y.value, one.root) if y else None
        if values[0] == values[1]:
            continue
        threads = name in a.record.host.threads or name in b.record.host.threads or name.endswith("_THREADS")
        family = "seed" if name == "PYTHONHASHSEED" else "threads" if threads else "variable"
        shown = ["(not set)" if v is None else v for v in values]
        difference = differ(family, name, shown[0], shown[1], rank.variable(name))
        if (x and x.redacted) or (y and y.redacted):
            fixed.append(differ(family, name, "(redacted)", "(redacted)", rank.variable(name)))
        else:
            yield _part(f"variable:{name}", difference)
    if one.cwd != other.cwd:
        judged: tuple[rank.Risk, str] = ("medium", "relative paths are looked up from it")
        yield _part("cwd", differ("argv", "working folder", one.cwd, other.cwd, judged))
    if one.stdin != other.stdin:
        shown = [s.path if s else ABSENT for s in (one.stdin, other.stdin)]
        yield _part(
            "stdin", differ("data", "standard input", shown[0], shown[1], ("high", "the job read other bytes"))
        )


# Packages, base


def _packages(a: Side, b: Side) -> Iterator[Part]:
    for name in sorted({*a.pins, *b.pins}):
        x, y = a.pins.get(name), b.pins.get(name)
        if x == y:
            continue
        judged = rank.package(name)
        if x and y and x.version == y.version:
            shown = [f"{p.version}, sha256 {p.hashes[0][:12]}" for p in (x, y)]
            if {*x.hashes} & {*y.hashes}:
                judged = ("low", "the same release; the index lists other files of it")
        else:
            shown = [p.version if p else ABSENT for p in (x, y)]
        used = any(name in side.pins and side.touched.imported(name) is not False for side in (a, b))
        yield _part(f"package:{name}", differ("lock", name, shown[0], shown[1], judged), used)


def _base(a: Side, b: Side, fixed: list[Difference], based: bool) -> Iterator[Part]:
    one, other = a.record.environment, b.record.environment
    base = one.base.value, other.base.value
    python = one.interpreter.value, other.interpreter.value
    if base[0] is None or base[1] is None or python[0] is None or python[1] is None:
        return
    versions = [f"{p.implementation} {p.version}" for p in python if p]
    digests = [f"{x.reference or x.kind} ({x.digest[:19]})" for x in base if x]
    libraries = _libraries(one) != _libraries(other)
    if versions[0] != versions[1]:
        yield _part(
            "base",
            differ(
                "interpreter", "Python and its base", versions[0], versions[1], ("high", "another interpreter")
            ),
        )
    elif digests[0] != digests[1] or base[0].platform != base[1].platform:
        judged: tuple[rank.Risk, str] = ("medium", "the operating system's libraries come from it")
        found = differ("base", "base", digests[0], digests[1], judged)
        if based:
            yield _part("base", found)
        else:
            fixed.append(found)
    elif based and libraries and {*_libraries(one)} == {*_libraries(other)}:
        shown = ["as recorded", "others"]
        judged = ("medium", "extension modules load them from outside the environment")
        yield _part("base", differ("library", "the system's shared libraries", shown[0], shown[1], judged))


def _libraries(environment: Environment) -> dict[str, str]:
    return {x.soname: x.sha256 for x in environment.libraries}


# What goes together


def _coupled(a: Side, b: Side, ids: set[str]) -> Iterator[tuple[set[str], str]]:
    """Packages of which one, at its own version, does not go with the other's version of the other side."""
    for mine, theirs in ((a, b), (b, a)):
        for package in mine.record.environment.packages:
            if f"package:{package.name}" not in ids:
                continue
            for needed in _needs(package):
                name = canonicalize_name(needed.name)
                pin = theirs.pins.get(name)
                missing = pin is None and name in mine.pins
                if f"package:{name}" in ids and (
                    missing or (pin is not None and not needed.specifier.contains(pin.version, prereleases=True))
                ):
                    both = {f"package:{package.name}", f"package:{name}"}
                    yield both, f"{package.name} asks for {needed.name}{needed.specifier}"


def _needs(package: Package) -> Iterator[Requirement]:
    for text in package.requires:
        try:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                yield needed
        except (InvalidRequirement, ValueError, KeyError):
            continue


def _named(
    a: Side, b: Side, inputs: Sequence[Part], argv: Sequence[Part], code: Sequence[Part]
) -> Iterator[tuple[set[str], str]]:
    """An input that one side lacks, or has elsewhere, with whatever decides that it is opened."""
    for part in inputs:
        name = part.id.removeprefix("input:")
        places = {i.path for side in (a, b) for i in side.record.inputs if i.name == name}
        if ABSENT not in (part.difference.original, part.difference.replay) and len(places) == 1:
            continue
        ends = {PurePosixPath(place).name for place in places}
        asking = {
            p.id
            for p in argv
            for word in f"{p.difference.original} {p.difference.replay}".replace("=", " ").split()
            if PurePosixPath(word).name in ends
        }
        if asking:
            yield {part.id, *asking}, "the command names it"
        elif code:
            yield {part.id, *_ids(p for p in code if p.touched)}, "the code may be what opens it"
    if a.record.job.stdin != b.record.job.stdin:
        yield {"stdin", *_ids(inputs)}, "it is what the job is fed"


def _factors(found: _Found) -> tuple[Factor, ...]:
    """Parts joined where they go together, sorted by risk; what the job never touched comes last, as one."""
    lead = {p.id: p.id for p in found.parts}

    def top(id: str) -> str:
        while lead[id] != id:
            id = lead[id]
        return id

    why: dict[str, str] = {}
    for group, reason in found.together:
        first, *others = sorted(group & lead.keys()) or [""]
        for member in others:
            lead[top(member)] = top(first)
            why[member] = why.get(member, reason)
    sets: dict[str, list[Part]] = {}
    for part in found.parts:
        sets.setdefault(top(part.id), []).append(part)
    used = [s for s in sets.values() if any(p.touched for p in s)]
    idle = [p for s in sets.values() if not any(p.touched for p in s) for p in s]
    made = [_factor(s, next((why[p.id] for p in s if p.id in why), "")) for s in used]
    leaders = {id(f.parts[0].difference): f for f in made}
    factors = [leaders[id(d)] for d in rank.ranked(f.parts[0].difference for f in made)]
    if idle:
        factors.append(_factor(idle, "the job never touched them, as far as was seen"))
    return tuple(factors)


def _factor(parts: list[Part], why: str) -> Factor:
    by_rank = [id(d) for d in rank.ranked(p.difference for p in parts)]
    ordered = sorted(parts, key=lambda p: (not p.touched, by_rank.index(id(p.difference))))
    first = ordered[0].difference.what
    if len(ordered) == 1:
        return Factor(what=first, parts=tuple(ordered))
    if all(p.id.startswith("code:") for p in ordered):
        return Factor(what=f"the code ({len(ordered)} files)", parts=tuple(ordered), why=why)
    return Factor(what=f"{first} and {len(ordered) - 1} more", parts=tuple(ordered), why=why)
