"""What goes into a bundle comes out, for any name and content; any change of a byte is caught."""

import json
import re
import tempfile
import zipfile
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runbook.bundle import archive, layout, strict
from runbook.bundle.read import open_bundle
from runbook.bundle.schema import preflight_schema, record_schema
from runbook.bundle.source import open_source
from runbook.bundle.verify import verify
from runbook.bundle.write import BundleWriter
from runbook.errors import BundleRejected, RunbookError, UsageError
from runbook.model import manifest
from runbook.model.manifest import Entry
from runbook.model.path import collision, defect
from runbook.model.record import Record
from tests.factories import CODE, SERIES, make_bundle, make_code, make_input, make_record

ROOT = Path(__file__).parents[2]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

parts = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12)
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(paths)
@MANY
def test_a_name_either_has_a_defect_or_survives_every_manifest(path):
    name = f"data/{path}"
    if defect(name):
        return
    assert layout.parse_manifest(layout.render_manifest({name: "0" * 64})) == {name: "0" * 64}
    assert manifest.parse(manifest.render([Entry(name, 1, "0" * 64)])) == [Entry(name, 1, "0" * 64)]


@given(st.dictionaries(paths.filter(lambda p: not defect(p)), digests, max_size=8))
@MANY
def test_a_manifest_is_read_as_it_was_written(listed):
    assert layout.parse_manifest(layout.render_manifest(listed)) == listed


@given(st.binary(max_size=200))
@MANY
def test_no_text_breaks_the_manifest_parser(text):
    try:
        found = layout.parse_manifest(text)
    except ValueError:
        return
    assert set(layout.render_manifest(found).split(b"\n")) == set(text.split(b"\n"))


letters = st.characters(
    codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"], exclude_characters="/\\%"
)
plain = st.lists(st.text(letters, min_size=1, max_size=8), min_size=1, max_size=4).map("/".join)


@given(st.dictionaries(plain, st.binary(max_size=64), max_size=6), st.sampled_from(["directory", "zip"]))
@FEW
def test_what_a_bundle_takes_it_gives_back(files, form):
    named = {f"data/code/{path}": data for path, data in files.items()}
    assume(not any(defect(name) for name in named) and not collision(named))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "x")
        with BundleWriter(target, form=form) as writer:
            for name, data in named.items():
                writer.add_bytes(name, data)
            made = writer.finish()
        with open_bundle(target) as bundle:
            assert bundle.id == made
            assert {name: bundle.read(name, 1 << 20) for name in bundle.names} == named
            bundle.hash()
            bundle.unpack("data/code", Path(folder, "out"))
        found = {p.relative_to(Path(folder, "out")).as_posix(): p for p in Path(folder, "out").rglob("*")}
        assert {path: p.read_bytes() for path, p in found.items() if p.is_file()} == files


@pytest.fixture(scope="module", params=["directory", "zip"])
def small(request, tmp_path_factory):
    """A small valid bundle and its files."""
    path = make_bundle(tmp_path_factory.mktemp("small"), form=request.param)
    return path, [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_of_any_byte_is_caught_by_a_named_defect(small, data):
    bundle, files = small
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before)))
    cut = data.draw(st.integers(0, 3))
    after = before[:at] + data.draw(st.binary(max_size=3)) + before[at + cut :]
    assume(after != before)
    path.write_bytes(after)
    try:
        with pytest.raises(BundleRejected) as caught:
            verify(bundle)
        assert caught.value.id
    finally:
        path.write_bytes(before)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(json_values | st.binary(max_size=64))
@settings(max_examples=50, deadline=None)
def test_no_record_json_whatever_makes_anything_but_a_named_defect(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    with tempfile.TemporaryDirectory() as folder:
        bundle = make_bundle(Path(folder), extra={layout.RECORD: data, layout.CRATE: b"{}"})
        with pytest.raises(RunbookError) as caught:
            verify(bundle)
    assert caught.value.exit_code == 5


@given(st.text(max_size=300))
@MANY
def test_strict_json_reads_what_json_reads_and_refuses_the_rest_by_name(text):
    try:
        found = strict.loads(text.encode("utf-8", "surrogatepass"), "x.json")
    except BundleRejected:
        return
    assert found == json.loads(text)


def test_brackets_inside_strings_are_not_depth():
    text = json.dumps({"a": "[" * 500 + '\\"' + "{" * 500})
    assert strict.loads(text.encode(), "x.json") == json.loads(text)


@pytest.mark.parametrize("form", ["directory", "zip"])
def test_record_and_series_come_back_as_values(form, tmp_path):
    record = make_record()
    with open_bundle(make_bundle(tmp_path, record, form=form)) as bundle:
        assert bundle.record == record
        assert bundle.series == SERIES
        assert bundle.name == "demo"
        assert bundle.files["data/code/train.py"] == len(CODE["train.py"])
        with bundle.open("data/code/train.py") as file:
            assert file.read(5) == b"print"
        assert bundle.digest("data/code/train.py") == layout.sha256(CODE["train.py"])


def test_the_record_in_a_bundle_follows_the_schema_beside_it(tmp_path):
    data = make_bundle(tmp_path) / "data"
    schema = json.loads((data / "record.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((data / "record.json").read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": "runbook/record/1"}, schema)


def test_the_schema_is_the_same_bytes_every_time_and_knows_every_field():
    document = json.loads(record_schema())
    assert record_schema() == record_schema()
    assert set(document["$defs"]["Record"]["properties"]) == set(Record.__struct_encode_fields__)


def test_a_file_stored_with_the_code_is_found_there(tmp_path):
    code = {"train.py": b"1", "data/iris.csv": b"5.1\n"}
    one = make_input("iris.csv", {"iris.csv": b"5.1\n"}, stored="code")
    record = make_record(code=make_code(code), inputs=(one,))
    bundle = make_bundle(tmp_path, record, code=code, inputs={"iris.csv": {"iris.csv": b"5.1\n"}})
    assert verify(bundle).warnings == ()


def test_an_input_by_reference_is_a_warning_with_its_name(tmp_path):
    one = make_input("big", {"a": b"1", "b": b"2"}, stored="reference")
    bundle = make_bundle(tmp_path, make_record(inputs=(one,)), inputs={"big": {"a": b"1", "b": b"2"}})
    assert verify(bundle).warnings == ("the input big is not in the bundle, only its digest",)


def test_an_attestation_added_later_changes_no_id_and_breaks_nothing(tmp_path):
    bundle = make_bundle(tmp_path)
    before = verify(bundle)
    (bundle / "attestations").mkdir()
    (bundle / "attestations/auditor.dsse.json").write_bytes(b"{}")
    after = verify(bundle)
    assert (after.id, after.attestations) == (before.id, 1)
    with open_bundle(bundle) as opened:
        assert opened.read_attestation(opened.attestations[0]) == b"{}"


def test_unpacking_writes_nothing_that_is_not_what_the_manifest_says(tmp_path):
    bundle = make_bundle(tmp_path)
    with open_bundle(bundle) as opened:
        (bundle / "data/code/train.py").write_bytes(b"print('accuracy: 0.9999')\n")
        with pytest.raises(BundleRejected) as caught:
            opened.unpack("data/code", tmp_path / "out")
    assert caught.value.id == "digest-mismatch"


def test_unpacking_follows_no_link_in_the_target(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out/lib").symlink_to(tmp_path / "elsewhere")
    with open_bundle(make_bundle(tmp_path)) as opened, pytest.raises(UsageError):
        opened.unpack("data/code", tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_huge_member_is_where_zip64_says(tmp_path):
    """Headers of members beyond 4 GiB are as other tools read them, without writing 4 GiB."""
    members = list(archive.place([("data/a", 5 << 30, 1), ("data/b", 3, 2)]))
    central = archive.directory(members, members[-1].offset + len(archive.local_header(members[-1])) + 3)
    end = members[-1].offset + len(archive.local_header(members[-1])) + 3
    assert archive.parse_directory(central, end, 2) == members
    sparse = tmp_path / "x.zip"
    with sparse.open("wb") as file:
        for member in members:
            file.seek(member.offset)
            file.write(archive.local_header(member))
        file.seek(end)
        file.write(central)
    with zipfile.ZipFile(sparse) as read:
        assert [(i.filename, i.file_size, i.header_offset) for i in read.infolist()] == [
            (archive.FOLDER + m.name, m.size, m.offset) for m in members
        ]


def test_more_than_65535_files_are_counted_by_zip64(tmp_path):
    names = sorted(f"data/{number % 100}/{number}" for number in range(66_000))
    members = list(archive.place([(name, 0, 0) for name in names]))
    local = b"".join([archive.local_header(member) for member in members])
    target = tmp_path / "x.zip"
    target.write_bytes(local + archive.directory(members, len(local)))
    with zipfile.ZipFile(target) as read:
        assert len(read.namelist()) == 66_000
        assert read.read(archive.FOLDER + names[-1]) == b""
    source = open_source(target)
    assert list(source.files) == names
    source.close()


def test_a_record_is_the_same_after_a_round_trip_through_json():
    record = make_record()
    assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


def test_the_published_schema_is_the_one_in_bundles():
    published = (ROOT / "docs" / "record.schema.json").read_bytes()
    assert published == record_schema(), "run `make golden`"
    assert (ROOT / "docs" / "preflight.schema.json").read_bytes() == preflight_schema(), "run `make golden`"


def test_every_defect_is_documented():
    sources = [*ROOT.glob("runbook/bundle/*.py"), ROOT / "runbook/model/path.py"]
    text = "".join(path.read_text() for path in sources)
    found = re.findall(r'id="([a-z-]+)"|(?:Broken|Defect|_Refused|= )\("([a-z0-9-]+)"', text)
    defects = {one or other for one, other in found}
    documented = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs" / "bundle-format.md").read_text()))
    assert len(defects) > 30
    assert defects - documented == set()
