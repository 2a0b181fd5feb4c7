"""Which files are the job's code: tracked with their uncommitted state, and untracked but not ignored.

Nothing is hashed or copied here; the listing says what belongs, what was left out and why.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import structs

from runbook.errors import UsageError
from runbook.model.code import Git, Link, Shape, Submodule
from runbook.model.fact import Fact, missing, observed
from runbook.model.path import defect, text_defect
from runbook.model.record import Finding
from runbook.model.text import printable
from runbook.observe.git import Checkout, GitRefused, Tracked, open_checkout

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE_FILE = ".runbookignore"
"""gitignore syntax; what it names does not enter a bundle, whether git tracks it or not."""

_CACHES = frozenset(
    (
        *("__pycache__", ".venv", "node_modules", ".ipynb_checkpoints", ".git", ".hg", ".svn"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox", ".eggs"),
    )
)
_PLACE = "data/code/"  # where a bundle holds these files: its rules for names count from its top
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_NAMED = 3


@dataclass(frozen=True)
class CodeListing:
    """The job's code: paths relative to `root`, POSIX, sorted."""

    root: Path
    git: Fact[Git]
    files: tuple[str, ...]
    sizes: Mapping[str, int]
    """Bytes of every file in `files`."""
    shape: Shape
    patch: bytes = b""
    """The uncommitted changes, submodules too, as `git apply` reads them; `files` already have them."""
    narrowed_to: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """What does not belong and why, one sentence each."""
    findings: tuple[Finding, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    def largest_folders(self, limit: int = 5) -> tuple[tuple[str, int, int], ...]:
        """The top-level folders that weigh most: (name, files, bytes); `.` stands for the files beside them."""
        size: Counter[str] = Counter()
        count: Counter[str] = Counter()
        for path, weight in self.sizes.items():
            top = path.partition("/")[0] if "/" in path else "."
            size[top] += weight
            count[top] += 1
        return tuple((name, count[name], weight) for name, weight in size.most_common(limit))


@dataclass
class _Found:
    """What a way of listing came up with, before anything is left out."""

    git: Fact[Git]
    paths: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    """Folders that hold nothing."""
    patch: bytes = b""
    left_out: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_code(root: Path, *, narrow: Iterable[str] = (), exclude: Iterable[str] = ()) -> CodeListing:
    """List the code under `root` (absolute), narrowed to some of its paths.

    exclude: further gitignore patterns, beside those of `.runbookignore`.
    Raises UsageError for a narrowing path that is not there or not under the root.
    """
    narrowed = _narrowed(root, narrow)
    try:
        found = _from_git(open_checkout(root), narrowed)
    except GitRefused as refused:
        found = _from_walk(root, narrowed, str(refused))
    return _sift(root, found, narrowed, tuple(exclude))


def _narrowed(root: Path, narrow: Iterable[str]) -> tuple[str, ...]:
    """The narrowing paths relative to the root; empty when one of them is the root itself."""
    found = set()
    for given in narrow:
        path = Path(os.path.normpath(root / given))
        if not path.is_relative_to(root):
            hint = f"name paths under {root}, or start the job from a folder that holds them"
            raise UsageError("--code path outside the project", given, hint=hint, id="code-path-outside")
        if not os.path.lexists(path):
            raise UsageError("--code path not found", given, hint=f"look at: ls {root}", id="code-path-missing")
        found.add(path.relative_to(root).as_posix())
    return () if "." in found else tuple(sorted(found))


def _covers(narrowed: tuple[str, ...], path: str) -> bool:
    return not narrowed or any(path == one or path.startswith(f"{one}/") for one in narrowed)


def _from_git(checkout: Checkout, narrowed: tuple[str, ...], at: str = "") -> _Found:
    """Files of a checkout; its submodules and the checkouts nested in it are asked in turn. `at` is its place."""
    tracked, status, loose = checkout.listing()
    found = _Found(git=missing("being read"))
    modified = [at + p for p in status.modified if _covers(narrowed, at + p)]
    untracked = [at + p for p in status.untracked if not p.endswith("/") and _covers(narrowed, at + p)]
    found.paths = {at + t.path for t in tracked if not t.submodule and not t.sparse}
    found.paths.update(untracked)
    found.folders = {at + p.rstrip("/") for p in loose}
    sparse = sum(t.sparse for t in tracked)
    if sparse:
        found.left_out.append(f"{sparse} tracked files that the sparse checkout leaves out")
    if modified:
        wanted = [one.removeprefix(at) for one in narrowed if one.startswith(at)]
        found.patch = checkout.patch(wanted, at)
    submodules = []
    inside = [t for t in tracked if t.submodule]
    inside += [Tracked(p.rstrip("/"), "", "", False) for p in status.untracked if p.endswith("/")]
    for one in inside:
        place = at + one.path
        if not any(_covers(narrowed, place) or n.startswith(place + "/") for n in narrowed or (place,)):
            continue
        submodule, part = _nested(checkout.folder / one.path, one, place, narrowed)
        submodules.append(submodule)
        if part is not None:
            nested = part.git.value
            found.paths |= part.paths
            found.folders |= part.folders
            found.patch += part.patch
            found.left_out += part.left_out
            found.findings += part.findings
            modified += nested.modified if nested else ()
            untracked += nested.untracked if nested else ()
            submodules += nested.submodules if nested else ()
        else:
            text = f"submodule {_shown(place)} is not checked out: its files are not in the bundle"
            found.findings.append(Finding(id="submodule-absent", level="warning", text=text))
    found.git = observed(
        Git(
            commit=checkout.commit,
            branch=checkout.branch,
            remote=checkout.remote,
            dirty=bool(modified),
            modified=tuple(_shown(p) for p in sorted(modified)),
            untracked=tuple(_shown(p) for p in sorted(untracked)),
            submodules=tuple(sorted(submodules, key=lambda s: s.path)),
        )
    )
    return found


def _nested(folder: Path, one: Tracked, place: str, narrowed: tuple[str, ...]) -> tuple[Submodule, _Found | None]:
    """A submodule or nested checkout, and its own listing when it is checked out."""
    name = _shown(place)
    try:
        if not (folder / ".git").exists():
            raise GitRefused("not checked out")
        checkout = open_checkout(folder)
        part = _from_git(checkout, narrowed, place + "/")
    except GitRefused as refused:
        commit: Fact[str] = observed(one.oid) if one.oid else missing(str(refused))
        return Submodule(path=name, commit=commit, remote=missing(str(refused))), None
    return Submodule(path=name, commit=checkout.commit, remote=checkout.remote), part


def _from_walk(root: Path, narrowed: tuple[str, ...], reason: str) -> _Found:
    """Every file below the root, without caches. Links are listed, never followed."""
    found = _Found(git=missing(reason))
    todo = [""]
    while todo:
        here = todo.pop()
        try:
            entries = list(os.scandir(root / here))
        except OSError as error:
            found.left_out.append(f"{_shown(here)}/ cannot be read: {error.strerror}")
            continue
        if not entries and here:
            found.folders.add(here.rstrip("/"))
        for entry in entries:
            path = here + entry.name
            if not entry.is_dir(follow_symlinks=False):
                found.paths.add(path)
            elif entry.name not in _CACHES and _reaches(narrowed, path):
                if _not_code(root, path):
                    found.paths.add(path + "/")
                else:
                    todo.append(path + "/")
    return found


def _reaches(narrowed: tuple[str, ...], folder: str) -> bool:
    """Whether the folder holds or lies in a narrowing path."""
    return _covers(narrowed, folder) or any(one.startswith(folder + "/") for one in narrowed)


def _not_code(root: Path, folder: str) -> str:
    """Why a folder never belongs to the code, by itself; empty when it may."""
    name = folder.rpartition("/")[2]
    if name == ".runbook" or name.endswith((".runbook", ".partial")):
        return "runbook's own"
    if name == ".git":
        return "git's own"
    return "a virtual environment" if (root / folder / "pyvenv.cfg").is_file() else ""


def _sift(root: Path, found: _Found, narrowed: tuple[str, ...], exclude: tuple[str, ...]) -> CodeListing:
    """Leave out what never belongs, look at every file once, and say what was left out."""
    rules = {f"named by {IGNORE_FILE}": _rules(_ignore_file(root)), "excluded": _rules(exclude)}
    ignored = {why: spec for why, spec in rules.items() if spec is not None}
    known: dict[str, str] = {}
    real: dict[str, bool] = {"": True}
    dropped: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    top = f"{root}/"  # joined as text: pathlib takes longer than the file system for a hundred thousand files
    links, executables, pointers, odd = [], [], [], []
    for path in sorted(found.paths):
        if not _covers(narrowed, path):
            continue
        why = _never(root, path, known) or _ignored(ignored, path)
        if why:
            dropped.setdefault(why, []).append(path)
            continue
        parent = path.rpartition("/")[0]
        try:
            told = os.lstat(top + path) if _real(root, parent, real) else None
        except OSError:
            told = None
        if told is None:
            continue  # deleted, or behind a link that replaced its folder
        if defect(_PLACE + path):
            odd.append(path)
        elif stat.S_ISLNK(told.st_mode):
            target = os.readlink(root / path)  # noqa: PTH115 -- pathlib would rewrite `./x` and `x/`
            if text_defect(target) is None:
                links.append(Link(path=path, target=target))
            else:
                odd.append(path)
        elif stat.S_ISREG(told.st_mode):
            sizes[path] = told.st_size
            if told.st_mode & stat.S_IXUSR:
                executables.append(path)
            if 100 <= told.st_size <= 300 and _is_pointer(root / path):
                pointers.append(path)
        elif not stat.S_ISDIR(told.st_mode):
            dropped.setdefault("neither a file nor a link", []).append(path)
    left_out = found.left_out + [f"{_some(paths)}: {why}" for why, paths in sorted(dropped.items())]
    findings = list(found.findings)
    if odd:
        left_out.append(f"{_some(odd)}: a bundle cannot hold such a name")
        text = f"files with a name that a bundle cannot hold were left out: {_some(odd)}"
        findings.append(Finding(id="name-not-storable", level="warning", text=text))
    if pointers:
        text = f"Git LFS pointers stand in place of their files: {_some(pointers)}; `git lfs pull` fetches them"
        findings.append(Finding(id="lfs-pointer", level="warning", text=text))
    tops = [f for f in found.folders if not _never(root, f"{f}/", known) and not _ignored(ignored, f"{f}/")]
    empty = [
        f
        for f in sorted(_empty_folders(root, tops))
        if _covers(narrowed, f)
        and not defect(_PLACE + f)
        and not _never(root, f"{f}/", known)
        and not _ignored(ignored, f"{f}/")
    ]
    here = {*map(_shown, sizes), *(link.path for link in links)}
    git = found.git
    if git.value is not None:  # what was left out is told once, not among the untracked files again
        untracked = tuple(p for p in git.value.untracked if p in here)
        git = observed(structs.replace(git.value, untracked=untracked))
    shape = Shape(links=tuple(links), executables=tuple(executables), empty_directories=tuple(empty))
    return CodeListing(
        root=root,
        git=git,
        files=tuple(sizes),
        sizes=sizes,
        shape=shape,
        patch=found.patch,
        narrowed_to=narrowed,
        left_out=tuple(left_out),
        findings=tuple(findings),
    )


def _rules(lines: Sequence[str]) -> GitIgnoreSpec | None:
    """What the lines leave out; None when that is nothing."""
    if not lines:
        return None
    from pathspec import GitIgnoreSpec  # Few projects need it, and every job's start would wait for it.

    spec = GitIgnoreSpec.from_lines(lines)
    return spec if spec.patterns else None


def _ignore_file(root: Path) -> list[str]:
    try:
        return (root / IGNORE_FILE).read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        hint = "write it as UTF-8 text in gitignore syntax"
        raise UsageError("ignore file cannot be read", f"{IGNORE_FILE} ({error})", hint=hint) from None


def _ignored(rules: Mapping[str, GitIgnoreSpec], path: str) -> str:
    """Which rules leave the path out; empty when none does."""
    if not rules:
        return ""
    text = os.fsencode(path).decode(errors="replace")
    return next((why for why, spec in rules.items() if spec.match_file(text)), "")


def _never(root: Path, path: str, known: dict[str, str]) -> str:
    """Why a path never belongs: something above it, or its own name; empty when it may."""
    folder, _, name = path.rpartition("/")
    if name.endswith((".runbook.zip", ".partial")):
        return "runbook's own"
    if name == ".git":
        return "git's own"  # the file that stands for a submodule's or work tree's folder
    if folder and folder not in known:
        known[folder] = _never(root, folder, known) or _not_code(root, folder)
    return known.get(folder, "")


def _real(root: Path, folder: str, real: dict[str, bool]) -> bool:
    """Whether no component of the folder is a link."""
    if folder not in real:
        real[folder] = _real(root, folder.rpartition("/")[0], real) and not (root / folder).is_symlink()
    return real[folder]


def _empty_folders(root: Path, folders: Iterable[str]) -> Iterator[str]:
    """The folders without an entry, among these and below them."""
    for top in folders:
        for here, below, names in os.walk(root / top):
            if not below and not names:
                yield Path(here).relative_to(root).as_posix()


def _is_pointer(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return False


def _shown(path: str) -> str:
    """The path for a person: on one line, control characters and bytes that are not UTF-8 as escapes."""
    return printable(path).replace("\n", "\\n").replace("\t", "\\t")


def _some(paths: list[str]) -> str:
    names = ", ".join(_shown(p) for p in paths[:_NAMED])
    return names if len(paths) <= _NAMED else f"{names} and {len(paths) - _NAMED} more"
