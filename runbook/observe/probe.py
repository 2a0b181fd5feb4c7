"""What a Python environment is, told by its own interpreter: one JSON document after a sentinel line on stdout.

This file runs by itself, as `python probe.py [--no-record-check]` or through standard input, in any CPython from
3.8 to 3.14, in a virtual environment, on a bare machine or in a container. So it imports the standard library
only, is ASCII, and imports nothing of the environment that it describes. `runbook.observe.probing` reads it.
"""
# Tens of thousands of paths go through here: os.path is several times faster than pathlib.
# ruff: noqa: E402, UP036, PTH100, PTH110, PTH112, PTH113, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import sys

# The script's own folder must not shadow a module of the standard library, nor be taken for the environment.
if sys.path and sys.path[0] in ("", __file__.replace("\\", "/").rpartition("/")[0] or "."):
    del sys.path[0]
sys.dont_write_bytecode = True

import base64
import csv
import email.parser
import hashlib
import json
import locale
import os
import platform
import re
import site
import subprocess
import sysconfig
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SENTINEL = "--- runbook probe 1 ---"
"""The line before the document; what a sitecustomize prints earlier is ignored."""

NAMED_AT_MOST = 50
"""Modified, missing and stray files named one by one; their numbers are exact."""

_LARGE = 1 << 20  # hashing releases the GIL: worth a thread only above this many bytes
_SHARED_OBJECT = re.compile(r"\.so(\.[0-9]+)*$")
_BESIDES_PACKAGES = re.compile(  # what installers and virtual environment tools write that is in no RECORD
    r"(_virtualenv\.(py|pth)|easy-install\.pth|README(\.txt)?|.*\.egg-link|.*\.py[co]|\.lock|.*-nspkg\.pth"
    r"|distutils-precedence\.pth|\.DS_Store)"
)


def _text(path: str, cap: int = 4 << 20) -> str:
    """The text of a small file, or an empty string."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(cap)
    except OSError:
        return ""


def _listing(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _libc() -> tuple[str, str]:
    """Name and version of the C library: `("glibc", "2.36")`, `("musl", "1.2.5")`, or empty strings."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        if version:
            return name, version
    except (AttributeError, ValueError, OSError):
        pass
    for loader in [n for n in _listing("/lib") if n.startswith("ld-musl-")]:
        try:
            told = subprocess.run(["/lib/" + loader], stderr=subprocess.PIPE, check=False, timeout=10)
        except (OSError, subprocess.SubprocessError):
            continue
        match = re.search(rb"Version ([0-9.]+)", told.stderr)
        if match:
            return "musl", match.group(1).decode()
    return platform.libc_ver()


def interpreter() -> dict[str, Any]:
    """Facts about the interpreter itself."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    short = {"cpython": "cp", "pypy": "pp"}.get(sys.implementation.name, sys.implementation.name)
    debug = "d" if hasattr(sys, "gettotalrefcount") else ""
    libc_name, libc_version = _libc()
    return {
        "implementation": sys.implementation.name,
        "version": platform.python_version(),
        "abi": f"{short}{sys.version_info[0]}{sys.version_info[1]}{'t' if free_threaded else ''}{debug}",
        "soabi": sysconfig.get_config_var("SOABI") or "",
        "free_threaded": free_threaded,
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "machine": platform.machine(),
        "system": platform.system().lower(),
        "release": platform.release(),
        "platform": sysconfig.get_platform(),
        "libc_name": libc_name,
        "libc_version": libc_version,
        "executable": sys.executable or "",
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "path": [os.path.abspath(p) for p in sys.path],
        "stdlib": sysconfig.get_path("stdlib") or "",
        "paths": {k: v for k, v in sysconfig.get_paths().items() if v},
        "user_site": site.getusersitepackages() if site.ENABLE_USER_SITE else "",
        "hash_randomization": bool(sys.flags.hash_randomization),
        "flags": {n: int(getattr(sys.flags, n)) for n in ("optimize", "utf8_mode", "isolated", "no_user_site")},
        "argv0": sys.argv[0],
    }


def locale_facts() -> dict[str, str]:
    """The locale as the job would get it, encodings, and the time zone's names."""
    try:
        # glibc lists categories that differ one by one; the first four decide how text and numbers are read.
        name = ";".join(locale.setlocale(locale.LC_ALL, "").split(";")[:4])
    except locale.Error as error:
        name = f"unsupported: {error}"
    return {
        "name": name,
        "encoding": locale.getpreferredencoding(False),
        "filesystem": sys.getfilesystemencoding(),
        "timezone": "/".join(time.tzname),
    }


class Metadata:
    """One `.dist-info`, `.egg-info` or `EGG-INFO` as it lies on the disk."""

    def __init__(self, location: str, entry: str) -> None:
        self.location = location
        self.path = os.path.join(location, entry)
        self.kind = "dist-info" if entry.endswith(".dist-info") else "egg-info"
        whole = os.path.isfile(self.path)  # distutils wrote the metadata as one file
        names = ["METADATA"] if self.kind == "dist-info" else ["PKG-INFO"]
        text = _text(self.path) if whole else "".join(self.read(n) for n in names)
        self.headers = email.parser.HeaderParser().parsestr(text)
        self.name = self.headers.get("Name") or ""
        self.version = self.headers.get("Version") or ""
        self.rows = [r for r in csv.reader(self.read("RECORD").splitlines()) if r and r[0]]

    def read(self, name: str) -> str:
        """The text of a file in the metadata folder, or an empty string."""
        return _text(os.path.join(self.path, name))

    def requires(self) -> list[str]:
        """Requirements, of wheels as written; of eggs from requires.txt with their markers."""
        found = [str(v) for v in self.headers.get_all("Requires-Dist") or []]
        if found or self.kind == "dist-info":
            return found
        marker = ""
        for line in self.read("requires.txt").splitlines():
            line = line.strip()
            if line.startswith("["):
                extra, _, condition = line.strip("[]").partition(":")
                parts = [f"({condition})"] if condition else []
                parts += [f'extra == "{extra}"'] if extra else []
                marker = " and ".join(parts)
            elif line and not line.startswith("#"):
                found.append(f"{line} ; {marker}" if marker else line)
        return found

    def imports(self) -> list[str]:
        """Top-level import names, from top_level.txt or else from RECORD."""
        told = self.read("top_level.txt").split()
        if told:
            return sorted(set(told))
        names = set()
        for row in self.rows:
            first, slash, rest = row[0].replace("\\", "/").partition("/")
            stem, _, suffix = first.partition(".")
            if slash:
                if (
                    stem == first
                    and stem not in ("", "__pycache__")
                    and rest.rpartition(".")[2] in ("py", "so", "pyd")
                ):
                    names.add(first)
            elif suffix == "py" or suffix.endswith(("so", "pyd")):
                names.add(stem)
        return sorted(names)

    def direct_url(self) -> dict[str, Any] | None:
        """PEP 610, where the installer wrote it."""
        try:
            found = json.loads(self.read("direct_url.json"))
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def owned(self) -> set[str]:
        """Absolute paths of the files that belong to it."""
        base = self.location
        found = {os.path.normpath(os.path.join(base, r[0])) for r in self.rows}
        for line in self.read("installed-files.txt").splitlines():
            found.add(os.path.normpath(os.path.join(self.path, line)))
        return found


def _metadata(sites: list[str]) -> list[Metadata]:
    """Distributions in the order of sys.path; the first of a name is the one that is imported."""
    found: list[Metadata] = []
    seen: set[str] = set()
    for location in sites:
        entries = [e for e in _listing(location) if e.endswith((".dist-info", ".egg-info"))]
        if location.endswith(".egg") and os.path.isdir(os.path.join(location, "EGG-INFO")):
            entries.append("EGG-INFO")
        for one in (Metadata(location, e) for e in entries):
            if one.name and _normalised(one.name) not in seen:
                seen.add(_normalised(one.name))
                found.append(one)
    return found


def _hash(path: str, algorithm: str) -> str | None:
    digest = hashlib.new(algorithm)
    try:
        with open(path, "rb", buffering=0) as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode()


def _differs(path: str, told: str) -> bool:
    algorithm, _, expected = told.partition("=")
    return algorithm in hashlib.algorithms_available and _hash(path, algorithm) != expected.rstrip("=")


def check_record(one: Metadata, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Compare the installed files with RECORD. Files without a hash (RECORD, .pyc) are nobody's concern."""
    modified: list[str] = []
    gone: list[str] = []
    later = []
    size = 0
    for row in one.rows:
        name, told = row[0], row[1] if len(row) > 1 else ""
        path = os.path.join(one.location, name)
        try:
            stat = os.stat(path)
        except OSError:
            if told:
                gone.append(name)
            continue
        size += stat.st_size
        if not told:
            continue
        if len(row) > 2 and row[2].isdigit() and int(row[2]) != stat.st_size:
            modified.append(name)
        elif stat.st_size >= _LARGE:
            later.append((name, pool.submit(_differs, path, told)))
        elif _differs(path, told):
            modified.append(name)
    modified += [name for name, job in later if job.result()]
    return {
        "status": "modified" if modified or gone else "intact",
        "modified": sorted(modified)[:NAMED_AT_MOST],
        "missing": sorted(gone)[:NAMED_AT_MOST],
        "differing": len(modified) + len(gone),
        "size": size,
    }


def distribution(one: Metadata, links: dict[str, str], checked: dict[str, Any]) -> dict[str, Any]:
    """One distribution as a document."""
    url = one.direct_url()
    editable = links.get(_normalised(one.name), "")
    directory = (url or {}).get("dir_info")
    if not editable and isinstance(directory, dict) and directory.get("editable") is True:
        editable = str((url or {}).get("url", "")) or one.location
    if not editable and any(r[0].startswith("__editable__") for r in one.rows):
        editable = one.location
    wheel = email.parser.HeaderParser().parsestr(one.read("WHEEL"))
    return {
        "name": one.name,
        "version": one.version,
        "location": one.location,
        "metadata": one.path,
        "kind": one.kind,
        "installer": one.read("INSTALLER").strip(),
        "requested": os.path.exists(os.path.join(one.path, "REQUESTED")),
        "requires": one.requires(),
        "imports": one.imports(),
        "direct_url": url,
        "editable": editable,
        "tags": [str(t) for t in wheel.get_all("Tag") or []],
        "pure": wheel.get("Root-Is-Purelib", "true").lower() == "true",
        "files": len(one.rows),
        "record": checked,
    }


def _egg_links(sites: list[str]) -> dict[str, str]:
    """Name -> source folder, of `setup.py develop` installs."""
    found = {}
    for folder in sites:
        for entry in _listing(folder):
            if entry.endswith(".egg-link"):
                lines = _text(os.path.join(folder, entry)).splitlines()
                found[_normalised(entry[: -len(".egg-link")])] = lines[0].strip() if lines else folder
    return found


def _holds_a_file(folder: str) -> bool:
    return any(not n.endswith((".pyc", ".pyo")) for _, _, names in os.walk(folder) for n in names)


def survey(folder: str, owned: set[str], parents: set[str], loose: set[str]) -> tuple[list[str], list[str]]:
    """Walk one site folder: (files and folders that belong to no distribution, shared objects).

    A folder without a single file of a distribution is named once, with a slash at its end. `loose` holds the
    top-level names of distributions that list no files; what lies under them is theirs.
    """
    stray: list[str] = []
    shared: list[str] = []
    todo = [(folder, False)]
    while todo:
        here, foreign = todo.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda e: e.name)
        except OSError:
            continue
        for entry in entries:
            name, path = entry.name, entry.path
            top = here == folder
            own = foreign or (top and (name.partition(".")[0] in loose or name.endswith((".egg", ".egg-info"))))
            if entry.is_dir(follow_symlinks=False):
                if name == "__pycache__":
                    continue
                if not own and path not in parents and _holds_a_file(path):
                    stray.append(path + "/")
                    own = True
                todo.append((path, own))
                continue
            if _SHARED_OBJECT.search(name) and not entry.is_symlink():
                shared.append(path)
            if not own and path not in owned and not _BESIDES_PACKAGES.fullmatch(name):
                stray.append(path)
    return stray, shared


def frameworks(sites: list[str]) -> dict[str, str]:
    """Versions that the packages' own files tell, without importing them: torch, its CUDA, the BLAS of numpy."""
    found: dict[str, str] = {}
    patterns = (
        ("torch/version.py", "torch", r"^__version__\s*=\s*['\"]([^'\"]+)"),
        ("torch/version.py", "torch-cuda", r"^cuda\b[^=\n]*=\s*['\"]([^'\"]+)"),
        ("torch/version.py", "torch-hip", r"^hip\b[^=\n]*=\s*['\"]([^'\"]+)"),
        ("tensorflow/python/platform/build_info.py", "tensorflow-cuda", r"['\"]cuda_version['\"]: ['\"]([^'\"]+)"),
        (
            "tensorflow/python/platform/build_info.py",
            "tensorflow-cudnn",
            r"['\"]cudnn_version['\"]: ['\"]([^'\"]+)",
        ),
    )
    for folder in sites:
        for name, key, pattern in patterns:
            match = re.search(pattern, _text(os.path.join(folder, name)), re.MULTILINE)
            if match:
                found.setdefault(key, match.group(1))
        for package in ("numpy", "scipy"):
            text = _text(os.path.join(folder, package, "__config__.py"))
            block = re.search(r"['\"]blas['\"]:\s*\{(.*?)\}", text, re.DOTALL)
            told = dict(re.findall(r"['\"](name|version)['\"]:\s*['\"]([^'\"]*)", block.group(1))) if block else {}
            if told.get("name"):
                found.setdefault(package + "-blas", " ".join((told["name"], told.get("version", ""))).strip())
            for entry in _listing(os.path.join(folder, package + ".libs")):
                if re.match(r"lib(scipy_)?openblas|libmkl_rt|libblis|libblas", entry):
                    found.setdefault(package + "-blas-library", entry)
    return found


def _clean(value: Any) -> Any:
    """The same document, with the bytes of file names that are not UTF-8 shown as escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, (list, tuple)) else value


def document(record_check: bool = True) -> dict[str, Any]:
    """Everything, as JSON can hold it."""
    facts = interpreter()
    skip = {facts["stdlib"], sysconfig.get_path("platstdlib"), os.path.join(facts["stdlib"], "lib-dynload")}
    places = [p for p in dict.fromkeys(facts["path"]) if os.path.isdir(p) and p not in skip]
    named = {facts["paths"].get("purelib"), facts["paths"].get("platlib"), facts["user_site"]}
    sites = [
        p
        for p in places
        if p in named
        or os.path.basename(p) in ("site-packages", "dist-packages")
        or any(e.endswith(".dist-info") for e in _listing(p))
    ]
    metadata = _metadata(places)
    links = _egg_links(sites)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = []
        for one in metadata:
            checked: dict[str, Any] = {"status": "absent" if not one.rows else "unchecked"}
            found.append(
                distribution(one, links, check_record(one, pool) if one.rows and record_check else checked)
            )
    owned = {path for one in metadata for path in one.owned()}
    parents: set[str] = set()
    for path in {os.path.dirname(p) for p in owned}:
        while path not in parents:
            parents.add(path)
            path = os.path.dirname(path)
    loose = {name for one in metadata if not one.rows for name in [*one.imports(), one.name]}
    stray: list[str] = []
    shared: list[str] = []
    for folder in sites:
        strangers, objects = survey(folder, owned, parents, loose)
        shared += objects
        # The files of a distribution's own Python are in its database, not in a RECORD.
        stray += [] if re.match(r"/usr/lib/python3[^/]*/dist-packages", folder) else strangers
    return {
        "probe": 1,
        "interpreter": facts,
        "locale": locale_facts(),
        "sites": sites,
        "distributions": found,
        "stray": sorted(stray)[:NAMED_AT_MOST],
        "stray_count": len(stray),
        "shared_objects": sorted(shared),
        "frameworks": frameworks(sites),
        "conda": [n[:-5] for n in _listing(os.path.join(sys.prefix, "conda-meta")) if n.endswith(".json")],
        "record_checked": record_check,
    }


def main() -> int:
    """Print the document; what is wrong with the environment goes to standard error with exit code 3."""
    if sys.version_info < (3, 8):
        sys.stderr.write("runbook probes Python 3.8 and later; this is " + platform.python_version() + "\n")
        return 3
    warnings.simplefilter("ignore")
    found = _clean(document("--no-record-check" not in sys.argv[1:]))
    sys.stdout.flush()
    sys.stdout.buffer.write(("\n" + SENTINEL + "\n" + json.dumps(found) + "\n").encode("ascii"))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
