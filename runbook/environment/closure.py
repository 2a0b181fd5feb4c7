"""The host closure: the job's own interpreter and everything it loads, as one layer at the paths where it lies.

For when no registry answers: an image that runs the interpreter of this very host. It holds the base interpreter
with its standard library (no packages, tests or bytecode), the ELF closure of both, the libraries that the job's
packages load, a shell with the commands that shell lines need, users, time zones, and pip for whoever has Docker
alone.
Nothing of the host's configuration, keys, certificates or history is taken.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

from packaging.specifiers import SpecifierSet

from runbook.environment.elf import default_folders, is_elf, load_closure, read_elf
from runbook.environment.layer import Tree, only_layer, verify_layout, write_layout
from runbook.errors import BundleRejected, NeedMissing
from runbook.model.environment import Interpreter, SystemLibrary
from runbook.model.record import Finding
from runbook.progress import SILENT, Progress

PIP = "/opt/runbook/pip"
"""Where the closure keeps pip: `python /opt/runbook/pip install …`."""

# fmt: off
_COMMANDS = (
    "sh", "bash", "env", "cat", "chmod", "cp", "cut", "date", "dirname", "basename", "echo", "expr", "false",
    "find", "grep", "head", "id", "ln", "ls", "mkdir", "mktemp", "mv", "nproc", "printf", "pwd", "readlink",
    "realpath", "rm", "rmdir", "sed", "seq", "sleep", "sort", "stat", "tail", "tee", "test", "touch", "tr",
    "true", "uname", "uniq", "wc", "whoami", "xargs", "which", "[", "getconf",
)
# fmt: on
# fmt: off
# The C library whole: what packages need of it is the base's own matter, and wheels built for an older glibc still
# ask for the parts that have since become one.
_ALWAYS = (
    "libgcc_s.so.1", "libstdc++.so.6", "libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libm.so.6",
    "libmvec.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libanl.so.1",
)
# fmt: on
_LEFT_OUT = frozenset(
    ("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "turtledemo", "idle_test")
)
_LEFT_OUT_SUFFIXES = (".a", ".o", ".pyc", ".pyo", ".exe")
_PATH = "/usr/local/bin:/usr/bin:/bin"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_NSSWITCH = b"passwd: files\ngroup: files\nhosts: files dns\n"


@dataclass(frozen=True)
class Closure:
    """A host closure in its layout."""

    layout: Path
    digest: str
    """`sha256:…` of the layer's blob."""
    size: int
    """Bytes of the layout."""
    platform: str
    """`linux/amd64`."""
    python: str
    """Absolute path of the base interpreter inside."""
    findings: tuple[Finding, ...] = ()


def build_closure(
    interpreter: Interpreter,
    *,
    libraries: Sequence[SystemLibrary] = (),
    timezone: str = "",
    cache: Path,
    progress: Progress = SILENT,
) -> Closure:
    """Pack the closure, or find it packed: an OCI layout in `cache`.

    It is kept by the stat of everything in it, so that a second capture reads only its blobs. libraries: the
    shared libraries from outside the environment that the job's packages load. timezone: the host's.
    Raises NeedMissing where there is no interpreter to take or the host is not Linux with glibc or musl.
    """
    if interpreter.system != "linux":
        raise NeedMissing(
            "a host closure is for Linux",
            interpreter.system,
            hint="name a base with --image",
            id="closure-not-linux",
        )
    progress.say("collecting the interpreter and its libraries")
    python = find_base_python(interpreter)
    tree, findings = collect(interpreter, python, libraries, timezone)
    architecture = ARCHITECTURES.get(interpreter.machine, interpreter.machine)
    key = tree.key()
    kept = cache / "closures" / key
    if not _sound(kept):
        progress.say(f"packing {len(tree.items)} files as the base layer")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".new-") as scratch:
            path = f"{python.parent}:{_PATH}" if str(python.parent) not in _PATH.split(":") else _PATH
            fresh = Path(scratch) / "layout"
            write_layout(tree, fresh, architecture=architecture, path=path)
            shutil.rmtree(kept, ignore_errors=True)
            fresh.rename(kept)
    files = [p for p in kept.rglob("*") if p.is_file()]
    return Closure(
        layout=kept,
        digest=only_layer(kept),
        size=sum(p.stat().st_size for p in files),
        platform=f"linux/{architecture}",
        python=str(python),
        findings=findings,
    )


def find_base_python(interpreter: Interpreter) -> Path:
    """The real binary of the interpreter that a virtual environment stands on."""
    minor = ".".join(interpreter.version.split(".")[:2])
    flags = "t" if interpreter.abi.endswith("t") else ""
    names = [f"{kind}{minor}{flags}" for kind in ("python", "pypy")] + ["python3", "python", "pypy3"]
    for name in names:
        path = Path(interpreter.base_prefix) / "bin" / name
        if path.is_file() and os.access(path, os.X_OK):
            return path.resolve()
    raise NeedMissing(
        "the job's base interpreter is not there",
        f"{interpreter.base_prefix}/bin/{names[0]}",
        hint="name a base with --image",
        id="closure-no-python",
    )


def collect(
    interpreter: Interpreter, python: Path, wanted: Sequence[SystemLibrary] = (), timezone: str = ""
) -> tuple[Tree, tuple[Finding, ...]]:
    """Every entry of the closure, and what it should hold but could not find."""
    tree = Tree()
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            tree.add(Path("/", name))
    roots = [python, *_python_files(interpreter, python)]
    roots += _commands()
    roots += [Path(library.path) for library in wanted if Path(library.path).is_file()]
    folders = default_folders(interpreter.machine)
    roots += [Path(f) / name for name in _ALWAYS for f in folders if (Path(f) / name).is_file()]
    for path in roots:
        tree.add(path)
    loaded = load_closure((p for p in roots if is_elf(p)), interpreter.machine)
    for path in [*loaded.found.values(), *map(Path, loaded.loaders)]:
        tree.add(path)
    for soname in sorted(loaded.configured):
        # Without an ld.so.cache the loader knows its default folders only.
        tree.link(_inside(folders[0], soname), str(loaded.found[soname]))
    for library in wanted:
        if str(Path(library.path).parent) not in folders and Path(library.path).is_file():
            tree.link(_inside(folders[0], library.soname), library.path)
    _system(tree)
    if (
        re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", timezone)
        and f"usr/share/zoneinfo/{timezone}" in tree.items
    ):
        tree.link("etc/localtime", f"/usr/share/zoneinfo/{timezone}")
    findings = [*_pip(tree, interpreter), *_lost(loaded.lost)]
    return tree, tuple(findings)


def _inside(folder: str, name: str) -> str:
    return str(Path(folder).resolve() / name).lstrip("/")


def _python_files(interpreter: Interpreter, python: Path) -> Iterator[Path]:
    """The other names of the interpreter, its standard library, and what sysconfig reads."""
    for name in ("python", "python3", python.name):
        beside = python.parent / name
        if beside.exists() and beside.resolve() == python:
            yield beside
    prefix = Path(interpreter.base_prefix)
    minor = ".".join(interpreter.version.split(".")[:2])
    flags = "t" if interpreter.abi.endswith("t") else ""
    for folder in ("lib", "lib64"):
        for stdlib in (prefix / folder / f"python{minor}{flags}", prefix / folder / f"pypy{minor}"):
            if stdlib.is_dir() and not (folder == "lib64" and (prefix / "lib64").is_symlink()):
                yield from _walk(stdlib)
    yield from (p for p in prefix.glob(f"include/**/python{minor}{flags}/pyconfig.h") if p.is_file())


def _walk(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in _LEFT_OUT)
        yield Path(here)
        for name in sorted(names):
            path = Path(here) / name
            if not name.endswith(_LEFT_OUT_SUFFIXES) and path.is_file():
                yield path


def _commands() -> Iterator[Path]:
    for name in _COMMANDS:
        for folder in ("/bin", "/usr/bin"):
            path = Path(folder) / name
            if path.is_file():
                yield path
                elf = read_elf(path.resolve())
                if elf is not None:
                    break


def _system(tree: Tree) -> None:
    """What a C library and Python expect of a system, without anything of this one."""
    tree.folder("tmp", 0o1777)
    tree.folder("var/tmp", 0o1777)
    for name in ("root", "proc", "sys", "dev", "run", "home", "opt/runbook"):
        if name not in tree.items:
            tree.folder(name)
    tree.put("etc/passwd", _PASSWD)
    tree.put("etc/group", _GROUP)
    tree.put("etc/nsswitch.conf", _NSSWITCH)
    for name in ("/etc/os-release", "/etc/mime.types", "/etc/services", "/etc/protocols"):
        if Path(name).is_file():
            tree.add(Path(name))
    for folder in ("/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8", "/usr/share/zoneinfo"):
        for path in _files(Path(folder)):
            tree.add(path)


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if f not in ("right", "posix"))
        yield from (Path(here) / name for name in sorted(names))


def _pip(tree: Tree, interpreter: Interpreter) -> Iterator[Finding]:
    """Put pip where plain Docker can run it: runbook's own, or the one that the interpreter brings."""
    own = distribution("pip")
    requires = SpecifierSet(own.metadata["Requires-Python"] or "")
    spec = find_spec("pip")
    if requires.contains(interpreter.version, prereleases=True) and spec and spec.origin:
        folder = Path(spec.origin).parent
        for path in _walk(folder):
            if path.is_file():
                tree.copy(f"{PIP[1:]}/{path.relative_to(folder).as_posix()}", path)
        return
    bundled = sorted(Path(interpreter.base_prefix).glob("lib*/python3*/ensurepip/_bundled/pip-*.whl"))
    minor = ".".join(interpreter.version.split(".")[:2])
    for wheel in (w for w in bundled if f"/python{minor}/" in str(w)):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if re.match(r"pip/.*[^/]$", name) and not name.endswith(_LEFT_OUT_SUFFIXES):
                    tree.put(f"{PIP[1:]}/{name.removeprefix('pip/')}", archive.read(name))
        return
    text = f"no pip for Python {minor} is at hand: data/replay.sh needs one, `runbook replay` does not"
    yield Finding(id="closure-without-pip", level="note", text=text)


def _lost(lost: dict[str, str]) -> Iterable[Finding]:
    for soname, by in sorted(lost.items()):
        yield Finding(
            id="library-not-found", level="warning", text=f"{soname}, which {by} needs, is not on this host"
        )


def _sound(kept: Path) -> bool:
    if not kept.is_dir():
        return False
    try:
        verify_layout(kept)
    except (BundleRejected, OSError):
        return False
    return True
