"""What was seen of a job while it ran, from inside its Python processes or by a system-level tracer.

Paths are absolute and normalised.
"""

from __future__ import annotations

from typing import Literal

from runbook.model.fact import Value

Tracer = Literal["python", "native"]
"""The hook inside the job's Python processes; strace, which sees every program."""


class Process(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One process of the job: the hook entered it, or a system-level tracer saw it."""

    number: int
    """What it goes by in this record. Processes stand in the order of their start."""
    pid: int
    parent: int | None = None
    """The number of the nearest ancestor that was seen too."""
    argv: tuple[str, ...] = ()
    cwd: str = ""
    """The working folder when the process started."""
    executable: str = ""
    python: str = ""
    """Its version, such as `3.11.7`; empty where the hook did not enter."""
    start: Literal["start", "fork"] = "start"
    """`fork`: made by `os.fork`, so that it began with its parent's memory; all others began as an interpreter."""
    variables: dict[str, str] = {}
    """The variables of a fixed list that were set when it started: ranks, thread counts, PYTHONHASHSEED."""
    ended: bool = False
    """Whether its regular end was seen; else it was killed, crashed, replaced itself, or called `os._exit`."""


class FileUse(Value, frozen=True, kw_only=True, omit_defaults=True):
    """What the job did with one path. A failed attempt looks the same: the caller checks that there is a file."""

    path: str
    read: bool = False
    written: bool = False
    first: Literal["read", "written"] = "read"
    """A file that was read first is an input, even when it was written later."""
    readers: tuple[int, ...] = ()
    """Numbers of the processes that read it, the first few."""
    writers: tuple[int, ...] = ()
    """Numbers of the processes that wrote, renamed or removed it, the first few."""
    removed: bool = False
    """Whether it was removed, or renamed away, and not written again."""
    kept: str = ""
    """The file, relative to the watch folder, that holds what an older file had before the job overwrote it."""
    url: str = ""
    """What the same thread had asked for in the minute before it opened this file to write, or asked for then."""
    fetched_by: str = ""
    """The library that wrote it then, one that downloads: `huggingface_hub`, `sklearn.datasets` …"""
    linked_to: str = ""
    """Where it leads, when the job made it as a symbolic link."""
    renamed_from: str = ""
    """The path under which it was written, when it was renamed."""
    order: int = -1
    """How many paths were opened before it was for the first time; -1 where that is not known."""
    library: bool = False
    """Whether it was loaded as a native library or an extension module, not opened as a file."""
    seen_by: tuple[Tracer, ...] = ("python",)

    @property
    def made(self) -> bool:
        """Whether the job made it: what was there before is kept when it is read and then overwritten."""
        return self.first == "written" or (self.read and self.written and not self.kept)


class FolderUse(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Files of one folder that are too many to be listed one by one."""

    path: str
    read: int = 0
    """How many of them were read, at most: a file that was opened again may count again."""
    written: int = 0


class SeedCall(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A call that set the state of a random generator, such as `numpy.random.seed(7)`."""

    function: str
    value: str
    """Its argument as Python writes it, at most 100 characters."""
    process: int
    where: str = ""
    """The line of the job that caused it, such as `train.py:12`; relative to the process's working folder."""
    count: int = 1
    """How often that line made this call; at least so often when the process did not end regularly."""


class Use(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Random numbers were taken from a library's own generator."""

    library: str
    """`random`, `numpy.random`, `numpy.random.default_rng`, `torch` …"""
    process: int
    seeded: bool = False
    by_library: bool = False
    """Whether only libraries drew them, as far as is seen: the job's own code does not import the module."""
    detail: str = ""
    """The seed that the library chose by itself, where it tells it."""
    where: str = ""
    """The line of the job, where it is known."""


class Switch(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A setting that decides about determinism, or a thread count, as it was when the process ended."""

    name: str
    value: str
    process: int


class Connection(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A connection that the job tried to make, or a URL that it asked for."""

    process: int
    host: str = ""
    port: int = 0
    url: str = ""
    """Without credentials and without the values of its query; empty when only the connection was seen."""
    method: str = ""
    """`GET`, `HEAD` …; empty where it was not seen."""
    by: str = ""
    """The library that asked, one that keeps what it downloads; `redirect` when a server sent the job there."""


class Subprocess(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A program that the job started, or that it became (`exec`)."""

    argv: tuple[str, ...]
    process: int
    executable: str = ""
    exec: bool = False
    """Whether the process was replaced by it."""


class Distributed(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A process group that this process joined, in its framework's words."""

    process: int
    framework: str
    backend: str
    world_size: int
    rank: int


class Stage(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a job: as declared, or a program that the job's own shell or make started, with all below it."""

    name: str
    """Unique: as declared, else the script or module."""
    argv: tuple[str, ...]
    processes: tuple[int, ...]
    """Numbers of its processes, the first few."""
    inputs: tuple[str, ...] = ()
    """Paths as in `Record.files`: read and not made by this step."""
    outputs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """Names of the earlier steps whose outputs it read."""
    declared: bool = False
    """Whether it was declared; else it was seen."""
    status: Literal["completed", "failed", "not run", ""] = ""
    """How a declared step ended; empty when that is not known."""


class Watched(Value, frozen=True, kw_only=True, omit_defaults=True):
    """All that was seen of one run."""

    tracers: tuple[Tracer, ...] = ("python",)
    """Those that watched."""
    processes: tuple[Process, ...] = ()
    files: tuple[FileUse, ...] = ()
    """By path."""
    folders: tuple[FolderUse, ...] = ()
    """Where files were too many to be listed."""
    imports: tuple[str, ...] = ()
    """Top-level names of the modules that were imported with success, the standard library's too."""
    seeds: tuple[SeedCall, ...] = ()
    uses: tuple[Use, ...] = ()
    switches: tuple[Switch, ...] = ()
    connections: tuple[Connection, ...] = ()
    subprocesses: tuple[Subprocess, ...] = ()
    distributed: tuple[Distributed, ...] = ()
    varied: dict[str, int] = {}
    """What a replay changed inside the job on purpose (`order`, `time`) → how often the job met it, at least."""
    lost: tuple[str, ...] = ()
    """What could not be seen, one sentence each."""
