"""What differs between two environments: packages by name, interpreter, libraries, base."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.compare import rank
from runbook.compare.facts import ABSENT, differ, differ_facts
from runbook.model.environment import Base, Environment, Interpreter, Package
from runbook.model.verdict import Difference


def compare_environments(original: Environment, replay: Environment) -> list[Difference]:
    """Every difference above the kernel."""
    return [
        *compare_packages(original, replay),
        *_interpreter(original, replay),
        *_libraries(original, replay),
        *_base(original, replay),
        *_lock(original, replay),
    ]


def compare_packages(original: Environment, replay: Environment) -> list[Difference]:
    """Packages added, removed, changed, or edited by hand on one side only.

    Installed files that the bundle carries as a wheel are the same files, whatever their RECORD said before.
    """
    a, b = {p.name: p for p in original.packages}, {p.name: p for p in replay.packages}
    found = []
    for name in sorted({*a, *b}):
        x, y = a.get(name), b.get(name)
        if x is None or y is None or x.version != y.version:
            found.append(differ("lock", name, _version(x), _version(y), rank.package(name)))
        elif _edits(x) != _edits(y) and x.shipped != "carried":
            edits = {*_edits(x)} ^ {*_edits(y)}
            judged = rank.package_files(name, edits)
            found.append(differ("lock", f"{name} (files)", _files(x), _files(y), judged))
    return found


def breaks_lock(difference: Difference, original: Environment) -> bool:
    """Whether this package difference means that a replay ran on another lock than the bundle's.

    Installers do not, nor does what the bundle itself says it could not ship.
    """
    name = difference.what.removesuffix(" (files)")
    package = next((p for p in original.packages if p.name == name), None)
    lock = original.lock.value
    unshipped = (package is not None and package.shipped == "absent") or (lock is not None and name in lock.absent)
    return name not in rank.INSTALLERS and not unshipped


def _version(package: Package | None) -> str:
    return ABSENT if package is None else package.version


def _edits(package: Package) -> tuple[str, ...]:
    return package.modified if package.record == "modified" else ()


def _files(package: Package) -> str:
    edits = _edits(package)
    if not edits:
        return f"{package.version}, as released" if package.record == "intact" else f"{package.version}, no RECORD"
    named = ", ".join(edits[:3]) + (f" and {len(edits) - 3} more" if len(edits) > 3 else "")
    return f"{package.version}, changed by hand: {named}"


def _interpreter(original: Environment, replay: Environment) -> Iterator[Difference]:
    a, b = original.interpreter.value, replay.interpreter.value
    if a is None or b is None:
        yield from differ_facts(
            "interpreter", "Python", original.interpreter, replay.interpreter, ("low", ""), show=_python
        )
        return
    for what, x, y in (
        ("Python", _python(a), _python(b)),
        ("ABI", a.abi, b.abi),
        ("machine", f"{a.system} {a.machine}", f"{b.system} {b.machine}"),
    ):
        if x != y:
            patch = what == "Python" and _minor(a) == _minor(b)
            why = "a patch release" if patch else "another interpreter may order, round and seed differently"
            yield differ("interpreter", what, x, y, ("low" if patch else "high", why))
    if a.libc != b.libc:
        judged: tuple[rank.Risk, str] = ("medium", "its mathematical functions may round differently")
        yield differ("interpreter", "C library", a.libc or ABSENT, b.libc or ABSENT, judged)


def _python(interpreter: Interpreter) -> str:
    return f"{interpreter.implementation} {interpreter.version}"


def _minor(interpreter: Interpreter) -> tuple[str, ...]:
    return (interpreter.implementation, *interpreter.version.split(".")[:2])


def _libraries(original: Environment, replay: Environment) -> Iterator[Difference]:
    a, b = {x.soname: x for x in original.libraries}, {x.soname: x for x in replay.libraries}
    for soname in sorted({*a, *b}):
        x, y = a.get(soname), b.get(soname)
        if x is None or y is None or x.sha256 != y.sha256:
            shown = [ABSENT if s is None else s.os_package.value or f"sha256 {s.sha256[:12]}" for s in (x, y)]
            if shown[0] == shown[1] and x is not None and y is not None:
                shown = [f"{shown[0]} (sha256 {s.sha256[:12]})" for s in (x, y)]
            judged: tuple[rank.Risk, str] = ("medium", "extension modules load it from outside the environment")
            yield differ("library", soname, shown[0], shown[1], judged)
    for name in sorted({*original.frameworks, *replay.frameworks}):
        left, right = original.frameworks.get(name, ABSENT), replay.frameworks.get(name, ABSENT)
        if left != right:
            yield differ("library", name, left, right, rank.framework(name))


def _base(original: Environment, replay: Environment) -> Iterator[Difference]:
    a, b = original.base.value, replay.base.value
    if a is None or b is None:
        yield from differ_facts("base", "base", original.base, replay.base, ("low", ""), show=_based)
    elif (a.digest, a.platform) != (b.digest, b.platform):
        judged: tuple[rank.Risk, str] = ("medium", "the operating system's libraries come from it")
        yield differ("base", "base", _based(a), _based(b), judged)


def _based(base: Base) -> str:
    return f"{base.reference or base.kind} ({base.digest[:19]}, {base.platform})"


def _lock(original: Environment, replay: Environment) -> Iterator[Difference]:
    a, b = original.lock.value, replay.lock.value
    if a is not None and b is not None and a.sha256 != b.sha256:
        judged: tuple[rank.Risk, str] = ("low", "the packages that it installs are compared one by one")
        yield differ("lock", "requirements file", f"sha256 {a.sha256[:12]}", f"sha256 {b.sha256[:12]}", judged)
