"""What an engine is: it builds an environment from a plan and runs a job in it, in a sandbox.

A new engine is one new file beside this one with a module-level `MEMBER`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from runbook.model.code import Shape
from runbook.model.environment import Base, Interpreter
from runbook.model.execution import Execution
from runbook.model.job import StandardInput
from runbook.progress import Progress


@dataclass(frozen=True)
class Library:
    """A shared library of the system that the job's packages load."""

    text: str
    """`libgomp.so.1 (libgomp1 12.2.0-14), which lightgbm loads`."""
    held: bool
    """Whether its file is at hand."""
    digest: str = ""
    """Sha256 of that file, hex."""


@dataclass(frozen=True)
class Tree:
    """A wheel as it lies when installed, without bytecode."""

    key: str
    """Its sha256, hex."""
    files: Path
    """Folder of the host, which stands for the environment's own. No link is in it."""
    names: tuple[str, ...]
    """Paths of the files in it."""


@dataclass(frozen=True)
class Plan:
    """What has to stand before the job can run; what lies in the bundle is unpacked only to build."""

    environment_id: str
    """`sha256:…`; names the image."""
    base: Base
    layout: Callable[[], Path] | None
    """Gives the OCI layout folder of the base when it is carried, already verified; None: from a registry or the
    engine."""
    interpreter: Interpreter
    requirements: Callable[[], Path]
    """Gives the hashed requirements file."""
    wheels: Callable[[], Path]
    """Fetches the folder of every wheel that the requirements name, hash-checked."""
    trees: Callable[[str], Sequence[Tree]]
    """Gives the tree of each, whose scripts name this interpreter."""
    frozen: tuple[str, ...] = ()
    """`name==version` of what must be installed afterwards."""
    libraries: Mapping[str, Library] = field(default_factory=dict)
    """Soname → a shared library of the system that the packages load, and that the base may lack."""
    library_files: Callable[[], Path] | None = None
    """Gives the folder of those that are at hand, a file called by each soname; None where none is."""


@dataclass(frozen=True)
class Built:
    """An environment that is ready."""

    engine: str
    handle: str
    """Image id, or the path of a virtual environment."""
    cached: bool
    """True when nothing had to be built."""
    python: str
    """Absolute path of the environment's interpreter."""
    folder: Path | None = None
    """Folder of the host that containers of `handle` see as their environment; None: it needs none."""
    substitutions: tuple[str, ...] = ()
    """What had to be replaced, one sentence each; empty when nothing was."""


@dataclass(frozen=True)
class Stock:
    """What an engine has of an environment before it builds it."""

    environment: bool
    """Nothing has to be built."""
    base: bool
    """The base is there, or none is needed."""
    folder: Path | None
    """Where it would lie; None where this process cannot see that."""
    problem: str = ""
    """Why what is lacking, and not in the bundle, cannot be had; empty when it can, or when nobody can tell."""
    hint: str = ""
    """What mends the problem."""
    memory_bytes: int | None = None
    """Of the machine that the engine runs on, which may be a virtual one; None: this one."""


@dataclass(frozen=True)
class Mount:
    """A file or tree of the host that the job sees read-only."""

    source: Path
    target: str
    """Absolute POSIX path that the job sees."""
    shape: Shape = Shape()
    tree: bool = False
    """Whether it is a folder."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the sandbox. None: the engine's default."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int = 4096
    time_s: float | None = None
    output_bytes: int = 20 * 1024**3
    """Bytes that the working folder may grow by."""
    shm_bytes: int = 2 * 1024**3
    tmp_bytes: int = 4 * 1024**3


@dataclass(frozen=True)
class Sandbox:
    """One execution: what runs, where, with what in sight."""

    argv: tuple[str, ...]
    """As recorded; argv[0] is resolved inside the environment."""
    root: str
    """Absolute path at which the job finds its project, as on the original machine."""
    cwd: str
    """Relative to root."""
    work: Path
    """Writable copy of the project on the host; becomes `root` inside. Outputs are read from it afterwards."""
    shape: Shape
    """Links, modes and empty directories of the code, restored inside."""
    mounts: tuple[Mount, ...]
    variables: Mapping[str, str]
    """HOME, where it is among them, tells where the original's was; inputs below it are found below the job's."""
    stdout: Path
    stderr: Path
    stdin: StandardInput | None = None
    """The file that the job reads as standard input, in `work` or mounted; None: it finds that empty."""
    watch: Path | None = None
    """Folder of the host for what watching from inside sees (see runbook.launch.watch); None: not watched."""
    vary: str = ""
    """What the hook changes about the job on purpose, `order` or `time`; needs `watch`."""
    elsewhere: bool = False
    """Whether the job finds its project in another folder than the original's, on purpose."""
    caches: tuple[str, ...] = ()
    """Folders of the original in which libraries keep what they downloaded: the job may write there, in memory."""
    limits: Limits = Limits()
    network: Literal["none", "allowed"] = "none"
    gpus: bool = False
    enough: Callable[[], str] = str
    """Asked while the job runs; a sentence says why it is stopped now (SIGINT, then SIGKILL)."""
    echo: bool = False
    """Show the job's output on stderr while it runs, made safe to print."""


class Engine(Protocol):
    """Where a rebuilt environment runs."""

    @property
    def name(self) -> str:
        """`docker`, `local` …"""

    @property
    def isolation(self) -> str:
        """One sentence: how strong the sandbox is, printed in every report."""

    def available(self) -> str:
        """Empty when it can be used here, else the reason."""

    def hint(self) -> str:
        """The command that makes it available, or stronger where `warnings` has something to say; else empty."""

    def describe(self) -> str:
        """Name and version for a report, `Docker Engine 20.10.24 (overlay2, cgroup v1)`."""

    def warnings(self) -> tuple[str, ...]:
        """What makes this engine weaker here than it could be, one sentence each."""

    def stock(self, environment_id: str, base: Base, interpreter: Interpreter, *, ask: bool) -> Stock:
        """What is there already; builds and fetches nothing. ask: whether a registry may be asked for the base."""

    def build(self, plan: Plan, progress: Progress) -> Built:
        """Make the environment, or find it made. Raises EnvironmentNotRebuilt, NeedMissing."""

    def probing(
        self, built: Built, script: bytes, variables: Mapping[str, str]
    ) -> AbstractContextManager[Callable[[], bytes]]:
        """Run the standard-library-only probe script inside the environment, sandboxed, beside what else is done.

        Yields a function that waits for its end and gives its stdout, or raises EnvironmentNotRebuilt. Leaving the
        context ends and removes it, done or not.
        """

    def run(self, built: Built, sandbox: Sandbox, progress: Progress) -> Execution:
        """Run the job; a job that fails is an Execution, not an exception. Removes what it made, always.

        Raises NeedMissing for an input that cannot be placed or read, and KeyboardInterrupt after removing.
        """

    def sweep(self) -> int:
        """Remove what a killed runbook left behind on this engine; how many things."""
