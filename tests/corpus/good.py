"""Bundles that are odd and whole: nothing in them is refused, and nothing in them acts or shows in colour."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from runbook.model.fact import observed
from runbook.model.job import Job, Variable
from runbook.model.metric import Metric, Series
from runbook.model.record import Finding, Seed
from tests.corpus.change import write
from tests.factories import CODE, make_bundle, make_code, make_host, make_input, make_record
from tests.report.reports import HOSTILE

Make = Callable[[Path], Path]
"""Writes a bundle into a folder; its path."""


class _Runs:
    """Touches a file when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


def _bomb() -> bytes:
    """A zip in a zip, ten megabytes of zeros in each."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10 << 20))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.zip", inner.getvalue())
    return outer.getvalue()


def _code(files: dict[str, bytes]) -> Make:
    return lambda folder: make_bundle(folder, code={**CODE, **files})


def _record(**fields: object) -> Make:
    return lambda folder: make_bundle(folder, make_record(**fields))


def _variables(**values: str) -> Make:
    given = tuple(Variable(name=name, value=value) for name, value in sorted(values.items()))
    return _record(job=msgspec.structs.replace(make_record().job, variables=given))


def _attested(text: bytes) -> Make:
    def make(folder: Path) -> Path:
        bundle = make_bundle(folder)
        write("attestations/x.dsse.json", text)(bundle)
        return bundle

    return make


GOOD: dict[str, Make] = {
    "a folder": make_bundle,
    "a zip file": lambda folder: make_bundle(folder, form="zip"),
    "no inputs and no curves": lambda folder: make_bundle(folder, inputs={}, series={}),
    "names in many scripts": _code({"données/мир/世界.txt": b"x", "a b/'q\" $(id) `id`": b"x"}),
    "names that look like options": _code({"-rf": b"x", "--index-url=x": b"x"}),
    "names that are HTML and markup": _code(
        {"<script>alert(1)<": b"x", "[red]x[": b"x", "[x](javascript:y)": b"x"}
    ),
    "files that some program would run by itself": _code(
        {
            ".git/hooks/post-checkout": b"#!/bin/sh\ntouch ran\n",
            ".git/config": b"[core]\nfsmonitor = touch ran\n",
            "sitecustomize.py": b"open('ran', 'w')\n",
            "evil.pth": b"import os; os.mkdir('ran')\n",
            "conftest.py": b"open('ran', 'w')\n",
            ".envrc": b"touch ran\n",
            "setup.py": b"open('ran', 'w')\n",
        }
    ),
    "a zip bomb as a file": _code({"bomb.zip": _bomb()}),
    "a pickle that runs code": _code({"model.pkl": pickle.dumps(_Runs())}),
    "YAML that makes objects": _code({"params.yaml": b"!!python/object/apply:os.mkdir [ran]\n"}),
    "a file of settings for the engine": _code({"config.json": b'{"credsStore": "evil"}', "daemon.json": b"{}"}),
    "escapes and HTML in every text": _record(
        name=HOSTILE,
        job=Job(argv=("python", HOSTILE), root="/" + HOSTILE, cwd=".", parameters={HOSTILE: HOSTILE}),
        metrics=(Metric(name=HOSTILE, final=1.0, source=HOSTILE, evidence="observed"),),
        seeds=(Seed(name=HOSTILE, value=HOSTILE, evidence="declared"),),
        findings=(Finding(id=HOSTILE, level="warning", text=HOSTILE),),
        host=make_host(cpu_model=observed(HOSTILE)),
    ),
    "escapes in the names of curves": lambda folder: make_bundle(
        folder, series={HOSTILE: Series(steps=(0, 1), values=(0.5, "NaN"))}
    ),
    "line separators in the argv": _record(
        job=Job(argv=("python", "a\u2028b\u2029c\x85d\u202ee"), root="/home/ada/demo", cwd=".")
    ),
    "numbers at the edge": _record(
        metrics=tuple(
            Metric(name=str(number), final=value, source="x", evidence="observed")
            for number, value in enumerate((1e308, 5e-324, -0.0, 2**63, 10**300, "NaN", "-Infinity"))
        )
    ),
    "variables for the dynamic loader": _variables(LD_PRELOAD="/evil.so", LD_LIBRARY_PATH="/evil", LD_AUDIT="/e"),
    "variables for Python": _variables(PYTHONPATH="/evil", PYTHONSTARTUP="/evil.py", PYTHONHOME="/evil"),
    "variables for Docker": _variables(
        DOCKER_HOST="tcp://host.example:1", DOCKER_CONFIG="/evil", BUILDKIT_HOST="x"
    ),
    "variables for pip and uv": _variables(
        PIP_INDEX_URL="http://host.example", UV_INDEX_URL="http://host.example"
    ),
    "variables for shells and proxies": _variables(
        BASH_ENV="/evil.sh", HTTPS_PROXY="http://host.example", IFS="x"
    ),
    "an attestation that is no JSON": _attested(b"\x1b[31m<script>"),
    "an attestation nested deep": _attested(b"[" * 100_000),
    "an input that is said to come from this machine": lambda folder: make_bundle(
        folder,
        make_record(
            inputs=(
                make_input(
                    "iris.csv", {"iris.csv": b"x"}, stored="reference", source=observed("file:///etc/passwd")
                ),
            )
        ),
        inputs={"iris.csv": {"iris.csv": b"x"}},
    ),
    "a deep tree of code": _code({"/".join("abcdefghijklmnopqrstuvwxyz") + "/x.py": b"x"}),
    "a thousand files": lambda folder: make_bundle(folder, code={f"d{n % 10}/{n}.py": b"x" for n in range(1000)}),
    "a record of another clock": _record(code=make_code(), run="\x00\x1b[2J" * 3),
}
