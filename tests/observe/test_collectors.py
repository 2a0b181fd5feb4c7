"""The contract of the family: whatever is in the registry keeps it."""

import os
import platform
from pathlib import Path

import msgspec
import pytest

from runbook.model.fact import Fact, inferred, missing
from runbook.model.host import Accelerators, Host
from runbook.model.record import Seed
from runbook.observe.host import usable_cores, usable_memory
from runbook.observe.interface import Context
from runbook.registry import members

FIELDS = {"host": Host, "accelerators": Fact[Accelerators], "seeds": tuple[Seed, ...]}
COLLECTORS = members("observe")


def context(cwd=Path("/"), argv=(), env=None, probe=None, failure="it was not probed"):
    python = inferred("/usr/bin/python3", "a test") if probe else missing("no Python")
    return Context(
        argv=argv,
        root=cwd,
        cwd=cwd,
        env=env or {},
        interpreter=python,
        probe=probe,
        probe_failure="" if probe else failure,
    )


def test_the_familys_members_are_found():
    assert {"host", "accelerators", "container", "seeds"} <= set(COLLECTORS)


@pytest.mark.parametrize("name", COLLECTORS)
def test_a_collector_answers_for_an_empty_context(name):
    collector = COLLECTORS[name]
    assert collector.name == name
    value = collector.collect(context())
    encoded = msgspec.json.encode(value)
    msgspec.json.decode(encoded, type=FIELDS.get(name, object))


@pytest.mark.parametrize("name", COLLECTORS)
def test_a_collector_answers_with_a_probe_and_changes_nothing(name, venv, tmp_path):
    (tmp_path / "job").mkdir()
    before = dict(os.environ)
    job = context(tmp_path / "job", ("python", "train.py", "--seed", "3"), {"TZ": "Europe/Bern"}, venv.probe())
    value = COLLECTORS[name].collect(job)
    assert msgspec.json.decode(msgspec.json.encode(value), type=FIELDS.get(name, object)) or name == "seeds"
    assert (dict(os.environ), list((tmp_path / "job").iterdir())) == (before, [])


def every_fact(value):
    if isinstance(value, Fact):
        yield value
        value = value.value
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from every_fact(getattr(value, field))
    elif isinstance(value, dict):
        for item in value.values():
            yield from every_fact(item)
    elif isinstance(value, tuple):
        for item in value:
            yield from every_fact(item)


@pytest.mark.parametrize("name", COLLECTORS)
def test_no_fact_is_blank(name):
    for fact in every_fact(COLLECTORS[name].collect(context())):
        assert fact.reason if fact.evidence == "missing" else fact.value not in ("", ())


def test_the_host_is_this_machine(venv):
    host = COLLECTORS["host"].collect(
        context(env={"TZ": "Europe/Bern", "OMP_NUM_THREADS": "3"}, probe=venv.probe())
    )
    assert host.machine.value == platform.machine()
    assert host.kernel.value == platform.release()
    assert 1 <= host.cores_usable.value <= host.cores_logical.value
    assert host.memory_bytes.value > 1 << 28
    assert host.libc.value.split()[0] in ("glibc", "musl")
    assert (host.timezone.value, host.threads["OMP_NUM_THREADS"].value) == ("Europe/Bern", "3")
    assert host.threads["MKL_NUM_THREADS"].reason == "not set"
    assert host.blas.reason == "no installed package names its BLAS"


def test_without_a_probe_the_reason_is_the_probes():
    assert (
        COLLECTORS["host"].collect(context(failure="the job has no Python")).blas.reason == "the job has no Python"
    )


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_limits_of_control_groups_version_2_bound_cores_and_memory(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/slice/job\n",
            "sys/fs/cgroup/slice/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/slice/job/cpu.max": "max 100000\n",
            "sys/fs/cgroup/slice/job/memory.max": "1048576\n",
            "sys/fs/cgroup/memory.max": "max\n",
        },
    )
    assert (usable_cores(root), usable_memory(root)) == (1, 1048576)


def test_limits_of_control_groups_version_1_bound_cores_and_memory(tmp_path):
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "2097152\n",
        },
    )
    assert (usable_cores(root), usable_memory(root)) == (1, 2097152)


def test_without_control_groups_the_machine_is_the_bound(tmp_path):
    assert usable_cores(tmp_path) == len(os.sched_getaffinity(0))
    assert usable_memory(tmp_path) > 1 << 28
