"""Bundles with exactly one defect each: the real command line refuses every one with exit 5 and its own id."""

import json
import os
import shutil
import socket
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from runbook.bundle import archive, layout
from runbook.bundle.read import open_bundle
from runbook.cli.main import run
from runbook.model.environment import Environment, environment_id
from runbook.model.fact import observed
from runbook.model.job import StandardInput
from tests.factories import INPUTS, entries_of, make_bundle, make_code, make_environment, make_input, make_record

RECORD = msgspec.json.encode(make_record())


def defect_of(bundle: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """(exit code, defect id) of `runbook verify --json`."""
    capsys.readouterr()
    code = run(["verify", "--json", *options, str(bundle)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, json.loads(shown.out).get("defect", "") if shown.out else ""


def reseal(bundle: Path) -> None:
    """Write the manifests again, so that only the defect is left to find."""
    payload = {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and not path.is_symlink() and path.is_relative_to(bundle / "data")
    }
    (bundle / layout.BAG_INFO).write_bytes(layout.render_info(entries_of(payload)))
    (bundle / layout.MANIFEST).write_bytes(
        layout.render_manifest({name: layout.sha256(data) for name, data in payload.items()})
    )
    tags = [layout.BAGIT, layout.BAG_INFO, layout.MANIFEST]
    digests = {name: layout.sha256((bundle / name).read_bytes()) for name in tags}
    (bundle / layout.TAG_MANIFEST).write_bytes(layout.render_manifest(digests))


def sealed(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def made(bundle: Path) -> None:
        change(bundle)
        reseal(bundle)

    return made


def write(name: str, data: bytes = b"x") -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return change


def append(name: str, data: bytes) -> Callable[[Path], None]:
    def change(bundle: Path) -> None:
        with (bundle / name).open("ab") as file:
            file.write(data)

    return change


def in_manifest(old: bytes, new: bytes) -> Callable[[Path], None]:
    """Replace text in the manifest and mend what depends on it."""

    def change(bundle: Path) -> None:
        text = (bundle / layout.MANIFEST).read_bytes()
        assert old in text
        (bundle / layout.MANIFEST).write_bytes(text.replace(old, new, 1))
        digests = {n: layout.sha256((bundle / n).read_bytes()) for n in layout.TAGS if n != layout.TAG_MANIFEST}
        (bundle / layout.TAG_MANIFEST).write_bytes(layout.render_manifest(digests))

    return change


def record_with(**overrides: object) -> Callable[[Path], None]:
    return sealed(write(layout.RECORD, msgspec.json.encode(make_record(**overrides))))


def of_another_environment() -> Environment:
    """An environment that claims the cached image of another one."""
    return msgspec.structs.replace(make_record().environment, id=observed("sha256:" + "0" * 64))


def fifo(bundle: Path) -> None:
    os.mkfifo(bundle / "data/code/pipe")


def unix_socket(bundle: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(bundle / "data")
        try:
            one.bind("s")
        finally:
            os.chdir(here)


def hard_link(bundle: Path) -> None:
    (bundle.parent / "outside").write_bytes((bundle / "data/code/train.py").read_bytes())
    (bundle / "data/code/train.py").unlink()
    os.link(bundle.parent / "outside", bundle / "data/code/train.py")


def link_for_file(bundle: Path) -> None:
    (bundle / "data/code/train.py").rename(bundle.parent / "train.py")
    (bundle / "data/code/train.py").symlink_to("../../../train.py")


def link_for_folder(bundle: Path) -> None:
    (bundle / "data/code").rename(bundle.parent / "code")
    (bundle / "data/code").symlink_to("../../code")


def deep_folders(bundle: Path) -> None:
    (bundle / "data" / "/".join(["d"] * 80)).mkdir(parents=True)


def undecodable_name(bundle: Path) -> None:
    os.close(os.open(os.fsencode(bundle) + b"/data/code/\xff", os.O_CREAT | os.O_WRONLY))


DIRECTORY: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file changed": (write("data/code/train.py", b"print('accuracy: 0.9376')\n"), "digest-mismatch"),
    "a file longer": (append("data/code/train.py", b"\n"), "size-mismatch"),
    "a file emptied": (write("data/code/train.py", b""), "size-mismatch"),
    "a file added": (write("data/code/extra.py"), "unlisted-file"),
    "a file added beside data": (write("note.txt"), "unlisted-file"),
    "a hidden file added": (write("data/.hidden"), "unlisted-file"),
    "an attestation of another name": (write("attestations/a.txt"), "unlisted-file"),
    "an attestation in a folder": (write("attestations/a/b.dsse.json"), "unlisted-file"),
    "a file removed": (lambda b: (b / "data/code/train.py").unlink(), "missing-file"),
    "a file renamed": (
        lambda b: (b / "data/code/train.py").rename(b / "data/code/test.py"),
        "missing-file",
    ),
    "an empty folder added": (lambda b: (b / "data/code/empty").mkdir(), "empty-folder"),
    "folders without end": (deep_folders, "too-deep"),
    "a link for a file": (link_for_file, "symlink"),
    "a link for a folder": (link_for_folder, "symlink"),
    "a link to nothing": (lambda b: (b / "data/x").symlink_to("nowhere"), "symlink"),
    "a link to an absolute path": (lambda b: (b / "data/x").symlink_to("/etc/passwd"), "symlink"),
    "a hard link": (hard_link, "hardlink"),
    "a pipe": (fifo, "special-file"),
    "a socket": (unix_socket, "special-file"),
    "a name with a control character": (sealed(write("data/code/a\x1b[2Jb")), "bad-name"),
    "a name with a line break": (write("data/code/a\nb"), "bad-name"),
    "a name with a backslash": (write("data/code/..\\..\\evil"), "bad-name"),
    "a name that turns the text": (write("data/code/\u202egnp.exe"), "bad-name"),
    "a name with a percent sign": (write("data/code/a%2fb"), "bad-name"),
    "a name that is not UTF-8": (undecodable_name, "bad-name"),
    "a name too long": (write("data/code/" + "/".join(["long" * 20] * 4)), "name-too-long"),
    "a name too deep": (write("data/code/" + "/".join("abcdefghijklmnopqrstuvwxyzabcdefghij")), "too-deep"),
    "names that differ in case": (sealed(write("data/code/TRAIN.py")), "name-collision"),
    "folders that differ in case": (sealed(write("data/Code/other.py")), "name-collision"),
    "names that differ in Unicode form": (
        sealed(lambda b: (write("data/code/\u00e9")(b), write("data/code/e\u0301")(b))),
        "name-collision",
    ),
    "fetch.txt": (write("fetch.txt", b"http://host.example/x 1 data/x\n"), "fetch-txt"),
    "no bagit.txt": (lambda b: (b / "bagit.txt").unlink(), "not-a-bundle"),
    "no manifest": (lambda b: (b / "manifest-sha256.txt").unlink(), "not-a-bundle"),
    "no tag manifest": (lambda b: (b / "tagmanifest-sha256.txt").unlink(), "not-a-bundle"),
    "another BagIt version": (
        sealed(write("bagit.txt", layout.BAGIT_TEXT.replace(b"1.0", b"0.97"))),
        "not-a-bundle",
    ),
    "the manifest changed": (append("manifest-sha256.txt", b"\n"), "digest-mismatch"),
    "bag-info changed": (append("bag-info.txt", b"Contact-Name: Eve\n"), "digest-mismatch"),
    "a manifest with a climbing path": (
        in_manifest(b"data/code/train.py", b"data/../../../etc/passwd"),
        "path-escape",
    ),
    "a manifest with an absolute path": (in_manifest(b"  data/record.json", b"  /etc/passwd"), "path-escape"),
    "a manifest with a path outside data": (in_manifest(b"  data/Dockerfile", b"  bagit.txt"), "path-escape"),
    "a manifest with a short digest": (in_manifest(b"  data/Dockerfile", b" data/Dockerfile"), "bad-manifest"),
    "a manifest with upper-case digests": (
        lambda b: in_manifest(t := (b / layout.MANIFEST).read_bytes()[:64], t.upper())(b),
        "bad-manifest",
    ),
    "a manifest with a file twice": (
        lambda b: in_manifest(t := (b / layout.MANIFEST).read_bytes().split(b"\n")[0] + b"\n", t + t)(b),
        "bad-manifest",
    ),
    "a record that is missing": (sealed(lambda b: (b / layout.RECORD).unlink()), "missing-file"),
    "a record that is no JSON": (sealed(write(layout.RECORD, b"{")), "json-malformed"),
    "a record that is not UTF-8": (sealed(write(layout.RECORD, b'{"a": "\xff"}')), "json-malformed"),
    "a record nested deep": (sealed(write(layout.RECORD, b"[" * 100_000 + b"]" * 100_000)), "json-too-deep"),
    "a record nested in objects": (
        sealed(write(layout.RECORD, b'{"a":' * 1000 + b"1" + b"}" * 1000)),
        "json-too-deep",
    ),
    "a record with a key twice": (
        sealed(write(layout.RECORD, RECORD.replace(b'"name":"demo"', b'"name":"demo","name":"x"', 1))),
        "json-duplicate-key",
    ),
    "a record with NaN": (
        sealed(write(layout.RECORD, RECORD.replace(b"0.9375", b"NaN", 1))),
        "json-constant",
    ),
    "a record with -Infinity": (
        sealed(write(layout.RECORD, RECORD.replace(b"0.9375", b"-Infinity", 1))),
        "json-constant",
    ),
    "a record with a huge integer": (
        sealed(write(layout.RECORD, RECORD.replace(b"0.9375", b"9" * 100_000, 1))),
        "json-huge-number",
    ),
    "a record with a float beyond doubles": (
        sealed(write(layout.RECORD, RECORD.replace(b"0.9375", b"1e999", 1))),
        "json-huge-number",
    ),
    "a record with an unknown field": (
        sealed(write(layout.RECORD, RECORD.replace(b'"name":"demo"', b'"name":"demo","evil":1', 1))),
        "bad-record",
    ),
    "a record with a wrong type": (
        sealed(write(layout.RECORD, RECORD.replace(b'"name":"demo"', b'"name":7', 1))),
        "bad-record",
    ),
    "a record with a value and no evidence": (
        sealed(write(layout.RECORD, RECORD.replace(b'"evidence":"observed"', b'"evidence":"missing"', 1))),
        "bad-record",
    ),
    "a record that is a list": (sealed(write(layout.RECORD, b"[]")), "bad-record"),
    "a record of another code": (record_with(code=make_code({"train.py": b"other\n"})), "record-mismatch"),
    "the id of another environment": (record_with(environment=of_another_environment()), "environment-id"),
    "code that the record does not list": (sealed(write("data/code/extra.py")), "record-mismatch"),
    "a code manifest that is not one": (sealed(write(layout.CODE_MANIFEST, b"x\n")), "bad-manifest"),
    "another input than recorded": (
        record_with(inputs=(make_input("iris.csv", {"iris.csv": b"1\n"}), make_input("images", INPUTS["images"]))),
        "record-mismatch",
    ),
    "an input changed with its manifest": (
        sealed(
            lambda b: (
                write("data/inputs/iris.csv/iris.csv", b"evil\n")(b),
                write("data/inputs/iris.csv.manifest", b"%s 5 iris.csv\n" % (b"0" * 64))(b),
            )
        ),
        "record-mismatch",
    ),
    "an embedded input that is not there": (
        sealed(lambda b: shutil.rmtree(b / "data/inputs/images")),
        "record-mismatch",
    ),
    "an input said to lie in the code": (
        record_with(inputs=(make_input("iris.csv", INPUTS["iris.csv"], stored="code"),)),
        "record-mismatch",
    ),
    "a file of the host as standard input": (
        record_with(job=msgspec.structs.replace(make_record().job, stdin=StandardInput(path="/etc/shadow"))),
        "record-mismatch",
    ),
    "another lock than recorded": (sealed(append(layout.REQUIREMENTS, b"evil==1\n")), "record-mismatch"),
    "a wheel that the record does not name": (
        sealed(write("data/lock/wheels/evil-1-py3-none-any.whl")),
        "record-mismatch",
    ),
    "an image that the record does not name": (sealed(write("data/image/index.json", b"{}")), "record-mismatch"),
    "a log that is not the recorded one": (sealed(write(layout.STDOUT, b"accuracy: 1.0\n")), "record-mismatch"),
    "curves that are none": (sealed(write(layout.SERIES, b'{"loss": 1}')), "bad-series"),
    "a curve cut short": (
        sealed(write(layout.SERIES, b'{"loss": {"steps": [0], "values": [0.9]}}')),
        "record-mismatch",
    ),
    "a curve with steps missing": (
        sealed(write(layout.SERIES, b'{"loss": {"steps": [0], "values": [0.9, 0.4]}}')),
        "bad-series",
    ),
    "another schema": (
        sealed(write(layout.RECORD, RECORD.replace(b"runbook/record/1", b"runbook/record/x", 1))),
        "bad-record",
    ),
}


@pytest.mark.parametrize("name", DIRECTORY)
def test_a_directory_with_one_defect_is_refused(name, tmp_path, capsys):
    bundle = make_bundle(tmp_path)
    change, expected = DIRECTORY[name]
    change(bundle)
    before = sorted(tmp_path.rglob("*"))
    assert defect_of(bundle, capsys) == (5, expected)
    assert sorted(tmp_path.rglob("*")) == before


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
    sealed(write(layout.RECORD, RECORD.replace(b"runbook/record/1", b"runbook/record/2", 1)))(bundle)
    assert run(["verify", str(bundle)]) == 2
    assert "newer runbook" in capsys.readouterr().err


def repacked(bundle: Path, change: Callable[[zipfile.ZipFile], None], **options: object) -> Path:
    """The same files packed again by Python's zipfile, and a change."""
    files = {}
    with zipfile.ZipFile(bundle) as old:
        files = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(bundle, "w", **options) as new:
        for name, data in files.items():
            new.writestr(name, data)
        change(new)
    return bundle


def packed(member: str | zipfile.ZipInfo, data: bytes = b"x", **options: object) -> Callable[[Path], object]:
    def change(bundle: Path) -> None:
        with warnings.catch_warnings(action="ignore"):  # zipfile warns of a name that is there twice.
            repacked(bundle, lambda new: new.writestr(member, data, **options))

    return change


def linked(mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(archive.FOLDER + "data/link")
    info.external_attr = mode << 16
    return info


def patched(old: bytes, new: bytes, which: int = 0) -> Callable[[Path], None]:
    """Replace bytes of the file, from its end when `which` is -1."""

    def change(bundle: Path) -> None:
        data = bytearray(bundle.read_bytes())
        at = data.find(old) if which == 0 else data.rfind(old)
        assert at >= 0
        data[at : at + len(old)] = new
        bundle.write_bytes(data)

    return change


def encrypted_flag(bundle: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[data.find(b"PK\1\2") + 8] |= 1
    bundle.write_bytes(data)


def overlapping(bundle: Path) -> None:
    """Let the second member of the directory point at the first's bytes."""
    data = bytearray(bundle.read_bytes())
    second = data.find(b"PK\1\2", data.find(b"PK\1\2") + 4)
    data[second + 42 : second + 46] = bytes(4)
    bundle.write_bytes(data)


def cut(share: float) -> Callable[[Path], None]:
    return lambda bundle: os.truncate(bundle, int(bundle.stat().st_size * share))


def huge_count(bundle: Path) -> None:
    data = bundle.read_bytes()
    offset = int.from_bytes(data[-6:-2], "little")
    end = archive._END64.pack(b"PK\6\6", 44, 0x31E, 45, 0, 0, 1 << 40, 1 << 40, len(data) - 22 - offset, offset)
    end += archive._LOCATOR.pack(b"PK\6\7", 0, len(data) - 22, 1)
    bundle.write_bytes(
        data[:-22] + end + archive._END.pack(b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    )


def comment(bundle: Path) -> None:
    with zipfile.ZipFile(bundle, "a") as file:
        file.comment = b"hello"


ZIP: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "cut in half": (cut(0.5), {"zip-truncated"}),
    "cut by a hundredth": (cut(0.99), {"zip-truncated"}),
    "emptied": (cut(0), {"not-a-bundle"}),
    "no zip at all": (lambda b: b.write_bytes(b"#!/bin/sh\nexit 0\n" * 99), {"not-a-bundle"}),
    "bytes before": (lambda b: b.write_bytes(b"#!/bin/sh\n" + b.read_bytes()), {"not-a-bundle"}),
    "bytes after": (lambda b: b.write_bytes(b.read_bytes() + b"\0"), {"zip-truncated"}),
    "a comment": (comment, {"zip-truncated", "zip-malformed"}),
    "a climbing name": (packed("../evil"), {"path-escape"}),
    "a name that climbs from inside": (packed(archive.FOLDER + "../../evil"), {"path-escape", "zip-malformed"}),
    "an absolute name": (packed("/etc/evil"), {"path-escape"}),
    "a name twice": (packed(archive.FOLDER + "data/record.json"), {"duplicate-entry"}),
    "a link": (packed(linked(0o120777), b"/etc/passwd"), {"symlink"}),
    "a device": (packed(linked(0o060644)), {"symlink"}),
    "a bomb": (
        packed(archive.FOLDER + "data/bomb", bytes(50 << 20), compress_type=zipfile.ZIP_DEFLATED),
        {"zip-bomb"},
    ),
    "a compressed member": (
        packed(archive.FOLDER + "data/z", os.urandom(999), compress_type=zipfile.ZIP_DEFLATED),
        {"zip-method"},
    ),
    "an LZMA member": (
        packed(archive.FOLDER + "data/z", os.urandom(999), compress_type=zipfile.ZIP_LZMA),
        {"zip-method"},
    ),
    "a folder's entry": (packed(archive.FOLDER + "data/empty/", b""), {"zip-malformed"}),
    "an encrypted member": (encrypted_flag, {"zip-encrypted"}),
    "members that overlap": (overlapping, {"zip-overlap"}),
    "a name that differs inside": (
        patched(b"bundle.runbook/data/code/train.py", b"bundle.runbook/data/code/trick.py"),
        {"zip-malformed"},
    ),
    "a name that differs in the directory": (
        patched(b"bundle.runbook/data/code/train.py", b"bundle.runbook/data/code/trick.py", -1),
        {"zip-malformed"},
    ),
    "a lie about the number of files": (huge_count, {"too-many-files"}),
    "content changed": (patched(b"0.9375')", b"0.9376')"), {"digest-mismatch"}),
    "a date": (
        patched(b"\x00\x08\x00\x00\x00\x00\x21\x00", b"\x00\x08\x00\x00\x00\x00\x22\x00"),
        {"zip-malformed"},
    ),
}


@pytest.mark.parametrize("name", ZIP)
def test_a_zip_with_one_defect_is_refused(name, tmp_path, capsys):
    bundle = make_bundle(tmp_path, form="zip")
    change, expected = ZIP[name]
    change(bundle)
    code, defect = defect_of(bundle, capsys)
    assert code == 5
    assert defect in expected
    assert [path.name for path in tmp_path.iterdir()] == [bundle.name]


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
