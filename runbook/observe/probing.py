"""Runs the probe in the job's own interpreter and reads what it printed, wherever it was run.

The same script runs on the host and inside a container; its output is read by `parse_probe` either way, as text
that may be hostile: capped in size, found by its sentinel, and checked field by field.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec

from runbook.errors import NeedMissing
from runbook.model.environment import Interpreter
from runbook.model.fact import Fact, missing, observed
from runbook.observe.probe import SENTINEL

OUTPUT_CAP = 64 << 20
"""Bytes of output that are looked at, at most; an environment of a thousand packages prints about one MiB."""


class RecordCheck(msgspec.Struct, frozen=True):
    """Installed files against RECORD; `differing` counts all, the lists name at most 50 each."""

    status: Literal["intact", "modified", "absent", "unchecked"]
    modified: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    differing: int = 0
    size: int = 0
    """Bytes of the installed files."""


class Distribution(msgspec.Struct, frozen=True):
    """One installed distribution, as its metadata tells."""

    name: str
    version: str
    location: str
    """The folder on sys.path that it is imported from."""
    metadata: str
    """Its `.dist-info` or `.egg-info`."""
    kind: Literal["dist-info", "egg-info"]
    installer: str
    requested: bool
    requires: tuple[str, ...]
    imports: tuple[str, ...]
    direct_url: dict[str, Any] | None
    """PEP 610, as it lies on the disk: it may hold credentials."""
    editable: str
    """URL or folder of the source of an editable install; empty for others."""
    tags: tuple[str, ...]
    """Tags of the wheel it came from, `cp311-cp311-manylinux_2_28_x86_64`."""
    pure: bool
    files: int
    record: RecordCheck


class PythonFacts(msgspec.Struct, frozen=True):
    """What the interpreter tells about itself. Paths are absolute."""

    implementation: str
    version: str
    abi: str
    soabi: str
    free_threaded: bool
    build: str
    compiler: str
    machine: str
    system: str
    release: str
    platform: str
    """`linux-x86_64`, as sysconfig.get_platform() says."""
    libc_name: str
    libc_version: str
    executable: str
    prefix: str
    base_prefix: str
    path: tuple[str, ...]
    """sys.path without the probe's own folder."""
    stdlib: str
    paths: dict[str, str]
    """sysconfig.get_paths()."""
    user_site: str
    hash_randomization: bool
    flags: dict[str, int]
    argv0: str


class LocaleFacts(msgspec.Struct, frozen=True):
    """The locale that the job's environment gives a Python process."""

    name: str
    encoding: str
    filesystem: str
    timezone: str


class Probe(msgspec.Struct, frozen=True):
    """What the probe saw: one Python environment."""

    probe: Literal[1]
    interpreter: PythonFacts
    locale: LocaleFacts
    sites: tuple[str, ...]
    """The folders that packages are installed in."""
    distributions: tuple[Distribution, ...]
    stray: tuple[str, ...]
    """Files and folders (with a slash) in `sites` that belong to no distribution; at most 50."""
    stray_count: int
    shared_objects: tuple[str, ...]
    """Every shared library in `sites`."""
    frameworks: dict[str, str]
    """What packages' own files tell of CUDA, BLAS …; see framework_versions for the whole."""
    conda: tuple[str, ...]
    """`name-version-build` of conda's packages, in a conda environment."""
    record_checked: bool

    def distribution(self, name: str) -> Distribution | None:
        """The distribution of this (normalised) name."""
        from packaging.utils import canonicalize_name

        wanted = canonicalize_name(name)
        return next((d for d in self.distributions if canonicalize_name(d.name) == wanted), None)

    @property
    def libc(self) -> str:
        """`glibc 2.36`, `musl 1.2.5`, or empty."""
        return f"{self.interpreter.libc_name} {self.interpreter.libc_version}".strip()


def probe_script() -> bytes:
    """The probe as a script, to be run as `python probe.py` or `python - < probe.py` anywhere."""
    return files("runbook.observe").joinpath("probe.py").read_bytes()


def run_probe(
    python: str, env: Mapping[str, str], cwd: Path, *, record_check: bool = True, timeout_s: float = 600
) -> Probe:
    """Run the probe with the job's own interpreter, environment and working folder.

    Raises NeedMissing (`probe-failed`) with one sentence that says why it could not run.
    """
    argv = [python, "-"] + ([] if record_check else ["--no-record-check"])
    variables = {k: v for k, v in env.items() if k not in ("PYTHONINSPECT", "PYTHONSTARTUP")}
    try:
        done = subprocess.run(
            argv, input=probe_script(), capture_output=True, cwd=cwd, env=variables, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise _failed(python, f"no answer in {timeout_s:g} s") from None
    except OSError as error:
        raise _failed(python, error.strerror or str(error)) from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        old = "SyntaxError" in lines[-1]
        raise _failed(python, "it is no Python 3.8 or later" if old else lines[-1][:300])
    return parse_probe(done.stdout, python)


def parse_probe(output: bytes, where: str = "the output of the probe") -> Probe:
    """Read what the probe printed. Raises NeedMissing (`probe-failed`) where it is not what a probe prints."""
    if len(output) > OUTPUT_CAP:
        raise _failed(where, f"it printed more than {OUTPUT_CAP >> 20} MiB")
    _, found, rest = output.rpartition(f"\n{SENTINEL}\n".encode())
    if not found:
        raise _failed(where, "it printed no document")
    try:
        return msgspec.json.decode(rest.partition(b"\n")[0], type=Probe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _failed(where, f"its document is malformed: {error}") from None


def read_interpreter(probe: Probe) -> Interpreter:
    """The interpreter as a record holds it."""
    told = probe.interpreter
    return Interpreter(
        implementation=told.implementation,
        version=told.version,
        abi=told.abi,
        soabi=told.soabi,
        machine=told.machine,
        system=told.system,
        libc=probe.libc,
        executable=told.executable,
        prefix=told.prefix,
        base_prefix=told.base_prefix,
    )


_NVIDIA = {
    "nvidia-cuda-runtime": "cuda-runtime",
    "nvidia-cudnn": "cudnn",
    "nvidia-nccl": "nccl",
    "nvidia-cublas": "cublas",
    "nvidia-cufft": "cufft",
    "nvidia-cusparse": "cusparse",
    "nvidia-cusolver": "cusolver",
    "jaxlib": "jaxlib",
    "tensorflow": "tensorflow",
    "mkl": "mkl",
    "intel-openmp": "intel-openmp",
    "triton": "triton",
}


def framework_versions(probe: Probe) -> dict[str, str]:
    """Versions of what computes below the job's frameworks: cuda, cudnn, nccl, blas. Sorted by name."""
    found = dict(probe.frameworks)
    for one in probe.distributions:
        bare = one.name.lower().replace("_", "-")
        key = _NVIDIA.get(bare) or _NVIDIA.get(bare.rpartition("-cu")[0])
        if key:
            found.setdefault(key, one.version)
    return dict(sorted(found.items()))


def blas(probe: Probe | None, failure: str = "") -> Fact[str]:
    """The BLAS that NumPy computes with, or SciPy's, or MKL where it is installed."""
    if probe is None:
        return missing(failure or "the job's Python was not probed")
    known = framework_versions(probe)
    for key in ("numpy-blas", "numpy-blas-library", "scipy-blas", "scipy-blas-library"):
        if key in known:
            return observed(f"{known[key]} ({key.partition('-')[0]})")
    if "mkl" in known:
        return observed(f"mkl {known['mkl']}")
    return missing("no installed package names its BLAS")


def _failed(where: str, why: str) -> NeedMissing:
    return NeedMissing(
        f"the job's Python cannot be probed ({why})",
        where,
        hint="check that this command works: "
        + (f"{where} -c pass" if where.startswith("/") else "python -c pass"),
        id="probe-failed",
    )
