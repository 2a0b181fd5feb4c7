"""What git says of a checkout: its files, its state, its patch. Reads only, never through a shell.

The environment's GIT_* variables, the repository's external diff, text conversion and file system monitor are
kept out, so that asking about a repository runs nothing that it brings.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runbook.model.fact import Fact, missing, observed
from runbook.observe.urls import without_credentials

_SUBMODULE = "160000"


class GitRefused(Exception):
    """git cannot tell about this folder; the text is the reason, one sentence."""


@dataclass(frozen=True)
class Tracked:
    """One entry of the index: its path relative to the folder asked about, and its object."""

    path: str
    mode: str
    oid: str
    sparse: bool

    @property
    def submodule(self) -> bool:
        """Whether it is a submodule and not a file."""
        return self.mode == _SUBMODULE


@dataclass(frozen=True)
class Status:
    """What differs from the commit, by paths relative to the folder; a nested checkout ends in `/`."""

    modified: tuple[str, ...]
    untracked: tuple[str, ...]


@dataclass(frozen=True)
class Checkout:
    """A folder inside a git work tree."""

    folder: Path
    prefix: str
    """The folder's own path below the top of the work tree, ending in `/`; empty at the top."""

    @cached_property
    def commit(self) -> Fact[str]:
        """The commit that is checked out."""
        oid = _ask(self.folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
        return observed(oid.decode()) if oid else missing("no commit yet")

    @cached_property
    def branch(self) -> Fact[str]:
        """The branch, which may not have a commit yet."""
        name = _text(_ask(self.folder, "symbolic-ref", "--quiet", "--short", "HEAD").strip())
        return observed(name) if name else missing("detached HEAD")

    @cached_property
    def remote(self) -> Fact[str]:
        """The remote that the branch follows, else `origin`, else the first; without credentials."""
        settings = _settings(self.folder)
        urls = {k[len("remote.") : -len(".url")]: v for k, v in settings.items() if _is_remote_url(k)}
        if not urls:
            return missing("no remote")
        followed = settings.get(f"branch.{self.branch.value}.remote", "")
        name = next((n for n in (followed, "origin") if n in urls), min(urls))
        return observed(without_credentials(urls[name]))

    def listing(self) -> tuple[tuple[Tracked, ...], Status, tuple[str, ...]]:
        """The index, the status, and the untracked folders (collapsed, empty ones too, each ending in `/`)."""
        folders = ("ls-files", "-z", "--others", "--directory", "--exclude-standard")
        with ThreadPoolExecutor(3) as pool:
            index = pool.submit(self._index)
            status = pool.submit(self._status)
            loose = pool.submit(_run, self.folder, *folders)
            return index.result(), status.result(), tuple(p for p in _split(loose.result()) if p.endswith("/"))

    def patch(self, paths: Sequence[str], at: str) -> bytes:
        """`git diff HEAD --binary` of these paths (none: all); `at` is put before every path, as `sub/`."""
        if not self.commit.known:
            return b""
        prefixes = (f"--src-prefix=a/{at}", f"--dst-prefix=b/{at}")
        plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--ignore-submodules=dirty")
        return _run(
            self.folder,
            "--literal-pathspecs",
            "diff",
            "HEAD",
            "--binary",
            "--relative",
            *plain,
            *prefixes,
            "--",
            *paths,
        )

    def _index(self) -> tuple[Tracked, ...]:
        found = {}
        for line in _split(_run(self.folder, "ls-files", "-z", "-t", "--stage")):
            head, _, path = line.partition("\t")
            tag, mode, oid, _stage = head.split(" ")
            found[path] = Tracked(path, mode, oid, tag == "S")  # a conflict has several stages of one path
        return tuple(found.values())

    def _status(self) -> Status:
        flags = ("--porcelain=v2", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty")
        modified, untracked = [], []
        for line in _split(_run(self.folder, "status", *flags, "--", ".")):
            kind, _, rest = line.partition(" ")
            if kind == "?":
                untracked.append(rest.removeprefix(self.prefix))
            elif kind in ("1", "u"):
                path = rest.split(" ", 7 if kind == "1" else 9)[-1]
                modified.append(path.removeprefix(self.prefix))
        return Status(tuple(sorted(modified)), tuple(sorted(untracked)))


def open_checkout(folder: Path) -> Checkout:
    """The checkout that the folder is in. Raises GitRefused with the reason when there is none to ask."""
    told = _text(_run(folder, "rev-parse", "--is-inside-work-tree", "--show-prefix"))
    inside, _, prefix = told.partition("\n")
    if inside != "true":
        raise GitRefused("not a git checkout")
    prefix = prefix.removesuffix("\n")
    if prefix and _process(folder, ("check-ignore", "--quiet", "--", ".")).returncode == 0:
        raise GitRefused("the git checkout around this folder ignores it")
    return Checkout(folder, prefix)


def _process(folder: Path, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    quiet = (
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.quotepath=off",
        "--no-optional-locks",
    )
    try:
        return subprocess.run(
            ("git", *quiet, *arguments), cwd=folder, env=_environment(), capture_output=True, check=False
        )
    except FileNotFoundError:
        raise GitRefused("git is not installed") from None
    except OSError as error:
        raise GitRefused(f"git cannot be run: {error.strerror}") from None


def _environment() -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def _run(folder: Path, *arguments: str) -> bytes:
    """What git printed. Raises GitRefused with git's own reason when it failed."""
    done = _process(folder, arguments)
    if done.returncode == 0:
        return done.stdout
    told = _text(done.stderr).strip()
    if "dubious ownership" in told:
        fix = f"git config --global --add safe.directory {folder}"
        raise GitRefused(f"git refuses a checkout that another user owns; `{fix}` allows it")
    if "not a git repository" in told:
        raise GitRefused("not a git checkout")
    raise GitRefused("git failed: " + (told.splitlines() or [f"exit code {done.returncode}"])[-1][:200])


def _ask(folder: Path, *arguments: str) -> bytes:
    """What git printed, empty when it had no answer."""
    return _process(folder, arguments).stdout


def _settings(folder: Path) -> dict[str, str]:
    """The first value of every setting."""
    found: dict[str, str] = {}
    for item in _split(_ask(folder, "config", "-z", "--list")):
        name, _, value = item.partition("\n")
        found.setdefault(name, value)
    return found


def _is_remote_url(name: str) -> bool:
    return name.startswith("remote.") and name.endswith(".url")


def _text(data: bytes) -> str:
    return os.fsdecode(data)


def _split(data: bytes) -> list[str]:
    return _text(data).split("\0")[:-1] if data else []
