"""Write a bundle so that it is absent, plainly partial (`X.partial`) or whole, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, Self

from runbook.bundle import archive, layout
from runbook.digest.atomic import exchange, explaining, rename_new, sync_folder, sync_tree
from runbook.digest.copy import Copied, copy_hashed
from runbook.digest.hashing import CHUNK
from runbook.errors import UsageError
from runbook.model.manifest import Entry
from runbook.model.path import collision, defect

Form = Literal["directory", "zip"]

PARTIAL: Final = ".partial"

_BAG: Final = "bag"
_ZIP: Final = "bundle.zip"
_OURS: Final = frozenset((*layout.TAGS, "data", "attestations", _BAG, _ZIP))


def check_target(target: Path, *, form: Form, replace: bool) -> None:
    """Raise UsageError where no bundle can appear; asked early, before a job or a lock is spent on it."""
    parent = target.parent
    if not parent.is_dir():
        raise UsageError("no such folder for the bundle", parent, hint=f"mkdir -p {parent}", id="no-such-folder")
    if os.path.lexists(target) and not (replace and _is_bundle(target, form)):
        hint = "name another with -o" if replace else "name another with -o, or replace it with --force"
        raise UsageError("already there", target, hint=hint, id="target-exists")


class BundleWriter:
    """Stages a bundle in `X.partial/`, hashing while copying; `finish` makes it appear at `X` in one rename.

    A context manager: on an exception, Ctrl-C included, what was staged is removed. After a SIGKILL it stays as
    `X.partial`, unlocked, and the next writer of `X` replaces it.
    """

    def __init__(self, target: Path, *, form: Form = "directory", replace: bool = False) -> None:
        """Nothing is touched before the `with`.

        target: where the bundle shall appear. form: a directory, or the same tree as one deterministic zip.
        replace: whether an existing bundle may be replaced; anything else is never replaced.
        """
        self._target = target
        self._form = form
        self._replace = replace
        self._stage = target.with_name(target.name + PARTIAL)
        self._root = self._stage if form == "directory" else self._stage / _BAG
        self._lock: int | None = None
        self._copied: dict[str, Copied] = {}
        self._tags: dict[str, Copied] = {}
        self._folders: set[Path] = set()

    def __enter__(self) -> Self:
        """Check the target and stage an empty bag. Raises UsageError."""
        check_target(self._target, form=self._form, replace=self._replace)
        with explaining("the bundle", self._target.parent):
            self._lock = _claim(self._stage)
            try:
                self._root.mkdir(exist_ok=True)
            except BaseException:
                self._discard()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what is still staged."""
        self._discard()

    def add_file(self, name: str, source: Path, *, sha256: str = "") -> Entry:
        """Copy a regular file to the bundle path `name`, hashing it in the same pass.

        sha256: what it is known to be; UsageError (`changed-meanwhile`) when it is not.
        """
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            what = f"cannot read ({error.strerror})"
            raise UsageError(what, source, hint="make it readable, or leave it out", id="unreadable") from error
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError("not a regular file", source, hint="leave it out", id="not-a-file")
            return self.add_stream(name, file, sha256=sha256, what=source)

    def add_stream(self, name: str, source: BinaryIO, *, sha256: str = "", what: object = "") -> Entry:
        """Write a file of what a stream holds; `what` names it in the error where it is not what it should be."""
        entry = self._add(name, source)
        if sha256 and entry.sha256 != sha256:
            hint = "do it again when nothing writes to it"
            raise UsageError(
                "the file changed while it was frozen", what or name, hint=hint, id="changed-meanwhile"
            )
        return entry

    def add_bytes(self, name: str, data: bytes) -> Entry:
        """Write a file of these bytes at the bundle path `name`."""
        return self._add(name, io.BytesIO(data))

    def add_tree(self, prefix: str, root: Path, entries: Iterable[Entry]) -> None:
        """Copy files that are known by content, `root/PATH` to `prefix/PATH`."""
        for entry in entries:
            self.add_file(f"{prefix}/{entry.path}", root / entry.path, sha256=entry.sha256)

    def add_attestation(self, name: str, data: bytes) -> None:
        """Put what was added later beside the payload, in no manifest. Raises UsageError for another name."""
        if not layout.is_attestation(name) or defect(name) or name in self._tags:
            raise UsageError("not the name of an attestation", name, id="unstorable-name")
        with explaining("the bundle", self._target.parent):
            self._tags[name] = self._put(name, io.BytesIO(data))

    def entries(self) -> list[Entry]:
        """The payload so far, sorted; paths are relative to `data/`."""
        return [
            Entry(name.removeprefix(layout.DATA), copied.size, copied.sha256)
            for name, copied in sorted(self._copied.items(), key=lambda item: item[0].encode())
        ]

    def finish(self, before: Callable[[Path], object] = lambda _: None) -> str:
        """Complete the bag, make it durable and let it appear; the bundle id. Call it once, last.

        before: looks at the whole bag, as a directory, before it appears; what it raises keeps it from appearing.
        """
        if twins := collision(self._copied):
            raise UsageError(
                "two files whose names are one on some file systems",
                " and ".join(name.removeprefix(layout.DATA) for name in twins),
                hint="rename one, or leave it out",
                id="name-collision",
            )
        manifest = layout.render_manifest({name: copied.sha256 for name, copied in self._copied.items()})
        tags = {
            layout.BAGIT: layout.BAGIT_TEXT,
            layout.BAG_INFO: layout.render_info(self.entries()),
            layout.MANIFEST: manifest,
        }
        tags[layout.TAG_MANIFEST] = layout.render_manifest(
            {name: layout.sha256(data) for name, data in tags.items()}
        )
        with explaining("the bundle", self._target.parent):
            for name in (layout.BAGIT, layout.BAG_INFO, layout.TAG_MANIFEST):
                self._tags[name] = self._put(name, io.BytesIO(tags[name]))
            if self._form == "directory":
                sync_tree(self._stage)
            self._tags[layout.MANIFEST] = self._put(layout.MANIFEST, io.BytesIO(manifest))
        before(self._root)
        with explaining("the bundle", self._target.parent):
            if self._form == "directory":
                self._appear_as_directory()
            else:
                self._appear_as_zip()
            sync_folder(self._target.parent)
        return layout.bundle_id(manifest)

    def _add(self, name: str, source: BinaryIO) -> Entry:
        wrong = defect(name)
        if wrong or not name.startswith(layout.DATA):
            text = wrong.text if wrong else "is not in data/"
            raise UsageError(
                f"a file name that no bundle can hold (it {text})",
                name,
                hint="rename the file, or leave it out",
                id="unstorable-name",
            )
        if name in self._copied:
            raise UsageError("two files for one place in the bundle", name, id="duplicate-entry")
        with explaining("the bundle", self._target.parent):
            copied = self._put(name, source)
        self._copied[name] = copied
        return Entry(name.removeprefix(layout.DATA), copied.size, copied.sha256)

    def _put(self, name: str, source: BinaryIO) -> Copied:
        path = self._root / name
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(path.parent)
        return copy_hashed(source, path, crc=self._form == "zip")

    def _appear_as_directory(self) -> None:
        descriptor = os.open(self._root / layout.MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        sync_folder(self._stage)
        if self._replace and os.path.lexists(self._target):
            exchange(self._stage, self._target)
            sync_folder(self._target.parent)
        else:
            rename_new(self._stage, self._target)

    def _appear_as_zip(self) -> None:
        path = self._stage / _ZIP
        every = sorted((self._copied | self._tags).items(), key=lambda item: item[0].encode())
        members = list(archive.place([(name, copied.size, copied.crc32) for name, copied in every]))
        with path.open("xb") as sink:
            for member in members:
                sink.write(archive.local_header(member))
                with (self._root / member.name).open("rb") as source:
                    shutil.copyfileobj(source, sink, CHUNK)
            sink.write(archive.directory(members, sink.tell()))
            sink.flush()
            os.fsync(sink.fileno())
        if self._replace:
            path.replace(self._target)
        else:
            rename_new(path, self._target)

    def _discard(self) -> None:
        if self._lock is None:
            return
        shutil.rmtree(self._stage, ignore_errors=True)
        os.close(self._lock)
        self._lock = None


def _claim(stage: Path) -> int:
    """Make the staging folder and lock it; what a dead process left there is removed first.

    The lock is on the folder itself and dies with its process, so a leftover is told from work in progress.
    """
    with contextlib.suppress(FileExistsError):
        stage.mkdir()
    descriptor = os.open(stage, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait for it, or name another target with -o"
            raise UsageError("another runbook is writing this bundle", stage, hint=hint, id="busy") from None
        left = [path.name for path in stage.iterdir()]
        if not _OURS.issuperset(left):
            raise UsageError("in the way", stage, hint=f"mv {stage} elsewhere", id="target-exists")
        for name in left:
            path = stage / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_bundle(target: Path, form: Form) -> bool:
    """Whether a target is what a `--force` may replace: a bundle of the same form."""
    if target.is_symlink():
        return False
    if form == "directory":
        return target.is_dir() and (target / layout.BAGIT).is_file()
    if not target.is_file():
        return False
    with target.open("rb") as file:
        return file.read(4) == b"PK\3\4"
