"""A bundle made of two: A's, with some of the parts in which B differs taken from B. Executes nothing.

It is a bundle like any other, so that the ordinary replay runs it, and anybody can run it again. Its record says
of what it was made. What it says of a run (metrics, outputs, logs) is A's: to replay it asks whether A's result
survives the swap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import msgspec
from packaging.utils import canonicalize_name, parse_wheel_filename

from runbook import __version__
from runbook.bundle import layout
from runbook.bundle.read import Bundle
from runbook.bundle.write import BundleWriter
from runbook.compare.argv import spans
from runbook.compare.factors import Side, owner
from runbook.errors import NotComparable, UsageError
from runbook.flow.seal import DERIVED, add_documents
from runbook.model import manifest
from runbook.model.bisection import Hybrid, Part
from runbook.model.code import Shape
from runbook.model.data import Input
from runbook.model.environment import Base, Environment, Interpreter, Lock, SystemLibrary, environment_id
from runbook.model.fact import inferred, missing
from runbook.model.job import Job, StandardInput, Variable
from runbook.model.manifest import Entry
from runbook.model.record import Finding, Record, Seed
from runbook.model.requirements import CAP, parse_requirements, render_requirements
from runbook.observe.parameters import from_argv

_OWN = (f"{layout.CODE}/", f"{layout.LOCK}/", f"{layout.IMAGE}/", f"{layout.INPUTS}/")
_MADE = frozenset((*DERIVED, layout.CODE_MANIFEST, layout.CODE_PATCH))


def side(bundle: Bundle) -> Side:
    """What of an opened bundle decides about its parts. Raises BundleRejected, UsageError (`no-environment`)."""
    environment = bundle.record.environment
    if environment.lock.value is None or environment.base.value is None or environment.interpreter.value is None:
        why = environment.interpreter.reason or environment.lock.reason or environment.base.reason
        raise UsageError(
            "the bundle does not hold an environment", why, hint="capture it again", id="no-environment"
        )
    pins = parse_requirements(bundle.read(layout.REQUIREMENTS, CAP))
    return Side(bundle.record, bundle.manifest(layout.CODE_MANIFEST), {pin.name: pin for pin in pins})


@dataclass(frozen=True)
class _File:
    """A file of the new bundle and where it is copied from."""

    name: str
    source: Bundle


class Mixture:
    """A with the parts `taken` from B. Both bundles stay open meanwhile, and were verified."""

    def __init__(
        self,
        bundles: tuple[Bundle, Bundle],
        sides: tuple[Side, Side],
        parts: Sequence[Part],
        taken: frozenset[str],
    ) -> None:
        self._a, self._b = bundles
        self._sides = sides
        self._ids = frozenset(p.id for p in parts)
        self._taken = taken
        self._places = [(i.name, i.path) for s in sides for i in s.record.inputs]

    def write(self, target: Path) -> str:
        """Write it; its id. The same parts give the same bytes.

        Raises NotComparable (`no-such-mixture`) for parts that cannot be in one bundle.
        """
        with BundleWriter(target, replace=True) as writer:
            for name in self._a.names:
                if name not in _MADE and not name.startswith(_OWN):
                    _copy(writer, _File(name, self._a))
            for entry, source in self._code:
                _copy(writer, _File(layout.code_file(entry.path), source))
            writer.add_bytes(layout.CODE_MANIFEST, manifest.render(e for e, _ in self._code))
            if self.record.code.patch:
                _copy(writer, _File(layout.CODE_PATCH, self._a))
            writer.add_bytes(layout.REQUIREMENTS, self._requirements)
            for file in (*self._wheels, *self._system, *self._data):
                _copy(writer, file)
            add_documents(writer, self.record, self._a.series)
            return writer.finish()

    @cached_property
    def record(self) -> Record:
        """A's record with B's parts, and a word on what it is."""
        a, b = self._a.record, self._b.record
        shape, files = self._shape, [e for e, _ in self._code]
        tree = msgspec.structs.replace(
            a.code.tree,
            digest=manifest.tree_digest(files),
            files=len(files),
            bytes=sum(e.size for e in files),
            shape=shape,
        )
        code = msgspec.structs.replace(a.code, tree=tree)
        if any(id.startswith("code:") for id in self._taken):
            code = msgspec.structs.replace(code, git=missing("it is the code of two runs"), patch="")
        text = f"made by bisect of two bundles ({len(self._taken)} parts of the second): it never ran as a whole"
        added = {one.folder: one for one in (*b.caches, *a.caches)}
        files_of = {f.path: f for f in b.files if f.written} | {f.path: f for f in a.files}
        return msgspec.structs.replace(
            a,
            runbook=__version__,
            hybrid=Hybrid(a=self._a.id, b=self._b.id, taken=tuple(sorted(self._taken))),
            code=code,
            environment=self._environment,
            job=self._job,
            seeds=tuple(self._seeds()),
            inputs=tuple(i for i, _ in self._inputs),
            files=tuple(files_of[path] for path in sorted(files_of)),
            caches=tuple(added[folder] for folder in sorted(added)),
            sources=tuple(dict.fromkeys((*a.sources, *b.sources))),
            calibration=missing("it is made of two runs"),
            findings=(*a.findings, Finding(id="hybrid", level="note", text=text)),
        )

    def _from(self, id: str) -> Bundle:
        return self._b if id in self._taken else self._a

    # Code

    @cached_property
    def _code(self) -> list[tuple[Entry, Bundle]]:
        left, right = ({e.path: e for e in s.code} for s in self._sides)
        chosen = []
        for path in sorted({*left, *right}):
            source = self._from(self._owner(path))
            entry = (right if source is self._b else left).get(path)
            if entry is not None:
                chosen.append((entry, source))
        paths = {entry.path for entry, _ in chosen}
        for path in paths:
            if above := next((p for p in PurePosixPath(path).parents if p.as_posix() in paths), None):
                raise _no_such(f"{above} would be a file and a folder")
        return chosen

    def _owner(self, path: str) -> str:
        return owner(path, self._ids, self._places)

    @cached_property
    def _shape(self) -> Shape:
        a, b = (s.record.code.tree.shape for s in self._sides)

        def pick(mine: Iterable[str], theirs: Iterable[str]) -> tuple[str, ...]:
            kept = [p for p in mine if self._from(self._owner(p)) is self._a]
            return tuple(sorted((*kept, *(p for p in theirs if self._from(self._owner(p)) is self._b))))

        links = {x.path: x for x in b.links if self._from(self._owner(x.path)) is self._b}
        links |= {x.path: x for x in a.links if self._from(self._owner(x.path)) is self._a}
        return Shape(
            links=tuple(links[path] for path in sorted(links)),
            executables=pick(a.executables, b.executables),
            empty_directories=pick(a.empty_directories, b.empty_directories),
        )

    # Inputs

    @cached_property
    def _inputs(self) -> list[tuple[Input, Bundle]]:
        left, right = ({i.name: i for i in s.record.inputs} for s in self._sides)
        root, chosen = self._a.record.job.root, list[tuple[Input, Bundle]]()
        for name in sorted({*left, *right}):
            if f"input:{name}" not in self._ids and name not in left:
                continue  # B's own, of a package.
            source = self._from(f"input:{name}")
            one = (right if source is self._b else left).get(name)
            if one is not None:
                moved = (
                    one if source is self._a else msgspec.structs.replace(one, path=self._moved(one.path, root))
                )
                chosen.append((moved, source))
        return chosen

    def _moved(self, path: str, root: str) -> str:
        return self._sides[1].moved(path, root)

    @cached_property
    def _data(self) -> list[_File]:
        files = []
        for one, source in self._inputs:
            files.append(_File(layout.input_manifest(one.name), source))
            if one.stored == "embedded":
                files += [_File(layout.input_file(one.name, e.path), source) for e in self._held(one, source)]
        return files

    def _held(self, one: Input, source: Bundle) -> list[Entry]:
        return source.below(f"{layout.INPUTS}/{one.name}")

    # Environment

    @cached_property
    def _requirements(self) -> bytes:
        left, right = (s.pins for s in self._sides)
        pins = [
            pin
            for name in sorted({*left, *right})
            if (pin := (right if self._owns(name) is self._b else left).get(name)) is not None
        ]
        return render_requirements(pins)

    def _owns(self, package: str) -> Bundle:
        return self._from(f"package:{package}")

    @cached_property
    def _lock(self) -> Lock:
        a, b = _lock(self._a), _lock(self._b)
        absent = {n: why for n, why in a.absent.items() if self._owns(n) is self._a}
        absent |= {n: why for n, why in b.absent.items() if self._owns(n) is self._b}
        mine = [(w, self._a) for w in a.carried], [(w, self._b) for w in b.carried]
        copies = [(w, self._a) for w in a.copies], [(w, self._b) for w in b.copies]
        return Lock(
            sha256=layout.sha256(self._requirements),
            packages=len(parse_requirements(self._requirements)),
            carried=tuple(w for w, s in (*mine[0], *mine[1]) if self._owns(_package(w.file)) is s),
            copies=tuple(w for w, s in (*copies[0], *copies[1]) if self._owns(_package(w.file)) is s),
            absent=absent,
            tool=a.tool,
        )

    @cached_property
    def _wheels(self) -> list[_File]:
        held = [w.file for w in self._lock.carried if w.stored] + [w.file for w in self._lock.copies]
        return [_File(f"{layout.WHEELS}/{file}", self._owns(_package(file))) for file in held]

    @cached_property
    def _libraries(self) -> list[tuple[SystemLibrary, Bundle]]:
        """Those that go with the base, and those that only the other side's packages load."""
        first = self._from("base")
        second = self._b if first is self._a else self._a
        mine = [(x, first) for x in first.record.environment.libraries]
        known = {x.soname for x, _ in mine}
        return mine + [(x, second) for x in second.record.environment.libraries if x.soname not in known]

    @cached_property
    def _system(self) -> list[_File]:
        """Files of the base: its layout, the list of OS packages, shared libraries."""
        source = self._from("base")
        names = [n for n in source.names if n.startswith(f"{layout.IMAGE}/") or n == layout.OS_PACKAGES]
        libraries = [_File(layout.library_file(x.soname), s) for x, s in self._libraries if x.size]
        return [*(_File(name, source) for name in names), *libraries]

    @cached_property
    def _environment(self) -> Environment:
        a, b = self._a.record.environment, self._b.record.environment
        left, right = ({p.name: p for p in e.packages} for e in (a, b))
        packages = [
            p for n in sorted({*left, *right}) if (p := (right if self._owns(n) is self._b else left).get(n))
        ]
        source = self._from("base").record.environment
        libraries = tuple(x for x, _ in self._libraries)
        return msgspec.structs.replace(
            a,
            packages=tuple(packages),
            libraries=libraries,
            os_packages=source.os_packages,
            interpreter=source.interpreter,
            base=source.base,
            lock=inferred(self._lock, "made of two"),
            id=inferred(environment_id(*_based(source), self._lock, libraries), "made of two"),
        )

    # Job

    @cached_property
    def _job(self) -> Job:
        a, b = self._a.record.job, self._b.record.job
        words: list[str] = []
        for n, span in enumerate(spans(a.argv, [self._moved(w, a.root) for w in b.argv])):
            words += span.b if f"argv:{n}" in self._taken else span.a
        argv, said = tuple(words), from_argv(a.argv)
        declared = {k: v for k, v in a.parameters.items() if k not in said or said[k] != v}
        return msgspec.structs.replace(
            a,
            argv=argv,
            cwd=self._from("cwd").record.job.cwd,
            stdin=self._stdin(),
            variables=tuple(self._variables()),
            parameters=from_argv(argv) | declared,
        )

    def _variables(self) -> Iterator[Variable]:
        a, b = ({v.name: v for v in x.record.job.variables} for x in (self._a, self._b))
        for name in sorted({*a, *b}):
            if f"variable:{name}" not in self._taken:
                if name in a:
                    yield a[name]
            elif name in b:
                value = self._moved(b[name].value, self._a.record.job.root)
                yield msgspec.structs.replace(b[name], value=value)

    def _stdin(self) -> StandardInput | None:
        fed = self._from("stdin").record.job.stdin
        if fed is None:
            return None
        path = fed.path
        if "stdin" in self._taken:
            path = self._moved(path, self._a.record.job.root)
        if not any(path == i.path or path.startswith(f"{i.path}/") for i, _ in self._inputs):
            raise _no_such(f"the job would be fed {path}, which is none of its inputs")
        return msgspec.structs.replace(fed, path=path)

    def _seeds(self) -> Iterator[Seed]:
        """A's, but for those that a variable or the command sets and that are B's now; calls are seen anew."""
        asked = any(id.startswith("argv:") for id in self._taken)

        def swapped(seed: Seed) -> bool:
            return f"variable:{seed.name}" in self._taken or (asked and seed.name.startswith("argv "))

        yield from (s for s in self._a.record.seeds if not swapped(s))
        yield from (s for s in self._b.record.seeds if swapped(s))


def _no_such(why: str) -> NotComparable:
    return NotComparable("these parts do not fit together", why, id="no-such-mixture")


def _copy(writer: BundleWriter, file: _File) -> None:
    with file.source.open(file.name) as stream:
        writer.add_stream(file.name, stream, sha256=file.source.digest(file.name))


def _package(file: str) -> str:
    return canonicalize_name(parse_wheel_filename(file)[0])


def _lock(bundle: Bundle) -> Lock:
    lock = bundle.record.environment.lock.value
    assert lock is not None  # `side` has looked.
    return lock


def _based(environment: Environment) -> tuple[Base, Interpreter]:
    base, interpreter = environment.base.value, environment.interpreter.value
    assert base is not None
    assert interpreter is not None
    return base, interpreter
