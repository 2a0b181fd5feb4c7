"""Records that say what none may: JSON that is none, places outside, names that smuggle, locks that command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import msgspec

from runbook.bundle import layout
from runbook.model.code import Link, Shape
from runbook.model.data import Output
from runbook.model.environment import CarriedWheel, Environment, WheelCopy, environment_id
from runbook.model.fact import observed
from runbook.model.hubs import Cache
from runbook.model.job import StandardInput, Variable
from runbook.model.metric import Metric
from tests.corpus.change import RECORD, Change, append, record_text, record_with, reseal, sealed, write
from tests.factories import (
    INPUTS,
    REQUIREMENTS,
    make_code,
    make_environment,
    make_input,
    make_record,
)

PIN = REQUIREMENTS.rstrip(b"\n")


def of_another_environment() -> Environment:
    """An environment that claims the cached image of another one."""
    return msgspec.structs.replace(make_record().environment, id=observed("sha256:" + "0" * 64))


def job(**changes: Any) -> Change:
    """The record's job with these fields changed."""
    return record_with(job=msgspec.structs.replace(make_record().job, **changes))


def data(name: str = "iris.csv", **changes: Any) -> Change:
    """The record's inputs, the first with these fields changed; its manifest stays where the record says."""
    first, second = make_record().inputs
    return record_with(inputs=(msgspec.structs.replace(first, **changes), second))


def shape(**changes: Any) -> Change:
    """The code's shape with these links, executables or empty folders."""
    code = make_code()
    return record_with(
        code=msgspec.structs.replace(code, tree=msgspec.structs.replace(code.tree, shape=Shape(**changes)))
    )


def output(path: str) -> Change:
    """One more output, by reference, at this path."""
    more = Output(path=path, digest="0" * 64, bytes=1, stored="reference", role="artifact", evidence="observed")
    return record_with(outputs=(*make_record().outputs, more))


def environment(*, lock: dict[str, Any] | None = None, **base: Any) -> Environment:
    """The environment with these fields of its base or lock changed, under the id of what it then is."""
    plain = make_environment()
    assert plain.base.value is not None and plain.lock.value is not None and plain.interpreter.value is not None
    changed = msgspec.structs.replace(plain.base.value, **base)
    locked = msgspec.structs.replace(plain.lock.value, **(lock or {}))
    identity = environment_id(changed, plain.interpreter.value, locked, plain.libraries)
    return msgspec.structs.replace(plain, base=observed(changed), lock=observed(locked), id=observed(identity))


def image(reference: str) -> Change:
    """A base with this reference."""
    return record_with(environment=environment(reference=reference))


def lock(text: bytes) -> Change:
    """A lock of this text, which the record names by its digest."""

    def change(bundle: Path) -> None:
        write(layout.REQUIREMENTS, text)(bundle)
        record = make_record(environment=environment(lock={"sha256": layout.sha256(text)}))
        write(layout.RECORD, msgspec.json.encode(record))(bundle)
        reseal(bundle)

    return change


def wheel(file: str) -> Change:
    """A carried wheel of this name, as the record says; no file of that name can be in a bundle."""
    carried = CarriedWheel(file=file, sha256="0" * 64, size=1, package="x", origin="vcs", made="built")
    return record_with(environment=environment(lock={"carried": (carried,)}))


def copy(file: str) -> Change:
    """A copy of a wheel that an index has, of this name."""
    one = WheelCopy(file=file, sha256="0" * 64, size=1)
    return record_with(environment=environment(lock={"copies": (one,)}))


def too_large(bundle: Path) -> None:
    """A record just above the cap, of spaces."""
    os.truncate(bundle / layout.RECORD, (64 << 20) + 1)
    reseal(bundle)


JSON: dict[str, tuple[Change, str]] = {
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
    "a file of the host as standard input": (job(stdin=StandardInput(path="/etc/shadow")), "record-mismatch"),
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
    "a record in UTF-16": (sealed(write(layout.RECORD, RECORD.decode().encode("utf-16"))), "json-malformed"),
    "a record with a byte-order mark": (sealed(write(layout.RECORD, b"\xef\xbb\xbf" + RECORD)), "json-malformed"),
    "a record with half a character": (record_text(b'"name":"demo"', b'"name":"\\ud800"'), "json-malformed"),
    "a record with an overlong letter": (record_text(b'"name":"demo"', b'"name":"\xc0\xaf"'), "json-malformed"),
    "a record with a second document behind it": (sealed(append(layout.RECORD, b"{}")), "json-malformed"),
    "a record that is empty": (sealed(write(layout.RECORD, b"")), "json-malformed"),
    "a record with a comment": (sealed(write(layout.RECORD, b"// x\n" + RECORD)), "json-malformed"),
    "a record with a key twice, once escaped": (
        record_text(b'"name":"demo"', b'"name":"demo","n\\u0061me":"x"'),
        "json-duplicate-key",
    ),
    "a record with a raw control character": (
        record_text(b'"name":"demo"', b'"name":"\x1b[31m"'),
        "json-malformed",
    ),
    "a record with a truth for a number": (
        record_text(b'"variables_dropped":31', b'"variables_dropped":true'),
        "bad-record",
    ),
    "a record with nothing for a text": (record_text(b'"name":"demo"', b'"name":null'), "bad-record"),
    "a record with a fraction for a count": (
        record_text(b'"variables_dropped":31', b'"variables_dropped":0.5'),
        "bad-record",
    ),
    "a record beyond the reader's limit": (too_large, "file-too-large"),
}

PLACES: dict[str, tuple[Change, str]] = {
    "an input that the job wrote over, above the project": (
        data(path="../../../victim", changed=observed(True)),
        "path-escape",
    ),
    "an input at an absolute path that climbs": (data(path="/srv/../../victim"), "path-escape"),
    "an input nowhere": (data(path=""), "path-escape"),
    "an input with a NUL character in its path": (data(path="a\0b"), "path-escape"),
    "an input whose name is a path": (
        record_text(b'"name":"iris.csv"', b'"name":"../iris.csv"'),
        "bad-record",
    ),
    "two inputs of one name": (
        record_with(inputs=(make_input("iris.csv", INPUTS["iris.csv"]),) * 2),
        "bad-record",
    ),
    "a working folder above the project": (job(cwd="../.."), "path-escape"),
    "a working folder elsewhere": (job(cwd="/etc"), "path-escape"),
    "a root that is not absolute": (job(root="demo"), "bad-record"),
    "a root that climbs": (job(root="/home/../../etc"), "path-escape"),
    "an output above the project": (output("../../victim"), "path-escape"),
    "an output with a NUL character in its path": (output("a\0b"), "path-escape"),
    "a link above the project": (shape(links=(Link(path="../x", target="y"),)), "path-escape"),
    "a link at an absolute path": (shape(links=(Link(path="/etc/x", target="y"),)), "path-escape"),
    "an executable above the project": (shape(executables=("../../bin/x",)), "path-escape"),
    "an empty folder at an absolute path": (shape(empty_directories=("/etc/cron.d",)), "path-escape"),
    "a job without a command": (job(argv=()), "bad-record"),
    "a job whose command is empty": (job(argv=("",)), "bad-record"),
    "an argument with a NUL character": (job(argv=("python", "a\0b")), "bad-record"),
    "a variable that sets another": (
        job(variables=(Variable(name="A=B\nLD_PRELOAD", value="/evil.so"),)),
        "bad-record",
    ),
    "a variable without a name": (job(variables=(Variable(name="", value="x"),)), "bad-record"),
    "a variable with a NUL character": (job(variables=(Variable(name="A", value="x\0B=1"),)), "bad-record"),
    "a standard input above the project": (job(stdin=StandardInput(path="../../victim")), "path-escape"),
    "a standard input from before its beginning": (
        job(stdin=StandardInput(path="data/iris.csv", offset=-1)),
        "bad-record",
    ),
    "a library's cache that climbs": (
        record_with(caches=(Cache(name="x", folder="/home/../../etc"),)),
        "path-escape",
    ),
    "a library's cache nowhere": (record_with(caches=(Cache(name="x", folder="cache"),)), "bad-record"),
    "a switch of a library that sets another variable": (
        record_with(caches=(Cache(name="x", folder="/c", offline={"A=B": "1"}),)),
        "bad-record",
    ),
    "a metric of four hundred digits": (
        record_with(metrics=(Metric(name="a", final=10**399, source="x", evidence="observed"),)),
        "json-huge-number",
    ),
    "a curve whose steps are beyond doubles": (
        sealed(write(layout.SERIES, b'{"loss": {"steps": [0, %s], "values": [0.9, 0.4]}}' % (b"9" * 399))),
        "json-huge-number",
    ),
}

IMAGES: dict[str, tuple[Change, str]] = {
    "an image that is an engine's option": (image("--privileged"), "image-name"),
    "an image with options before it": (image("-v /:/host registry.example/x@sha256:" + "a" * 64), "image-name"),
    "an image with an option behind its digest": (image("x@sha256:" + "a" * 64 + " --privileged"), "image-name"),
    "an image with a line break": (image("registry.example/x@sha256:" + "a" * 64 + "\nUSER 0"), "image-name"),
    "an image by a tag alone": (image("registry.example/x:latest"), "image-name"),
    "an image that is an address with a login": (
        image("user:pass@registry.example/x@sha256:" + "a" * 64),
        "image-name",
    ),
    "an image that is a file": (image("../../var/lib/docker@sha256:" + "a" * 64), "image-name"),
    "an image whose digest is another kind": (image("x@md5:" + "a" * 32), "image-name"),
    "a base whose digest is a path": (
        record_with(environment=environment(digest="sha256:../../../../etc/passwd")),
        "image-name",
    ),
    "a platform that is an option": (record_with(environment=environment(platform="--x")), "bad-record"),
    "an interpreter that is a command line": (
        record_with(environment=environment(python="/bin/sh\n-c id")),
        "bad-record",
    ),
    "an interpreter below the working folder": (
        record_with(environment=environment(python="python")),
        "bad-record",
    ),
    "a wheel whose name is a path": (wheel("../../evil-1-py3-none-any.whl"), "carried-wheel-name"),
    "a wheel whose name is an option": (wheel("--index-url=http://x"), "carried-wheel-name"),
    "a copy of a wheel whose name is a path": (copy("../x-1-py3-none-any.whl"), "carried-wheel-name"),
    "a wheel that is no wheel": (wheel("setup.py"), "carried-wheel-name"),
}

LOCKS: dict[str, tuple[Change, str]] = {
    f"a lock with {name}": (lock(text), "lock-grammar")
    for name, text in {
        "another index": b"--index-url http://host.example/\n" + PIN + b"\n",
        "one more index": b"--extra-index-url=http://host.example/\n" + PIN + b"\n",
        "a trusted host": b"--trusted-host host.example\n" + PIN + b"\n",
        "a folder of packages": b"--find-links /tmp\n" + PIN + b"\n",
        "another lock": b"-r /etc/passwd\n" + PIN + b"\n",
        "constraints": b"-c http://host.example/c.txt\n" + PIN + b"\n",
        "an editable package": b"-e .\n" + PIN + b"\n",
        "a repository": b"git+https://host.example/x.git#egg=x\n" + PIN + b"\n",
        "a package at an address": b"x @ https://host.example/x.whl --hash=sha256:" + b"a" * 64 + b"\n",
        "a file": b"./evil.whl\n" + PIN + b"\n",
        "an option behind a pin": PIN + b" --global-option=x\n",
        "a build option behind a pin": PIN + b' --config-settings="x=y"\n',
        "an option that a continued line hides": PIN + b" \\\n    --index-url=http://host.example/\n",
        "a pin that a continued line splits": b"num\\\npy==2.3.5 --hash=sha256:" + b"a" * 64 + b"\n",
        "a marker": PIN.replace(b"2.3.5", b"2.3.5 ; python_version>'3'") + b"\n",
        "an extra": PIN.replace(b"numpy", b"numpy[evil]") + b"\n",
        "a pin without a hash": b"numpy==2.3.5\n",
        "a hash of another kind": b"numpy==2.3.5 --hash=md5:" + b"a" * 32 + b"\n",
        "a range": PIN.replace(b"==", b">=") + b"\n",
        "a wildcard": PIN.replace(b"2.3.5", b"2.*") + b"\n",
        "an arbitrary equality": PIN.replace(b"==", b"===") + b"\n",
        "a pin twice": PIN + b"\n" + PIN + b"\n",
        "one pin in two spellings": PIN + b"\n" + PIN.replace(b"numpy", b"NumPy") + b"\n",
        "a comment": b"# a comment\n" + PIN + b"\n",
        "an environment variable": b"${EVIL}\n" + PIN + b"\n",
        "line ends of another system": PIN + b"\r\n",
        "a byte-order mark": b"\xef\xbb\xbf" + PIN + b"\n",
        "a letter that looks like another": PIN.replace(b"n", "\u043f".encode(), 1) + b"\n",
        "a line separator": PIN + "\u2028--index-url x".encode() + b"\n",
        "a NUL character": PIN + b"\0\n",
        "an end that is cut": PIN,
    }.items()
}

RECORDS = JSON | PLACES | IMAGES | LOCKS
