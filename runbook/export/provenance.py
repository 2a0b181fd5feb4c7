"""SLSA provenance 1 in an in-toto Statement 1: what was run, with what, and what came out. docs/provenance.md.

It is what `runbook sign` signs. It claims no SLSA level above 1: the builder is the author's own machine, and says
so in its id. The document is the same for the same bundle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from runbook.export.interface import Payload
from runbook.model.fact import Fact
from runbook.model.record import Record
from runbook.model.statement import MANIFEST, STATEMENT

PREDICATE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://github.com/runbook-ml/runbook/blob/main/docs/provenance.md#build-type-v1"
BUILDER: Final = "https://github.com/runbook-ml/runbook/blob/main/docs/provenance.md#local-capture-v1"

Json = dict[str, Any]


class Provenance:
    """The Statement of a bundle."""

    name = "slsa"
    suffix = ".intoto.json"

    def export(self, payload: Payload) -> bytes:
        """The document; the same bytes for the same payload."""
        digests = {entry.path: entry.sha256 for entry in payload.files}
        record = payload.record
        document = {
            "_type": STATEMENT,
            "subject": list(_subjects(record, payload.bundle_id, digests)),
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": _asked(record),
                    "internalParameters": _found(record),
                    "resolvedDependencies": list(_dependencies(record, digests)),
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"runbook": record.runbook}},
                    "metadata": _known(
                        invocationId=record.run,
                        startedOn=record.outcome.started.value,
                        finishedOn=record.outcome.ended.value,
                    ),
                    "byproducts": list(_byproducts(digests)),
                },
            },
        }
        return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


MEMBER = Provenance()


def _subjects(record: Record, bundle_id: str, digests: dict[str, str]) -> Iterator[Json]:
    """The bundle's manifest, the metrics, and every file that the job wrote; by their names in the bundle."""
    yield _file(MANIFEST, bundle_id)
    yield from (
        _file(f"data/{path}", digests[path]) for path in ("record.json", "outputs/series.json") if path in digests
    )
    for one in record.outputs:
        if one.role != "log":
            yield _file(one.bundle_path if one.stored == "embedded" else one.path, one.digest)


def _asked(record: Record) -> Json:
    """What whoever started the job decided."""
    job = record.job
    return _known(
        argv=list(job.argv),
        workingDirectory=job.cwd,
        environment={one.name: one.value for one in job.variables if not one.redacted},
        parameters=dict(job.parameters),
        seeds={one.name: one.value for one in record.seeds},
        standardInput=job.stdin.path if job.stdin else None,
    )


def _found(record: Record) -> Json:
    """What the machine was, as far as it is known."""
    host, accelerators = record.host, record.accelerators.value
    facts: dict[str, Fact[Any]] = {
        "cpu": host.cpu_model,
        "cpuFlags": host.cpu_flags,
        "coresUsable": host.cores_usable,
        "memoryBytes": host.memory_bytes,
        "libc": host.libc,
        "blas": host.blas,
        **{f"threads.{name}": fact for name, fact in host.threads.items()},
    }
    found = _known(**{name: fact.value for name, fact in facts.items()})
    if accelerators is not None:
        found |= _known(gpuDriver=accelerators.driver.value, cuda=accelerators.cuda.value)
        found["gpus"] = [one.model.value for one in accelerators.devices]
    return found


def _dependencies(record: Record, digests: dict[str, str]) -> Iterator[Json]:
    git = record.code.git.value
    if git is not None and git.commit.value:
        remote = git.remote.value
        yield _known(
            name="source",
            uri=f"git+{remote}@{git.commit.value}" if remote else None,
            digest={"gitCommit": git.commit.value},
        )
    yield _file("code.manifest", record.code.tree.digest)
    base, lock = record.environment.base.value, record.environment.lock.value
    if base is not None:
        yield _known(
            name="base", uri=base.reference or None, digest={"sha256": base.digest.removeprefix("sha256:")}
        )
    if lock is not None:
        yield _file("lock/requirements.txt", lock.sha256)
        wheels = {
            **{one.file: one.sha256 for one in lock.carried},
            **{one.file: one.sha256 for one in lock.copies},
        }
        yield from (_file(f"lock/wheels/{name}", sha256) for name, sha256 in wheels.items())
    for package in record.environment.packages:
        if package.shipped == "locked":
            yield {"uri": f"pkg:pypi/{quote(package.name)}@{quote(package.version)}"}
    for one in record.inputs:
        name = one.name if one.kind == "file" else f"inputs/{one.name}.manifest"
        yield _known(name=name, uri=one.source.value, digest={"sha256": one.digest})
    if "lock/os-packages" in digests:
        yield _file("lock/os-packages", digests["lock/os-packages"])


def _byproducts(digests: dict[str, str]) -> Iterator[Json]:
    for path in ("outputs/stdout.log", "outputs/stderr.log"):
        if path in digests:
            yield _file(f"data/{path}", digests[path])


def _file(name: str, sha256: str) -> Json:
    return {"name": name, "digest": {"sha256": sha256}}


def _known(**facts: Any) -> Json:
    return {name: value for name, value in facts.items() if value is not None}
