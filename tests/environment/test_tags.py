"""Which wheel an interpreter takes, whatever interpreter runs runbook."""

import pytest
from packaging.tags import sys_tags

from runbook.environment.tags import best_wheel, platform_tags
from runbook.model.environment import Interpreter
from tests.factories import make_interpreter


def test_for_this_interpreter_the_tags_are_those_of_packaging(interpreter: Interpreter) -> None:
    assert list(platform_tags(interpreter)) == list(sys_tags())


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "n-1-cp311-cp311-manylinux_2_28_x86_64.whl"),
        ({"libc": "glibc 2.27"}, "n-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"),
        ({"libc": "glibc 2.12"}, "n-1-cp38-abi3-manylinux1_x86_64.whl"),
        ({"libc": "musl 1.2"}, "n-1-cp311-cp311-musllinux_1_2_x86_64.whl"),
        ({"machine": "aarch64"}, "n-1-cp311-cp311-manylinux_2_28_aarch64.whl"),
        ({"version": "3.13.0", "abi": "cp313t"}, "n-1-cp313-cp313t-manylinux_2_28_x86_64.whl"),
        ({"version": "3.9.18", "abi": "cp39"}, "n-1-cp38-abi3-manylinux1_x86_64.whl"),
        ({"version": "3.7.16", "abi": "cp37m"}, "n-1-py3-none-any.whl"),
        (
            {
                "implementation": "pypy",
                "version": "3.11.9",
                "abi": "pp311",
                "soabi": "pypy311-pp73-x86_64-linux-gnu",
            },
            "n-1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
        ),
    ],
)
def test_the_best_wheel_is_chosen_for_the_jobs_interpreter(overrides: dict[str, str], expected: str) -> None:
    files = [
        "n-1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "n-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "n-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "n-1-cp311-cp311-manylinux_2_28_aarch64.whl",
        "n-1-cp313-cp313t-manylinux_2_28_x86_64.whl",
        "n-1-cp38-abi3-manylinux1_x86_64.whl",
        "n-1-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
        "n-1-cp311-cp311-win_amd64.whl",
        "n-1-cp311-cp311-macosx_11_0_arm64.whl",
        "n-1-py3-none-any.whl",
        "n-1.tar.gz",
        "garbage.whl",
    ]
    interpreter = make_interpreter(**overrides)
    assert best_wheel(files, interpreter) == expected
    assert best_wheel(reversed(files), interpreter) == expected


def test_a_higher_build_number_wins_and_no_wheel_is_none() -> None:
    wheels = ["n-1-1-py3-none-any.whl", "n-1-10-py3-none-any.whl", "n-1-py3-none-any.whl"]
    assert best_wheel(wheels, make_interpreter()) == "n-1-10-py3-none-any.whl"
    assert best_wheel(["n-1-cp311-cp311-win_amd64.whl", "n-1.zip"], make_interpreter()) is None
