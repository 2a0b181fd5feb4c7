"""Sort the paths that a job touched: code, packages, inputs, outputs, caches, noise. Pure: looks at no disk.

The first rule that fits decides, and its phrase is kept, so that a person can see why. What no rule knows is an
input when it was read first, an output when it was written first: what decides a result must not be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from runbook.model import hubs
from runbook.model.files import FileKind, SeenFile
from runbook.model.watch import FileUse

_KERNEL = ("/proc", "/sys", "/dev", "/run")
_SYSTEM = ("/etc", "/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/opt/conda", "/var/lib", "/var/cache")
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - recognised, not used
_SOURCE = frozenset(
    (
        *(
            ".py",
            ".pyi",
            ".pyx",
            ".pxd",
            ".pyc",
            ".so",
            ".ipynb",
            ".c",
            ".cc",
            ".cpp",
            ".cu",
            ".cuh",
            ".h",
            ".hpp",
        ),
        *(".sh", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".md", ".rst", ".jinja", ".j2", ".r", ".jl", ".rs"),
        *(".lock", ".mk", ".cmake", ".proto", ".pth", ".env", ".ts", ".js", ".html", ".css"),
    )
)
_SOURCE_NAMES = frozenset(
    ("Makefile", "Dockerfile", "MLproject", "Pipfile", "Snakefile", "LICENSE", "setup.py", ".dvcignore")
)
_DATA_FOLDER = re.compile(r"(data|datasets?|corpus|corpora)", re.IGNORECASE)
_NO_DATA = frozenset((".py", ".pyi", ".pyc", ".so", ".txt", ".md", ".rst", ".typed", ".h", ".ttf", ".afm", ".pxd"))
_DVC = re.compile(r"/\.dvc/(cache|tmp)/|^/var/tmp/dvc/")
_CREDENTIALS = re.compile(
    r"/(\.netrc|_netrc|\.pypirc|\.pgpass|\.git-credentials|\.aws/.*|\.ssh/.*|\.gnupg/.*|\.kube/config|\.docker/config\.json"
    r"|\.kaggle/kaggle\.json|gcloud/.*credentials.*|\.config/wandb/settings|huggingface/(token|stored_tokens))$"
)
_CONFIG = (
    ".config",
    ".cache",
    ".local/share",
    ".local/state",
    ".matplotlib",
    ".triton",
    ".nv",
    ".ipython",
    ".jupyter",
)
_CONFIG_VARIABLES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR")


@dataclass(frozen=True)
class Surrounding:
    """Where things are on the machine of the run. All folders absolute, without a slash at the end."""

    root: str
    code: frozenset[str] = frozenset()
    """Paths of the code listing, relative to the root."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the paths of the code listing."""
    sites: tuple[str, ...] = ()
    """Folders that packages are installed in."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Top-level name in a site folder → distribution."""
    interpreter: tuple[str, ...] = ()
    """The standard library and the prefixes of the interpreter."""
    home: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    """Which of the paths are regular files now that the job has ended."""


def sort_files(uses: Iterable[FileUse], here: Surrounding) -> list[SeenFile]:
    """Every path with its kind and why; packages' files together, one line a package. By path."""
    rules = _Rules(here)
    seen: list[SeenFile] = []
    packages: dict[tuple[str, str], int] = {}
    for use in uses:
        kind, why = rules.sort(use)
        if kind == "package" and not use.written:
            name, _, reason = why.partition(": ")
            packages[name, reason] = packages.get((name, reason), 0) + 1
            continue
        seen.append(
            SeenFile(
                path=_relative(use.path, here.root),
                kind=kind,
                why=why,
                read=use.read,
                written=use.written,
                first=use.first,
                readers=use.readers,
                writers=use.writers,
                source=use.url,
            )
        )
    seen += [
        SeenFile(path=name, kind="package", why=reason, files=count, read=True)
        for (name, reason), count in packages.items()
    ]
    return sorted(seen, key=lambda one: (one.kind, one.path))


class _Rules:
    def __init__(self, here: Surrounding) -> None:
        self._here = here
        self._sites = tuple(sorted((s for s in here.sites if s), key=len, reverse=True))
        # A prefix such as /usr holds more than an interpreter, and one above the project holds the project.
        self._interpreter = tuple(
            p for p in here.interpreter if p and p not in ("/", "/usr", "/usr/local") and not _within(here.root, p)
        )
        self._caches = hubs.places(here.home, here.variables)
        self._config = tuple(_config_folders(here))

    def sort(self, use: FileUse) -> tuple[FileKind, str]:
        """The kind and its reason."""
        path, here = use.path, self._here
        if _within_any(path, _KERNEL) and not _within_any(path, _TEMPORARY):
            return "noise", "the kernel's or the system's own"
        inside = _within(path, here.root)
        relative = _relative(path, here.root) if inside else ""
        if relative.startswith(".runbook/"):
            return "noise", "runbook's own"
        if relative.startswith(".git/") or "/.git/" in path:
            return "noise", "git's own"
        if _DVC.search(path):
            return "cache", "DVC's own"
        if path == f"{here.home}/.gitconfig":
            return "noise", "git's own"
        if _CREDENTIALS.search(path):
            return "noise", "credentials: never kept"
        if "/__pycache__/" in path or path.endswith((".pyc", ".pyo")):
            return self._bytecode(path)
        if use.written and path not in here.present:
            return "noise", "temporary: gone when the job ended"
        if not use.written and path not in here.present:
            return "noise", "looked for, and not there"
        for site in self._sites:
            if _within(path, site):
                return self._package(use, path.removeprefix(site + "/"))
        if not use.written and _within_any(path, self._interpreter):
            return "package", "the interpreter: its own files"
        cache = hubs.find(path, self._caches)
        if cache is not None:
            return _kept_by(use, cache.library.name)
        if use.made and relative not in here.code and _downloaded(use):
            by = f", by {use.fetched_by}" if use.fetched_by else ""
            return "input", f"downloaded while the job ran{by}"
        unknown = hubs.unknown_cache(path, here.home, here.variables)
        if unknown is not None and use.first == "read":
            return "input", f"in a library's cache: {unknown[0]}"
        if use.first == "written" or (use.made and relative not in here.code):
            if _within_any(path, self._config):
                return "cache", "written to a folder of settings and caches"
            if not use.seen_by:
                return "output", "it appeared or changed while the job ran, written by native code"
            return "output", "the job wrote it" + (", then read it" if use.read else "")
        if inside and relative in here.code:
            return self._of_the_project(relative)
        if _within_any(path, self._config):
            return "cache", "a folder of settings and caches"
        if use.library:
            return "package", "system library: loaded by the job"
        if _within_any(path, _SYSTEM) and not _DATA_FOLDER.search(path):
            return "noise", "the system's"
        if inside:
            why = "read in the project, and neither tracked nor code"
        elif _within_any(path, _TEMPORARY):
            why = "read from a temporary folder, and there before the job"
        else:
            why = "read from outside of the project"
        return "input", why + (", then overwritten" if use.written else "")

    def _bytecode(self, path: str) -> tuple[FileKind, str]:
        for site in self._sites:
            if _within(path, site):
                return "package", f"{self._owner(path.removeprefix(site + '/'))}: imported"
        if _within_any(path, self._interpreter):
            return "package", "the interpreter: its own files"
        return "cache", "compiled Python"

    def _package(self, use: FileUse, relative: str) -> tuple[FileKind, str]:
        owner, path = self._owner(relative), PurePosixPath(relative)
        if use.written:
            return "output", f"the job wrote it among the packages ({owner})"
        data = any(_DATA_FOLDER.fullmatch(part) for part in path.parts[1:-1])
        if data and path.suffix not in _NO_DATA and not path.parts[0].endswith((".dist-info", ".egg-info")):
            return "input", f"data that the package {owner} brings"
        return "package", f"{owner}: {'imported' if path.suffix in ('.py', '.so') else 'read'}"

    def _owner(self, relative: str) -> str:
        top = relative.partition("/")[0]
        stem = top.partition(".")[0] if top.endswith((".py", ".so")) else top
        if top.endswith((".dist-info", ".egg-info")):
            return top.partition("-")[0].lower().replace("_", "-")
        return self._here.owners.get(stem, stem)

    def _of_the_project(self, relative: str) -> tuple[FileKind, str]:
        path = PurePosixPath(relative)
        suffix = path.suffix.lower()
        if suffix in _SOURCE or path.name in _SOURCE_NAMES or path.parts[0] == ".dvc":
            return "code", "source or settings of the project"
        if suffix in (".json", ".txt", "") and self._here.sizes.get(relative, 0) < _SETTINGS_CAP:
            named = suffix == ".json" or path.name.startswith(("requirements", "README"))
            if named and not any(_DATA_FOLDER.fullmatch(part) for part in path.parts[:-1]):
                return "code", "settings of the project"
        return "input", "data of the project"


_SETTINGS_CAP = 64 << 10


def _kept_by(use: FileUse, cache: str) -> tuple[FileKind, str]:
    if hubs.BOOKKEEPING.search(use.path):
        return "cache", f"{cache}: its own bookkeeping"
    if not use.made:
        return "input", f"in {cache}"
    # What was downloaded need not be read in this run: a replay looks for it, and for what names it.
    if use.url or use.read or use.fetched_by or use.linked_to:
        return "input", f"downloaded while the job ran, into {cache}"
    return "cache", f"written to {cache}, and not read"


def _downloaded(use: FileUse) -> bool:
    """Whether a file that the job wrote is what it fetched: written by a library that downloads, or read back."""
    return bool(use.fetched_by or (use.url and use.read))


def _config_folders(here: Surrounding) -> Iterator[str]:
    for name in _CONFIG_VARIABLES:
        if here.variables.get(name, "").startswith("/"):
            yield here.variables[name].rstrip("/")
    if here.home:
        yield from (f"{here.home}/{folder}" for folder in _CONFIG)


def _relative(path: str, root: str) -> str:
    return path.removeprefix(root + "/") if _within(path, root) and path != root else path


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _within_any(path: str, folders: Iterable[str]) -> bool:
    return any(_within(path, folder) for folder in folders)
