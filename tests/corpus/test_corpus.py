"""Good and hostile bundles, each with one defect, through the real command line: one table, see trial.py."""

import pytest

from tests.corpus.trial import CASES, tried


@pytest.mark.parametrize("name", CASES)
def test_a_bundle_comes_to_what_the_table_says(name, tmp_path):
    case = CASES[name]
    outcome = tried(case, tmp_path)
    assert outcome.escapes == ()
    assert (outcome.exit, outcome.id) == (case.exit, case.id)


def test_the_corpus_is_not_smaller_than_it_was():
    hostile = [case for case in CASES.values() if case.exit == 5]
    assert len(hostile) >= 190
    assert len(CASES) - len(hostile) >= 25
