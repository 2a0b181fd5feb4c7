"""`data/Dockerfile` and `data/replay.sh`: the same replay for someone who has Docker and no runbook. Pure.

Nothing of the record reaches the shell but through `quote`, nothing reaches Docker's mount syntax but through
`mount_field`; argv, links and paths travel as one line of ASCII JSON to a script inside the container.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import msgspec

from runbook.model.carrying import held_wheels, loaded_beside
from runbook.model.code import Shape
from runbook.model.data import Input
from runbook.model.environment import Base, Interpreter
from runbook.model.record import Record, offline, rewritten
from runbook.model.text import printable
from runbook.render import render

PREFIX = "/opt/runbook/env"
"""Where the virtual environment lies inside, on every road."""

WORKSPACE = "/workspace"
"""Where the project goes when its own place belongs to the image."""

# fmt: off
_SYSTEM = (
    "/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr/bin", "/usr/lib", "/usr/lib64",
    "/usr/libexec", "/usr/sbin", "/proc", "/sys", "/dev", "/run/runbook", "/opt/runbook",
)
# fmt: on
_OCCUPIED = ("/usr/local", "/usr/share", "/var/lib", "/tmp", "/run")  # noqa: S108 - places inside the container
_DECIDED = frozenset(("PATH", "HOME", "TMPDIR", "PWD", "VIRTUAL_ENV", "MPLCONFIGDIR", "LD_PRELOAD", "LD_AUDIT"))
"""Variables that the sandbox decides, or that would name places of the original machine."""
_SONAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")


def quote(text: str) -> str:
    """The text as one word of a POSIX shell. Raises ValueError for what no argument can hold."""
    if "\0" in text:
        raise ValueError("a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("text that is not UTF-8") from None
    return shlex.quote(text)


def mount_field(name: str, value: str) -> str:
    """`name=value` as one field of Docker's `--mount`, which is CSV. Raises ValueError for control characters."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise ValueError("a control character in a path")
    field = f"{name}={value}"
    return '"' + field.replace('"', '""') + '"' if re.search(r'[",]', field) else field


def image_tag(environment_id: str) -> str:
    """What plain Docker calls the environment. Not the name that runbook's own engine trusts.

    Raises ValueError for what is no `sha256:…`: an image is used again by this name.
    """
    match = re.fullmatch(r"sha256:([0-9a-f]{24})[0-9a-f]{40}", environment_id)
    if match is None:
        raise ValueError("its environment has no id")
    return f"runbook/plain:{match[1]}"


def dockerfile(record: Record) -> str:
    """The text of `data/Dockerfile`."""
    base, interpreter = record.environment.base.value, record.environment.interpreter.value
    if base is None or interpreter is None:
        return f"# The environment is not known: {_comment(record.environment.base.reason)}\nFROM scratch\n"
    return render(
        "Dockerfile.j2",
        name=_comment(record.name),
        version=_comment(record.runbook),
        reference=_reference(base),
        pythons=_pythons(base, interpreter),
        minor=_minor(interpreter),
        prefix=PREFIX,
        sonames=" ".join(map(quote, _sonames(record, base))),
    )


def replay_script(record: Record, starter: str, bringer: str) -> str:
    """The text of `data/replay.sh`.

    starter: the standard-library script that runs inside the container, reads `/run/runbook/spec.json` (`root`,
    `cwd`, `argv`, `bin`, `shape`, `farms`, `links`, and `stdin` where there is one), restores what a bag cannot
    hold and becomes the job. bringer: the one that brings the shared libraries that the base lacks.
    A record that a shell or Docker cannot express gives a script that says so and ends with 6.
    """
    common: dict[str, Any] = {"name": _comment(record.name), "version": _comment(record.runbook), "prefix": PREFIX}
    try:
        return render("replay.sh.j2", **common, refusal="", **_values(record, starter, bringer))
    except ValueError as error:
        told = f"this run cannot be replayed by a shell script ({error}): use runbook replay"
        return render("replay.sh.j2", **common, refusal=shlex.quote(printable(told)))


def _values(record: Record, starter: str, bringer: str) -> dict[str, Any]:
    environment = record.environment
    base, interpreter, lock = environment.base.value, environment.interpreter.value, environment.lock.value
    if base is None or interpreter is None or lock is None:
        raise ValueError("its environment is not known")
    if not (base.layout or _reference(base)):
        raise ValueError("its base is neither in the bundle nor in a registry")
    if "\nRUNBOOK-ENTER\n" in f"\n{starter}\n" or "\nRUNBOOK-BRING\n" in f"\n{bringer}\n":
        raise ValueError("a script holds the mark of its own end")
    beside = loaded_beside(base, environment.libraries)
    # Built without what a thin bundle does not hold, an image must not pass for the whole one.
    bare = "-bare" if any(not beside[soname].size for soname in _sonames(record, base)) else ""
    placed = _Placed(record, base)
    return {
        "reference": _reference(base),
        "pythons": _pythons(base, interpreter),
        "tag": image_tag(environment.id.value or "") + bare,
        "fetches": lock.packages > len(held_wheels(lock)),
        "bringer": bringer.rstrip("\n") if _sonames(record, base) else "",
        "absent": quote(printable(", ".join(sorted(lock.absent)))) if lock.absent else "",
        "inputs": [_stage(record, one, placed) for one in placed.inputs],
        "starter": starter.rstrip("\n"),
        "spec": json.dumps(placed.spec(record), ensure_ascii=True),
        "mounts": list(placed.mounts()),
        "memory_mounts": [quote(mount_field("target", placed.target(i))) for i in placed.inputs if _shaped(i)],
        "variables": [quote(f"{name}={value}") for name, value in placed.variables(record)],
    }


class _Placed:
    """Where the project and its inputs lie inside the container."""

    def __init__(self, record: Record, base: Base) -> None:
        self._original = _normal(record.job.root)
        prefix = str(PurePosixPath(base.python).parent.parent) if base.python else "/usr/local"
        self.root = WORKSPACE if _taken(self._original, prefix) else self._original
        self._rewritten = rewritten(record)
        self.inputs = [one for one in record.inputs if one.stored not in ("code", "package")]
        recorded = {v.name: v.value.rstrip("/") for v in record.job.variables if not v.redacted}
        self._moved_folders = ((recorded.get("HOME", ""), ""), (recorded.get("XDG_CACHE_HOME", ""), "/.cache"))
        for one in self.inputs:
            if _taken(self.target(one), prefix) or _within(self.root, self.target(one)):
                raise ValueError(f"the input {one.path} lies where the image's own files are")

    def moved(self, path: str) -> str:
        """A path of the original machine, inside."""
        if path.startswith("/") and self._original != "/" and _within(path, self._original):
            return self.root + path.removeprefix(self._original)
        return path

    def target(self, one: Input) -> str:
        """Where the job looks for an input."""
        return self.moved(_normal(one.path if one.path.startswith("/") else f"{self._original}/{one.path}"))

    def mounts(self) -> Iterator[tuple[str, str, str]]:
        """`(source below the scratch folder, quoted target field, options)`."""
        yield "root", quote(mount_field("target", self.root)), ""
        for one in self.inputs:
            access = "" if one.stored == "embedded" and one.path in self._rewritten else ",readonly"
            target = f"/run/runbook-inputs/{one.name}" if _shaped(one) else self.target(one)
            yield f"inputs/{one.name}", quote(mount_field("target", target)), access

    def spec(self, record: Record) -> dict[str, Any]:
        """What the starter reads."""
        targets = [self.target(one) for one in self.inputs]
        fed = record.job.stdin
        stdin = self.moved(_normal(str(PurePosixPath(self._original) / fed.path))) if fed else ""
        return {
            **({"stdin": {"path": stdin, "offset": fed.offset}} if fed else {}),
            "root": self.root,
            "cwd": record.job.cwd,
            "argv": [self.moved(word) for word in record.job.argv],
            "bin": f"{PREFIX}/bin",
            "shape": _shape(record.code.tree.shape),
            "farms": [
                {"source": f"/run/runbook-inputs/{i.name}", "target": self.target(i), "shape": _shape(i.shape)}
                for i in self.inputs
                if _shaped(i)
            ],
            "links": [
                [f"/tmp{below}{t.removeprefix(folder)}", t]  # noqa: S108
                for folder, below in self._moved_folders
                for t in targets
                if folder.startswith("/") and t != folder and _within(t, folder)
            ],
        }

    def variables(self, record: Record) -> Iterator[tuple[str, str]]:
        """The recorded variables, without those that the sandbox decides."""
        yield "HOME", "/tmp"  # noqa: S108
        switches = offline(record)
        yield from switches.items()
        for one in record.job.variables:
            decided = one.name in _DECIDED or one.name in switches or one.name.startswith("XDG_")
            if decided or one.redacted:
                continue
            if not _NAME.fullmatch(one.name):
                raise ValueError(f"a variable called {one.name!r}")
            yield one.name, one.value


def _sonames(record: Record, base: Base) -> list[str]:
    """The shared libraries that the packages load and the base may lack."""
    return sorted(s for s in loaded_beside(base, record.environment.libraries) if _SONAME.fullmatch(s))


def _stage(record: Record, one: Input, placed: _Placed) -> str:
    """The arguments of the script's `stage`; the last is where it is mounted below the project, or empty."""
    path = one.path if one.path.startswith("/") else f"{_normal(record.job.root)}/{one.path}"
    target = placed.target(one)
    below = target.removeprefix(f"{placed.root}/") if _within(target, placed.root) else ""
    return " ".join(quote(word) for word in (one.name, one.kind, one.digest, one.stored, path, below))


def _shaped(one: Input) -> bool:
    return one.shape != Shape()


def _shape(shape: Shape) -> dict[str, Any]:
    return {"links": [], "executables": [], "empty_directories": [], **msgspec.to_builtins(shape)}


def _pythons(base: Base, interpreter: Interpreter) -> str:
    named = [base.python] if base.python and base.python == printable(base.python).replace("\n", "") else []
    return " ".join(quote(p) for p in [*named, f"python{_minor(interpreter)}", "python3", "python"])


def _minor(interpreter: Interpreter) -> str:
    match = re.match(r"[0-9]+\.[0-9]+", interpreter.version)
    return match[0] if match else "unknown"


def _reference(base: Base) -> str:
    return base.reference if not base.layout and _REFERENCE.fullmatch(base.reference) else ""


def _comment(text: str) -> str:
    return printable(text).replace("\n", " ").replace("\t", " ")[:200]


def _taken(path: str, prefix: str) -> bool:
    """Whether a mount there would hide something of the image, or lie in its system."""
    hides = any(_within(place, path) for place in (*_SYSTEM, *_OCCUPIED, prefix))
    return hides or any(_within(path, place) for place in (*_SYSTEM, prefix))


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in PurePosixPath("/" + path.lstrip("/")).parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/" + "/".join(parts)
