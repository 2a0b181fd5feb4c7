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


SEEDS_ANEW = """import random, torch.random
def _worker_loop(init):
    random.seed(torch.initial)
    torch.random.manual_seed(torch.initial)
    init()
"""


def torch_of_sorts(project: Path) -> None:
    """Stands in for torch in the places that count: where a worker seeds anew is known by its file."""
    for name, text in {
        "torch/__init__.py": "import array\ninitial = 81\ndef get_rng_state(): return array.array('b', [1])\n",
        "torch/random.py": "def manual_seed(seed): pass\ndef set_rng_state(new_state): pass\n",
        "torch/utils/__init__.py": "",
        "torch/utils/data/__init__.py": "",
        "torch/utils/data/_utils/__init__.py": "",
        "torch/utils/data/_utils/worker.py": SEEDS_ANEW,
    }.items():
        path = project / "site-packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_what_a_dataloader_seeds_its_workers_with_is_no_seed(project: Path) -> None:
    torch_of_sorts(project)
    text = """import sys; sys.path.insert(0, "site-packages")
import multiprocessing, random
from torch.utils.data._utils.worker import _worker_loop

def nothing(): random.random()
def own(): random.seed(5)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    for init in (nothing, own):
        child = context.Process(target=_worker_loop, args=(init,))
        child.start(); child.join()
"""
    seen = run(project, text)
    assert seen.code == 0
    assert calls(seen) == [("random.seed", "5", "train.py:6", 1)]
    assert ("random", False) not in uses(seen)


def test_a_state_that_a_library_puts_back_is_no_seed(project: Path) -> None:
    library = project / "site-packages" / "isolated.py"
    library.parent.mkdir()
    library.write_text(
        "import random\ndef isolated(act):\n    state = random.getstate()\n    act()\n    random.setstate(state)\n"
    )
    text = """import sys; sys.path.insert(0, "site-packages")
import random, isolated
isolated.isolated(random.random)
random.random()
"""
    seen = run(project, text)
    assert calls(seen) == []
    assert uses(seen) == [("random", False)]
    assert calls(run(project, "import random\nrandom.setstate(random.getstate())\n"))[0][::2] == (
        "random.setstate",
        "train.py:2",
    )


@pytest.mark.parametrize(
    ("imports", "by_library"),
    [
        ("", True),
        ("# import random\n", False),  # Rather too careful than not.
        ("import os, random\n", False),
        ("from random import shuffle\n", False),
        ("import random as dice\n", False),
        ("def later():\n    import random\n", False),
        ("dice = __import__('random')\n", False),
        ("randomness = 1\n", True),
    ],
)
def test_random_numbers_of_a_library_are_told_apart(project: Path, imports: str, by_library: bool) -> None:
    library = project / "site-packages" / "names.py"
    library.parent.mkdir()
    library.write_text("import random\ndef name(): return random.choice('abc') and 'x'\n")
    text = f'import sys; sys.path.insert(0, "site-packages")\nimport names\n{imports}print(names.name())\n'
    (use,) = run(project, text).watched.uses
    assert (use.library, use.seeded, use.by_library) == ("random", False, by_library)
    assert [one.by_library for one in watch([PYTHON, "-c", text], project).watched.uses] == [by_library]


def test_of_a_script_on_standard_input_nobody_knows_what_it_imports(project: Path) -> None:
    text = b"import random\nrandom.random()\ndel random\n"
    assert not watch([PYTHON, "-"], project, stdin=text).watched.uses[0].by_library


def test_a_launcher_of_a_library_does_not_hide_what_the_job_imports(project: Path) -> None:
    script(project, "def draw():\n    import random\n    print(random.random() < 1)\ndraw()\n", "train.py")
    (use,) = watch([PYTHON, "-m", "trace", "--count", "--missing", "-C", ".", "train.py"], project).watched.uses
    assert not use.by_library


@numpy
@pytest.mark.parametrize("first", [150, 250])
def test_a_place_that_seeds_generators_for_its_callers_is_asked_so_often_only(project: Path, first: int) -> None:
    library = project / "site-packages" / "forest.py"
    library.parent.mkdir()
    library.write_text("import numpy as np\ndef tree(seed): return np.random.default_rng(seed)\n")
    text = f"""import sys; sys.path.insert(0, "site-packages")
import forest
for one in range({first}): forest.tree(one)
for one in range(9): forest.tree(one)
"""
    told = [("numpy.random.default_rng", str(one), "train.py:3", 1) for one in range(4)]
    more = [("numpy.random.default_rng", str(one), "train.py:4", 1) for one in range(4)]
    assert calls(run(project, text)) == (told + more if first < 200 else told)


@numpy
def test_what_a_library_draws_while_it_is_imported_is_its_own_doing(project: Path) -> None:
    library = project / "site-packages" / "jax" / "__init__.py"
    library.parent.mkdir(parents=True)
    library.write_text("import numpy\nnumpy.random.rand()\n")
    text = 'import sys; sys.path.insert(0, "site-packages")\n'
    assert uses(run(project, text + "import jax\n")) == []
    assert uses(run(project, text + "import jax, numpy\nnumpy.random.rand()\n")) == [("numpy.random", False)]
    assert uses(run(project, text + "import numpy\nnumpy.random.rand()\nimport jax\n")) == [
        ("numpy.random", False)
    ]


def test_keys_of_jax_are_seeds_wherever_it_defines_them(project: Path) -> None:
    """A stand-in: the real one was run by hand."""
    core = project / "site-packages/jax/_src/random/core.py"
    core.parent.mkdir(parents=True)
    core.write_text("def PRNGKey(seed, *, impl=None): return seed\nkey = PRNGKey\nclass JitTracer: shape = ()\n")
    (core.parent / "__init__.py").write_text("")
    (core.parents[2] / "__init__.py").write_text("from . import random\n")
    (core.parents[2] / "random.py").write_text("from ._src.random.core import PRNGKey as PRNGKey, key as key\n")
    text = """import sys; sys.path.insert(0, "site-packages")
import jax
from jax._src.random.core import JitTracer
jax.random.PRNGKey(7), jax.random.key(seed=8), jax.random.key(JitTracer())
"""
    assert [one[:3] for one in calls(run(project, text))] == [
        ("jax.random.PRNGKey", "7", "train.py:4"),
        ("jax.random.key", "8", "train.py:4"),
    ]
