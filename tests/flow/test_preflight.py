"""What a machine lacks is said before anything is spent, with its exit code; GPUs by a stand-in for the driver."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from nvml import stand_in

from runbook.bundle import layout
from runbook.flow import hosts
from runbook.model.environment import Environment, Lock, Package, environment_id
from runbook.model.fact import Fact, missing, observed
from runbook.model.host import Accelerator, Accelerators
from runbook.model.record import Record
from runbook.model.watch import Process, Watched
from runbook.observe.host import HostCollector
from tests.factories import make_bundle, make_environment, make_host, make_interpreter, make_record
from tests.flow.conftest import Project

Cli = Callable[..., subprocess.CompletedProcess[str]]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two GPUs: an H100 with 80 GB (9.0) and an RTX 4090 with 24 GB (8.9), driver 580.65.06."""
    return stand_in(tmp_path_factory.mktemp("nvml"))


def gpu(model: str = "NVIDIA H100 80GB HBM3", memory: int = 85520809984, capability: str = "9.0") -> Accelerator:
    rest = {"uuid", "ecc", "mig", "pci_bus_id", "serial", "vbios", "power_limit_w"}
    return Accelerator(
        index=0,
        model=observed(model),
        memory_bytes=observed(memory),
        compute_capability=observed(capability),
        **{name: missing("not asked") for name in rest},
    )


def with_gpus(*devices: Accelerator) -> Fact[Accelerators]:
    value = Accelerators(driver=observed("580.65.06"), cuda=observed("13.0"), nvml=observed("13"), devices=devices)
    return observed(value)


def empty(version: str, reference: str = "") -> Environment:
    """An environment without packages, of this version of Python, on the base of this name."""
    told = make_environment(packages=())
    base, interpreter = told.base.value, make_interpreter(version=version)
    assert base is not None
    if reference:
        base = msgspec.structs.replace(base, reference=f"{reference}@{base.digest}")
    lock = Lock(sha256=hashlib.sha256(b"").hexdigest(), packages=0, tool="pip-tools 7.6.2")
    return msgspec.structs.replace(
        told,
        base=observed(base),
        interpreter=observed(interpreter),
        lock=observed(lock),
        id=observed(environment_id(base, interpreter, lock, ())),
    )


def make(tmp_path: Path, *, peak: int = 1 << 20, gpu_peak: int | None = None, **overrides: Any) -> Path:
    """A bundle that this machine can replay with its own Python, but for what is overridden."""
    record = make_record(**({"host": make_host(machine=observed(platform.machine()))} | overrides))
    resources = msgspec.structs.replace(
        record.resources,
        peak_rss_bytes=observed(peak),
        peak_gpu_memory_bytes=observed(gpu_peak) if gpu_peak else missing("not on a GPU"),
    )
    told = overrides.get("environment") or empty(HERE)
    record = msgspec.structs.replace(record, resources=resources, environment=told)
    return make_bundle(tmp_path, record, extra={layout.REQUIREMENTS: b""})


def plan(cli: Cli, bundle: Path, *options: str, **env: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit code, the document, and its checks by id."""
    done = cli("replay", bundle, "--plan", "--json", "--engine", "local", *options, env=env)
    document = json.loads(done.stdout)
    return done.returncode, document, {one["id"]: one for one in document["checks"]}


def test_a_plan_is_a_document_of_a_published_shape_and_a_text(runbook_cli: Cli, tmp_path: Path) -> None:
    bundle = make(tmp_path)
    code, document, checks = plan(runbook_cli, bundle)
    assert code == document["exit_code"] == 0
    published = Path(__file__).parents[2] / "docs/preflight.schema.json"
    jsonschema.validate(document, json.loads(published.read_text()))
    assert document["job_s"] == {
        "evidence": "inferred",
        "value": 9.25,
        "reason": "which is what the original took on Demo CPU 3000",
    }
    assert {"what": "input images", "action": "unpack", "bytes": 320, "source": ""} in document["sizes"]
    assert {"engine", "architecture", "memory", "cores", "disk", "gpu", "input:iris.csv"} <= set(checks)
    text = runbook_cli("replay", bundle, "--plan", "--engine", "local").stdout
    for words in ("unpack: input images, 320 B", "time: 9.2 s for the job", "A replay here: it can run"):
        assert words in text


def test_another_architecture_is_not_comparable(runbook_cli: Cli, tmp_path: Path) -> None:
    bundle = make(tmp_path, host=make_host(machine=observed("riscv64")))
    assert plan(runbook_cli, bundle)[0] == 7
    done = runbook_cli("replay", bundle, "--engine", "local", "--despite", "architecture")
    assert done.returncode == 2 and "not a check that can be overruled" in done.stderr
    done = runbook_cli("replay", bundle, "--engine", "local")
    assert done.returncode == 7
    assert "(needed: riscv64)" in done.stderr and "hint: replay on a riscv64 machine" in done.stderr


def test_a_job_that_needs_more_memory_than_there_is_exits_6_unless_overruled(
    runbook_cli: Cli, tmp_path: Path
) -> None:
    bundle = make(tmp_path, peak=1 << 50)
    code, _, checks = plan(runbook_cli, bundle)
    assert (code, checks["memory"]["state"], checks["memory"]["needed"]) == (6, "missing", "1.0 PiB at its peak")
    assert plan(runbook_cli, bundle, "--despite", "memory")[0] == 0
    done = runbook_cli("replay", bundle, "--engine", "local")
    assert done.returncode == 6 and "--despite memory replays anyway" in done.stderr
    (tmp_path / "small").mkdir()
    small = make(tmp_path / "small", peak=200 << 20)
    assert plan(runbook_cli, small, "--memory", "100MiB")[0] == 6
    assert plan(runbook_cli, small, "--memory", "210MiB")[2]["memory"]["state"] == "warning"


def test_too_little_room_is_told_by_file_system(tmp_path: Path) -> None:
    below = tmp_path / "not/made/yet"
    [check] = hosts.check_disk({tmp_path: 1 << 20, below: 1 << 60})
    assert (check.id, check.state, check.needed) == ("disk", "missing", "1024 PiB")
    [check] = hosts.check_disk({tmp_path: 1 << 20, below: 1 << 20})
    assert (check.state, check.needed) == ("ok", "2.0 MiB")


def test_a_time_limit_below_what_the_original_took_is_a_warning(runbook_cli: Cli, tmp_path: Path) -> None:
    code, _, checks = plan(runbook_cli, make(tmp_path), "--time-limit", "5")
    assert (code, checks["time"]["state"], checks["time"]["needed"]) == (0, "warning", "9.2 s")


def test_a_python_that_this_machine_lacks_cannot_be_rebuilt_locally(runbook_cli: Cli, tmp_path: Path) -> None:
    bundle = make(tmp_path, environment=empty("3.7.17"))
    code, _, checks = plan(runbook_cli, bundle)
    assert (code, checks["base"]["what"]) == (4, "this machine has no Python 3.7")
    assert runbook_cli("replay", bundle, "--engine", "local").returncode == 4


@pytest.mark.docker
def test_a_base_that_no_registry_gives_cannot_be_rebuilt(runbook_cli: Cli, tmp_path: Path) -> None:
    bundle = make(tmp_path, environment=empty(HERE, "127.0.0.1:9/python"))
    done = runbook_cli("replay", bundle, "--plan", "--json", "--engine", "docker")
    [check] = [one for one in json.loads(done.stdout)["checks"] if one["id"] == "base"]
    assert (done.returncode, check["state"]) == (4, "not rebuildable")
    assert "the base image cannot be pulled" in check["what"]
    assert runbook_cli("replay", bundle, "--plan", "--engine", "docker", "--offline").returncode == 0


def test_wheels_that_no_index_has_cannot_be_rebuilt(runbook_cli: Cli, tmp_path: Path) -> None:
    record = make_record(host=make_host(machine=observed(platform.machine())))
    bundle = make_bundle(tmp_path, record)
    code, _, checks = plan(runbook_cli, bundle, PIP_NO_INDEX="1")
    assert (code, checks["packages"]["state"]) == (4, "not rebuildable")
    assert "numpy==2.3.5" in checks["packages"]["found"]


def test_an_engine_that_is_missing_is_a_check_among_others(runbook_cli: Cli, tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nowhere.sock"}
    done = runbook_cli("replay", make(tmp_path), "--plan", "--json", "--engine", "docker", env=nowhere)
    checks = {one["id"]: one["state"] for one in json.loads(done.stdout)["checks"]}
    assert (done.returncode, checks["engine"], checks["architecture"]) == (6, "missing", "ok")


def flags_here() -> tuple[str, ...]:
    host = HostCollector().collect(_context())
    return host.cpu_flags.value or ()


def _context() -> Any:
    from runbook.observe.interface import Context

    here = Path.cwd()
    return Context(argv=(), root=here, cwd=here, env={}, interpreter=missing("none"), probe=None)


def test_cpu_features_that_are_not_here_are_a_named_substitution(runbook_cli: Cli, tmp_path: Path) -> None:
    more = (*flags_here(), "amx_fp128", "avx1024f", "not_arithmetic")
    host = make_host(machine=observed(platform.machine()), cpu_flags=observed(more))
    code, _, checks = plan(runbook_cli, make(tmp_path, host=host))
    assert (code, checks["cpu-features"]["state"]) == (0, "warning")
    assert checks["cpu-features"]["found"].endswith("without amx_fp128 avx1024f")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the table is of x86-64")
def test_a_package_compiled_for_what_this_cpu_lacks_is_not_comparable(tmp_path: Path) -> None:
    packages = tuple(
        Package(name=name, version=version, origin=origin, record="intact")  # type: ignore[arg-type]
        for name, version, origin in (
            ("polars", "1.30.0", "index"),
            ("numpy", "2.3.5", "index"),
            ("jaxlib", "0.6.0", "local-file"),
        )
    )
    record = make_record(environment=make_environment(packages=packages))
    here = make_host(machine=observed("x86_64"), cpu_flags=observed(("avx", "fma", "sse4_2")))
    found = {one.id: one for one in hosts.check_cpu(record, here)}
    assert found["cpu-needed"].state == "not comparable"
    assert found["cpu-needed"].found == "without avx2 bmi1 bmi2"
    assert found["cpu-needed"].what.startswith("polars 1.30.0 was compiled")


@dataclass(frozen=True)
class Case:
    """What the original had and used, what the stand-in shows, and what must be said."""

    name: str
    said: dict[str, str]
    """Check id → state."""
    had: tuple[Accelerator, ...] = (gpu(), gpu("NVIDIA GeForce RTX 4090", 25757220864, "8.9"))
    used: int | None = 10 << 30
    cuda: str = "12.8"
    ranks: int = 0
    here: dict[str, str] = field(default_factory=dict)
    words: str = ""

    def record(self) -> Record:
        frameworks = {"cuda": self.cuda} if self.cuda else {}
        record = make_record(
            accelerators=with_gpus(*self.had), environment=make_environment(frameworks=frameworks)
        )
        peak = observed(self.used) if self.used else missing("no process of the job was seen on a GPU")
        processes = tuple(
            Process(number=n, pid=n, variables={"LOCAL_RANK": str(n), "RANK": str(n + 8)})
            for n in range(self.ranks)
        )
        return msgspec.structs.replace(
            record,
            resources=msgspec.structs.replace(record.resources, peak_gpu_memory_bytes=peak),
            watch=observed(Watched(processes=processes, tracers=("python",))),
        )


FINE = {"gpu": "ok", "gpu-memory": "ok", "gpu-capability": "ok", "gpu-driver": "ok"}
CASES = [
    Case("the same", FINE),
    Case("none needed", {"gpu": "ok"}, had=()),
    Case("used and gone", {"gpu": "missing"}, here={"NVML_NONE": "1"}, words="computed on a GPU"),
    Case("driver unloaded", {"gpu": "missing"}, here={"NVML_UNLOADED": "1"}, words="not loaded"),
    Case("there and unused", {"gpu": "warning"}, used=None, here={"NVML_UNLOADED": "1"}),
    Case("another model", FINE | {"gpu": "warning"}, had=(gpu("NVIDIA A100", 42 << 30, "8.0"),) * 2),
    Case("fewer", FINE | {"gpu": "warning", "gpu-count": "warning"}, here={"NVML_ONE": "1"}),
    Case("more", FINE | {"gpu": "warning", "gpu-count": "ok"}, had=(gpu(),)),
    Case("a rank without one", FINE | {"gpu-count": "missing"}, ranks=3, words="3"),
    Case("a rank each", FINE, ranks=2),
    Case("more memory than all", FINE | {"gpu-memory": "missing"}, used=200 << 30, words="more GPU memory"),
    Case(
        "less memory on each",
        FINE | {"gpu": "warning", "gpu-memory": "warning"},
        had=(gpu("NVIDIA H200", 150 << 30),) * 2,
        used=90 << 30,
    ),
    Case(
        "an older generation",
        FINE | {"gpu": "warning", "gpu-capability": "warning"},
        had=(gpu("NVIDIA B200", 80 << 30, "10.0"),) * 2,
    ),
    Case(
        "a GPU too old for the packages",
        FINE | {"gpu-capability": "missing"},
        cuda="13.0",
        here={"NVML_CAPABILITY": "7.0"},
        words="no kernels for this GPU",
    ),
    Case("driver at its least", FINE, cuda="13.0", here={"NVML_DRIVER": "580.65.06"}),
    Case("driver too old", FINE | {"gpu-driver": "missing"}, cuda="13.0.88", here={"NVML_DRIVER": "575.51.03"}),
    Case("by compatibility", FINE | {"gpu-driver": "warning"}, here={"NVML_DRIVER": "535.54.03"}),
    Case("compatible no more", FINE | {"gpu-driver": "missing"}, here={"NVML_DRIVER": "520.61.05"}),
    Case("not of three numbers", FINE, cuda="12.8.1", here={"NVML_DRIVER": "570.26"}),
    Case("a toolkit of the future", FINE | {"gpu-driver": "warning"}, cuda="19.4", words="not in the table"),
    Case("no CUDA named", FINE, cuda=""),
]
CALL = """
import os, sys, msgspec
from runbook.flow.gpus import check_gpus
from runbook.model.record import Record
record, variables = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[Record, dict[str, str]])
os.environ.update(variables)
sys.stdout.buffer.write(msgspec.json.encode(list(check_gpus(record))))
"""


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_gpus_are_compared_with_the_originals(driver: Path, case: Case) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CALL],
        input=msgspec.json.encode([case.record(), case.here]),
        capture_output=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(driver)},
        check=True,
    )
    checks = {one["id"]: one for one in json.loads(done.stdout)}
    assert {name: one["state"] for name, one in checks.items()} == case.said
    assert case.words in done.stdout.decode()
    assert all(one["hint"] for one in checks.values() if one["state"] == "missing")


def test_the_table_knows_what_a_toolkit_needs() -> None:
    from runbook.environment.needs import cuda_need

    need = cuda_need("13.1.80")
    assert need is not None
    assert (need.driver, need.least, need.capability) == ("590.44.01", "580.65.06", "7.5")
    assert cuda_need("10.2") is None and cuda_need("") is None


@pytest.mark.docker
def test_a_gpu_that_was_there_and_not_used_is_not_asked_for_where_there_is_none(
    project: Project, driver: Path
) -> None:
    job = ("--metric", "rmse=rmse: (.*)", "--", str(project.python), "train.py")
    assert project.runbook("run", *job, env={"LD_LIBRARY_PATH": str(driver)}).code == 0
    bundle = project.capture("x.runbook")
    assert project.runbook("show", bundle, "--json").json["accelerators"]["value"]["devices"]
    done = project.runbook("replay", bundle, "--engine", "docker", env={"NVML_UNLOADED": "1"})
    assert done.code == 0, done.err
    assert "GPU container" not in done.err


def test_a_replay_without_the_gpu_that_the_original_used_exits_6(
    runbook_cli: Cli, driver: Path, tmp_path: Path
) -> None:
    bundle = make(tmp_path, accelerators=with_gpus(gpu()), gpu_peak=10 << 30)
    env = {"LD_LIBRARY_PATH": str(driver)}
    assert plan(runbook_cli, bundle, **env)[0] == 0
    gone = runbook_cli("replay", bundle, "--engine", "local", env=env | {"NVML_NONE": "1"})
    assert gone.returncode == 6
    assert "the job computed on a GPU, and there is none here" in gone.stderr
    assert "--despite gpu replays anyway" in gone.stderr
