"""runbook.yaml and the forms of options."""

import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook import config
from runbook.bounds import parse_tolerance
from runbook.config import Declaration, DeclaredInput, merge, parse, parse_metric, parse_size
from runbook.errors import UsageError
from runbook.model.metric import Tolerance

VALIDATOR = jsonschema.Draft202012Validator(json.loads(config.schema()))
DOCS = Path(__file__).parents[2] / "docs"

WHOLE = r"""
command: python train.py --lr 0.1 --note "two words"
name: iris
experiment: baseline
inputs:
  - data/test.csv
  - path: data/train.csv
    name: train
    source: https://data.example/train.csv
    version: "3"
outputs: [model.pt]
metrics: [metrics.json]
patterns:
  accuracy: 'accuracy: ([0-9.]+)'
keep_metrics: [lr]
drop_metrics: ["debug/*"]
tolerances:
  val_*: {relative: 1e-3}
  loss: {absolute: 1e-6, relative: 0.01}
seeds: {numpy: 7, note: text}
env: [MY_FLAG]
code: [src, train.py]
image: registry.example/base:1
python: .venv/bin/python
embed_limit: 64MiB
redact: true
"""


def test_everything_that_can_be_declared_is_read():
    assert parse(WHOLE.encode()) == Declaration(
        command=("python", "train.py", "--lr", "0.1", "--note", "two words"),
        name="iris",
        experiment="baseline",
        inputs=(
            DeclaredInput(path="data/test.csv"),
            DeclaredInput(
                path="data/train.csv", name="train", source="https://data.example/train.csv", version="3"
            ),
        ),
        outputs=("model.pt",),
        metrics=("metrics.json",),
        patterns={"accuracy": "accuracy: ([0-9.]+)"},
        keep_metrics=("lr",),
        drop_metrics=("debug/*",),
        tolerances=(
            Tolerance(pattern="val_*", relative=0.001),
            Tolerance(pattern="loss", absolute=1e-6, relative=0.01),
        ),
        seeds={"numpy": "7", "note": "text"},
        env=("MY_FLAG",),
        code=("src", "train.py"),
        image="registry.example/base:1",
        python=".venv/bin/python",
        embed_limit=64 * 1024**2,
        redact=True,
    )


def test_an_empty_file_declares_nothing():
    assert parse(b"# nothing yet\n") == Declaration()


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        ("name: x\nmetrix: [a]", 2, "unknown key metrix", "did you mean metrics?"),
        ("zzz: 1", 1, "unknown key zzz", "known keys: command, stages, name"),
        ("inputs:\n- path: a\n  nmae: b", 3, "unknown key nmae", "did you mean name?"),
        ("inputs:\n- a\n- path: b\n  name: 'a b'", 4, "inputs.1.name", ""),
        ("tolerances:\n  a: {relative: 1}\n  b: {relativ: 1}", 3, "unknown key relativ", "did you mean relative?"),
        ("tolerances:\n  a: {relative: -1}", 2, "tolerances.a.relative", ""),
        ("tolerances:\n  a: {relative: 1}\n  b: {relative: .inf}", 3, "not a finite tolerance", ""),
        ("tolerances:\n  a: {relative: .nan}", 2, "tolerances.a.relative", ""),
        ("patterns:\n  ok: (a)\n  acc: 1", 3, "patterns.acc", ""),
        ("name: 3", 1, "name: expected `str`, got `int`", ""),
        ("- a", 1, "expected `object`", ""),
        ("env: [A, 'B-C']", 1, "env.1", ""),
        ("name: x\nembed_limit: 3 parsec", 2, "not a size", "64MiB"),
        ("\n\ncommand: 'a \"b'", 3, "not a command", "close the quote"),
        ("command: []", 1, "command", ""),
        ("name: x\nstages: [{name: a, command: b}]\ncommand: c", 2, "command and stages", "one of them"),
        ("stages:\n- {name: a, command: b}\n- {name: a, command: c}", 1, "two stages of one name", "its own name"),
        ("stages:\n- name: a\n  command: b\n  deps: [c]", 4, "unknown key deps", "inputs"),
        ("stages:\n- name: a b\n  command: c", 2, "stages.0.name", ""),
        ("stages:\n- name: a\n  command: 'b \"'", 1, "not a command", "close the quote"),
        ("redact: yes", 1, "redact: expected `bool`", ""),
        ("name: x\nname: y", 2, "the key name stands here twice", ""),
        ("a: &x [1]\nb: *x", 2, "aliases", ""),
        ("a: b: c", 1, "mapping values", ""),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_to_do(text, line, says, hint):
    with pytest.raises(UsageError) as caught:
        parse(text.encode())
    assert f"runbook.yaml, line {line}:" in str(caught.value)
    assert says in str(caught.value)
    assert hint in caught.value.hint and caught.value.hint


def test_a_file_that_is_not_there_or_too_large_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        config.read(tmp_path / "runbook.yaml")
    (tmp_path / "runbook.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        config.read(tmp_path / "runbook.yaml")


def test_the_published_schema_is_the_current_one():
    assert (DOCS / "runbook.schema.json").read_bytes() == config.schema()


def test_the_schema_accepts_what_is_read_and_rejects_an_unknown_key():
    schema = json.loads(config.schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    whole = yaml.safe_load(WHOLE.replace("1e-3", "0.001").replace("1e-6", "0.000001"))
    validator.validate(whole)
    assert not validator.is_valid(whole | {"metrix": []})


def test_every_key_is_described_in_the_schema_and_in_the_manual():
    properties = json.loads(config.schema())["$defs"]["RunbookFile"]["properties"]
    manual = (DOCS / "runbook-yaml.md").read_text()
    for key, rule in properties.items():
        assert rule["description"]
        assert f"`{key}`" in manual


def test_the_manuals_example_is_valid():
    manual = (DOCS / "runbook-yaml.md").read_text()
    example = manual.partition("```yaml\n")[2].partition("```")[0]
    assert parse(example.encode()).command


def test_options_win_over_the_file_and_lists_are_joined():
    file = parse(WHOLE.encode())
    options = Declaration(
        command=("python", "other.py"),
        inputs=(DeclaredInput(path="data/test.csv", version="9"),),
        metrics=("metrics.json", "more.csv"),
        patterns={"accuracy": "acc=(.*)"},
        tolerances=(Tolerance(pattern="loss", absolute=1.0),),
        embed_limit=0,
        redact=False,
    )
    both = merge(file, options)
    assert both.command == ("python", "other.py") and both.name == "iris"
    assert [(x.path, x.version) for x in both.inputs] == [("data/train.csv", "3"), ("data/test.csv", "9")]
    assert both.metrics == ("metrics.json", "more.csv")
    assert both.patterns == {"accuracy": "acc=(.*)"}
    assert [(x.pattern, x.absolute) for x in both.tolerances] == [("loss", 1.0), ("val_*", 0.0)]
    assert (both.embed_limit, both.redact) == (0, False)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64MiB", 64 * 1024**2),
        ("1.5 GB", 1_500_000_000),
        ("2k", 2048),
        ("1kib", 1024),
        ("7 B", 7),
        ("3TiB", 3 * 1024**4),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e3", "1 parsec", "1.2.3", "nan", "9" * 30])
def test_what_is_no_size(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert caught.value.hint


def test_an_option_takes_back_what_the_file_keeps_or_drops():
    file = Declaration(keep_metrics=("lr", "time"), drop_metrics=("loss", "debug/*"))
    said = merge(file, Declaration(keep_metrics=("loss", "eta"), drop_metrics=("lr",)))
    assert said.keep_metrics == ("time", "loss", "eta") and said.drop_metrics == ("debug/*", "lr")


def test_metric_and_tolerance_options():
    assert parse_metric("acc=a=([0-9]+)") == ("acc", "a=([0-9]+)")
    assert parse_metric("lr") == ("lr", "")
    assert parse_tolerance("val_*=rel:1e-3,abs:1e-6") == Tolerance(pattern="val_*", relative=1e-3, absolute=1e-6)
    assert parse_tolerance("a=b=abs:1") == Tolerance(pattern="a=b", absolute=1.0)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a=", "=rel:1", "a=1", "a=rel:x", "a=rel:-1", "a=rel:nan", "a=rel:inf", "a=rel:1,rel:2", "a=rel:1,"],
)
def test_what_is_no_tolerance(text):
    with pytest.raises(UsageError) as caught:
        parse_tolerance(text)
    assert caught.value.id == "tolerance"


@pytest.mark.parametrize("text", ["", " ", "=b", "a=", "="])
def test_what_is_no_metric_pattern(text):
    with pytest.raises(UsageError):
        parse_metric(text)


words = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=8)
declarations = st.fixed_dictionaries(
    {},
    optional={
        "command": st.lists(words, min_size=1, max_size=4),
        "name": words,
        "inputs": st.lists(words | st.fixed_dictionaries({"path": words}, optional={"source": words}), max_size=3),
        "metrics": st.lists(words, max_size=3),
        "patterns": st.dictionaries(words, words, max_size=3),
        "seeds": st.dictionaries(words, st.integers() | words, max_size=3),
        "tolerances": st.dictionaries(
            words, st.fixed_dictionaries({}, optional={"relative": st.floats(0, 1e9)}), max_size=3
        ),
        "embed_limit": st.integers(0, 10**12),
        "redact": st.booleans(),
    },
)


@given(declarations)
def test_what_the_schema_accepts_is_read(tree):
    VALIDATOR.validate(tree)
    found = parse(json.dumps(tree).encode())
    assert found.command == tuple(tree.get("command", ()))
    assert found.embed_limit == tree.get("embed_limit") and found.redact == tree.get("redact")
    assert [x.path for x in found.inputs] == [
        x if isinstance(x, str) else x["path"] for x in tree.get("inputs", [])
    ]
    assert merge(found, Declaration()) == merge(Declaration(), found)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Declaration) == found


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_declaration_or_a_usage_error(data):
    try:
        parse(data)
    except UsageError as error:
        assert error.hint


@given(
    st.dictionaries(
        st.sampled_from(Declaration.__struct_fields__),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=3),
            lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=3), x, max_size=2),
            max_leaves=5,
        ),
    )
)
def test_any_shape_under_known_keys_is_a_declaration_or_a_usage_error_with_a_line(tree):
    try:
        parse(json.dumps(tree).encode())
    except UsageError as error:
        assert "line 1" in str(error)


def test_stages_are_read_with_their_commands_split_into_words():
    said = parse(
        b"stages:\n- {name: a, command: 'x \"y z\"', outputs: [o]}\n- {name: b, command: [p, q], inputs: [o]}"
    )
    assert [(s.name, s.command, s.inputs, s.outputs) for s in said.stages] == [
        ("a", ("x", "y z"), (), ("o",)),
        ("b", ("p", "q"), ("o",), ()),
    ]
    assert merge(said, Declaration(name="n")).stages == said.stages


@pytest.mark.parametrize(
    ("text", "path", "source"),
    [
        ("data.csv", "data.csv", ""),
        ("data.csv=https://host/d.csv?v=3", "data.csv", "https://host/d.csv?v=3"),
        ("lr=0.1/data.csv", "lr=0.1/data.csv", ""),
        ("lr=0.1/data.csv=s3://bucket/a=b/c", "lr=0.1/data.csv", "s3://bucket/a=b/c"),
        ("data.csv=/not/a/url", "data.csv=/not/a/url", ""),
        ("=https://host/x", "=https://host/x", ""),
    ],
)
def test_an_input_may_say_where_it_can_be_had(text, path, source):
    told = config.parse_input(text)
    assert (told.path, told.source) == (path, source)


def test_a_tolerance_may_say_everything_in_a_file_and_in_an_option():
    text = """
tolerances:
  val_*:
    relative: 1e-3
    ulp: 4
    ulp_of: float32
    margin: 1 %
    items: 1000
    better: higher
    curve: {absolute: 0.5, smooth: 10}
"""
    option = "val_*=rel:1e-3,ulp32:4,margin:1%,items:1000,better:higher,curve.abs:0.5,curve.smooth:10"
    assert parse(text.encode()).tolerances == (parse_tolerance(option),)
    words = parse_tolerance(option).words()
    for said in (
        "rel 0.001",
        "4 ulp of float32",
        "trailing mean over 10 points",
        "1 % of the original",
        "1,000 items",
    ):
        assert said in words


@pytest.mark.parametrize(
    "bounds",
    [
        "ulp:1.5",
        "ulp:-1",
        "ulp:4,ulp32:4",
        "smooth:3",
        "curve.smooth:0",
        "curve.margin:1",
        "margin:-1",
        "margin:x%",
        "margin:inf",
        "items:0",
        "better:larger",
        "curve.rel:nan",
        "margin:%",
        "curve.:1",
        "rel:1,rel:2",
    ],
)
def test_what_is_no_tolerance_is_refused(bounds):
    with pytest.raises(UsageError) as refused:
        parse_tolerance(f"loss={bounds}")
    assert refused.value.id == "tolerance"


def test_an_unknown_bound_of_a_curve_names_its_line():
    with pytest.raises(UsageError) as refused:
        parse(b"tolerances:\n  loss:\n    curve:\n      smoth: 3\n")
    assert "line 4" in str(refused.value)
    assert "smooth" in refused.value.hint
