"""Metrics read off a job's output with nobody saying where they stand."""

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook import registry
from runbook.launch.metrics import discover
from runbook.launch.metrics.interface import Source

FIXTURES = Path(__file__).parent / "metrics"


@pytest.fixture
def printed(tmp_path):
    """What is taken from an output, name → (steps, values), and what is left out, name → why."""

    def do(text, **options):
        log = tmp_path / "stdout.log"
        log.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = discover(tmp_path, [], log, since=None, **options)
        series = read(log.read_bytes()).series
        kept = {c.name: (series[c.name].steps, series[c.name].values) for c in found.choices if c.kept}
        return kept, {c.name: c.why for c in found.choices if not c.kept}

    return do


def read(data):
    reader = registry.members("launch.metrics")["printed"]
    return reader.read(Source(text="", kind="found", reader="printed"), io.BufferedReader(io.BytesIO(data)))


def test_makemore_with_bars(printed):
    kept, left = printed("step 0 | loss 3.2958 | step time 120.50ms\nstep 500 | loss 2.1900 | step time 12.34ms\n")
    assert kept == {"loss": ((0, 500), (3.2958, 2.19))}
    assert left == {"step time": "a time"}


def test_makemore_evaluations(printed):
    kept, left = printed("step 500 train loss: 2.19 test loss: 2.20\nstep 1000 train loss: 2.1 test loss: 2.2\n")
    assert kept == {"train loss": ((500, 1000), (2.19, 2.1)), "test loss": ((500, 1000), (2.2, 2.2))}
    assert left == {}


def test_makemore_settings(printed):
    text = "number of examples in the dataset: 32033\nmax word length: 15\nnumber of unique characters: 26\n"
    kept, left = printed(text + "number of parameters: 0.20M\nmodel #params: 204544\n")
    assert kept == {}
    assert left["model params" if "model params" in left else "model #params"] == "a setting or a count"


def test_lightgbm(printed):
    kept, left = printed(
        "[LightGBM] [Info] Auto-choosing col-wise multi-threading, the overhead of testing was 0.001 seconds.\n"
        "[LightGBM] [Info] Total Bins 6132\n"
        "[LightGBM] [Info] Number of data points in the train set: 7000, number of used features: 28\n"
        "[LightGBM] [Info] Start training from score 0.530714\n"
        "[1]\tvalid_0's l2: 0.241954\tvalid_0's l1: 0.48\n"
        "[2]\tvalid_0's l2: 0.234499\tvalid_0's l1: 0.47\n"
        "The RMSE of prediction is: 0.4450426449744025\n"
    )
    assert kept == {
        "valid_0's l2": ((1, 2), (0.241954, 0.234499)),
        "valid_0's l1": ((1, 2), (0.48, 0.47)),
        "RMSE of prediction": ((0,), (0.4450426449744025,)),
    }
    assert set(left.values()) <= {"a count", "a setting or a count", "a time"}


def test_mlflow_wine(printed):
    kept, left = printed(
        "Elasticnet model (alpha=0.500000, l1_ratio=0.500000):\n"
        "  RMSE: 0.7931640229276851\n  MAE: 0.6271946374319586\n  R2: 0.10862644997792614\n"
    )
    assert {name: values for name, (_, values) in kept.items()} == {
        "RMSE": (0.7931640229276851,),
        "MAE": (0.6271946374319586,),
        "R2": (0.10862644997792614,),
    }
    assert set(left) == {"alpha", "l1_ratio"}


def test_pytorch_time_sequence(printed):
    kept, _ = printed(
        "STEP:  0\nloss: 0.5023738122475573\nloss: 0.4986\ntest loss: 0.0013\n"
        "STEP:  1\nloss: 0.0009\ntest loss: 0.0012\n"
    )
    assert kept == {
        "loss": ((0, 1, 2), (0.5023738122475573, 0.4986, 0.0009)),
        "test loss": ((0, 1), (0.0013, 0.0012)),
    }


def test_pytorch_regression(printed):
    kept, left = printed(
        "Loss: 0.000976 after 288 batches\n"
        "==> Learned function:\ty = +5.13 x^4 +2.53 x^3 -1.49 x^2 +0.71 x^1 +0.11\n"
        "==> Actual function:\ty = +5.15 x^4 +2.56 x^3 -1.48 x^2 +0.72 x^1 +0.11\n"
    )
    assert kept == {"Loss": ((288,), (0.000976,))} and left == {}


def test_pytorch_reinforce(printed):
    kept, left = printed(
        "Episode 10\tLast reward: 12.00\tAverage reward: 10.53\n"
        "Episode 20\tLast reward: 40.00\tAverage reward: 14.01\n"
        "Solved! Running reward is now 475.1 and the last episode runs to 500 time steps!\n"
    )
    assert kept == {
        "Last reward": ((10, 20), (12.0, 40.0)),
        "Average reward": ((10, 20), (10.53, 14.01)),
        "Running reward": ((0,), (475.1,)),
    }
    assert left == {}


def test_pytorch_mnist(printed):
    kept, left = printed(
        "Train Epoch: 1 [0/60000 (0%)]\tLoss: 2.329474\nTrain Epoch: 1 [640/60000 (1%)]\tLoss: 1.425026\n\n"
        "Test set: Average loss: 0.0500, Accuracy: 9833/10000 (98%)\n"
    )
    assert kept == {
        "Loss": ((0, 1), (2.329474, 1.425026)),
        "Test set: Average loss": ((0,), (0.05,)),
        "Test set: Accuracy": ((0,), (9833,)),
    }
    assert left == {}


def test_keras_as_it_prints_into_a_file(printed):
    kept, left = printed((FIXTURES / "keras" / "stdout.txt").read_bytes())
    assert kept["val_loss"] == ((1, 2, 3), (1.0555, 1.0267, 0.999))
    assert set(kept) == {"loss", "mae", "val_loss", "val_mae"} and left == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Epoch 3/10 - loss: 0.3 - val_acc: 0.9", {"loss": ((3,), (0.3,)), "val_acc": ((3,), (0.9,))}),
        ("loss = 1.5e-3", {"loss": ((0,), (0.0015,))}),
        ("loss=nan", {"loss": ((0,), ("NaN",))}),
        ("\x1b[32mAccuracy\x1b[0m: \x1b[1m98.5%\x1b[0m", {"Accuracy": ((0,), (98.5,))}),
        ('{"step": 7, "eval": {"f1": 0.5}}', {"eval.f1": ((7,), (0.5,))}),
        ("{'loss': 1.2, 'learning_rate': 4e-05, 'epoch': 1.0}", {"loss": ((1,), (1.2,))}),
        (
            "loss: tensor(0.5, dtype=torch.float64, grad_fn=<A>) acc: np.float64(0.9)",
            {"loss": ((0,), (0.5,)), "acc": ((0,), (0.9,))},
        ),
        (
            "train: loss=0.5 acc=0.9 | val: loss=0.4",
            {"train: loss": ((0,), (0.5,)), "train: acc": ((0,), (0.9,)), "val: loss": ((0,), (0.4,))},
        ),
        ("[train] loss: 0.5, acc: 0.9", {"train: loss": ((0,), (0.5,)), "train: acc": ((0,), (0.9,))}),
        ("2024-01-01 12:00:00,123 - INFO - loss: 0.5", {"loss": ((0,), (0.5,))}),
        ("INFO:root:loss: 0.5", {"loss": ((0,), (0.5,))}),
        ("iter 20: loss 10.9, time 1234.56ms, mfu 3.1%", {"loss": ((20,), (10.9,))}),
        (
            "Accuracy of the network on the 10000 test images: 54 %",
            {"Accuracy of the network on the 10000 test images": ((0,), (54,))},
        ),
        ("Accuracy: 0.96 (+/- 0.02)", {"Accuracy": ((0,), (0.96,))}),
        ("Loss after iteration 40: 0.693147", {"Loss": ((40,), (0.693147,))}),
        ("│         test_acc          │    0.9300000071525574     │", {"test_acc": ((0,), (0.9300000071525574,))}),
        ("Mean Squared Error: 0.5", {"Mean Squared Error": ((0,), (0.5,))}),
        ("Accuracy 0.93", {"Accuracy": ((0,), (0.93,))}),
        ("MSE 0.5 R2 0.25", {"MSE": ((0,), (0.5,)), "R2": ((0,), (0.25,))}),
        ("Wed Nov 24 12:00:00 2026 loss: 0.5", {"loss": ((0,), (0.5,))}),
        ("ETA: 0:01:22 loss: 0.3", {"loss": ((0,), (0.3,))}),
        (
            "[5/25][100/391] Loss_D: 0.5 Loss_G: 2.1 D(x): 0.8 D(G(z)): 0.3 / 0.1",
            {"Loss_D": ((0,), (0.5,)), "Loss_G": ((0,), (2.1,)), "D x": ((0,), (0.8,)), "D G z": ((0,), (0.3,))},
        ),
        (
            "| epoch   1 |   200/ 2983 batches | lr 20.00 | ms/batch 10.1 | loss  7.66 | ppl  2122.33",
            {"loss": ((1,), (7.66,)), "ppl": ((1,), (2122.33,))},
        ),
        ("Step 100: loss = 2.1 (0.003 sec)", {"loss": ((100,), (2.1,))}),
        ("Cross-validated R^2 was 0.5", {"Cross-validated R^2": ((0,), (0.5,))}),
    ],
)
def test_what_is_a_metric(printed, line, expected):
    assert printed(line + "\n")[0] == expected


@pytest.mark.parametrize(
    "line",
    [
        "Python: 3.11.7",
        "commit: 12345678abc",
        "Listening on http://127.0.0.1:8000",
        "/lib/train.py:123: UserWarning: 3 things",
        "Time: 12:00:05",
        "elapsed: 12.5 seconds",
        "throughput: 1200 it/s",
        "GPU memory: 3.2 GB",
        "pid = 4711",
        "date: 2026-11-24",
        "lr: 1e-3",
        "epoch: 4",
        "n: 1,234,567",
        "weights: [0.1, 0.2, 0.3]",
        "Conv2d(1, 32, kernel_size=(3, 3), stride=(1, 1))",
        "Ridge(alpha=0.5)",
        "Started 4 workers",
        "Total Bins 6132",
        "[LightGBM] [Warning] No further splits with positive gain, best gain: -inf",
        "Start training from score 0.530714",
        "Python 3.11",
        "Model saved to out/model-0.93.pt",
        "100%|██████████| 20/20 [00:02<00:00, 9.62it/s, loss=0.2]",
        "batch_size: 32",
        "100 0.5 0.25",
        "y = 2.0 * x + 1.0",
    ],
)
def test_what_is_none(printed, line):
    assert printed(line + "\n")[0] == {}


def test_of_a_line_that_rewrites_itself_the_last_state_is_read(printed):
    assert printed("loss: 3\rloss: 2\rloss: 1\n")[0] == {"loss": ((0,), (1,))}
    assert (
        printed(" 45%|████  | 9/20 [00:01<00:01, 9.5it/s, loss=3]\r100%|██| 20/20 [00:02<00:00, loss=0.2]\n")[0]
        == {}
    )


def test_tables_of_epochs(printed):
    text = (
        "epoch     train_loss  accuracy  time\n"
        "0         0.5         0.9       00:12\n1         0.4         0.95      00:11\n"
        "done\n"
        "| epoch | mAP |\n|-------|-----|\n| 1     | 0.5 |\n"
    )
    kept, left = printed(text)
    assert kept == {
        "train_loss": ((0, 1), (0.5, 0.4)),
        "accuracy": ((0, 1), (0.9, 0.95)),
        "mAP": ((1,), (0.5,)),
    }
    assert left == {"epoch": "a counter"}


def test_a_table_with_colours_and_rules(printed):
    text = (
        "  epoch    train_loss    valid_acc     dur\n-------  ------------  -----------  ------\n"
        "      1        \x1b[36m0.6905\x1b[0m       \x1b[32m0.5150\x1b[0m  0.1000\n"
        "      2        0.6648       0.5390  0.0800\n"
    )
    kept, left = printed(text)
    assert kept == {"train_loss": ((1, 2), (0.6905, 0.6648)), "valid_acc": ((1, 2), (0.515, 0.539))}
    assert left == {"epoch": "a counter", "dur": "a time"}


def test_scikit_learns_report(printed):
    text = (
        "              precision    recall  f1-score   support\n\n"
        "  versicolor       0.98      0.99      0.97        25\n\n"
        "    accuracy                           0.96        50\n"
        "   macro avg       0.91      0.92      0.93        50\n\nscore: 0.5\n"
    )
    kept, left = printed(text)
    assert {name: values for name, (_, values) in kept.items()} == {
        "versicolor precision": (0.98,),
        "versicolor recall": (0.99,),
        "versicolor f1-score": (0.97,),
        "accuracy": (0.96,),
        "macro avg precision": (0.91,),
        "macro avg recall": (0.92,),
        "macro avg f1-score": (0.93,),
        "score": (0.5,),
    }
    assert set(left) == {"versicolor support", "accuracy support", "macro avg support"}


def test_a_learning_rate_is_taken_when_asked_and_a_metric_left_out_when_asked(printed):
    text = "epoch 1 lr: 0.1 loss: 0.5 debug_norm: 3\n"
    assert set(printed(text)[0]) == {"loss", "debug_norm"}
    assert set(printed(text, keep=["lr"], drop=["debug_*"])[0]) == {"lr", "loss"}
    assert set(printed(text, keep=["loss"], drop=["*"])[0]) == {"loss"}
    kept, left = printed(text, keep=["*"], drop=["loss"])
    assert set(kept) == {"lr", "debug_norm"} and left == {"loss": "left out as asked"}


def test_where_a_pattern_is_declared_the_output_is_not_taken_for_itself(printed):
    kept, left = printed("loss: 0.5\nacc: 0.9\n", declared=["stdout:loss=loss: (.+)"])
    assert kept == {} and left == {"loss": "declared", "acc": "printed, where metrics are declared"}
    assert set(printed("loss: 0.5\nacc: 0.9\n", declared=["stdout:loss=loss: (.+)"], keep=["acc"])[0]) == {"acc"}


def test_a_listing_of_names_without_end_is_cut():
    text = "".join(f"u{'abcdefghij'[i % 10]}{i}x: 0.5\n" for i in range(5000))
    reading = read(text.encode())
    assert len(reading.series) == 500 and "more than 500 names" in reading.left_out[0]


names = st.sampled_from(["loss", "val_loss", "F1", "acc@5", "r2_score"])
finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63)


@given(
    st.lists(finite, min_size=1, max_size=20),
    names,
    st.sampled_from(["{}: {}", "{} = {}", "{}={}", "{}:{}", "x\t{}: {};"]),
)
def test_a_number_comes_back_as_it_was_printed(values, name, form):
    text = "".join(form.format(name, repr(value)) + "\n" for value in values)
    assert read(text.encode()).series[name].values == tuple(values)


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_any_output_is_read(data):
    for curve in read(data).series.values():
        assert len(curve.steps) == len(curve.values) > 0


@given(
    st.lists(
        st.sampled_from(
            [
                "loss",
                ":",
                " ",
                "=",
                "0.5",
                "(",
                ")",
                "[",
                "]",
                "{",
                "}",
                ",",
                "|",
                "\t",
                "epoch",
                "3",
                "/",
                "tensor",
                "is",
                "ms",
                "%",
                "\n",
                "-",
                "nan",
            ]
        ),
        max_size=60,
    )
)
def test_any_row_of_tokens_is_read(tokens):
    for name in read("".join(tokens).encode()).series:
        assert re.search(r"[^\W\d_]", name)


EVIL = [
    "(",
    "a ",
    "1:",
    "a:",
    "[a] ",
    "-",
    " ",
    "1 / ",
    "\x1b]",
    "\x1b[",
    "\x1b[0;",
    "1",
    "1%",
    "a=1,",
    "9 [0",
    "loss 1 ",
    "{",
    "1e",
    "\r",
    "|1",
]


@pytest.mark.parametrize("piece", EVIL, ids=repr)
def test_the_work_grows_with_the_length_of_the_log_and_no_faster(piece):
    # A quadratic search would take minutes on these: the suite's own time limit is the bound.
    for length in (1900, 60_000):
        line = (piece * length)[:length].encode() + b"\n"
        read(line * (2_000_000 // len(line)))
