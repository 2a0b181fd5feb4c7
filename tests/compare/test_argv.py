"""Two commands laid over each other: each place is swapped alone, and all places together give the other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runbook.compare.argv import spans

_WORDS = st.sampled_from(["--seed", "1", "2", "--lr", "0.1", "lr=3", "-v", "train.py", "/data/a b.csv"])
_COMMANDS = st.lists(_WORDS, min_size=1, max_size=8)


@given(_COMMANDS, _COMMANDS)
def test_the_spans_hold_both_commands_whole(a: list[str], b: list[str]) -> None:
    laid = spans(["python", *a], ["python", *b])
    assert [word for span in laid for word in span.a] == ["python", *a]
    assert [word for span in laid for word in span.b] == ["python", *b]
    assert all((span.a == span.b) == span.same for span in laid)


def test_values_that_change_are_places_of_their_own_and_called_by_their_option() -> None:
    laid = spans(
        ["/venv/a/bin/python", "train.py", "--seed", "1", "lr=3", "7"],
        ["/venv/b/bin/python", "train.py", "--seed", "2", "lr=4", "7", "--deep"],
    )
    changed = [(span.option, span.a, span.b) for span in laid if not span.same]
    assert changed == [
        ("--seed", ("1",), ("2",)),
        ("lr", ("lr=3",), ("lr=4",)),
        ("--deep", (), ("--deep",)),
    ]
