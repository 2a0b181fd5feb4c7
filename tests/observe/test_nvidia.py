"""NVML through a stand-in library with the real C interface's shapes, loaded as the driver's own would be."""

import subprocess
import sys

import msgspec
import pytest
from nvml import stand_in

from runbook.model.fact import Fact
from runbook.model.host import Accelerators

COLLECT = """
import sys
from pathlib import Path
import msgspec
from runbook.model.fact import missing
from runbook.observe.interface import Context
from runbook.observe.nvidia import MEMBER, driver_answer
here = Path.cwd()
context = Context(argv=(), root=here, cwd=here, env={}, interpreter=missing("none"), probe=None)
sys.stdout.buffer.write(msgspec.json.encode([MEMBER.collect(context), driver_answer()]))
"""


def collect(folder, **variables):
    done = subprocess.run(
        [sys.executable, "-c", COLLECT],
        capture_output=True,
        check=True,
        env={"LD_LIBRARY_PATH": str(folder), **variables},
    )
    return msgspec.json.decode(done.stdout, type=tuple[Fact[Accelerators], str])


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return stand_in(tmp_path_factory.mktemp("nvml"))


def test_every_fact_of_a_data_center_gpu_is_told(driver):
    fact, answer = collect(driver)
    told = fact.value
    first = told.devices[0]
    assert answer == ""
    assert (told.driver.value, told.cuda.value, told.nvml.value) == ("580.65.06", "13.0", "13.580.65.06")
    assert first.model.value == "NVIDIA H100 80GB HBM3"
    assert first.uuid.value == "GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert first.memory_bytes.value == 85520809984
    assert first.compute_capability.value == "9.0"
    assert (first.ecc.value, first.mig.value) == (True, False)
    assert first.pci_bus_id.value == "00000000:19:00.0"
    assert (first.serial.value, first.vbios.value, first.power_limit_w.value) == (
        "1650123456789",
        "96.00.89.00.01",
        700.0,
    )


def test_what_a_device_does_not_support_is_missing_with_the_reason(driver):
    second = collect(driver)[0].value.devices[1]
    for fact in (second.ecc, second.mig, second.serial, second.power_limit_w):
        assert (fact.evidence, fact.reason) == ("missing", "not supported by this device")
    assert (second.model.value, second.compute_capability.value) == ("NVIDIA GeForce RTX 4090", "8.9")


def test_a_lost_device_does_not_hide_the_other(driver):
    first, second = collect(driver, NVML_LOST="1")[0].value.devices
    assert first.model.known
    assert (second.index, second.uuid.reason) == (1, "NVML: GPU is lost")


@pytest.mark.parametrize(
    ("variables", "path"), [({}, "PHB"), ({"NVML_NVLINK": "1"}, "NVLink"), ({"NVML_OLD": "1"}, "PHB")]
)
def test_the_connection_of_two_gpus_is_told(driver, variables, path):
    assert collect(driver, **variables)[0].value.topology == {"0-1": path}


def test_a_driver_without_a_gpu_is_told(driver):
    told = collect(driver, NVML_NONE="1")[0].value
    assert (told.devices, told.driver.value) == ((), "580.65.06")


def test_a_driver_that_is_not_loaded_is_the_reason(driver):
    fact, answer = collect(driver, NVML_UNLOADED="1")
    assert fact.reason == answer == "the NVIDIA driver is installed but not loaded"


def test_without_a_driver_the_reason_names_the_library(tmp_path):
    fact, answer = collect(tmp_path)
    if fact.known:
        pytest.skip("this machine has an NVIDIA driver")
    assert fact.reason == answer == "no NVIDIA driver on this host (libnvidia-ml.so.1 is not found)"
