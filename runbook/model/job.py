"""The Job (what was asked) and its Outcome (what happened)."""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Fact, Value


class Variable(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One allow-listed environment variable."""

    name: str
    value: str
    redacted: bool = False


class StandardInput(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A file that the job read as its standard input."""

    path: str
    """As the path of the input that it is, or that holds it."""
    offset: int = 0
    """Bytes of it that had been read before the job began."""


class Job(Value, frozen=True, kw_only=True, omit_defaults=True):
    """argv, working folder and environment, as asked."""

    argv: tuple[str, ...]
    """The command as typed; never joined into a shell line."""
    root: str
    """Absolute path of the project's root on the original machine."""
    cwd: str
    """Working folder relative to `root`, POSIX; `.` for the root itself."""
    stdin: StandardInput | None = None
    """None: it read nothing there, or nothing that is kept."""
    variables: tuple[Variable, ...] = ()
    """Allow-listed variables, sorted by name."""
    variables_dropped: int = 0
    """How many others the job's environment held; neither names nor values are kept."""
    parameters: dict[str, str] = {}
    """Parameters read from the argv (`--lr 0.1`) or declared."""


Status = Literal["completed", "failed", "killed", "timeout", "interrupted", "stopped", "unobserved"]
"""`stopped`: by us, because enough had been seen of it."""


class Outcome(Value, frozen=True, kw_only=True, omit_defaults=True):
    """How the job ended."""

    status: Status
    exit_code: Fact[int]
    signal: str = ""
    """Name of the signal that ended it, such as SIGKILL."""
    reason: str = ""
    """Why it was ended from outside (a limit that it broke), one sentence; empty when it ended by itself."""
    started: Fact[str]
    """UTC, RFC 3339 with seconds."""
    ended: Fact[str]
    duration_s: Fact[float]


class Resources(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What the job and its children used."""

    cpu_user_s: Fact[float]
    cpu_system_s: Fact[float]
    peak_rss_bytes: Fact[int]
    read_bytes: Fact[int]
    written_bytes: Fact[int]
    peak_processes: Fact[int]
    peak_gpu_memory_bytes: Fact[int]
