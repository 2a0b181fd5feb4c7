"""YAML as plain data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.yamltext import YamlError, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("no", "no"),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("-.inf", float("-inf")),
        (".5", 0.5),
        ("~", None),
        ("true", True),
        ("1_000", "1_000"),
        ("12e03", 12000.0),
        ("'1'", "1"),
        ("", None),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    found, _ = load(text.encode())
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3", 3),
        ("a: &x 1\nb: *x", 2),
        ("a: !!python/name:os.system x", 1),
        ("a: b: c", 1),
        ("a: 1\n---\nb: 2", 2),
        ("? [a]\n: 1", 1),
        ("[" * 100, 1),
        ("a:\n\t- b", 2),
        # YAML's own limit: a key is at most 1024 characters as it is written.
        ('a: 1\n"' + "\\u00e9" * 200 + '": 2', 2),
    ],
)
def test_what_is_refused_names_its_line(text, line):
    with pytest.raises(YamlError) as caught:
        load(text.encode())
    assert caught.value.line == line


# As JSON writes it, a character takes up to 12, and a key of YAML has at most 1024.
keys = st.text(max_size=80)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(keys, x, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_json_is_read_as_the_yaml_that_it_is(value):
    assert load(json.dumps(value).encode())[0] == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_data_or_a_yaml_error(data):
    try:
        load(data)
    except YamlError as error:
        assert error.what
