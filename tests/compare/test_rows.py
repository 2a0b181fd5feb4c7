"""Two versions of a file of rows: other rows, or another order of the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runbook.compare.rows import compare_rows

TABLE = b"id,town,price\n1,Graz,10\n2,Delft,20\n3,Trier,30\n4,Trier,30\n"


def test_a_changed_field_is_named_with_its_row_line_and_column():
    found = compare_rows("flats.csv", TABLE, TABLE.replace(b"Delft,20", b"Delft,25"))
    assert found is not None
    assert found.kind == "content"
    assert found.why == "1 of 4 rows is another"
    assert found.evidence == ("flats.csv:3: row 2: price 20 → 25",)


def test_the_same_rows_in_another_order_are_not_other_rows():
    found = compare_rows("flats.csv", TABLE, b"id,town,price\n1,Graz,10\n3,Trier,30\n2,Delft,20\n4,Trier,30\n")
    assert found is not None
    assert found.kind == "order"
    assert found.why == "the same 4 rows in another order"
    assert found.evidence == ("flats.csv:3: row 2 is the first that is another; 2 stand elsewhere",)


def test_a_row_that_is_gone_is_told_from_rows_that_moved_up():
    found = compare_rows("flats.csv", TABLE, TABLE.replace(b"2,Delft,20\n", b""))
    assert found is not None
    assert found.why == "rows: 4 → 3, 1 only in A and 0 only in B"
    assert found.evidence == ("flats.csv:3: row 2 (only in A): 2,Delft,20",)


def test_other_rows_and_another_order_at_once_are_both_said():
    found = compare_rows("a.csv", b"n,v\na,1\nb,2\nc,3\n", b"n,v\nc,3\nb,2\nd,4\n")
    assert found is not None
    assert found.why == "rows: 3 → 3, 1 only in A and 1 only in B, and the others in another order"


def test_a_table_without_a_header_counts_from_its_first_line():
    found = compare_rows("a.csv", b"1,2\n3,4\n", b"1,2\n3,5\n")
    assert found is not None
    assert found.evidence == ("a.csv:2: row 2: 3,4 → 3,5",)


def test_other_columns_are_said_to_be_others():
    found = compare_rows("a.csv", b"a,b\n1,2\n", b"a,c\n1,2\n")
    assert found is not None
    assert found.evidence == ("a.csv:1: a, b → a, c",)


def test_line_ends_are_not_rows():
    found = compare_rows("a.csv", TABLE, TABLE.replace(b"\n", b"\r\n"))
    assert found is not None
    assert found.kind == "ends"


def test_bytes_are_not_compared_by_rows():
    assert compare_rows("a.npy", b"\0\1", b"\0\2") is None


LINES = st.lists(st.text("ab,;\"'1", max_size=4), max_size=12)


@given(LINES, st.randoms(use_true_random=False), st.sampled_from(("a.csv", "a.tsv", "a.txt")))
def test_a_shuffle_is_always_an_order(lines, random, name):
    shuffled = list(lines)
    random.shuffle(shuffled)
    head = "left,right\n"
    a, b = ((head + "".join(f"{line}\n" for line in one)).encode() for one in (lines, shuffled))
    found = compare_rows(name, a, b)
    assert found is None if a == b else found is not None and found.kind == "order"


@given(LINES, LINES)
def test_other_rows_are_always_found_and_always_few_are_shown(one, other):
    a, b = ("".join(f"{line}\n" for line in lines).encode() for lines in (one, other))
    found = compare_rows("a.csv", a, b)
    assert (found is None) == (a == b)
    if found is not None:
        assert len(found.evidence) <= 6


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_the_bytes_are_it_answers(a, b):
    compare_rows("a.csv", a, b)
