"""`push` and `pull`: a bundle to and from a remote. Steps: verify → divide into blobs → send what is not there;
fetch the manifest → fetch the blobs → put the bundle together → verify → let it appear.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import platformdirs

from runbook.bundle import archive, artifact, layout
from runbook.bundle.artifact import Artifact, Blob
from runbook.bundle.read import Bundle, open_bundle
from runbook.bundle.source import MAX_FILES, ZipSource
from runbook.bundle.verify import verify, verify_opened
from runbook.bundle.write import BundleWriter, Form, check_target
from runbook.digest import receive
from runbook.digest.hashing import hash_file
from runbook.errors import BundleRejected, NeedMissing, UsageError
from runbook.progress import SILENT, Progress
from runbook.remote.interface import Store
from runbook.remote.place import open_store, without_login

_TRIES: Final = 4
_ATTESTATION_CAP: Final = 16 << 20


@dataclass(frozen=True)
class Moved:
    """A bundle that is here and there."""

    id: str
    """Bundle id, sha256 in hex."""
    remote: str
    manifest: str
    """`sha256:…` of the artifact's manifest: `oci://HOST/NAME@…` names these very bytes."""
    path: str
    blobs: int
    bytes: int
    moved: int
    """Bytes that were sent or fetched; the rest was there."""


def push(path: Path, remote: str, progress: Progress = SILENT) -> Moved:
    """Store a bundle at a remote. Raises BundleRejected, UsageError, NeedMissing."""
    if "@sha256:" in remote:
        hint = "name a tag, or none; the digest is what a push answers with"
        raise UsageError("a bundle is pushed under a tag", remote, hint=hint, id="remote-name")
    store = open_store(remote)
    progress.say("verifying the bundle")
    with open_bundle(path) as bundle, tempfile.TemporaryDirectory(prefix="runbook-push-") as scratch:
        verify_opened(bundle, progress=progress)
        told, packs = _divided(bundle, Path(scratch))
        text = artifact.render(told)
        sent = 0
        with _explaining(remote), store:
            missing = [blob for blob in _once(told.blobs) if not store.has(blob.digest, blob.size)]
            sent = sum(blob.size for blob in missing)
            progress.say(f"sending {len(missing)} of {len(told.blobs)} blobs, {sent:,} bytes")
            with progress.bar("sending", sent) as advance:
                for blob in missing:
                    source = packs[blob.title].open("rb") if blob.pack else bundle.open(blob.title)
                    with source:
                        store.put(blob.digest, blob.size, source, advance)
                _put_empty(store)
                store.put_manifest(text, artifact.MEDIA_TYPE)
        return _moved(told, remote, text, path, sent)


def pull(remote: str, target: Path | None, progress: Progress = SILENT) -> Moved:
    """Fetch a bundle from a remote and let it appear once it is whole and verified.

    target: where; None: under its own name in the working folder. The zip form where it ends in `.zip`.
    What was fetched before an interruption is kept in the user's cache and used by the next attempt.
    """
    store = open_store(remote)
    if target is not None:
        check_target(target, form=_form(target), replace=False)
    with _explaining(remote), store:
        progress.say(f"asking {without_login(remote)}")
        text = store.manifest()
        told = artifact.parse(text)
        place = target or Path.cwd() / f"{told.name}{layout.SUFFIX}"
        check_target(place, form=_form(place), replace=False)
        kept = platformdirs.user_cache_path("runbook") / "pulled" / layout.sha256(text)
        try:
            fetched = _fetch(store, told, kept, progress)
        except BundleRejected:
            shutil.rmtree(kept, ignore_errors=True)
            raise
    progress.say("verifying the bundle")
    try:
        _assemble(told, kept, place)
    finally:
        # Whole blobs of a bundle that is refused, or has no place, are of no use any more.
        shutil.rmtree(kept, ignore_errors=True)
    return _moved(told, remote, text, place, fetched)


def _divided(bundle: Bundle, scratch: Path) -> tuple[Artifact, dict[str, Path]]:
    """The artifact of a bundle, and its packs, written into a scratch folder."""
    extra = {name: len(bundle.tag(name)) for name in layout.TAGS}
    added = {name: len(bundle.read_attestation(name)) for name in bundle.attestations}
    large, packs = artifact.divide({**bundle.files, **extra, **added})
    blobs = [Blob(f"sha256:{bundle.digest(name)}", bundle.files[name], name, pack=False) for name in large]
    places = {}
    for title, names in packs.items():
        places[title] = scratch / title
        _pack(bundle, names, places[title])
        size, sha256 = hash_file(places[title])
        blobs.append(Blob(f"sha256:{sha256}", size, title, pack=True))
    return Artifact(bundle.id, bundle.name, tuple(blobs)), places


def _pack(bundle: Bundle, names: list[str], target: Path) -> None:
    """Small files as a zip of the one form that a bundle's zip has."""
    import zlib

    def weighed(name: str) -> tuple[str, int, int]:
        data = _small(bundle, name)
        return name, len(data), zlib.crc32(data)

    members = list(archive.place([weighed(name) for name in sorted(names, key=str.encode)]))
    with target.open("xb") as sink:
        for member in members:
            sink.write(archive.local_header(member) + _small(bundle, member.name))
        sink.write(archive.directory(members, sink.tell()))


def _small(bundle: Bundle, name: str) -> bytes:
    if name in layout.TAGS:
        return bundle.tag(name)
    if layout.is_attestation(name):
        return bundle.read_attestation(name)
    return bundle.read(name, bundle.files[name])


def _once(blobs: tuple[Blob, ...]) -> list[Blob]:
    """Each blob once: two files of one content are one blob."""
    return list({blob.digest: blob for blob in blobs}.values())


def _put_empty(store: Store) -> None:
    import io

    digest = f"sha256:{layout.sha256(artifact.EMPTY)}"
    if not store.has(digest, len(artifact.EMPTY)):
        store.put(digest, len(artifact.EMPTY), io.BytesIO(artifact.EMPTY), lambda _n: None)


def _fetch(store: Store, told: Artifact, kept: Path, progress: Progress) -> int:
    """Every blob into the folder `kept`, under its digest; the bytes that came."""
    wanted = _once(told.blobs)
    total, fetched = sum(blob.size for blob in wanted), 0
    free = shutil.disk_usage(_existing(kept)).free
    if free < total:
        raise NeedMissing(
            "the bundle does not fit on the disk", f"{total:,} bytes", hint="free some space", id="disk-full"
        )
    progress.say(f"fetching {len(wanted)} blobs, {total:,} bytes")

    def count(size: int) -> None:
        nonlocal fetched
        fetched += size
        advance(size)

    with progress.bar("fetching", total) as advance:
        for blob in wanted:
            _fetch_one(store, blob, kept, count)
    return fetched


def _fetch_one(store: Store, blob: Blob, kept: Path, count: Callable[[int], None]) -> None:
    hexadecimal = blob.digest.removeprefix("sha256:")
    if (kept / hexadecimal).is_file():
        return  # Hashed once more while the bundle is put together.
    part = kept / f"{hexadecimal}.part"
    for attempt in range(_TRIES):
        with receive.holding(part) as sink:
            try:
                opens = partial(store.open, blob.digest)
                found = receive.append(sink, opens, count, known=hexadecimal, cap=max(blob.size, 1))
            except ConnectionError:
                if attempt == _TRIES - 1:
                    raise
                continue
            except OSError as error:
                if error.errno != errno.EFBIG:
                    raise
                part.unlink()
                raise _other_bytes(blob) from error
            if found == hexadecimal:
                receive.settle(sink, part, kept / hexadecimal)
                return
            if sink.tell() >= blob.size or attempt == _TRIES - 1:
                part.unlink()
                raise _other_bytes(blob)


def _other_bytes(blob: Blob) -> BundleRejected:
    return BundleRejected("the remote holds other bytes than its digest names", blob.title, id="digest-mismatch")


def _assemble(told: Artifact, kept: Path, place: Path) -> None:
    """Put the bundle together out of what was fetched; it appears once it is verified."""
    with BundleWriter(place, form=_form(place)) as writer, contextlib.ExitStack() as stack:
        files = _together(told, kept, stack)
        for name in sorted(files):
            if layout.is_attestation(name):
                writer.add_attestation(name, _read(files[name], name, _ATTESTATION_CAP))
            elif name not in layout.TAGS:
                with files[name]() as source:
                    writer.add_stream(name, source)
        writer.finish(before=partial(_check, told))


def _together(told: Artifact, kept: Path, stack: contextlib.ExitStack) -> dict[str, Callable[[], BinaryIO]]:
    """Every file of the bundle by name, out of blobs and packs. BundleRejected for one that is there twice."""
    files: dict[str, Callable[[], BinaryIO]] = {}
    for blob in told.blobs:
        path = kept / blob.digest.removeprefix("sha256:")
        found: dict[str, Callable[[], BinaryIO]] = {blob.title: partial(_open, path)}
        if blob.pack:
            source = ZipSource(path)
            stack.callback(source.close)
            found = {name: partial(source.open, name) for name in source.files}
        if len(files) + len(found) > MAX_FILES:
            raise BundleRejected("more files than a bundle may have", MAX_FILES, id="too-many-files")
        if twice := files.keys() & found.keys():
            raise BundleRejected("the remote holds a file twice", min(twice), id="duplicate-entry")
        files |= found
    for name in files:
        if not name.startswith(layout.DATA) and name not in layout.TAGS and not layout.is_attestation(name):
            raise BundleRejected("a file that no manifest lists", name, id="unlisted-file")
    return files


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _check(told: Artifact, root: Path) -> None:
    """The bag that was put together is whole, and the bundle that the remote says it is."""
    found = verify(root).id
    if found != told.id:
        raise BundleRejected("another bundle than the remote says", f"sha256:{found}", id="other-bundle")


def _read(opened: Callable[[], BinaryIO], name: str, cap: int) -> bytes:
    with opened() as source:
        data = source.read(cap + 1)
    if len(data) > cap:
        raise BundleRejected(f"larger than {cap >> 20} MiB", name, id="file-too-large")
    return data


def _form(target: Path) -> Form:
    return "zip" if target.name.endswith(".zip") else "directory"


def _existing(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())


def _moved(told: Artifact, remote: str, text: bytes, path: Path, moved: int) -> Moved:
    return Moved(
        id=told.id,
        remote=without_login(remote),
        manifest=f"sha256:{layout.sha256(text)}",
        path=str(path),
        blobs=len(told.blobs),
        bytes=sum(blob.size for blob in told.blobs),
        moved=moved,
    )


@contextlib.contextmanager
def _explaining(remote: str) -> Iterator[None]:
    """What a store raises, as an error of ours."""
    shown = without_login(remote)
    try:
        yield
    except FileNotFoundError as error:
        hint = "runbook push BUNDLE REMOTE puts one there"
        raise UsageError(f"no such remote ({error})", shown, hint=hint, id="no-such-remote") from error
    except PermissionError as error:
        host = shown.partition("://")[2].partition("/")[0]
        hint = (
            f"docker login {host}" if shown.startswith("oci://") else "the client's own settings decide the login"
        )
        raise NeedMissing(f"the remote refuses ({error})", shown, hint=hint, id="remote-denied") from error
    except OSError as error:
        hint = "the same command again goes on where this one stopped"
        raise NeedMissing(
            f"the remote cannot be used ({error})", shown, hint=hint, id="remote-unusable"
        ) from error
