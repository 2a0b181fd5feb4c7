"""What git says of a checkout: its files, its state, its patch. Reads only, never through a shell.

The environment's GIT_* variables, the repository's external diff, text conversion and file system monitor are
kept out, so that asking about a repository runs nothing that it brings.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runbook.model.fact import Fact, missing, observed
from runbook.observe.urls import without_credentials

_SUBMODULE = "160000"
_INDEX = ("ls-files", "-z", "-t", "--stage")
_LOOSE = ("ls-files", "-z", "--others", "--directory", "--exclude-standard")
_STATUS = (
    *("status", "--porcelain=v2", "-z", "--branch", "--no-ahead-behind", "--untracked-files=all"),
    *("--no-renames", "--ignore-submodules=dirty", "--", "."),
)
_SETTINGS = ("config", "-z", "--list")


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
        oid = self._header("branch.oid")
        return missing("no commit yet") if oid == "(initial)" else observed(oid)

    @cached_property
    def branch(self) -> Fact[str]:
        """The branch, which may not have a commit yet."""
        name = self._header("branch.head")
        return missing("detached HEAD") if name == "(detached)" else observed(name)

    @cached_property
    def remote(self) -> Fact[str]:
        """The remote that the branch follows, else `origin`, else the first; without credentials."""
        settings: dict[str, str] = {}
        for item in _split(self._answers[3]):
            name, _, value = item.partition("\n")
            settings.setdefault(name, value)
        urls = {k[len("remote.") : -len(".url")]: v for k, v in settings.items() if _is_remote_url(k)}
        if not urls:
            return missing("no remote")
        followed = settings.get(f"branch.{self.branch.value}.remote", "")
        name = next((n for n in (followed, "origin") if n in urls), min(urls))
        return observed(without_credentials(urls[name]))

    def listing(self) -> tuple[tuple[Tracked, ...], Status, tuple[str, ...]]:
        """The index, the status, and the untracked folders (collapsed, empty ones too, each ending in `/`)."""
        loose = tuple(path for path in _split(self._answers[2]) if path.endswith("/"))
        return self._index(), self._status(), loose

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

    @cached_property
    def _answers(self) -> list[bytes]:
        """Index, status, what is loose, and the settings, asked for at once: the job waits for them."""
        return _run_together(self.folder, _INDEX, _STATUS, _LOOSE, _SETTINGS)

    def _header(self, name: str) -> str:
        """A line of the status about the whole checkout."""
        lead = f"# {name} "
        return next((line.removeprefix(lead) for line in _split(self._answers[1]) if line.startswith(lead)), "")

    def _index(self) -> tuple[Tracked, ...]:
        found = {}
        for line in _split(self._answers[0]):
            head, _, path = line.partition("\t")
            tag, mode, oid, _stage = head.split(" ")
            found[path] = Tracked(path, mode, oid, tag == "S")  # a conflict has several stages of one path
        return tuple(found.values())

    def _status(self) -> Status:
        modified, untracked = [], []
        for line in _split(self._answers[1]):
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
    return _ended(_begin(folder, arguments))


def _begin(folder: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    quiet = ("-c", "core.fsmonitor=false", "-c", "core.quotepath=off", "--no-optional-locks")
    try:
        return subprocess.Popen(
            ("git", *quiet, *arguments),
            cwd=folder,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise GitRefused("git is not installed") from None
    except OSError as error:
        raise GitRefused(f"git cannot be run: {error.strerror}") from None


def _ended(process: subprocess.Popen[bytes]) -> subprocess.CompletedProcess[bytes]:
    with process:
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _environment() -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return {**kept, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}


def _run(folder: Path, *arguments: str) -> bytes:
    """What git printed. Raises GitRefused with git's own reason when it failed."""
    return _answer(folder, _process(folder, arguments))


def _run_together(folder: Path, *commands: Sequence[str]) -> list[bytes]:
    """What git printed for each; they run at once. Raises GitRefused with the first one's reason."""
    begun: list[subprocess.Popen[bytes]] = []
    try:
        begun.extend(_begin(folder, arguments) for arguments in commands)
        return [_answer(folder, _ended(process)) for process in begun]
    finally:
        for process in begun:
            if process.returncode is None:
                process.kill()
                process.communicate()


def _answer(folder: Path, done: subprocess.CompletedProcess[bytes]) -> bytes:
    if done.returncode == 0:
        return done.stdout
    told = _text(done.stderr).strip()
    if "dubious ownership" in told:
        fix = f"git config --global --add safe.directory {folder}"
        raise GitRefused(f"git refuses a checkout that another user owns; `{fix}` allows it")
    if "not a git repository" in told:
        raise GitRefused("not a git checkout")
    raise GitRefused("git failed: " + (told.splitlines() or [f"exit code {done.returncode}"])[-1][:200])


def _is_remote_url(name: str) -> bool:
    return name.startswith("remote.") and name.endswith(".url")


def _text(data: bytes) -> str:
    return os.fsdecode(data)


def _split(data: bytes) -> list[str]:
    return _text(data).split("\0")[:-1] if data else []
