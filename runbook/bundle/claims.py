"""What a record says of places, names and numbers that a machine will act on, refused before anything does. Pure.

A record is written by whoever made the bundle. Its paths decide where files are laid out, its image is pulled, its
argv is started: each has one narrow grammar, and what runbook itself writes never leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from runbook.errors import BundleRejected
from runbook.model.code import Shape
from runbook.model.data import Input
from runbook.model.environment import Environment
from runbook.model.job import Job
from runbook.model.record import Record
from runbook.model.reference import parse_reference

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLATFORM: Final = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
_INPUT: Final = re.compile(r"[A-Za-z0-9._-]+")
FARTHEST: Final = 10**308
"""An integer beyond doubles can be neither compared nor drawn."""


def check_claims(record: Record) -> None:
    """Raise BundleRejected for the first thing that no record of ours says.

    Ids: `path-escape` (a place outside of where it belongs), `image-name`, `carried-wheel-name`,
    `json-huge-number`, `bad-record`.
    """
    _job(record.job)
    _shape(record.code.tree.shape)
    names = [one.name for one in record.inputs]
    if len(set(names)) != len(names):
        raise _bad("two inputs of one name", max(names, key=names.count))
    for one in record.inputs:
        _input(one)
    for output in record.outputs:
        _place(output.path, "an output")
    _environment(record.environment)
    for cache in record.caches:
        if not cache.folder.startswith("/"):
            raise _bad("a library's cache that is no absolute place", cache.folder)
        _place(cache.folder, "a library's cache")
        _variables(cache.offline)
    for metric in record.metrics:
        if isinstance(metric.final, int) and abs(metric.final) > FARTHEST:
            raise BundleRejected("a metric beyond what can be compared", metric.name, id="json-huge-number")


def _job(job: Job) -> None:
    if not job.argv or not job.argv[0]:
        raise _bad("a job without a command", job.root)
    if not job.root.startswith("/"):
        raise _bad("a project's root that is not absolute", job.root)
    _place(job.root, "the project's root")
    _inside(job.cwd, "the working folder")
    for word in job.argv:
        if "\0" in word:
            raise _bad("an argument with a NUL character", word)
    _variables({one.name: one.value for one in job.variables})
    if job.stdin is not None:
        _place(job.stdin.path, "the standard input")
        if job.stdin.offset < 0:
            raise _bad("a standard input that begins before its beginning", job.stdin.path)


def _variables(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise _bad("no environment variable can be called or hold this", name)


def _input(one: Input) -> None:
    if not _INPUT.fullmatch(one.name) or one.name in (".", ".."):
        raise _bad("not the name of an input", one.name)
    _place(one.path, f"the input {one.name}")
    _shape(one.shape)


def _shape(shape: Shape) -> None:
    """A link may point anywhere: it is made inside a container. Where it lies may not be elsewhere."""
    for path in (*(link.path for link in shape.links), *shape.executables, *shape.empty_directories):
        _inside(path, "a link, executable or empty folder")


def _environment(environment: Environment) -> None:
    base, lock = environment.base.value, environment.lock.value
    if base is not None:
        image = parse_reference(base.reference)
        pinned = image is not None and image.digest
        if base.reference and not pinned and not _DIGEST.fullmatch(base.reference):
            raise BundleRejected("not an image that is named by its digest", base.reference, id="image-name")
        if not _DIGEST.fullmatch(base.digest):
            raise BundleRejected("not the digest of an image", base.digest, id="image-name")
        if base.platform and not _PLATFORM.fullmatch(base.platform):
            raise _bad("not a platform", base.platform)
        if base.python and not (base.python.startswith("/") and base.python.isprintable()):
            raise _bad("not the place of an interpreter", base.python)
    files = [*(one.file for one in lock.carried), *(one.file for one in lock.copies)] if lock else []
    for file in files:
        try:
            parse_wheel_filename(file)
        except (InvalidWheelFilename, ValueError):
            raise BundleRejected("not the name of a wheel", file, id="carried-wheel-name") from None


def _place(path: str, what: str) -> None:
    """An absolute path, or one below the root; either way one that does not climb."""
    parts: Iterable[str] = path.split("/")
    if not path or "\0" in path or ".." in parts:
        raise BundleRejected(f"{what} lies where no record can put it", path, id="path-escape")


def _inside(path: str, what: str) -> None:
    _place(path, what)
    if path.startswith("/"):
        raise BundleRejected(f"{what} lies outside of the project", path, id="path-escape")


def _bad(what: str, value: str) -> BundleRejected:
    return BundleRejected(what, value, id="bad-record")
