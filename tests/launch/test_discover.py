"""Metrics that nobody declared: found in what real libraries wrote, chosen, and read again by a replay."""

import json
import os
import shutil
import sqlite3
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook import registry
from runbook.launch.metrics import discover, read_metrics
from runbook.launch.metrics.filenames import stable
from runbook.launch.metrics.interface import Source, found_source, parse_source
from runbook.launch.metrics.noise import why_noise

FIXTURES = Path(__file__).parent / "metrics"
LOSSES = (0.9123456789012345, 0.5, 0.1234567890123456)


def single(value):
    """The value as a 32-bit float holds it."""
    return struct.unpack("f", struct.pack("f", value))[0]


class Project:
    """A folder that a job wrote into, and its output."""

    def __init__(self, folder):
        self.root = folder / "project"
        self.root.mkdir(parents=True)
        self.log = folder / "stdout.log"
        self.log.write_bytes(b"")

    def put(self, fixture, name=""):
        """A fixture's tree at the root, or below a folder."""
        shutil.copytree(FIXTURES / fixture, self.root / name, dirs_exist_ok=True)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def files(self):
        return [path for path in self.root.rglob("*") if path.is_file()]

    def discover(self, since=None, written=None, **options):
        return discover(self.root, self.files() if written is None else written, self.log, since=since, **options)

    def read(self, sources, since=None):
        readings = read_metrics(sources, self.root, self.log, since=since)
        return {m.name: m.final for m in readings.metrics}, readings


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("fixture", "source", "series", "finals"),
    [
        (
            "tensorboard",
            "found:tensorboard:runs?Loss/train&hparam/accuracy",
            {"Loss/train": ((0, 10, 20), tuple(map(single, LOSSES)))},
            {"hparam/accuracy": 0.75},
        ),
        (
            "tensorboard-tensors",
            "found:tensorboard:logs?train/epoch_loss&validation/epoch_loss",
            {
                "train/epoch_loss": ((0, 1, 2), tuple(map(single, LOSSES))),
                "validation/epoch_loss": ((0, 1, 2), tuple(single(2 * loss) for loss in LOSSES)),
            },
            {},
        ),
        ("tensorboardx", "found:tensorboard:out?loss", {"loss": ((0, 1, 2), tuple(map(single, LOSSES)))}, {}),
        (
            "mlflow-files",
            "found:mlflow:mlruns?bad&rmse&val/loss",
            {"val/loss": ((0, 1, 2), LOSSES)},
            {"bad": "NaN", "rmse": 0.7931640229276851},
        ),
        (
            "mlflow-sqlite",
            "found:mlflow-sqlite:mlflow.db?bad&rmse&val/loss",
            {"val/loss": ((0, 1, 2), LOSSES)},
            {"bad": "NaN", "rmse": 0.7931640229276851},
        ),
        (
            "wandb-offline",
            "found:wandb:wandb?eval.acc&loss&best",
            {"eval.acc": ((0, 5, 10), tuple(1 - x for x in LOSSES)), "loss": ((0, 5, 10), LOSSES)},
            {"best": 0.987654321},
        ),
        (
            "dvclive",
            "found:dvclive:dvclive?train/loss&acc&test/f1",
            {"train/loss": ((0, 1, 2), LOSSES), "acc": ((0, 1, 2), tuple(1 - x for x in LOSSES))},
            {"test/f1": 0.875},
        ),
        (
            "lightning",
            "found:csv:lightning_logs?train_loss&val_acc",
            {"train_loss": ((0, 10, 20), LOSSES), "val_acc": ((9, 19, 29), tuple(1 - x for x in LOSSES))},
            {},
        ),
        (
            "keras",
            "found:csv:training.log?loss&mae&val_loss&val_mae",
            {"loss": ((0, 1, 2), (0.23136889934539795, 0.22221918404102325, 0.21351687610149384))},
            {"val_mae": 0.9963443279266357},
        ),
    ],
)
def test_what_a_library_wrote_is_found_and_read_exactly(project, fixture, source, series, finals):
    project.put(fixture)
    found = project.discover()
    assert found.sources == (source,)
    read, readings = project.read(found.sources)
    for name, (steps, values) in series.items():
        assert (readings.series[name].steps, readings.series[name].values) == (steps, values)
    assert finals.items() <= read.items()
    assert tuple(read) == parse_source(source).names
    assert readings.findings == () and {c.name for c in found.choices if c.kept} == set(read)


def test_a_replays_other_time_stamps_ids_and_hosts_give_the_same_metrics(tmp_path):
    original, replay = Project(tmp_path / "a"), Project(tmp_path / "b")
    for fixture in ("tensorboard", "mlflow-files", "wandb-offline", "lightning"):
        original.put(fixture)
        replay.put(fixture)
    (replay.root / "runs/Nov24_12-00-00_host").rename(replay.root / "runs/Dec31_23-59-59_other")
    (run,) = (p for p in (replay.root / "mlruns/0").iterdir() if p.is_dir())
    run.rename(run.with_name("0" * 32))
    (run,) = (replay.root / "wandb").iterdir()
    run.rename(run.with_name("offline-run-20300101_000000-abcd1234"))
    (replay.root / "lightning_logs/version_0").rename(replay.root / "lightning_logs/version_7")
    sources = original.discover().sources
    first, second = original.read(sources), replay.read(sources)
    assert first[0] == second[0] and len(first[0]) == 10
    assert first[1].series == second[1].series and second[1].findings == ()


def test_runs_of_an_earlier_job_in_the_same_folder_are_not_this_ones(project):
    project.put("mlflow-files")
    project.put("mlflow-sqlite")
    project.put("tensorboard")
    since = time.time() + 2
    assert project.discover(since=since).sources == ()
    assert project.read(["found:mlflow:mlruns?rmse"], since)[1].missing == ("found:mlflow:mlruns?rmse",)
    # A database is one file for all: its rows tell.
    (project.root / "mlflow.db").touch()
    started = (
        sqlite3.connect(project.root / "mlflow.db").execute("SELECT max(timestamp) FROM metrics").fetchone()[0]
    )
    reader = registry.members("launch.metrics")["mlflow-sqlite"]
    for later, names in ((-10, {"bad", "rmse", "val/loss"}), (10, set())):
        source = Source(
            text="", kind="found", path="mlflow.db", reader="mlflow-sqlite", since=started / 1000 + later
        )
        with (project.root / "mlflow.db").open("rb") as stream:
            assert set(reader.read(source, stream).series) == names


def test_several_runs_of_one_job_are_told_apart_by_their_order(project):
    for number, run in enumerate(("b" * 32, "a" * 32)):
        project.write(f"mlruns/0/{run}/metrics/acc", f"1700000000000 0.{number + 1} 0\n")
        os.utime(project.root / f"mlruns/0/{run}/metrics/acc", (1000 + number, 1000 + number))
    found = project.discover()
    assert found.sources == ("found:mlflow:mlruns?acc&acc#2",)
    assert project.read(found.sources)[0] == {"acc": 0.1, "acc#2": 0.2}


def test_a_file_stands_before_the_output_under_whatever_spelling(project):
    project.put("mlflow-files")
    project.log.write_bytes(b"Elasticnet model (alpha=0.5, l1_ratio=0.5):\n  RMSE: 0.79\n  MAE: 0.63\n")
    found = project.discover()
    assert project.read(found.sources)[0]["rmse"] == 0.7931640229276851
    assert found.sources[-1] == "found:printed:?MAE"
    (choice,) = (c for c in found.choices if c.name == "RMSE")
    assert not choice.kept and choice.why == "also in mlruns, as the job had it" and choice.source == "stdout"


def test_a_replay_that_no_longer_has_the_file_does_not_fall_back_on_the_output(project):
    project.put("mlflow-files")
    project.log.write_bytes(b"rmse: 0.79\n")
    sources = project.discover().sources
    shutil.rmtree(project.root / "mlruns")
    finals, readings = project.read(sources)
    assert finals == {} and readings.missing == sources


def test_of_two_files_that_agree_the_more_exact_one_stands_and_of_two_that_differ_both(project):
    project.put("tensorboardx")
    project.write("metrics.json", json.dumps({"loss": LOSSES[-1], "acc": 1}))
    found = project.discover()
    assert found.sources == ("found:json:metrics.json?loss&acc",)
    project.write("metrics.json", json.dumps({"loss": 0.2}))
    found = project.discover()
    assert set(project.read(found.sources)[0]) == {"metrics.json:loss", "out:loss"}


def test_noise_in_a_file_is_left_out_listed_and_taken_when_asked(project):
    row = {"loss": 0.5, "train_runtime": 12.5, "train_samples_per_second": 80, "epoch": 3.0, "learning_rate": 0.1}
    project.write("out/all_results.json", json.dumps(row))
    found = project.discover()
    assert found.sources == ("found:json:out/all_results.json?loss",)
    assert {c.name: c.why for c in found.choices if not c.kept} == {
        "train_runtime": "a time",
        "train_samples_per_second": "a throughput",
        "epoch": "a counter",
        "learning_rate": "a learning rate, which the job sets",
    }
    assert project.discover(keep=["learning_rate"]).sources == (
        "found:json:out/all_results.json?loss&learning_rate",
    )
    assert project.discover(drop=["*"]).sources == ()


def test_a_trainers_history_is_read_once_from_the_longest_of_its_checkpoints(project):
    history = [
        {"loss": 3.0, "step": 10},
        {"eval_loss": 2.5, "eval_runtime": 1.0, "step": 10},
        {"loss": 2.0, "step": 20},
    ]
    project.write(
        "out/checkpoint-10/trainer_state.json", json.dumps({"log_history": history[:2], "global_step": 10})
    )
    project.write("out/checkpoint-20/trainer_state.json", json.dumps({"log_history": history, "global_step": 20}))
    found = project.discover()
    assert found.sources == ("found:trainer-state:out?loss&eval_loss",)
    readings = project.read(found.sources)[1]
    assert readings.series["loss"].steps == (10, 20)


def test_a_wandb_run_is_found_by_the_log_that_its_python_part_wrote(project):
    project.put("wandb-offline")
    (path,) = project.files()
    project.write(path.parent.relative_to(project.root) / "logs/debug.log", "2026-11-24 12:00:00 INFO loss: 3\n")
    found = project.discover(written=[path.parent / "logs/debug.log"])
    assert found.sources == ("found:wandb:wandb?eval.acc&loss&best",)


def test_a_table_of_data_is_no_metrics(project):
    project.write("results.csv", "x,y\n" + "1,2\n" * 100)
    project.write("predictions.csv", "x\n1\n")
    project.write("train.csv", "x\n1\n")
    found = project.discover()
    assert found.sources == ()
    assert [(c.source, c.kept) for c in found.choices] == [("results.csv", False)]


def test_a_declared_file_stands_and_is_not_found_again(project):
    project.write("metrics.json", '{"acc": 0.9}')
    project.write("eval_results.json", '{"acc": 0.5, "f1": 0.7}')
    found = project.discover(declared=["file:metrics.json"])
    assert found.sources == ("found:json:eval_results.json?f1",)
    assert project.read(["file:metrics.json", *found.sources])[0] == {"acc": 0.9, "f1": 0.7}


def test_what_lies_outside_or_is_our_own_is_not_looked_into(project, tmp_path):
    (tmp_path / "metrics.json").write_text('{"a": 1}')
    project.write(".runbook/runs/x/metrics.json", '{"a": 1}')
    assert project.discover(written=[tmp_path / "metrics.json", *project.files()]).sources == ()


def test_hundreds_of_thousands_of_files_are_passed_by(project):
    project.write("metrics.json", '{"a": 1}')
    many = (project.root / f"data/{i}.bin" for i in range(100_000))
    assert project.discover(written=(p for s in (many, project.files()) for p in s)).sources == (
        "found:json:metrics.json?a",
    )


def test_a_link_is_not_followed(project, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(FIXTURES / "tensorboardx/out", outside)
    (project.root / "out").symlink_to(outside)
    assert project.discover(written=[project.root / "out" / p.name for p in outside.iterdir()]).sources == ()
    (project.root / "metrics.json").symlink_to("/etc/passwd")
    assert project.discover(written=[project.root / "metrics.json"]).sources == ()


@pytest.mark.parametrize("fixture", ["tensorboardx", "wandb-offline"])
def test_a_flipped_bit_is_a_reason_and_a_cut_file_gives_what_is_whole(project, fixture):
    project.put(fixture)
    (path,) = project.files()
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert project.discover().sources
    path.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    found = project.discover()
    assert found.sources == () and "damaged" in found.choices[0].why


def test_a_database_that_asks_for_more_than_reading_is_refused(project):
    path = project.root / "mlflow.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE runs (run_uuid, lifecycle_stage, start_time)")
    db.execute("INSERT INTO runs VALUES ('a', 'active', 1)")
    db.execute(
        "CREATE VIEW metrics AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        " SELECT 'a' AS run_uuid, 'k' AS key, x AS step, x AS value, 0 AS is_nan, x AS timestamp FROM n"
    )
    db.commit()
    db.close()
    found = project.discover()
    assert found.sources == () and "cannot be read as an MLflow store" in found.choices[0].why


def test_another_programs_database_is_passed_by_with_a_reason(project):
    db = sqlite3.connect(project.root / "cache.db")
    db.execute("CREATE TABLE a (b)")
    db.close()
    found = project.discover()
    assert found.sources == () and [c.kept for c in found.choices] == [False]


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("runs/Nov24_12-00-00_host", "runs"),
        ("outputs/2026-11-24/12-00-00/metrics.json", "outputs"),
        ("lightning_logs/version_3", "lightning_logs"),
        ("logs/20261124-120000/train", "logs"),
        ("mlruns/0", "mlruns/0"),
        ("out/fold_2/metrics.json", "out/fold_2/metrics.json"),
        ("exp/lr0.001_bs32", "exp/lr0.001_bs32"),
        ("exp/1732450000.5", "exp"),
        ("exp/3f9a1c2e/m.json", "exp"),
        ("exp/deadbeef/m.json", "exp/deadbeef/m.json"),
    ],
)
def test_a_source_names_the_part_of_a_path_that_stays(path, kept):
    assert stable(path) == kept


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "val/acc",
        "RMSE",
        "test_f1",
        "Accuracy",
        "mean reward",
        "perplexity",
        "bleu",
        "top-5",
        "timeliness",
        "mAP50-95",
    ],
)
def test_names_of_metrics(name):
    assert why_noise(name) == "" and why_noise(name, printed=True) == ""


@pytest.mark.parametrize(
    "name",
    [
        "time",
        "step_time",
        "stepTime",
        "ETA",
        "_runtime",
        "tokens/sec",
        "it/s",
        "gpu_mem",
        "lr",
        "lr-Adam",
        "epoch",
        "global_step",
        "system/cpu_utilization_percentage",
        "seed",
        "train/learning_rate",
        "samples_per_second",
        "pid",
        "version",
    ],
)
def test_names_of_noise(name):
    assert why_noise(name)


paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: text.strip("./") == text and "/" not in text
)


@given(
    st.sampled_from(["json", "tensorboard"]),
    paths,
    st.lists(st.text(min_size=1, max_size=8).filter(lambda t: t.isprintable()), max_size=4),
)
def test_a_found_source_comes_back_from_its_text(reader, path, names):
    source = parse_source(found_source(reader, path, tuple(names)))
    assert (source.reader, source.path, source.names) == (reader, path, tuple(names))


@settings(max_examples=30)
@given(st.data())
def test_any_damage_to_a_real_file_is_numbers_or_a_reason(data):
    path = data.draw(
        st.sampled_from([p for p in sorted(FIXTURES.rglob("*")) if p.is_file() and p.suffix != ".py"])
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    relative = path.relative_to(FIXTURES).as_posix()
    import io

    for reader in registry.members("launch.metrics").values():
        claim = reader.claims(relative)
        if claim is not None:
            try:
                reader.read(
                    Source(text="", kind="found", path=relative, reader=reader.name),
                    io.BufferedReader(io.BytesIO(content)),
                )
            except ValueError as error:
                assert str(error)
