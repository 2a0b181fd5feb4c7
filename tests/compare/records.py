"""Records for the tests of comparing and reporting: one plain record, changed where a test needs it."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from runbook.model.code import Code, Git, Tree
from runbook.model.data import Input
from runbook.model.environment import Base, Environment, Interpreter, Lock, Package
from runbook.model.fact import missing, observed
from runbook.model.host import Host
from runbook.model.job import Job, Outcome, Resources, Variable
from runbook.model.metric import Metric, Number, Series, Tolerance
from runbook.model.record import Record, Seed

CURVE = Series(steps=tuple(range(200)), values=tuple(math.exp(-i / 40) + 0.02 * math.sin(i) for i in range(200)))


def package(name: str, version: str, **changes: Any) -> Package:
    return Package(**{"name": name, "version": version, "origin": "index", "record": "intact"} | changes)


def metric(name: str, final: Number, **changes: Any) -> Metric:
    return Metric(**{"name": name, "final": final, "source": "metrics.json", "evidence": "observed"} | changes)


def tolerance(pattern: str, relative: float = 0.0, absolute: float = 0.0) -> Tolerance:
    return Tolerance(pattern=pattern, relative=relative, absolute=absolute)


def environment(**changes: Any) -> Environment:
    interpreter = Interpreter(
        implementation="cpython",
        version="3.11.7",
        abi="cp311",
        machine="x86_64",
        system="linux",
        libc="glibc 2.36",
        executable="/home/ada/venv/bin/python",
        prefix="/home/ada/venv",
        base_prefix="/usr",
    )
    base = Base(
        kind="host-closure",
        requested="automatic",
        digest="sha256:" + "b" * 64,
        platform="linux/amd64",
        python="/usr/bin/python3.11",
        layout="data/image",
        why="No registry answered.",
    )
    values: dict[str, Any] = {
        "interpreter": observed(interpreter),
        "packages": (package("numpy", "2.1.0"), package("scikit-learn", "1.9.1"), package("pip", "24.0")),
        "frameworks": {"openblas": "0.3.27"},
        "os_packages": observed(412),
        "lock": observed(Lock(sha256="c" * 64, packages=3, tool="pip-tools 7.6.2")),
        "base": observed(base),
        "id": observed("sha256:" + "d" * 64),
    }
    return Environment(**values | changes)


def host(**changes: Any) -> Host:
    values: dict[str, Any] = {
        "os": observed("Debian GNU/Linux 12 (bookworm)"),
        "kernel": observed("6.1.0-21-amd64"),
        "machine": observed("x86_64"),
        "cpu_model": observed("AMD EPYC 9R14"),
        "cpu_flags": observed(("avx", "avx2", "fma", "sse4_2")),
        "cores_logical": observed(8),
        "cores_physical": observed(4),
        "cores_usable": observed(4),
        "memory_bytes": observed(32 * 1024**3),
        "libc": observed("glibc 2.36"),
        "locale": observed("C.UTF-8"),
        "timezone": observed("UTC"),
        "blas": observed("openblas 0.3.27"),
        "threads": {"OMP_NUM_THREADS": observed("4"), "MKL_NUM_THREADS": missing("not set")},
        "container": missing("not in a container"),
    }
    return Host(**values | changes)


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "status": "completed",
        "exit_code": observed(0),
        "started": observed("2026-03-04T05:06:07Z"),
        "ended": observed("2026-03-04T05:07:19Z"),
        "duration_s": observed(72.4),
    }
    return Outcome(**values | changes)


def record(**changes: Any) -> Record:
    """A scikit-learn training that completed; fields given replace its own."""
    git = Git(
        commit=observed("0" * 40),
        branch=observed("main"),
        remote=missing("the checkout has no remote"),
        dirty=True,
        modified=("train.py",),
    )
    values: dict[str, Any] = {
        "runbook": "0.1.0",
        "run": "20260304-050607-1a2b",
        "name": "wine-quality",
        "kind": "original",
        "job": Job(
            argv=("python", "train.py", "--alpha", "0.5", "--seed", "1"),
            root="/home/ada/wine",
            cwd=".",
            variables=(Variable(name="LANG", value="C.UTF-8"),),
            variables_dropped=31,
            parameters={"alpha": "0.5", "seed": "1"},
        ),
        "outcome": outcome(),
        "resources": Resources(
            cpu_user_s=observed(66.1),
            cpu_system_s=observed(3.0),
            peak_rss_bytes=observed(512 * 1024**2),
            read_bytes=missing("the kernel gives no I/O accounting here"),
            written_bytes=missing("the kernel gives no I/O accounting here"),
            peak_processes=observed(1),
            peak_gpu_memory_bytes=missing("no NVIDIA driver on this host"),
        ),
        "code": Code(git=observed(git), tree=Tree(digest="a" * 64, files=14, bytes=48_211)),
        "environment": environment(),
        "host": host(),
        "accelerators": missing("no NVIDIA driver on this host"),
        "seeds": (Seed(name="argv --seed", value="1", evidence="observed"),),
        "inputs": (
            Input(
                name="wine",
                path="data/wine-quality.csv",
                kind="file",
                digest="e" * 64,
                bytes=264_426,
                files=1,
                stored="embedded",
                manifest="data/inputs/wine.manifest",
                source=missing("none was declared"),
                version=missing("none was declared"),
                changed=observed(False),
                evidence="declared",
            ),
        ),
        "metrics": (metric("rmse", 0.82224284975954), metric("loss", CURVE.values[-1], points=200)),
        "sources": ("file:metrics.json",),
    }
    return Record(**values | changes)


def replay_of(original: Record, **changes: Any) -> Record:
    """A replay of the record in a container on the same machine."""
    changed = {"kind": "replay", "replay_of": "sha256:" + "f" * 64, "run": "20260509-101112-9f8e", "engine": "docker"}
    return msgspec.structs.replace(original, **changed | changes)


