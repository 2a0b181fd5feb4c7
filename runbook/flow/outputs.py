"""Output files of two runs side by side: by their digests first, then by their content where it is at hand."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from runbook.artifacts.apart import Comparer
from runbook.bundle.read import Bundle
from runbook.catalog.store import RunFolder
from runbook.digest.beneath import open_beneath
from runbook.errors import BundleRejected
from runbook.flow.artifacts import digest_of
from runbook.model.artifact import ArtifactComparison, Artifacts, conclude
from runbook.model.data import Output
from runbook.model.record import Record
from runbook.progress import SILENT, Progress

_LARGE = 256 << 20
"""Bytes of both sides from which comparing takes a while, so that it is said."""
Held = Callable[[Output], BinaryIO | None]
"""Opens the content of an output, without a buffer; None where only its digest is held."""


def compare_outputs(
    original: Record, replay: Record, held_a: Held, held_b: Held, progress: Progress = SILENT
) -> Artifacts | None:
    """The verdict over the output files of both sides; None where neither has one."""
    a, b = ({one.path: one for one in record.outputs if one.role != "log"} for record in (original, replay))
    if replay.kind == "replay":  # What lies outside of the project is not collected there.
        a = {path: one for path, one in a.items() if not path.startswith("/")}
    files: list[ArtifactComparison] = []
    with Comparer() as comparer:
        for path in sorted({*a, *b}):
            one, other = a.get(path), b.get(path)
            if one is None or other is None or one.digest == other.digest:
                files.append(_by_digest(path, one, other))
                continue
            if one.bytes + other.bytes >= _LARGE:
                progress.say(f"comparing {path}")
            files.append(_by_content(one, other, held_a, held_b, comparer))
    return conclude(files)


def _by_digest(path: str, one: Output | None, other: Output | None) -> ArtifactComparison:
    if one is None or other is None:
        side = "the original" if one is None else "the second run"
        reason = f"{side} has no such output"
    else:
        reason = ""
    return ArtifactComparison(
        path=path,
        kind="",
        verdict="on one side only" if reason else "identical bytes",
        reason=reason,
        bytes=one.bytes if one else None,
        replay_bytes=other.bytes if other else None,
    )


def _by_content(one: Output, other: Output, held_a: Held, held_b: Held, comparer: Comparer) -> ArtifactComparison:
    left = held_a(one)
    right = held_b(other) if left is not None else None
    if left is not None and right is not None:
        with left, right:
            return comparer.compare(one.path, left, right)
    if left is not None:
        left.close()
    side = "the original's" if left is None else "the second run's"
    return ArtifactComparison(
        path=one.path,
        kind="",
        verdict="bytes differ",
        reason=f"bytes differ, content not held: {side} is known by its digest alone",
        bytes=one.bytes,
        replay_bytes=other.bytes,
    )


def held_in_bundle(bundle: Bundle) -> Held:
    """The outputs that a bundle embeds, each checked against its digest. Raises BundleRejected."""

    def held(output: Output) -> BinaryIO | None:
        if output.stored != "embedded":
            return None
        # A file without a name: the bundle may be an archive, and what was checked is what is compared.
        copy = cast("BinaryIO", tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
        try:
            with bundle.open(output.bundle_path) as source:
                shutil.copyfileobj(source, copy, 1 << 20)
            _check(copy, output)
        except BaseException:
            copy.close()
            raise
        return copy

    return held


def _check(copy: BinaryIO, output: Output) -> None:
    copy.seek(0)
    if hashlib.file_digest(copy, "sha256").hexdigest() != output.digest:  # type: ignore[arg-type]
        raise BundleRejected("not what the manifest says", output.bundle_path, id="digest-mismatch")


def held_beneath(root: Path) -> Held:
    """The outputs that a job left in a working copy; none that is or lies behind a link."""

    def held(output: Output) -> BinaryIO | None:
        try:
            return open_beneath(root, output.path)
        except (OSError, ValueError):
            return None

    return held


def held_by_run(run: RunFolder, record: Record) -> Held:
    """The outputs of a recorded run: a replay's are kept; an original's lie where it wrote them, until changed."""
    if record.kind == "replay":
        return held_beneath(run.path / "outputs")
    root = run.path.parents[2]

    def held(output: Output) -> BinaryIO | None:
        path = root / output.path
        try:
            if not path.is_file() or path.stat().st_size != output.bytes or digest_of(path) != output.digest:
                return None
            return path.open("rb", buffering=0)
        except OSError:
            return None

    return held
