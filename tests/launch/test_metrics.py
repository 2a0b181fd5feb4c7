"""Metrics read from what a job wrote, by every reader of the family."""

import contextlib
import csv
import io
import json
import math
import re
from dataclasses import replace

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from runbook import registry
from runbook.errors import UsageError
from runbook.launch.metrics import (
    check_source,
    decode_series,
    encode_series,
    file_source,
    grows,
    pattern_source,
    read_metrics,
)
from runbook.launch.metrics.interface import Source, whole_lines
from runbook.model.metric import Series, to_number


@pytest.fixture
def read(tmp_path):
    """Write files into a project, read the sources, give finals by name and the readings."""

    def do(*sources, stdout=b"", **files):
        for name, data in files.items():
            path = tmp_path / name.replace("__", ".")
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        log = tmp_path / "stdout.log"
        log.write_bytes(stdout)
        readings = read_metrics(sources, tmp_path, log)
        return {m.name: m.final for m in readings.metrics}, readings

    return do


def defects(readings):
    return [f.id for f in readings.findings]


def test_the_registry_finds_every_reader():
    declared = {"api", "csv", "json", "jsonl", "stdout", "yaml"}
    found = {"dvclive", "mlflow", "mlflow-sqlite", "printed", "tensorboard", "trainer-state", "wandb"}
    assert set(registry.members("launch.metrics")) == declared | found


rows = st.lists(st.tuples(st.integers(0, 10**6), st.floats(allow_nan=False, allow_infinity=False)), min_size=1)


@given(rows, st.data())
def test_of_a_file_that_is_still_written_the_whole_lines_are_read_and_no_torn_number(rows, data):
    table = "step,loss\n" + "".join(f"{step},{loss!r}\n" for step, loss in rows)
    lines = "".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in rows)
    printed = "".join(f"loss: {loss!r}\n" for _, loss in rows)
    for source, text in (("m.csv", table), ("m.jsonl", lines), ("stdout", printed)):
        whole = text.encode()
        cut = whole[: data.draw(st.integers(0, len(whole)))]
        stream = whole_lines(io.BytesIO(cut), replace(source_at(source), growing=True))
        assert stream.read() == cut[: cut.rfind(b"\n") + 1]
        stream = whole_lines(io.BytesIO(cut), source_at(source))
        assert stream.read() == cut


def source_at(name):
    return check_source("stdout:loss=loss: (.*)" if name == "stdout" else f"file:{name}")


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_torn_last_line_is_no_finding_while_the_job_writes(tmp_path, name):
    text = {"log.csv": "step,loss\n0,0.5\n1,0.25\n2,0.1", "log.jsonl": '{"loss": 0.5}\n{"loss": 0.25}\n{"lo'}[name]
    (tmp_path / name).write_text(text)
    readings = read_metrics([f"file:{name}"], tmp_path, tmp_path / "stdout.log", growing=True)
    assert readings.series["loss"].values == (0.5, 0.25)
    assert readings.findings == ()


def test_a_document_that_is_written_as_a_whole_does_not_grow():
    assert grows("file:log.csv") == "log.csv"
    assert grows("stdout:loss=loss: (.*)") == "stdout: loss: (.*)"
    assert grows("found:tensorboard:runs?loss") == "runs"
    assert grows("found:printed:?loss") == "stdout"
    assert grows("file:metrics.json") == grows("found:trainer-state:out?loss") == ""


def source_of(reader):
    """A source that the reader reads."""
    return next(
        source
        for source in (
            Source(text="", kind="stdout", name="m", pattern="m=(.+)"),
            Source(text="", kind="api"),
            Source(text="", kind="file", path=f"x.{reader.name}"),
            Source(text="", kind="found", path="0/" + "a" * 32 + "/metrics/x.tsv", reader=reader.name),
        )
        if reader.recognises(source)
    )


@pytest.mark.parametrize("reader", registry.members("launch.metrics").values(), ids=lambda r: r.name)
@pytest.mark.parametrize(
    "path", ["", "a", "/", "metrics.json", "a/b/metrics.csv", "x/metrics/y", "a.tfevents.b", "ü/\ud800"]
)
def test_every_reader_says_of_every_path_whether_it_is_its_own(reader, path):
    claim = reader.claims(path)
    assert reader.rank in (0, 1, 2)
    if claim is not None:
        assert path == claim.store or path.startswith(f"{claim.store}/" if claim.store else "")
        assert path.startswith(claim.run)


@pytest.mark.parametrize("reader", registry.members("launch.metrics").values(), ids=lambda r: r.name)
@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\xff\xfe\xfd", b"[" * 100_000, b'{"a":' * 3000, b"a,b\n1"])
def test_no_reader_raises_anything_but_valueerror(reader, data):
    source = source_of(reader)
    assert reader.cap > 0
    with contextlib.suppress(ValueError, RecursionError):
        reader.read(source, io.BytesIO(data))


def test_nested_json_is_flattened_with_dots_and_text_and_booleans_are_no_metrics(read):
    text = '{"val": {"acc": 0.9, "loss": 1e-3}, "n": 3, "best": true, "model": "lgbm", "note": null}'
    finals, readings = read("file:metrics.json", metrics__json=text)
    assert finals == {"val.acc": 0.9, "val.loss": 0.001, "n": 3}
    assert readings.series == {} and readings.findings == () and readings.missing == ()
    assert readings.metrics[0].source == "metrics.json"


def test_integers_are_exact_and_a_float_stays_a_float(read):
    finals, _ = read("file:m.json", m__json='{"big": 9007199254740993, "one": 1.0, "neg": -9223372036854775808}')
    assert finals["big"] == 9007199254740993
    assert isinstance(finals["one"], float) and finals["neg"] == -(2**63)


def test_an_integer_beyond_64_bits_is_named_not_rounded(read):
    finals, readings = read("file:m.json", m__json=f'{{"huge": {2**64}, "a": 1}}')
    assert finals == {"a": 1}
    assert "huge" in readings.findings[0].text and defects(readings) == ["metric-left-out"]


def test_nan_and_infinity_are_kept(read):
    finals, readings = read("file:m.json", m__json='{"a": NaN, "b": [1, Infinity, -Infinity]}')
    assert finals == {"a": "NaN", "b": "-Infinity"}
    assert readings.series["b"].values == (1, "Infinity", "-Infinity")
    finals, _ = read("file:m.csv", m__csv="loss\n0.5\nnan\n")
    assert finals == {"loss": "NaN"}


def test_a_list_of_numbers_is_a_series_and_a_gap_keeps_its_place(read):
    _, readings = read("file:m.json", m__json='{"loss": [3, null, 1]}')
    assert readings.series["loss"] == Series(steps=(0, 2), values=(3, 1))
    assert readings.metrics[0].points == 2


def test_a_list_of_objects_is_a_series_for_each_key_against_its_step(read):
    rows = [{"step": 10, "loss": 3.0, "eval": {"f1": 0.1}}, {"step": 20, "loss": 2.0}]
    _, readings = read("file:m.json", m__json=json.dumps({"log": rows}))
    assert readings.series == {"log.loss": Series(steps=(10, 20), values=(3.0, 2.0))}
    assert {m.name: m.final for m in readings.metrics} == {"log.loss": 2.0, "log.eval.f1": 0.1}


def test_a_confusion_matrix_is_a_series_for_each_row(read):
    _, readings = read("file:m.json", m__json='{"confusion": [[5, 1], [2, 7]]}')
    assert readings.series["confusion.1"].values == (2, 7)


def test_a_document_that_is_one_number_is_called_after_its_file(read):
    assert read("file:score.json", score__json="0.25")[0] == {"score": 0.25}
    assert read("file:curve.json", curve__json="[1, 2]")[0] == {"curve": 2}


def test_a_name_spelt_twice_in_one_file_keeps_both(read):
    assert read("file:m.json", m__json='{"a.b": 1, "a": {"b": 2}}')[0] == {"a.b": 1, "a.b#2": 2}


def test_yaml_numbers_are_those_of_yaml_1_2(read):
    finals, _ = read("file:m.yaml", m__yaml="lr: 1e-3\nn: 010\nok: yes\nt: 1:30\nv: {a: .5, b: .nan}\n")
    assert finals == {"lr": 0.001, "n": 10, "v.a": 0.5, "v.b": "NaN"}


def test_csv_takes_steps_from_a_step_column_and_leaves_text_and_empty_cells_out(read):
    text = "epoch,loss,acc,phase\n1,0.5,,train\n2,0.25,0.9,val\n"
    _, readings = read("file:m.csv", m__csv=text)
    assert readings.series == {"loss": Series(steps=(1, 2), values=(0.5, 0.25))}
    assert {m.name: m.final for m in readings.metrics} == {"loss": 0.25, "acc": 0.9}


def test_csv_without_a_step_column_counts_rows_and_reads_semicolons_and_quotes(read):
    _, readings = read("file:m.csv", m__csv='"loss, total";b\n1;2\n3;4\n')
    assert readings.series["loss, total"] == Series(steps=(0, 1), values=(1, 3))


def test_a_fractional_epoch_is_no_step(read):
    _, readings = read("file:m.csv", m__csv="epoch,loss\n0.5,3\n1.0,2\n")
    assert readings.series["loss"].steps == (0, 1)
    assert readings.series["epoch"].values == (0.5, 1.0)


def test_json_lines_keep_each_metrics_own_steps(read):
    text = '{"step": 1, "loss": 3}\n\n{"step": 2, "loss": 2, "eval_loss": 9}\n{"step": 4, "eval_loss": 8}\n'
    _, readings = read("file:log.jsonl", log__jsonl=text)
    assert readings.series == {
        "loss": Series(steps=(1, 2), values=(3, 2)),
        "eval_loss": Series(steps=(2, 4), values=(9, 8)),
    }


def test_a_pattern_reads_every_match_as_a_series(read):
    log = b"epoch 1 loss=0.5\nepoch 2 loss=2.5e-1\nRMSE of prediction is: 0.4450426449744025\n"
    finals, readings = read(
        pattern_source("rmse", r"is: ([0-9.]+)"),
        pattern_source("loss", r"epoch (?P<step>\d+) loss=(?P<value>\S+)"),
        stdout=log,
    )
    assert finals == {"rmse": 0.4450426449744025, "loss": 0.25}
    assert readings.series == {"loss": Series(steps=(1, 2), values=(0.5, 0.25))}
    assert readings.metrics[1].source == r"stdout: epoch (?P<step>\d+) loss=(?P<value>\S+)"


def test_a_progress_bar_that_rewrites_its_line_is_read_state_by_state(read):
    _, readings = read(pattern_source("loss", "loss=([0-9]+)$"), stdout=b"loss=3\rloss=2\rloss=1\n")
    assert readings.series["loss"].values == (3, 2, 1)


def test_a_pattern_finds_its_number_beside_bytes_that_are_no_text(read):
    assert read(pattern_source("a", "a=([0-9]+)"), stdout=b"\xff\xfe a=7 \0\n")[0] == {"a": 7}


def test_matches_that_are_no_numbers_are_counted(read):
    finals, readings = read(pattern_source("a", r"a=(\S+)"), stdout=b"a=1\na=oops\n")
    assert finals == {"a": 1}
    assert "1 matches are not numbers" in readings.findings[0].text


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "([a-z]+)*="])
def test_a_pattern_made_to_never_end_ends(read, pattern):
    source = pattern_source("m", f"(?:{pattern.replace('(', '(?:')})(?P<value>[0-9]+)")
    assert read(source, stdout=b"a" * 2_000_000 + b"!\n")[1].missing == (source,)


def test_a_pattern_that_matches_everywhere_is_stopped(read):
    finals, readings = read(pattern_source("m", "(?:a*b|)(x|)"), stdout=b"a" * 500_000)
    assert finals == {} and defects(readings) == ["metric-unreadable"]


@pytest.mark.parametrize("pattern", ["(", "a(?=b)(c)", r"(a)\1", "no group", "(a)(b)", "(a{1001})", "(" * 3000])
def test_a_pattern_that_cannot_work_is_refused_before_the_job_runs(pattern):
    with pytest.raises(UsageError) as caught:
        pattern_source("m", pattern)
    assert caught.value.id == "metric-pattern" and caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "metrics.json",
        "file:",
        "file:/etc/passwd",
        "file:../x.json",
        "file:a/../../x.json",
        "stdout:x",
        "stdout:=a",
        "found:json",
        "found:json:x.json",
        "found::x?a",
        "found:json:../x.json?a",
        "found:json:/x.json?a",
        "found:json:%2e%2e/x.json?a",
        "found:json:a%00b?a",
        "found:nobody:x?a",
    ],
)
def test_a_source_that_is_none_is_refused(source):
    with pytest.raises(UsageError):
        check_source(source)


def test_a_file_of_a_format_nobody_reads_is_refused_with_the_formats():
    with pytest.raises(UsageError) as caught:
        check_source("file:results.txt")
    assert caught.value.id == "metrics-format-unknown" and ".jsonl" in caught.value.hint


def test_a_path_typed_in_a_subfolder_becomes_relative_to_the_root(tmp_path):
    (tmp_path / "sub").mkdir()
    assert file_source("m.json", tmp_path, tmp_path / "sub") == "file:sub/m.json"
    assert file_source(str(tmp_path / "m.json"), tmp_path, tmp_path / "sub") == "file:m.json"
    with pytest.raises(UsageError):
        file_source("../../m.json", tmp_path, tmp_path / "sub")


def test_what_gives_nothing_is_a_finding_and_named_as_missing(read):
    sources = ["file:absent.json", "file:broken.json", pattern_source("a", "a=([0-9]+)"), "file:empty.json"]
    finals, readings = read(*sources, broken__json="{", empty__json='{"a": "text"}')
    assert finals == {}
    assert readings.missing == tuple(sources)
    assert defects(readings) == ["metric-absent", "metric-unreadable", "metric-absent", "metric-absent"]


def test_a_file_that_the_run_did_not_write_is_another_runs(tmp_path):
    (tmp_path / "m.json").write_text('{"a": 1}')
    (tmp_path / "log").write_bytes(b"a=2\n")
    written = (tmp_path / "m.json").stat().st_ctime
    assert read_metrics(["file:m.json"], tmp_path, tmp_path / "log", since=written).metrics
    readings = read_metrics(["file:m.json"], tmp_path, tmp_path / "log", since=written + 5)
    assert readings.missing == ("file:m.json",) and defects(readings) == ["metric-stale"]


def test_duplicate_keys_are_refused(read):
    assert "a twice" in read("file:m.json", m__json='{"a": 1, "a": 2}')[1].findings[0].text
    assert "twice" in read("file:m.yaml", m__yaml="a: 1\na: 2\n")[1].findings[0].text
    assert "two columns" in read("file:m.csv", m__csv="a,a\n1,2\n")[1].findings[0].text


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_nesting_without_end_is_a_finding(read, suffix):
    for text in ("[" * 200_000, '{"a":' * 200_000):
        assert defects(read(f"file:m.{suffix}", **{f"m__{suffix}": text})[1]) == ["metric-unreadable"]


def test_aliases_that_would_grow_are_refused(read):
    text = "a: &a [1, 1]\n" + "".join(
        f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "aliases" in read("file:m.yaml", m__yaml=text)[1].findings[0].text


def test_half_a_character_in_a_name_is_a_finding(read):
    for name in ("m.json", "m.yaml"):
        assert defects(read(f"file:{name}", **{name.replace(".", "__"): '{"\\ud800": 1}'})[1]) == [
            "metric-unreadable"
        ]
    assert read("file:m.yaml", m__yaml='{"\\ud83d\\ude00": 1}')[0] == {"\U0001f600": 1}


def test_a_yaml_tag_runs_nothing(read, tmp_path):
    text = f"a: !!python/object/apply:os.mkdir [{tmp_path}/made]\n"
    assert defects(read("file:m.yaml", m__yaml=text)[1]) == ["metric-unreadable"]
    assert not (tmp_path / "made").exists()


def test_a_link_is_not_followed_and_a_folder_not_read(read, tmp_path):
    (tmp_path / "real.json").write_text('{"a": 1}')
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "away").symlink_to("/")
    finals, readings = read("file:link.json", "file:folder.json", "file:away/x.json")
    assert finals == {} and len(readings.missing) == 3
    assert "links are not followed" in readings.findings[0].text


def test_a_file_beyond_the_cap_is_refused_unread(read, tmp_path):
    with (tmp_path / "m.json").open("wb") as file:
        file.truncate(10**12)
    assert "larger than" in read("file:m.json")[1].findings[0].text


def test_a_name_that_two_sources_give_is_prefixed_in_both(read):
    finals, readings = read(
        "file:m.json",
        "file:h.csv",
        pattern_source("acc", "acc=([0-9.]+)"),
        m__json='{"acc": 1, "f1": 2}',
        h__csv="acc\n3\n",
        stdout=b"acc=4\n",
    )
    assert finals == {"m.json:acc": 1, "h.csv:acc": 3, "stdout:acc": 4, "f1": 2}
    assert defects(readings) == ["metric-name-conflict"]


def test_one_source_declared_twice_is_read_once(read):
    finals, readings = read("file:m.json", "file:m.json", m__json='{"acc": 1}')
    assert finals == {"acc": 1} and readings.findings == ()


names = st.text(alphabet="abcdefghij_", min_size=1, max_size=6)
numbers = st.integers(-(2**63), 2**64 - 1) | st.floats()
trees = st.dictionaries(
    names, st.recursive(numbers, lambda x: st.dictionaries(names, x, max_size=3), max_leaves=8)
)


def flat(tree, path=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", to_number(value)


def read_one(reader, path, data):
    return registry.members("launch.metrics")[reader].read(
        Source(text="", kind="file", path=path), io.BufferedReader(io.BytesIO(data))
    )


@given(trees)
def test_any_tree_of_numbers_comes_back_whole_from_json_and_yaml(tree):
    expected = dict(flat(tree))
    for reader, text in (("json", json.dumps(tree)), ("yaml", yaml.safe_dump(tree, default_flow_style=None))):
        series = read_one(reader, f"m.{reader}", text.encode()).series
        found = {name: curve.values[-1] for name, curve in series.items()}
        assert found == expected
        assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}


@given(st.lists(st.fixed_dictionaries({"step": st.integers(0, 2**53), "loss": numbers}), min_size=1, max_size=20))
def test_any_log_comes_back_whole_from_csv_and_json_lines(rows):
    expected = Series(steps=tuple(r["step"] for r in rows), values=tuple(to_number(r["loss"]) for r in rows))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert read_one("jsonl", "m.jsonl", lines.encode()).series == {"loss": expected}
    table = io.StringIO()
    writer = csv.DictWriter(table, ["step", "loss"])
    writer.writeheader()
    writer.writerows(rows)
    assert read_one("csv", "m.csv", table.getvalue().encode()).series == {"loss": expected}


@given(st.binary(max_size=300), st.sampled_from(list(registry.members("launch.metrics").values())))
def test_any_bytes_are_numbers_or_a_reason(data, reader):
    try:
        reading = reader.read(source_of(reader), io.BufferedReader(io.BytesIO(data)))
    except ValueError as error:
        assert str(error)
    else:
        for curve in reading.series.values():
            assert len(curve.steps) == len(curve.values) > 0


@given(st.dictionaries(st.text(max_size=8), st.lists(numbers, min_size=1, max_size=5), max_size=5))
def test_series_survive_their_json(curves):
    series = {
        name: Series(steps=tuple(range(len(v))), values=tuple(map(to_number, v))) for name, v in curves.items()
    }
    text = encode_series(series)
    assert decode_series(text) == series
    assert encode_series(dict(reversed(series.items()))) == text
    assert not any(isinstance(v, float) and math.isnan(v) for c in decode_series(text).values() for v in c.values)


def test_series_of_uneven_lengths_are_refused():
    with pytest.raises(msgspec.ValidationError, match=re.escape("2 steps, 1 values")):
        decode_series(b'{"a": {"steps": [0, 1], "values": [1]}}')
