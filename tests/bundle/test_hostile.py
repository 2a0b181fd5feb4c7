"""Reading a bundle as hostile, beyond the table of tests/corpus: bits, links, quick reads, base layouts."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from runbook.bundle import layout
from runbook.bundle.read import open_bundle
from runbook.cli.main import run
from runbook.model.environment import environment_id
from runbook.model.fact import observed
from tests.corpus.change import append, record_text, write
from tests.corpus.zips import repacked
from tests.factories import make_bundle, make_environment, make_record


def defect_of(bundle: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """(exit code, defect id) of `runbook verify --json`."""
    capsys.readouterr()
    code = run(["verify", "--json", *options, str(bundle)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, json.loads(shown.out).get("defect", "") if shown.out else ""


def test_a_carried_base_must_be_the_recorded_one(tmp_path, capsys):
    environment = make_environment()
    base = msgspec.structs.replace(environment.base.value, layout=layout.IMAGE, kind="host-closure")
    record = make_record(environment=msgspec.structs.replace(environment, base=observed(base)))
    wrong = make_bundle(tmp_path, record, extra={"data/image/index.json": b"{}"})
    assert defect_of(wrong, capsys) == (5, "record-mismatch")
    blob = b"layer"
    good = msgspec.structs.replace(base, digest="sha256:" + layout.sha256(blob))
    identity = environment_id(good, environment.interpreter.value, environment.lock.value, environment.libraries)
    named = msgspec.structs.replace(environment, base=observed(good), id=observed(identity))
    record = make_record(environment=named)
    image = {"data/image/index.json": b"{}", f"data/image/blobs/sha256/{layout.sha256(blob)}": blob}
    assert defect_of(make_bundle(tmp_path, record, name="good", extra=image), capsys) == (0, "")
    image[f"data/image/blobs/sha256/{'0' * 64}"] = b"other"
    assert defect_of(make_bundle(tmp_path, record, name="bad", extra=image), capsys) == (5, "record-mismatch")


def test_a_newer_bundle_is_named_as_such_and_not_called_corrupt(tmp_path, capsys):
    bundle = make_bundle(tmp_path)
    record_text(b"runbook/record/1", b"runbook/record/2")(bundle)
    assert run(["verify", str(bundle)]) == 2
    assert "newer runbook" in capsys.readouterr().err


def test_a_zip_that_somebody_else_packed_is_refused_with_the_way_out(tmp_path, capsys):
    bundle = repacked(make_bundle(tmp_path, form="zip"), lambda _new: None, compression=zipfile.ZIP_DEFLATED)
    assert run(["verify", str(bundle)]) == 5
    assert "unzip it and name the folder" in capsys.readouterr().err
    with zipfile.ZipFile(bundle) as file:
        file.extractall(tmp_path / "out")
    assert run(["verify", str(tmp_path / "out" / "bundle.runbook")]) == 0


@pytest.mark.parametrize("form", ["directory", "zip"])
def test_one_flipped_bit_in_any_file_is_found(form, tmp_path, capsys):
    bundle = make_bundle(tmp_path, form=form)
    files = [bundle] if form == "zip" else sorted(p for p in bundle.rglob("*") if p.is_file())
    assert run(["verify", str(bundle)]) == 0
    tried = 0
    for path in files:
        data = path.read_bytes()
        wanted = 400 if form == "zip" else 8
        offsets = sorted(
            {*range(0, len(data), max(1, len(data) // wanted)), *range(max(0, len(data) - 3), len(data))}
        )
        for number, offset in enumerate(offsets):
            flipped = bytearray(data)
            flipped[offset] ^= 1 << (number % 8)
            path.write_bytes(flipped)
            assert run(["verify", str(bundle)]) == 5, (path, offset)
            tried += 1
        path.write_bytes(data)
    assert run(["verify", str(bundle)]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert tried > 100


@pytest.mark.parametrize(
    ("change", "code"),
    [(lambda b: None, 0), (write("data/code/extra.py"), 5), (write("data/code/train.py", b"evil"), 5)],
)
def test_the_installed_command_exits_so(change, code, tmp_path):
    bundle = make_bundle(tmp_path)
    change(bundle)
    done = subprocess.run(
        [sys.executable, "-m", "runbook", "verify", str(bundle)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("error: " in done.stderr and "\n\n" not in done.stdout) if code else done.stderr == ""


def test_what_is_not_there_is_a_usage_error(tmp_path, capsys):
    assert run(["verify", str(tmp_path / "none.runbook")]) == 2
    assert "hint: " in capsys.readouterr().err


def test_a_bundle_of_a_killed_writer_is_named_as_partial(tmp_path, capsys):
    bundle = make_bundle(tmp_path)
    (bundle / layout.MANIFEST).unlink()
    partial = bundle.rename(tmp_path / "demo.runbook.partial")
    assert defect_of(partial, capsys) == (5, "partial")


def test_quick_finds_structure_and_sizes_but_does_not_read_the_payload(tmp_path, capsys):
    bundle = make_bundle(tmp_path)
    write("data/report.html", b"x" * (bundle / "data/report.html").stat().st_size)(bundle)
    assert defect_of(bundle, capsys, "--quick") == (0, "")
    assert defect_of(bundle, capsys) == (5, "digest-mismatch")
    append("data/report.html", b"x")(bundle)
    assert defect_of(bundle, capsys, "--quick") == (5, "size-mismatch")


def test_escape_sequences_in_a_bundle_do_not_reach_the_terminal(tmp_path, capsys):
    bundle = make_bundle(tmp_path, make_record(name="\x1b]0;owned\x07", run="\x1b[2J"))
    assert run(["verify", str(bundle)]) == 0
    write("data/code/\x1b[31mred")(bundle)
    assert run(["verify", str(bundle)]) == 5
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


def test_reading_through_a_link_put_there_after_opening_is_refused(tmp_path):
    bundle = make_bundle(tmp_path)
    (tmp_path / "secret").write_text("print('accuracy: 0.9375')\n")
    with open_bundle(bundle) as opened:
        (bundle / "data/code").rename(tmp_path / "elsewhere")
        (bundle / "data/code").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(Exception, match="symbolic link") as caught:
            opened.read("data/code/train.py", 1 << 20)
    assert caught.value.exit_code == 5
