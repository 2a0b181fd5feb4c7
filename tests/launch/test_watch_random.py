"""Seeding calls, generators that nobody seeded, switches: seen without changing what the functions are."""

import importlib.util
from pathlib import Path

import pytest

from tests.launch.watching import PYTHON, Seen, script, watch

numpy = pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="needs numpy")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def run(project: Path, text: str, name: str = "train.py") -> Seen:
    return watch([PYTHON, script(project, text, name)], project)


def calls(seen: Seen) -> list[tuple[str, str, str, int]]:
    return [(one.function, one.value, one.where, one.count) for one in seen.watched.seeds]


def uses(seen: Seen) -> list[tuple[str, bool]]:
    return [(one.library, one.seeded) for one in seen.watched.uses]


def test_the_standard_library(project: Path) -> None:
    text = """import random
random.seed(3)
for i in range(5):
    random.seed(4, version=2)
random.seed(a="word")
print(random.random(), random.Random(9).random(), random.Random().random() < 1)
random.setstate(random.getstate())
"""
    seen = run(project, text)
    assert calls(seen)[:4] == [
        ("random.seed", "3", "train.py:2", 1),
        ("random.seed", "4", "train.py:4", 5),
        ("random.seed", "'word'", "train.py:5", 1),
        ("random.Random.seed", "9", "train.py:6", 1),
    ]
    assert uses(seen) == [("random", True)]


def test_used_but_never_seeded(project: Path) -> None:
    assert uses(run(project, "import random\nrandom.shuffle([1, 2, 3])\n")) == [("random", False)]
    assert uses(run(project, "import random\nrandom.seed()\n")) == [("random.seed", False), ("random", False)]
    assert uses(run(project, "import random\n")) == []


@numpy
def test_numpy(project: Path) -> None:
    text = """import numpy as np
from numpy.random import seed, default_rng
np.random.seed(42)
seed(seed=43)
rng = np.random.default_rng(7)
default_rng(seed=[1, 2])
default_rng()
print(np.random.rand(), rng.random())
"""
    seen = run(project, text)
    assert calls(seen) == [
        ("numpy.random.seed", "42", "train.py:3", 1),
        ("numpy.random.seed", "43", "train.py:4", 1),
        ("numpy.random.default_rng", "7", "train.py:5", 1),
        ("numpy.random.default_rng", "[1, 2]", "train.py:6", 1),
    ]
    assert [(one.library, one.seeded, one.where) for one in seen.watched.uses] == [
        ("numpy.random.default_rng", False, "train.py:7"),
        ("numpy.random", True, ""),
    ]
    assert uses(run(project, "import numpy as np\nnp.random.rand()\n")) == [("numpy.random", False)]
    assert uses(run(project, "import numpy as np\nnp.zeros(3)\n")) == []


@numpy
def test_the_functions_are_what_they_were(project: Path) -> None:
    text = """
import inspect, pickle, random
import numpy as np
print(inspect.signature(np.random.default_rng), np.random.seed.__doc__[:20], np.random.seed.__name__)
print(inspect.signature(random.seed), random.seed.__module__, random.seed.__doc__)
for function in (np.random.seed, np.random.default_rng, random.seed):
    assert pickle.loads(pickle.dumps(function)) is not None
seed = np.random.seed
for wrong in ("seed(-1)", "seed('x')", "random.seed([1])", "random.seed(1, 2, 3)"):
    try: eval(wrong)
    except Exception as error: print(type(error), error)
print(type(random.__spec__.loader), random.__loader__ is random.__spec__.loader, type(np.random.mtrand.__loader__))
import importlib
importlib.reload(random)
"""
    seen = watch([PYTHON, script(project, text)], project, compare=False)
    assert seen.code == 0, seen.stderr
    plain = watch([PYTHON, "-I", script(project, text)], project, compare=False)
    assert seen.stdout == plain.stdout and b"ValueError" in seen.stdout


@numpy
def test_many_seeds_stay_few_records(project: Path) -> None:
    text = "import numpy as np\nfor i in range(20000):\n    np.random.seed(i)\n    np.random.default_rng(i)\n"
    seen = run(project, text)
    assert len(seen.watched.seeds) <= 5004
    assert "a process made more different seeding calls than are kept" in seen.watched.lost


def test_each_process_tells_its_own(project: Path) -> None:
    text = """import multiprocessing, random

def work(rank):
    random.seed(100 + rank)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(i,)) for i in range(2)]
    for child in children: child.start()
    for child in children: child.join()
"""
    seen = run(project, text)
    assert {(one.value, one.where) for one in seen.watched.seeds} == {("100", "train.py:4"), ("101", "train.py:4")}
    assert {one.process for one in seen.watched.seeds} == {1, 2}
    assert {one.process for one in seen.watched.uses if one.seeded} == {1, 2}


def test_variables_of_a_fixed_list(project: Path) -> None:
    more = {"RANK": "1", "WORLD_SIZE": "2", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "2", "MY_TOKEN": "secret"}
    seen = watch([PYTHON, "-c", "pass"], project, env=more)
    assert seen.watched.processes[0].variables == {k: v for k, v in more.items() if k != "MY_TOKEN"}
    assert ("sys.flags.hash_randomization", "0") in [(one.name, one.value) for one in seen.watched.switches]
