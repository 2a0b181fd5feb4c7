"""An environment's folder on this machine: files of the trees of its wheels, linked together, and their bytecode.

Containers see it read-only at TARGET. Nothing is copied: environments that have a wheel share its files.
Bytecode is made by the base's own Python in a container, and kept by base and wheel, so that no base decides what
another's jobs run.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import platformdirs

from runbook.engine.interface import Tree
from runbook.errors import EnvironmentNotRebuilt

TARGET: Final = "/opt/runbook/env"
"""Where the environment lies in a container."""
PYTHON: Final = f"{TARGET}/bin/python"
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)
_TAG = re.compile(r"[a-z0-9_.-]{1,64}")
_TESTS = re.compile(r"/tests?/")


@dataclass(frozen=True)
class Python:
    """The base's Python, as it told of itself."""

    base: str
    """Id of the base image, `sha256:…`."""
    version: str
    executable: str
    implementation: str
    tag: str
    """In the names of its bytecode files: `cpython-311`."""


@dataclass(frozen=True)
class Part:
    """A wheel's tree, and where its bytecode for this base is."""

    tree: Tree
    bytecode: Path

    def modules(self) -> list[str]:
        """What is compiled of it: its modules, without a package's own tests, half of many."""
        return [name for name in self.tree.names if name.endswith(".py") and not _TESTS.search(f"/{name}")]


def place(environment_id: str, base: str) -> Path:
    """The folder of an environment on a base; it is whole when it is there."""
    return _cache() / "linked" / f"{_hex(environment_id)}-{_hex(base)[:16]}"


def parts(trees: Iterable[Tree], python: Python) -> list[Part]:
    """The wheels of an environment, in the order in which they are laid out."""
    if not _TAG.fullmatch(python.tag) or not python.executable.startswith("/"):
        raise EnvironmentNotRebuilt(
            "the base's Python does not say how it names bytecode", python.tag, id="base-python-odd"
        )
    folder = _cache() / "bytecode" / f"{_hex(python.base)}-{python.tag}"
    return [Part(tree, folder / tree.key) for tree in sorted(trees, key=lambda tree: tree.key)]


def keep_bytecode(made: IO[bytes], wanted: Iterable[Part], tag: str) -> None:
    """Put what a container compiled where it is looked for. `made` is read as hostile: the base's Python wrote it.

    It is lengths and bytes in the order of the modules, so that nothing in it names a place.
    """
    for part in wanted:
        part.bytecode.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".partial-", dir=part.bytecode.parent))
        try:
            wanted_here = (cached(name, tag) for name in part.modules())
            names = [name for name in wanted_here if _keep(made, draft, name)]
            (draft / "listing.json").write_text(json.dumps(names))
            draft.rename(part.bytecode)
        except OSError:
            if not part.bytecode.is_dir():  # Else another runbook was quicker.
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def cached(name: str, tag: str) -> str:
    """`a/__pycache__/b.cpython-311.pyc` of `a/b.py`."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}__pycache__/{last.removesuffix('.py')}.{tag}.pyc"


def _keep(made: IO[bytes], folder: Path, name: str) -> bool:
    head = made.read(8)
    length = struct.unpack(">Q", head)[0] if len(head) == 8 else None
    data = made.read(length) if length is not None else b""
    if length is None or len(data) != length:
        raise EnvironmentNotRebuilt(
            "the base's Python did not compile what it was given", name, id="base-python-odd"
        )
    if data:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)
    return bool(data)


def assemble(target: Path, wheels: Iterable[Part], python: Python) -> None:
    """Make the environment's folder, by a rename. Where two wheels have one file, the first's stays."""
    minor = ".".join(python.version.split(".")[:2])
    links = {
        "bin/python": python.executable,
        "bin/python3": "python",
        f"bin/python{minor}": "python",
        "lib64": "lib",
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    made = {""}
    try:
        _configure(draft, python)
        for part in wheels:
            taken = set()
            for name in part.tree.names:
                if not _ours(name, links) and not _link(f"{part.tree.files}/{name}", draft, name, made):
                    taken.add(cached(name, python.tag))
            for name in _bytecode(part):
                if name not in taken:
                    _link(f"{part.bytecode}/{name}", draft, name, made)
        _folders(draft, "bin", made)
        _folders(draft, f"lib/python{minor}{'t' if python.tag.endswith('t') else ''}/site-packages", made)
        # Last, for nothing may be written through a link that the base's Python named.
        for name, to in links.items():
            (draft / name).symlink_to(to)
        draft.chmod(0o755)
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _ours(name: str, links: Mapping[str, str]) -> bool:
    """Whether a wheel's file would lie where a link of the environment does, or below it."""
    return not name.startswith("lib/") and any(name == link or name.startswith(f"{link}/") for link in links)


def _bytecode(part: Part) -> list[str]:
    found: list[str] = json.loads((part.bytecode / "listing.json").read_bytes())
    return found


def _link(source: str, root: Path, name: str, made: set[str]) -> bool:
    """Link a file into place, or copy it where links are not to be had; False when something is there."""
    folder = name.rpartition("/")[0]
    if folder not in made:
        _folders(root, folder, made)
    target = f"{root}/{name}"
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)
    return True


def _folders(root: Path, folder: str, made: set[str]) -> None:
    if folder in made:
        return
    _folders(root, folder.rpartition("/")[0], made)
    path = f"{root}/{folder}"
    os.makedirs(path, exist_ok=True)  # noqa: PTH103 - a Path for each of many folders is slow
    os.chmod(path, 0o755)  # noqa: PTH101, S103
    made.add(folder)


def _configure(root: Path, python: Python) -> None:
    """Write what makes it a virtual environment (PEP 405)."""
    settings = {
        "home": python.executable.rpartition("/")[0],
        "implementation": python.implementation,
        "version_info": python.version,
        "include-system-site-packages": "false",
    }
    path = root / "pyvenv.cfg"
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    path.chmod(0o644)


def _cache() -> Path:
    return platformdirs.user_cache_path("runbook")


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
