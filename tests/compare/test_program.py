"""Two versions of a source file: the same program or not, and which lines are others."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.compare.program import changed_lines, clocks, naming, parsed, same_program

PROGRAM = b'"""Trains."""\n\nDEPTH = 3\n\n\ndef fit(x):\n    """Fits."""\n    return x * DEPTH  # times\n'


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (b"# times", b"# by", True),
        (b'"""Fits."""', b'"""Fits it."""', True),
        (b"\n\n\ndef", b"\n\n# Here.\ndef", True),
        (b"x * DEPTH", b"(x * DEPTH)", True),
        (b"DEPTH = 3", b"DEPTH = 4", False),
        (b"DEPTH = 3", b"DEPTH = 3.0", False),
        (b"DEPTH = 3", b"DEPTH = '3'", False),
        (b"return x", b"yield x", False),
        (b"def fit", b"async def fit", False),
        (b"    return", b"  return", False),  # No program any more: nothing is claimed of it.
    ],
)
def test_only_comments_docstrings_and_layout_leave_a_program_the_same(old, new, same):
    assert same_program("train.py", PROGRAM, PROGRAM.replace(old, new)) is same


def test_docstrings_count_where_the_program_may_use_them():
    spoken = PROGRAM + b"print(__doc__)\n"
    assert not same_program("train.py", spoken, spoken.replace(b"Trains", b"Learns"))
    assert same_program("train.py", spoken, spoken.replace(b"# times", b"# by"))


def test_only_python_can_be_the_same_program():
    assert not same_program("train.sh", b"# a\n", b"# b\n")


def test_changed_lines_have_their_place_and_leave_comments_out():
    new = PROGRAM.replace(b"DEPTH = 3", b"DEPTH = 4").replace(b"\n\n\ndef", b"\n\n# Here.\ndef")
    assert changed_lines("train.py", PROGRAM, new) == ("train.py:3: DEPTH = 3 → DEPTH = 4",)


def test_comments_are_shown_where_nothing_else_changed():
    assert changed_lines("a.sh", b"# a\n", b"# b\n") == ("a.sh:1: # a → # b",)


def test_lines_of_one_side_say_of_which():
    assert changed_lines("a.py", b"x = 1\ny = 2\n", b"x = 1\n") == ("a.py:2: y = 2 (only in A)",)
    assert changed_lines("a.py", None, b"x = 1\n") == ("a.py:1: x = 1 (only in B)",)


def test_many_lines_are_counted_and_long_ones_cut():
    found = changed_lines("a.py", b"", b"".join(b"x%d = %s\n" % (n, b"1" * 300) for n in range(50)))
    assert len(found) == 7
    assert found[-1] == "and 44 more changed lines"
    assert all(len(text) < 140 for text in found)


def test_of_long_lines_the_part_that_is_another_is_shown():
    a = b"model = Sequential(" + b"Linear(16, 16), " * 9 + b"Tanh(), Linear(16, 3))\n"
    (found,) = changed_lines("a.py", a, a.replace(b"Tanh", b"ReLU"))
    assert "Tanh(), Linear(16, 3)) → " in found
    assert found.endswith("ReLU(), Linear(16, 3))")


def test_binary_files_have_no_lines():
    assert changed_lines("a.bin", b"\0a\n", b"\0b\n") == ()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_whatever_the_bytes_are_it_answers(a, b):
    same_program("a.py", a, b)
    if (
        a != b
        and b"\0" not in a + b
        and a.decode(errors="replace").splitlines() != b.decode(errors="replace").splitlines()
    ):
        assert changed_lines("a.py", a, b)


@pytest.mark.parametrize(
    "content",
    [
        b"x = " + b"(" * 5000,
        b"x = " + b"-" * 50_000 + b"1",
        b"x = a" + b".b" * 20_000 + b"()",
        b"x = 0x" + b"f" * 100_000,
        b"".join(b"line %d\n" % (n % 700) for n in range(60_000)),
    ],
    ids=["parentheses", "signs", "attributes", "digits", "repeated-lines"],
)
def test_programs_that_nobody_writes_are_answered_for(content):
    other = content.replace(b"x", b"y").replace(b"line 5\n", b"line five\n")
    assert not same_program("a.py", content, other)
    assert changed_lines("a.py", content, other)
    tree = parsed("a.py", content)
    assert tree is None or clocks({"a.py": tree}) == ()


def test_where_a_name_is_looked_up():
    tree = parsed("train.py", b"import os\nA = os.environ.get('CAP')\nB = os.environ['CAP']\n# CAP\n")
    assert isinstance(tree, ast.Module)
    assert naming({"train.py": tree}, "CAP") == ("train.py:2", "train.py:3")
    assert naming({"train.py": tree}, "CA") == ()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import time\ntime.time()", ("t.py:2: time.time()",)),
        ("from time import time\ntime()", ("t.py:2: time()",)),
        ("import datetime\ndatetime.date.today()", ("t.py:2: datetime.date.today()",)),
        ("from datetime import datetime as d\nd.now()", ("t.py:2: d.now()",)),
        ("import uuid\nuuid.uuid4()", ("t.py:2: uuid.uuid4()",)),
        ("import time\ntime.perf_counter()\ntime.sleep(1)", ()),
        ("def time(): ...\nx.timer()", ()),
    ],
)
def test_what_asks_for_the_time_is_found(text, found):
    tree = parsed("t.py", text.encode())
    assert tree is not None
    assert clocks({"t.py": tree}) == found
