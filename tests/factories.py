"""Plausible values for tests: a whole Record, and a small valid bundle around it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from runbook.bundle import layout
from runbook.bundle.schema import record_schema
from runbook.bundle.write import BundleWriter, Form
from runbook.export.interface import Payload
from runbook.model import manifest
from runbook.model.code import Code, Git, Tree
from runbook.model.data import Input, Output
from runbook.model.environment import Base, Environment, Interpreter, Lock, Package, environment_id
from runbook.model.fact import declared, inferred, missing, observed
from runbook.model.host import Host
from runbook.model.job import Job, Outcome, Resources, Variable
from runbook.model.manifest import Entry
from runbook.model.metric import Metric, Series
from runbook.model.record import Finding, Record, Seed
from runbook.registry import members

CODE: Mapping[str, bytes] = {
    "train.py": b"print('accuracy: 0.9375')\n",
    "lib/model.py": b"DEPTH = 3\n",
    "README.md": b"# demo\n",
}
"""The code of the default bundle: path → content."""

INPUTS: Mapping[str, Mapping[str, bytes]] = {
    "iris.csv": {"iris.csv": b"5.1,3.5,1.4,0.2,0\n6.2,2.9,4.3,1.3,1\n"},
    "images": {"a/one.bin": bytes(range(256)), "two.bin": b"\0" * 64},
}
"""The embedded inputs of the default bundle: name → path → content; one path equal to the name is a file."""

REQUIREMENTS = b"numpy==2.3.5 \\\n    --hash=sha256:" + b"a" * 64 + b"\n"
STDOUT = b"epoch 0 loss 0.9\nepoch 1 loss 0.4\naccuracy: 0.9375\n"
SERIES: Mapping[str, Series] = {"loss": Series(steps=(0, 1), values=(0.9, 0.4))}
DIGEST = "sha256:" + "b" * 64


def entries_of(files: Mapping[str, bytes]) -> list[Entry]:
    """The manifest entries of these files, sorted."""
    found = [Entry(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()]
    return sorted(found, key=lambda entry: entry.path.encode())


def make_interpreter(**overrides: Any) -> Interpreter:
    """CPython 3.11.7 in a virtual environment."""
    values: dict[str, Any] = {
        "implementation": "cpython",
        "version": "3.11.7",
        "abi": "cp311",
        "soabi": "cpython-311-x86_64-linux-gnu",
        "machine": "x86_64",
        "system": "linux",
        "libc": "glibc 2.36",
        "executable": "/home/ada/demo/.venv/bin/python",
        "prefix": "/home/ada/demo/.venv",
        "base_prefix": "/usr/local",
    }
    return Interpreter(**(values | overrides))


def make_environment(**overrides: Any) -> Environment:
    """numpy, locked by hash, on the official Python image."""
    base = Base(
        kind="python-image",
        requested="automatic",
        reference="registry.example/python@" + DIGEST,
        digest=DIGEST,
        platform="linux/amd64",
        python="/usr/local/bin/python3.11",
        why="a registry answered",
    )
    lock = Lock(sha256=hashlib.sha256(REQUIREMENTS).hexdigest(), packages=1, tool="pip-tools 7.6.2")
    interpreter = make_interpreter()
    values: dict[str, Any] = {
        "interpreter": observed(interpreter),
        "packages": (
            Package(
                name="numpy",
                version="2.3.5",
                origin="index",
                record="intact",
                requested=True,
                imports=("numpy",),
                shipped="locked",
            ),
        ),
        "frameworks": {"blas": "OpenBLAS 0.3.30"},
        "os_packages": observed(2),
        "lock": observed(lock),
        "base": observed(base),
        "id": observed(environment_id(base, interpreter, lock, ())),
    }
    return Environment(**(values | overrides))


def make_host(**overrides: Any) -> Host:
    """A laptop without a GPU."""
    values: dict[str, Any] = {
        "os": observed("Debian GNU/Linux 12 (bookworm)"),
        "kernel": observed("6.1.0-28-amd64"),
        "machine": observed("x86_64"),
        "cpu_model": observed("Demo CPU 3000"),
        "cpu_flags": observed(("avx", "avx2", "fma")),
        "cores_logical": observed(8),
        "cores_physical": observed(4),
        "cores_usable": observed(8),
        "memory_bytes": observed(16 << 30),
        "libc": observed("glibc 2.36"),
        "locale": observed("C.UTF-8"),
        "timezone": observed("UTC"),
        "blas": inferred("OpenBLAS 0.3.30", "from numpy's shared libraries"),
        "threads": {"OMP_NUM_THREADS": missing("not set")},
        "container": missing("not in a container"),
    }
    return Host(**(values | overrides))


def make_code(files: Mapping[str, bytes] = CODE, **overrides: Any) -> Code:
    """A clean checkout of these files."""
    entries = entries_of(files)
    git = Git(
        commit=observed("c" * 40),
        branch=observed("main"),
        remote=observed("https://git.example/ada/demo.git"),
        dirty=False,
    )
    tree = Tree(
        digest=manifest.digest(manifest.render(entries)), files=len(entries), bytes=sum(e.size for e in entries)
    )
    return Code(**({"git": observed(git), "tree": tree} | overrides))


def make_input(name: str, files: Mapping[str, bytes], **overrides: Any) -> Input:
    """An embedded input of these files; a single file called `name` is a file, anything else a tree."""
    entries = entries_of(files)
    single = list(files) == [name]
    values: dict[str, Any] = {
        "name": name,
        "path": f"data/{name}",
        "kind": "file" if single else "tree",
        "digest": entries[0].sha256 if single else manifest.digest(manifest.render(entries)),
        "bytes": sum(entry.size for entry in entries),
        "files": len(entries),
        "stored": "embedded",
        "manifest": layout.input_manifest(name),
        "source": declared(f"https://data.example/{name}"),
        "version": missing("not declared"),
        "changed": observed(False),
        "evidence": "declared",
    }
    return Input(**(values | overrides))


def make_record(**overrides: Any) -> Record:
    """A completed training run with one metric of each kind, two inputs and a seed; any field can be replaced."""
    stdout = Output(
        path="stdout",
        digest=hashlib.sha256(STDOUT).hexdigest(),
        bytes=len(STDOUT),
        stored="embedded",
        bundle_path=layout.STDOUT,
        role="log",
        evidence="observed",
    )
    values: dict[str, Any] = {
        "runbook": "0.1.0",
        "run": "20261101T101500Z-4f1d",
        "name": "demo",
        "kind": "original",
        "job": Job(
            argv=("python", "train.py", "--lr", "0.1", "--seed", "7"),
            root="/home/ada/demo",
            cwd=".",
            variables=(Variable(name="PYTHONHASHSEED", value="0"),),
            variables_dropped=31,
            parameters={"lr": "0.1", "seed": "7"},
        ),
        "outcome": Outcome(
            status="completed",
            exit_code=observed(0),
            started=observed("2026-11-01T10:15:00Z"),
            ended=observed("2026-11-01T10:15:09Z"),
            duration_s=observed(9.25),
        ),
        "resources": Resources(
            cpu_user_s=observed(8.5),
            cpu_system_s=observed(0.5),
            peak_rss_bytes=observed(210 << 20),
            read_bytes=observed(1 << 20),
            written_bytes=observed(4096),
            peak_processes=observed(1),
            peak_gpu_memory_bytes=missing("no NVIDIA driver on this host"),
        ),
        "code": make_code(),
        "environment": make_environment(),
        "host": make_host(),
        "accelerators": missing("no NVIDIA driver on this host"),
        "seeds": (Seed(name="argv --seed", value="7", evidence="observed"),),
        "inputs": tuple(make_input(name, files) for name, files in INPUTS.items()),
        "outputs": (stdout,),
        "metrics": (
            Metric(name="accuracy", final=0.9375, source="stdout: accuracy: (.*)", evidence="observed"),
            Metric(name="loss", final=0.4, points=2, source="metrics.jsonl", evidence="observed"),
        ),
        "sources": ("metrics.jsonl",),
        "findings": (Finding(id="threads-unset", level="note", text="OMP_NUM_THREADS is not set"),),
    }
    return Record(**(values | overrides))


def make_bundle(
    folder: Path,
    record: Record | None = None,
    *,
    name: str = "demo",
    form: Form = "directory",
    code: Mapping[str, bytes] = CODE,
    inputs: Mapping[str, Mapping[str, bytes]] = INPUTS,
    series: Mapping[str, Series] = SERIES,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a small valid bundle `folder/NAME.runbook` (or `.runbook.zip`); its path.

    record: by default make_record() around `code` and `inputs`. extra: further files, bundle path → content;
    they may take the place of any file that is written by default.
    """
    if record is None:
        found = tuple(make_input(one, files) for one, files in inputs.items())
        record = make_record(name=name, code=make_code(code), inputs=found)
    files: dict[str, bytes] = {
        layout.RECORD: msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n",
        layout.SCHEMA: record_schema(),
        layout.RUNBOOK_MD: f"# {name}\n".encode(),
        layout.REPORT: f"<!doctype html><title>{name}</title>\n".encode(),
        layout.DOCKERFILE: b"FROM scratch\n",
        layout.REPLAY_SH: b"#!/bin/sh\n",
        layout.REQUIREMENTS: REQUIREMENTS,
        layout.OS_PACKAGES: b"libc6 2.36-9\nzlib1g 1.2.13\n",
        layout.CODE_MANIFEST: manifest.render(entries_of(code)),
        layout.STDOUT: STDOUT,
        layout.STDERR: b"",
        layout.SERIES: msgspec.json.encode(dict(series)),
    }
    files |= {layout.code_file(path): data for path, data in code.items()}
    for one in record.inputs:
        held = inputs.get(one.name, {})
        files[one.manifest] = manifest.render(entries_of(held))
        if one.stored == "embedded":
            files |= {layout.input_file(one.name, path): data for path, data in held.items()}
    files |= extra or {}
    target = folder / (name + (layout.SUFFIX if form == "directory" else layout.ZIP_SUFFIX))
    with BundleWriter(target, form=form) as writer:
        for path, data in files.items():
            writer.add_bytes(path, data)
        if layout.CRATE not in files:
            crate = members("export")["ro-crate"].export(Payload(record=record, files=writer.entries()))
            writer.add_bytes(layout.CRATE, crate)
        writer.finish()
    return target
