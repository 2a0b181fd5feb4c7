"""A handful of the planted causes for real; `make causes` tries them all."""

from __future__ import annotations

import pytest

from tests.causes.table import CAUSES
from tests.causes.trial import explained, pair

CHOSEN = ("row+constant", "listing", "unused-module", "no-seed")


@pytest.mark.parametrize(
    "cause", [c for c in CAUSES if c.job == "flats" and c.name in CHOSEN], ids=lambda c: c.name
)
def test_what_was_planted_is_what_is_named(cause, tmp_path):
    with pair(cause, tmp_path) as (a, b):
        tried = explained(cause, a, b)
    assert tried.wrong == (), tried.said


def test_the_table_holds_every_kind_of_cause_on_both_jobs():
    assert len({(c.name, c.job) for c in CAUSES}) == len(CAUSES) >= 24
    assert {c.job for c in CAUSES} == {"flats", "net"}
    assert sum(not c.moves for c in CAUSES) >= 6
    assert sum(len(c.causes) > 1 for c in CAUSES) >= 3
    assert sum(c.moves and not c.causes for c in CAUSES) >= 3
