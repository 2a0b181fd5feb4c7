"""Every reader of bytes that somebody else wrote: what it may raise, and a few whole texts to begin from.

One table for the bounded property test (`test_readers.py`) and for the long runs of `make fuzz`. A target takes
bytes and returns, or raises what its reader promises; anything else, a hang or memory without bound is a defect.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from runbook import config, dvc, registry, yamltext
from runbook.api import PREFIX
from runbook.artifacts.interface import Format
from runbook.bundle import artifact, layout
from runbook.bundle.artifact import Artifact, Blob
from runbook.bundle.read import open_bundle, parse_record, parse_series
from runbook.bundle.verify import verify
from runbook.compare import program
from runbook.compare.rows import compare_rows
from runbook.compare.verdict import compare
from runbook.engine.docker_base import _image_of
from runbook.engine.docker_ready import read_told
from runbook.environment.layer import verify_layout
from runbook.environment.tags import best_wheel
from runbook.errors import BundleRejected, EnvironmentNotRebuilt, NeedMissing, RunbookError, UsageError
from runbook.launch.logged import read_logged
from runbook.launch.metrics import read_metrics
from runbook.launch.metrics.interface import MetricReader, Source, found_source, parse_source
from runbook.launch.strace import events
from runbook.launch.traced import Reader
from runbook.launch.watch import read_watch
from runbook.launch.watched import Fold
from runbook.model import manifest
from runbook.model.reference import parse_reference
from runbook.model.requirements import parse_requirements
from runbook.model.text import printable
from runbook.observe.probing import SENTINEL, parse_probe, probe_script
from runbook.registry import members
from runbook.remote.layout import _blob, _named
from runbook.remote.place import open_store
from runbook.report.interface import Report
from runbook.trust.secrets import mask
from tests import factories
from tests.artifacts.planted import planted
from tests.report.reports import Loads

FIXTURES = Path(__file__).parents[1] / "launch" / "metrics"
SCRATCH = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())


@dataclass(frozen=True)
class Target:
    """One reader."""

    name: str
    read: Callable[[bytes], object]
    promises: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]

    def try_one(self, data: bytes) -> None:
        """Read these bytes; raises only what breaks the promise."""
        try:
            self.read(data)
        except self.promises as error:
            shown = str(error)
            assert printable(shown) or not shown


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=SCRATCH, prefix="fuzz-")


def _versions(data: bytes) -> None:
    a, _, b = data.partition(b"\0")
    program.same_program("a.py", a, b)
    program.changed_lines("a.py", a, b)
    compare_rows("a.csv", a, b)
    tree = program.parsed("a.py", a)
    if tree is not None:
        program.clocks({"a.py": tree})


def _zip(data: bytes) -> None:
    with _folder() as folder:
        path = Path(folder) / "x.runbook.zip"
        path.write_bytes(data)
        verify(path)


def _bag(name: str) -> Callable[[bytes], None]:
    """A folder bundle in which one of the tag files has these bytes."""

    def read(data: bytes) -> None:
        with _folder() as folder:
            for tag, text in _small_bag().items():
                path = Path(folder) / tag
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data if tag == name else text)
            with open_bundle(Path(folder)):
                pass

    return read


@cache
def _small_bag() -> dict[str, bytes]:
    payload = {"data/record.json": b"{}"}
    manifest = layout.render_manifest({name: layout.sha256(data) for name, data in payload.items()})
    info = layout.render_info(factories.entries_of(payload))
    tags = {layout.BAGIT: layout.BAGIT_TEXT, layout.BAG_INFO: info, layout.MANIFEST: manifest}
    digests = layout.render_manifest({name: layout.sha256(data) for name, data in tags.items()})
    return payload | tags | {layout.TAG_MANIFEST: digests}


def _record(data: bytes) -> None:
    """A record that is one can be shown in every format, and compared with itself."""
    record = parse_record(data)
    series = dict(factories.SERIES)
    compared = compare(record, record, series, series, replaying=False)
    report = Report(original=record, replay=record, comparison=compared, series=series, replay_series=series)
    for reporter in members("report").values():
        if reporter.suffix != ".pdf":
            _show_safely(reporter.render(report), reporter.name)


def _show_safely(document: bytes, form: str) -> None:
    text = document.decode()
    assert not {"\x1b", "\x9b", "\u202e", "\x07"} & set(text), form
    if form == "html":
        watch = Loads()
        watch.feed(text)
        assert watch.found == []


def _series(data: bytes) -> None:
    """Curves that are some can be drawn."""
    series = parse_series(data)
    record = factories.make_record()
    for reporter in members("report").values():
        if reporter.suffix == ".html":
            reporter.render(Report(original=record, series=series))


def _lock(data: bytes) -> None:
    for pin in parse_requirements(data):
        assert not pin.pin.startswith("-") and not set(pin.pin) & set(" ;@\n\\")


def _wheel(data: bytes) -> None:
    names = data.decode("utf-8", "surrogateescape").split("\n")
    best_wheel(names, factories.make_interpreter())


def _oci(data: bytes) -> None:
    """The first line is index.json, every other one is a blob under its own digest."""
    index, *blobs = data.split(b"\n")
    base = factories.make_environment().base.value
    assert base is not None
    with _folder() as folder:
        place = Path(folder) / "blobs" / "sha256"
        place.mkdir(parents=True)
        for blob in blobs:
            (place / layout.sha256(blob)).write_bytes(blob)
        (Path(folder) / "index.json").write_bytes(index)
        for read in (lambda: _image_of(Path(folder), base), lambda: verify_layout(Path(folder))):
            try:
                read()
            except BundleRejected:
                continue


def _oci_seed() -> bytes:
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    image = {
        "schemaVersion": 2,
        "config": {"digest": f"sha256:{layout.sha256(config)}", "size": len(config)},
        "layers": [{"digest": factories.DIGEST, "size": 5}],
    }
    text = json.dumps(image).encode()
    index = {"schemaVersion": 2, "manifests": [{"digest": f"sha256:{layout.sha256(text)}", "size": len(text)}]}
    return b"\n".join([json.dumps(index).encode(), text, config])


def _watch(data: bytes) -> None:
    """One log, or two that are split by a line of its own."""
    with _folder() as folder:
        for number, part in enumerate(data.split(b"\n===\n")[:2], 1):
            (Path(folder) / f"{number}-{number:x}.log").write_bytes(part)
        read_watch(Path(folder))


def _strace(data: bytes) -> None:
    fold = Fold()
    reader = Reader(fold, b"/watch", b"/project")
    for event in events(io.BytesIO(data)):
        reader.take(event)
    fold.result()


def _logged(data: bytes) -> None:
    with _folder() as folder:
        (Path(folder) / f"{PREFIX}1.jsonl").write_bytes(data)
        read_logged(Path(folder), Path(folder))


def _dvc(data: bytes) -> None:
    with _folder() as folder:
        (Path(folder) / "dvc.yaml").write_bytes(data)
        dvc.read(Path(folder) / "dvc.yaml")


def _sources(data: bytes) -> None:
    """Metric sources as a record names them, read in an empty project."""
    with _folder() as folder:
        (Path(folder) / "stdout.log").write_bytes(b"accuracy: 0.5\n")
        project = Path(folder) / "project"
        project.mkdir()
        for text in data.decode("utf-8", "replace").split("\n"):
            read_metrics((text,), project, Path(folder) / "stdout.log")


def _metrics(reader: MetricReader, source: Source) -> Callable[[bytes], None]:
    def read(data: bytes) -> None:
        reading = reader.read(source, io.BytesIO(data))
        for series in reading.series.values():
            assert len(series.steps) == len(series.values) > 0

    return read


def _metric_targets() -> Iterator[Target]:
    """Every reader of the family, over its fixtures or a plain text."""
    plain = {
        "json": (b'{"accuracy": 0.5, "loss": [1, 0.5], "rows": [{"step": 1, "x": 2}]}', "file:m.json"),
        "yaml": (b"accuracy: 0.5\nloss: [1, .5, .nan]\n", "file:m.yaml"),
        "csv": (b"step,loss,x\n1,0.5,a\n2,0.25,b\n", "file:m.csv"),
        "jsonl": (b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n', "file:m.jsonl"),
        "stdout": (b"epoch 1 loss 0.5\naccuracy: 0.9\n", "stdout:a=accuracy: ([0-9.]+)"),
        "api": (b'{"metric":"loss","value":0.5}\n{"metric":"loss","value":"NaN","step":3}\n', "api:"),
        "printed": (b"epoch 1/3 | loss: 0.5 | acc = 91%\n{'loss': 0.4}\n", found_source("printed", "")),
        "trainer-state": (
            b'{"log_history": [{"step": 1, "loss": 0.5, "epoch": 0.1}]}',
            found_source("trainer-state", "out/trainer_state.json"),
        ),
    }
    readers: dict[str, MetricReader] = registry.members("launch.metrics")
    for name, (text, source) in plain.items():
        read = _metrics(readers[name], parse_source(source))
        yield Target(f"metrics-{name}", read, (ValueError, RecursionError), (text,))
    files = sorted(path for path in FIXTURES.rglob("*") if path.is_file() and path.suffix not in (".py", ".md"))
    for name in sorted(readers.keys() - plain.keys()):
        found: dict[str, list[bytes]] = {}
        for path in files:
            relative = path.relative_to(FIXTURES).as_posix()
            if readers[name].claims(relative) is not None:
                found.setdefault(path.suffix, []).append(path.read_bytes())
                found.setdefault(f"{path.suffix} ", []).append(relative.encode())
        for suffix in sorted(key for key in found if not key.endswith(" ")):
            where = found[f"{suffix} "][0].decode()
            source = Source(text=f"found:{name}:{where}?", kind="found", path=where, reader=name)
            label = f"metrics-{name}{'' if len(found) == 2 else suffix}"
            seeds = tuple(found[suffix][:3])
            yield Target(label, _metrics(readers[name], source), (ValueError, RecursionError), seeds)


def _file(data: bytes) -> BinaryIO:
    file = cast("BinaryIO", tempfile.TemporaryFile(buffering=0, dir=SCRATCH))  # noqa: SIM115
    file.write(data)
    file.seek(0)
    return file


def _artifact(format: Format, original: bytes) -> Callable[[bytes], object]:
    def compare(data: bytes) -> None:
        with _file(original) as a, _file(data) as b:
            format.compare(a, b)

    return compare


def _artifact_targets() -> Iterator[Target]:
    """Every format of output files, against a good file of it; what a library raises, its process catches."""
    formats: dict[str, Format] = registry.members("artifacts")
    for name, make in planted().items():
        if name == "pickle":  # It is not read at all.
            continue
        one = make()
        promises = (ValueError, OSError, MemoryError)
        yield Target(
            f"artifact-{name}", _artifact(formats[name], one.original), promises, (one.original, one.changed)
        )


def _manifest_seed() -> bytes:
    blobs = (
        Blob(factories.DIGEST, 5, "data/inputs/x/y", pack=False),
        Blob(factories.DIGEST, 7, "code.zip", pack=True),
    )
    return artifact.render(Artifact("0" * 64, "demo", blobs))


def _index(data: bytes) -> None:
    digest = _named(data)
    _blob(digest)


def _remote(data: bytes) -> None:
    """A remote's name, and the image reference that it may hold."""
    text = data.decode("utf-8", "replace")
    reference = parse_reference(text)
    assert reference is None or not set(reference.name) & set(" @\n\\$;")
    if text.startswith("oci://"):
        open_store(text)


def _probe_seed() -> bytes:
    """What the probe prints here, with few of the packages."""
    command = [sys.executable, "-", "--no-record-check"]
    said = subprocess.run(command, input=probe_script(), capture_output=True, check=True).stdout
    before, mark, document = said.rpartition(f"\n{SENTINEL}\n".encode())
    told = json.loads(document)
    told = {key: value[:2] if isinstance(value, list) else value for key, value in told.items()}
    return before + mark + json.dumps(told).encode() + b"\n"


def _bundle_zip() -> bytes:
    with _folder() as folder:
        return factories.make_bundle(Path(folder), form="zip").read_bytes()


@cache
def targets() -> dict[str, Target]:
    """Name → target."""
    record = msgspec.json.encode(factories.make_record())
    bag = _small_bag()
    rejected = (BundleRejected, UsageError)
    start = b"P1\x1f1\x1f\x1fstart\x1f5\x1f3.11.7\x1f/usr/bin/python3\x1f/w\x1f/w\x1f/w/.watch/\n\0"
    found = [
        Target("zip", _zip, rejected, (_bundle_zip(),)),
        Target("manifest", _bag(layout.MANIFEST), rejected, (bag[layout.MANIFEST],)),
        Target("tag-manifest", _bag(layout.TAG_MANIFEST), rejected, (bag[layout.TAG_MANIFEST],)),
        Target("bag-info", _bag(layout.BAG_INFO), rejected, (bag[layout.BAG_INFO],)),
        Target("tree-manifest", manifest.parse, (ValueError,), (b"%s 5 a/b.txt\n" % (b"0" * 64),)),
        Target("record", _record, rejected, (record,)),
        Target("series", _series, rejected, (msgspec.json.encode(dict(factories.SERIES)),)),
        Target("lock", _lock, rejected, (factories.REQUIREMENTS,)),
        Target(
            "wheel-names",
            _wheel,
            (),
            (b"numpy-2.3.5-cp311-cp311-manylinux_2_27_x86_64.whl\na-1-py3-none-any.whl",),
        ),
        Target("oci-layout", _oci, (), (_oci_seed(),)),
        Target(
            "installer",
            lambda data: read_told(data.decode("utf-8", "replace")),
            (EnvironmentNotRebuilt,),
            (b'{"python": "3.11.7", "prefix": "/usr", "tool": "uv", "brought": ["a.so"], "lacking": []}\n',),
        ),
        Target("watch-log", _watch, (), (start + b"t100\n\0r/w/a\n\0w/w/b\n\0Z\n\0",)),
        Target(
            "strace",
            _strace,
            (),
            (b'7 openat(AT_FDCWD</p>, "a", O_RDONLY) = 3</p/a>\n7 +++ exited with 0 +++\n',),
        ),
        Target(
            "logged",
            _logged,
            (),
            (b'{"at":1,"metric":"loss","value":0.5}\n{"at":2,"parameter":"p","text":"1"}\n',),
        ),
        Target(
            "runbook-yaml",
            config.parse,
            (UsageError,),
            (b"name: x\ninputs: [a]\ntolerances:\n  a: {relative: 1e-3}\n",),
        ),
        Target("yaml", yamltext.load, (yamltext.YamlError,), (b"a: [1, {b: c}]\n", b'{"a": "\\ud83d\\ude00"}')),
        Target(
            "dvc-yaml",
            _dvc,
            (UsageError,),
            (b"stages:\n  a:\n    cmd: python a.py\n    deps: [x]\n    outs: [y]\n",),
        ),
        Target("versions", _versions, (), (b"import time\nx = time.time()\n\0x = 1\n", b"a,b\n1,2\n\0a,b\n1,3\n")),
        Target("probe", parse_probe, (NeedMissing,), (_probe_seed(),)),
        Target(
            "metric-sources",
            _sources,
            (RunbookError,),
            (b"file:m.json\nstdout:a=a: (.*)\nfound:csv:log.csv?loss",),
        ),
        Target("secrets", mask, (), (b"AWS_SECRET_ACCESS_KEY=abc\n-----BEGIN RSA PRIVATE KEY-----\nx\n",)),
        Target("remote-manifest", artifact.parse, rejected, (_manifest_seed(),)),
        Target("remote-index", _index, (OSError,), (b'{"manifests": [{"digest": "sha256:%s"}]}' % (b"0" * 64),)),
        Target(
            "remote-name", _remote, (*rejected, NeedMissing), (b"oci://host.example:5000/a/b:tag", b"s3://b/n")
        ),
        *_metric_targets(),
        *_artifact_targets(),
    ]
    return {target.name: target for target in found}
