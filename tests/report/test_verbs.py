"""`diff` and `report` through the real command line, over real bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from msgspec.structs import replace

from runbook.model.record import Seed
from tests.factories import CODE, make_bundle, make_code, make_record

Cli = Callable[..., "CompletedProcess[str]"]
EDITED = dict(CODE) | {"train.py": b"print('accuracy: 0.9')\n"}


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """demo.runbook, and other.runbook.zip: another seed, another line of code, another accuracy."""
    make_bundle(tmp_path)
    record = make_record(code=make_code(EDITED), seeds=(Seed(name="argv --seed", value="8", evidence="observed"),))
    accuracy, loss = record.metrics
    job = replace(
        record.job,
        argv=("python", "train.py", "--lr", "0.1", "--seed", "8"),
        parameters={"lr": "0.1", "seed": "8"},
    )
    other = replace(record, metrics=(replace(accuracy, final=0.9), loss), job=job)
    make_bundle(tmp_path, other, name="other", code=EDITED, form="zip")
    return tmp_path


def test_diff_of_two_seeds_exits_1_and_names_the_seed_and_each_metric(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "other.runbook.zip", cwd=bundles)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("Different.")
    for said in ("argv --seed", "accuracy", "0.9375", "0.9", "train.py"):
        assert said in done.stdout


def test_diff_under_a_tolerance_that_covers_the_difference_exits_0(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "other.runbook.zip", "--tolerance", "acc*=abs:0.05", cwd=bundles)
    assert done.returncode == 0
    assert "within tolerance" in done.stdout
    assert "given for this comparison" in done.stdout


def test_diff_of_a_bundle_with_itself_finds_nothing(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "demo.runbook", cwd=bundles)
    assert done.returncode == 0
    assert "Nothing else that is recorded differs." in done.stdout


def test_diff_all_shows_the_changed_lines(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "other.runbook.zip", "--all", cwd=bundles)
    assert "-print('accuracy: 0.9375')\n+print('accuracy: 0.9')" in done.stdout


def test_diff_json_is_one_document_with_the_exit_code(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "other.runbook.zip", "--json", cwd=bundles)
    answer = json.loads(done.stdout)
    assert (answer["verdict"], answer["exit_code"]) == ("different", done.returncode)
    assert answer["comparison"]["differences"][0]["what"] == "argv --seed"


def test_diff_writes_a_page_besides(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "other.runbook.zip", "--html", "d.html", cwd=bundles)
    assert done.returncode == 1
    assert "<!DOCTYPE html>" in (bundles / "d.html").read_text()


def test_diff_without_common_metrics_exits_7(bundles: Path, runbook_cli: Cli) -> None:
    make_bundle(bundles, make_record(metrics=()), name="bare", series={})
    assert runbook_cli("diff", "bare.runbook", "bare.runbook", cwd=bundles).returncode == 7


def test_diff_of_a_bundle_that_was_tampered_with_exits_5(bundles: Path, runbook_cli: Cli) -> None:
    record = bundles / "demo.runbook/data/record.json"
    record.write_bytes(record.read_bytes().replace(b"0.9375", b"0.9376"))
    done = runbook_cli("diff", "demo.runbook", "other.runbook.zip", cwd=bundles)
    assert done.returncode == 5
    assert done.stdout == ""


def test_diff_names_the_side_that_is_not_there(bundles: Path, runbook_cli: Cli) -> None:
    done = runbook_cli("diff", "demo.runbook", "gone.runbook", cwd=bundles)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no such bundle: gone.runbook\n\nhint: ")


def test_diff_of_two_recorded_runs(tmp_path: Path, runbook_cli: Cli) -> None:
    (tmp_path / "job.py").write_text("import sys\nprint('loss:', float(sys.argv[2]) / 4)\n")
    for seed in ("1", "2"):
        run = ("run", "--metric", "loss=loss: (.*)", "--", "python3", "job.py", "--seed", seed)
        done = runbook_cli(*run, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    first = sorted(p.name for p in (tmp_path / ".runbook/runs").iterdir())[0]
    done = runbook_cli("diff", first, "last", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "0.25" in done.stdout
    assert "--seed" in done.stdout


@pytest.mark.parametrize(("form", "suffix"), [("html", "html"), ("markdown", "md"), ("json", "json")])
def test_report_writes_the_run_book_beside_where_one_stands(
    bundles: Path, runbook_cli: Cli, form: str, suffix: str
) -> None:
    done = runbook_cli("report", "demo.runbook", "--format", form, cwd=bundles)
    assert (done.returncode, done.stdout) == (0, "")
    assert "0.9375" in (bundles / f"demo.{suffix}").read_text()


def test_report_takes_the_format_from_the_ending_and_dash_is_stdout(bundles: Path, runbook_cli: Cli) -> None:
    assert runbook_cli("report", "demo.runbook", "-o", "x.md", cwd=bundles).returncode == 0
    assert (bundles / "x.md").read_text().startswith("# demo\n")
    done = runbook_cli("report", "demo.runbook", "--format", "json", "-o", "-", cwd=bundles)
    assert json.loads(done.stdout)["original"]["name"] == "demo"


def test_report_as_pdf_without_weasyprint_says_what_to_install(bundles: Path, runbook_cli: Cli) -> None:
    hidden = bundles / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'weasyprint' else find(name, *a)\n"
    )
    done = runbook_cli("report", "demo.runbook", "-o", "x.pdf", cwd=bundles, env={"PYTHONPATH": str(hidden)})
    assert done.returncode == 6
    assert "pip install 'runbook[pdf]'" in done.stderr
    assert not (bundles / "x.pdf").exists()
