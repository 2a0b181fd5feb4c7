"""How much a difference matters to these two runs: what they touched, and what else differs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from runbook.compare.contents import Manifests, unread
from runbook.compare.verdict import compare
from runbook.model.environment import Package
from runbook.model.fact import observed
from runbook.model.files import ReadOrder, SeenFile
from runbook.model.job import Job, Variable
from runbook.model.metric import Metric
from runbook.model.record import Record
from runbook.model.verdict import Comparison, Difference
from runbook.model.watch import Process, Use, Watched
from tests.factories import entries_of, make_code, make_environment, make_host, make_input, make_record

JOB = Job(argv=("python", "train.py"), root="/p", cwd=".")
SEEN = tuple(SeenFile(path=path, kind="code", why="source", read=True) for path in ("train.py", "model.py"))
WATCH = Watched(processes=(Process(number=0, pid=1),), imports=("numpy",))


def record(value: float, code: dict[str, bytes] | None = None, **changes: Any) -> Record:
    """A watched run with one metric."""
    metric = Metric(name="loss", final=value, source="metrics.json", evidence="observed")
    given = {"job": JOB, "files": SEEN, "watch": observed(WATCH), "inputs": (), "code": make_code(code or {})}
    return make_record(metrics=(metric,), **(given | changes))


def laid(a: Record, b: Record, code: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})) -> Comparison:
    """Both side by side, with what is in their code."""
    manifests = []
    for files in code:
        contents = {entry.sha256: files[entry.path] for entry in entries_of(files)}
        manifests.append(Manifests(entries_of(files), {}, lambda _, e, held=contents: held.get(e.sha256)))
    return compare(a, b, {}, {}, replaying=False, manifests=(manifests[0], manifests[1]))


def with_code(a: dict[str, bytes], b: dict[str, bytes], **changes: Any) -> Comparison:
    return laid(record(1.0, a, **changes), record(2.0, b, **changes), (a, b))


def of(found: Comparison, what: str) -> Difference:
    return next(d for d in found.differences if d.what == what)


def test_a_changed_line_is_shown_and_a_changed_comment_cannot_matter():
    a = {"train.py": b"RATE = 1\n", "model.py": b"x = 1  # one\n"}
    found = with_code(a, {"train.py": b"RATE = 2\n", "model.py": b"x = 1  # two\n"})
    assert of(found, "train.py").evidence == ("train.py:1: RATE = 1 → RATE = 2",)
    assert of(found, "train.py").risk == "high"
    assert of(found, "model.py").risk == "none"
    assert [d.what for d in found.differences] == ["train.py", "source tree", "model.py"]


def test_a_file_that_no_run_opened_cannot_matter():
    found = with_code({"plots.py": b"a = 1\n"}, {"plots.py": b"a = 2\n"})
    assert (of(found, "plots.py").risk, of(found, "plots.py").why) == ("none", "no run opened it")


def test_a_module_that_was_only_read_as_bytecode_was_opened():
    cached = SeenFile(path="__pycache__/plots.cpython-311.pyc", kind="cache", why="compiled Python", read=True)
    found = with_code({"plots.py": b"a = 1\n"}, {"plots.py": b"a = 2\n"}, files=(*SEEN, cached))
    assert of(found, "plots.py").risk == "high"


@pytest.mark.parametrize(
    "changes",
    [
        {"watch": observed(replace(WATCH, lost=("the job imported pyarrow: what native code there reads",)))},
        {"files": (*SEEN, SeenFile(path=".", kind="code", why="source", files=900, read=True))},
        {"watch": observed(replace(WATCH, processes=()))},
        {"job": replace(JOB, argv=("sh", "table.bin"))},
    ],
    ids=["native-reader", "too-many-files", "nobody-watched", "a-shell"],
)
def test_nothing_is_claimed_of_a_file_that_may_have_been_read_unseen(changes):
    found = with_code({"table.bin": b"1"}, {"table.bin": b"2"}, **changes)
    assert of(found, "table.bin").risk == "high"


def environment(version: str, name: str = "numpy", imports: tuple[str, ...] = ("numpy",)) -> Any:
    package = Package(name=name, version=version, origin="index", record="intact", imports=imports)
    return make_environment(packages=(package,))


def test_a_package_that_no_run_imported_cannot_matter():
    sides = [record(n, environment=environment(f"{n}", "scipy", ("scipy",))) for n in (1.0, 2.0)]
    assert (of(laid(*sides), "scipy").risk, of(laid(*sides), "scipy").why) == ("none", "no run imported it")


@pytest.mark.parametrize(
    ("name", "imports"), [("numpy", ("numpy",)), ("nvidia-cublas", ("nvidia",)), ("mkl", ()), ("torch", ())]
)
def test_a_package_that_was_imported_or_may_be_loaded_unseen_may_matter(name, imports):
    sides = [record(n, environment=environment(f"{n}", name, imports)) for n in (1.0, 2.0)]
    assert of(laid(*sides), name).risk in ("high", "low")


def test_a_variable_that_the_code_looks_up_is_likely():
    code = {"train.py": b"import os\nCAP = os.environ['CAP']\n"}
    jobs = [replace(JOB, variables=(Variable(name="CAP", value=v), Variable(name="HUE", value=v))) for v in "12"]
    sides = [record(n, code, job=job) for n, job in zip((1.0, 2.0), jobs, strict=True)]
    found = laid(*sides, (code, code))
    assert (of(found, "CAP").risk, of(found, "CAP").evidence) == ("high", ("train.py:2 names it",))
    assert of(found, "HUE").risk == "low"


def threads(count: str) -> Any:
    return make_host(threads={"OMP_NUM_THREADS": observed(count)})


def test_what_is_possible_is_likely_when_nothing_else_is_left():
    found = laid(record(1.0, host=threads("1")), record(2.0, host=threads("2")))
    assert of(found, "OMP_NUM_THREADS").risk == "high"
    assert "nothing else" in of(found, "OMP_NUM_THREADS").why


def test_it_stays_possible_beside_another_where_the_metrics_agree_and_without_a_seed():
    beside = laid(record(1.0, host=threads("1")), record(2.0, host=make_host(cpu_model=observed("another"))))
    assert {d.risk for d in beside.differences} == {"medium"}
    same = laid(record(1.0, host=threads("1")), record(1.0, host=threads("2")))
    assert of(same, "OMP_NUM_THREADS").risk == "medium"
    drew = observed(replace(WATCH, uses=(Use(library="numpy.random", process=0, where="train.py:3"),)))
    seedless = laid(record(1.0, host=threads("1"), watch=drew), record(2.0, host=threads("2"), watch=drew))
    assert of(seedless, "OMP_NUM_THREADS").risk == "medium"
    assert "numpy.random at train.py:3" in seedless.advice[0]


def test_without_a_cause_in_the_record_none_is_invented():
    code = {"train.py": b"import time\nprint(time.time())\n"}
    found = laid(record(1.0, code), record(2.0, code), (code, code))
    assert found.differences == ()
    assert "no cause can be named" in found.advice[0]
    assert any("train.py:2: time.time()" in text for text in found.advice)
    assert "--twice" in found.advice[-1]


def test_metrics_that_agree_need_no_advice():
    assert laid(record(1.0), record(1.0)).advice == ()


def test_rows_of_inputs_are_shown_where_they_are_at_hand():
    versions = {"rows.csv": (b"n,v\na,1\nb,2\n", b"n,v\na,1\nb,3\n"), "blob.bin": (b"\0one", b"\0two")}
    found = []
    for at_hand in (True, False):
        sides = []
        for side in (0, 1):
            files = {name: {name: both[side]} for name, both in versions.items()}
            inputs = tuple(make_input(name, one) for name, one in files.items())
            read = (lambda name, _, held=files: held[name][name]) if at_hand else unread
            sides.append((inputs, Manifests((), {n: entries_of(one) for n, one in files.items()}, read)))
        (a, left), (b, right) = sides
        both = compare(
            record(1.0, inputs=a), record(2.0, inputs=b), {}, {}, replaying=False, manifests=(left, right)
        )
        found.append({d.what: d.evidence for d in both.differences})
    assert found[0]["data/rows.csv"] == ("data/rows.csv:3: row 2: v 2 → 3",)
    assert found[0]["data/blob.bin"] == ("data/blob.bin: 4 B → 4 B; it is no text, so it has no rows",)
    assert "not at hand" in found[1]["data/rows.csv"][0]


def test_the_order_in_which_a_folder_was_read_is_a_difference():
    orders = [
        (ReadOrder(path="parts", files=2, digest=d, members="m", first=f),) for d, f in (("x", "ab"), ("y", "ba"))
    ]
    found = laid(record(1.0, orders=orders[0]), record(2.0, orders=orders[1]))
    assert [(d.family, d.what, d.original, d.replay) for d in found.differences] == [
        ("order", "parts", "a, b", "b, a")
    ]
    other = (replace(orders[1][0], members="n"),)
    assert laid(record(1.0, orders=orders[0]), record(2.0, orders=other)).differences == ()
    assert laid(record(1.0, orders=orders[0]), record(2.0)).differences == ()


def test_every_difference_says_where_it_stands_in_both_records():
    a = record(1.0, host=threads("1"), environment=environment("1"))
    b = record(2.0, host=threads("2"), environment=environment("2"), seeds=())
    for d in laid(a, b).differences:
        for side, pointer in zip((a, b), d.pointers, strict=True):
            value: Any = msgspec.to_builtins(side)
            for token in pointer.split("/")[1:]:
                value = value[int(token)] if isinstance(value, list | tuple) else value[token]
            assert pointer or (d.family == "seed" and side is b)
