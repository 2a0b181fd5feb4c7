"""The Python API: what a job logs by itself, through the real hook's folder and the real readers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import runbook
from runbook.launch.logged import FILE, SOURCE, Logged, read_logged
from runbook.launch.metrics import read_metrics

ROOT = Path(__file__).parents[2]


def job(folder: Path, text: str, *, env: dict[str, str] | None = None, check: bool = True) -> Logged:
    """Run a job that logs into `folder`, and read what it logged."""
    folder.mkdir(exist_ok=True)
    variables = os.environ | {"RUNBOOK_WATCH": str(folder), "PYTHONPATH": str(ROOT)} | (env or {})
    subprocess.run([sys.executable, "-c", textwrap.dedent(text)], env=variables, check=check, cwd=folder)
    return read_logged(folder, folder)


def curves(folder: Path) -> dict[str, list[tuple[int, object]]]:
    """Every metric's points."""
    (folder / "stdout.log").touch()
    readings = read_metrics([SOURCE], folder, folder / "stdout.log")
    found: dict[str, list[tuple[int, object]]] = {m.name: [(-1, m.final)] for m in readings.metrics}
    return found | {
        n: list(zip(series.steps, series.values, strict=True)) for n, series in readings.series.items()
    }


def test_values_come_back_exactly(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-310, -0.0, 2**63 - 1, 1.7976931348623157e308, 5]
    said = job(tmp_path, f"import runbook\nfor v in {values}: runbook.log_metric('x', v)")
    assert said.sources == (SOURCE,)
    got = [value for _, value in curves(tmp_path)["x"]]
    assert [repr(v) for v in got] == [repr(v) for v in values]


def test_infinities_and_nan_are_kept(tmp_path: Path) -> None:
    job(tmp_path, "import runbook\nfor v in ('nan', 'inf', '-inf'): runbook.log_metric('x', float(v))")
    assert [value for _, value in curves(tmp_path)["x"]] == ["NaN", "Infinity", "-Infinity"]


def test_numpy_scalars_are_numbers(tmp_path: Path) -> None:
    job(
        tmp_path,
        """
        import numpy as np, runbook
        runbook.log_metric("a", np.float32(0.1), step=np.int64(3))
        runbook.log_metric("b", np.int64(2**62))
        runbook.log_metric("c", np.array(1.5))
        runbook.log_param("lr", np.float64(0.1))
        """,
    )
    got = curves(tmp_path)
    assert got["a"][-1][1] == float.fromhex("0x1.99999a0000000p-4")
    assert got["b"][-1][1] == 2**62
    assert got["c"][-1][1] == 1.5
    assert read_logged(tmp_path, tmp_path).parameters == (("lr", "0.1"),)


def test_steps_are_counted_where_none_is_given(tmp_path: Path) -> None:
    job(
        tmp_path,
        """
        import runbook
        for i in range(3):
            runbook.log_metric("counted", i)
            runbook.log_metric("given", i, step=i * 10)
        """,
    )
    assert curves(tmp_path)["counted"] == [(0, 0), (1, 1), (2, 2)]
    assert curves(tmp_path)["given"] == [(0, 0), (10, 1), (20, 2)]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("log_metric('loss', '0.3')", "TypeError"),
        ("log_metric('loss', True)", "TypeError"),
        ("log_metric('loss', None)", "TypeError"),
        ("log_metric('loss', [1, 2])", "TypeError"),
        ("log_metric(3, 0.3)", "TypeError"),
        ("log_metric('', 0.3)", "ValueError"),
        ("log_metric('x' * 2000, 0.3)", "ValueError"),
        ("log_metric('\\ud800', 0.3)", "ValueError"),
        ("log_metric('loss', 0.3, step=1.5)", "TypeError"),
        ("log_metric('loss', 0.3, step=True)", "TypeError"),
        ("log_metric('loss', 0.3, step=2**63)", "ValueError"),
        ("log_param(None, 1)", "TypeError"),
        ("log_param('text', 'x' * 5000)", "ValueError"),
        ("log_artifact(3)", "TypeError"),
        ("log_artifact('')", "ValueError"),
        ("run(name=3)", "TypeError"),
        ("run(params={3: 1})", "TypeError"),
    ],
)
def test_an_argument_that_is_none_is_said_under_observation_and_ignored_outside(
    tmp_path: Path, call: str, error: str
) -> None:
    text = f"""
    import runbook
    try:
        runbook.{call}
    except {error} as wrong:
        assert str(wrong)
    else:
        raise SystemExit("no {error}")
    """
    assert job(tmp_path, text).sources == ()
    plain = {k: v for k, v in os.environ.items() if k != "RUNBOOK_WATCH"} | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", f"import runbook; runbook.{call}"], env=plain, check=True)


def test_outside_of_a_run_nothing_is_written_and_the_block_runs(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("RUNBOOK_WATCH", raising=False)
    monkeypatch.chdir(tmp_path)
    with runbook.run(name="x", params={"lr": 0.1}) as one:
        one.log_metric("loss", 0.3)
        runbook.log_artifact("model.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_block_names_what_is_logged_inside_it(tmp_path: Path) -> None:
    said = job(
        tmp_path,
        """
        import runbook, threading
        for fold in (1, 2):
            with runbook.run(name=f"fold-{fold}", experiment="cv", params={"fold": fold}) as one:
                runbook.log_metric("loss", fold)
                with runbook.run(name="inner"):
                    runbook.log_metric("loss", 10 * fold)
                thread = threading.Thread(target=one.log_metric, args=("threaded", fold))
                thread.start(); thread.join()
        with runbook.run(params={"plain": 1}):
            runbook.log_metric("mean", 1.5)
        try:
            with runbook.run(name="broken"):
                raise KeyError("the job's own")
        except KeyError:
            runbook.log_metric("after", 1)
        """,
    )
    assert set(curves(tmp_path)) == {
        *("fold-1/loss", "fold-2/loss", "fold-1/inner/loss", "fold-2/inner/loss"),
        *("fold-1/threaded", "fold-2/threaded", "mean", "after"),
    }
    assert said.parameters == (("fold-1/fold", "1"), ("fold-2/fold", "2"), ("plain", "1"))
    assert said.experiment == "cv"


def test_processes_and_forks_do_not_mix_and_the_killed_lose_nothing(tmp_path: Path) -> None:
    job(
        tmp_path,
        """
        import os, runbook, signal
        runbook.log_metric("parent", 0)
        for child in range(4):
            if os.fork() == 0:
                for step in range(200):
                    runbook.log_metric("shared", child, step=step)
                os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(4):
            os.wait()
        runbook.log_metric("parent", 1)
        """,
    )
    got = curves(tmp_path)
    assert [value for _, value in got["parent"]] == [0, 1]
    assert [step for step, _ in got["shared"]] == [step for step in range(200) for _ in range(4)]


def test_ranks_have_names_of_their_own(tmp_path: Path) -> None:
    text = "import runbook; runbook.log_metric('loss', {0}); runbook.log_param('lr', {0})"
    job(tmp_path, text.format(1), env={"RANK": "1"})
    said = job(tmp_path, text.format(0), env={"RANK": "0"})
    assert {n: p[-1][1] for n, p in curves(tmp_path).items()} == {"loss": 0, "loss@rank1": 1}
    assert said.parameters == (("lr", "0"),)
    assert [f.id for f in said.findings] == ["parameter-relogged"]


@pytest.mark.parametrize("obstacle", ["no folder", "a file", "closed descriptors"])
def test_a_job_goes_on_where_nothing_can_be_written(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "a file").touch()
    text = "import os, runbook\nos.closerange(3, 100)\nrunbook.log_metric('a', 1)\nrunbook.log_param('a', 1)"
    folder = {"no folder": "/nowhere/at/all", "a file": str(tmp_path / "a file")}.get(obstacle, str(tmp_path))
    job(tmp_path, text, env={"RUNBOOK_WATCH": folder})


def test_a_hostile_log_is_bounded_and_said(tmp_path: Path) -> None:
    good = json.dumps({"metric": "good", "value": 1, "at": 5})
    lines = [
        *(
            "",
            "{",
            "[]",
            "null",
            '{"metric": 3}',
            '{"metric": "x", "value": "text"}',
            '{"metric": "x", "step": 1.5}',
        ),
        *('{"metric": "x", "step": 1e400}', '{"artifact": "../../etc/passwd"}', '{"parameter": "p", "text": 5}'),
        *(
            '{"rank": -1, "metric": "x"}',
            "[" * 10_000,
            "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        ),
    ]
    (tmp_path / "api-1-1.jsonl").write_text("\n".join([*lines, good]))
    (tmp_path / "api-2-1.jsonl").symlink_to("/etc/passwd")
    (tmp_path / "api-3-1.jsonl").mkdir()
    os.mkfifo(tmp_path / "api-4-1.jsonl")
    (tmp_path / "api-5-1.jsonl").write_bytes(b"x" * 1_000_000)
    said = read_logged(tmp_path, tmp_path)
    assert {f.id for f in said.findings} == {"api-log-unread"}
    assert said.artifacts == ()
    assert curves(tmp_path)["good"][-1][1] == 1


def test_too_much_is_cut_and_said(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("runbook.launch.logged._BYTES", 5000)
    said = job(tmp_path, "import runbook\nfor i in range(1000): runbook.log_metric('x', i)")
    assert "the rest is lost" in said.findings[0].text
    assert 10 < len((tmp_path / FILE).read_text().splitlines()) < 1000


def test_importing_runbook_stays_light() -> None:
    code = "import sys; before = set(sys.modules); import runbook; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['runbook']"
    code = "import sys, runbook; runbook.log_metric; print([m for m in sys.modules if m.startswith('runbook')])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['runbook', 'runbook.api']"


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="log_metrics"):
        _ = runbook.log_metrics
    assert math.isclose(float(runbook.__version__[0]), 0)
