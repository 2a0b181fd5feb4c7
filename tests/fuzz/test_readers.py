"""Every reader, over broken and hostile bytes, for a bounded number of tries. `make fuzz` goes on for longer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import targets


@pytest.mark.parametrize("name", targets())
def test_a_reader_keeps_its_promise_whatever_it_is_given(name):
    target = targets()[name]

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(mutated(target.seeds) | st.binary(max_size=200))
    def check(data):
        target.try_one(data)

    for seed in target.seeds:
        target.read(seed)
    check()
