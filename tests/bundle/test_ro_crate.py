"""The crate inside a bundle, judged by rocrate-validator itself and by what the record says."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from runbook.export.interface import Payload
from runbook.export.ro_crate import MEMBER
from runbook.model.fact import missing, observed
from runbook.model.job import Outcome
from tests.factories import entries_of, make_bundle, make_record

SUPPORT = Path(__file__).parents[1] / "support"
ACCEPTED_SHORTFALLS = {
    "process-run-crate-0.5_5.1",  # The program has no URL of its own.
    "ro-crate-1.1_22.2",  # Nobody said who the author is.
    "ro-crate-1.1_22.3",  # Nor who publishes it.
}


@pytest.fixture(scope="module")
def validate(tmp_path_factory):
    """Runs rocrate-validator offline on a folder; (exit code, ids of the checks that failed)."""
    cache = tmp_path_factory.mktemp("crate") / "cache"
    subprocess.run([sys.executable, SUPPORT / "crate_cache.py", cache], check=True)

    def run(data: Path, severity: str) -> tuple[int, set[str]]:
        report = cache.with_name("report.json")
        command = [
            str(Path(sys.executable).parent / "rocrate-validator"),
            "-y",
            "validate",
            "--offline",
            "--no-paging",
        ]
        command += [
            "--cache-path",
            cache,
            "-p",
            "process-run-crate",
            "-l",
            severity,
            "-f",
            "json",
            "-o",
            report,
            data,
        ]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        issues = json.loads(report.read_text())["issues"]
        return done.returncode, {issue["check"]["identifier"] for issue in issues}

    return run


def test_a_bundle_is_a_valid_process_run_crate(tmp_path, validate):
    data = make_bundle(tmp_path) / "data"
    assert validate(data, "required") == (0, set())
    assert validate(data, "recommended")[1] <= ACCEPTED_SHORTFALLS


def test_a_failed_run_with_missing_facts_is_a_valid_crate(tmp_path, validate):
    unknown = missing("the run was not observed")
    outcome = Outcome(status="failed", exit_code=observed(1), started=unknown, ended=unknown, duration_s=unknown)
    data = make_bundle(tmp_path, make_record(outcome=outcome, inputs=()), inputs={}) / "data"
    assert validate(data, "required") == (0, set())
    graph = {e["@id"]: e for e in json.loads((data / "ro-crate-metadata.json").read_text())["@graph"]}
    assert "endTime" not in graph["#run"]
    assert "end is missing (the run was not observed)" in graph["#run"]["description"]
    assert graph["#run"]["actionStatus"].endswith("FailedActionStatus")
    assert graph["#run"]["error"] == "exit code 1"


def test_the_validator_would_have_said_so(tmp_path, validate):
    data = make_bundle(tmp_path) / "data"
    document = json.loads((data / "ro-crate-metadata.json").read_text())
    document["@graph"] = [e for e in document["@graph"] if e["@id"] != "#application"]
    (data / "ro-crate-metadata.json").write_text(json.dumps(document))
    assert validate(data, "required")[0] == 1


def test_every_relative_part_is_a_file_of_the_bundle(tmp_path):
    data = make_bundle(tmp_path) / "data"
    graph = {e["@id"]: e for e in json.loads((data / "ro-crate-metadata.json").read_text())["@graph"]}
    parts = [part["@id"] for part in graph["./"]["hasPart"]]
    assert "inputs/iris.csv/iris.csv" in parts and "code/" in parts
    assert all((data / part).exists() for part in parts)


def test_metrics_inputs_and_image_are_those_of_the_record():
    record = make_record()
    files = entries_of({"inputs/iris.csv/iris.csv": b"1\n", "lock/requirements.txt": b""})
    graph = {e["@id"]: e for e in json.loads(MEMBER.export(Payload(record, files)))["@graph"]}
    assert [graph[r["@id"]].get("value") for r in graph["#run"]["result"]][-2:] == [0.9375, 0.4]
    assert {r["@id"] for r in graph["#run"]["object"]} == {"inputs/iris.csv/iris.csv", "inputs/images/"}
    assert graph["#image"]["sha256"] == record.environment.base.value.digest.removeprefix("sha256:")
    assert graph["./"]["datePublished"] == record.outcome.ended.value


def test_no_reference_points_to_nothing(tmp_path):
    crate = json.loads((make_bundle(tmp_path) / "data/ro-crate-metadata.json").read_text())
    known = {entity["@id"] for entity in crate["@graph"]}
    outside = {"https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/terms/workflow-run#DockerImage"}

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else []
            for one in value.values():
                yield from references(one)
        elif isinstance(value, list):
            for one in value:
                yield from references(one)

    assert set(references(crate["@graph"])) - known <= outside


def test_the_same_record_gives_the_same_bytes():
    payload = Payload(make_record(), entries_of({"code/train.py": b""}))
    assert MEMBER.export(payload) == MEMBER.export(payload)
    again = msgspec.convert(msgspec.to_builtins(payload.record), type(payload.record))
    assert MEMBER.export(Payload(again, payload.files)) == MEMBER.export(payload)
