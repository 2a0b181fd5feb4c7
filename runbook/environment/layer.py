"""A layer of files from this host, and the OCI layout that holds it: the same files give the same bytes.

Sorted, owned by root, with one time and two modes. The layout holds Docker's own `manifest.json` too, so that
`tar -C LAYOUT -c . | docker load` loads it into any engine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from runbook.errors import BundleRejected

REPOSITORY = "runbook/base"
"""What engines call a carried base."""

TIME = 315532800
"""1980-01-01 UTC: the time of every file in a layer."""

_BLOCK = 4 << 20
_LEVEL = 3
_JSON_CAP = 4 << 20
_GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_MEDIA = "application/vnd.oci.image"


@dataclass(frozen=True)
class Item:
    """One entry of a layer: a folder, a link, or a file of the host or of ours."""

    kind: str
    """`d`, `l` or `f`."""
    source: Path | None = None
    text: bytes = b""
    target: str = ""
    mode: int = 0o644


@dataclass
class Tree:
    """The entries of a layer by their name, relative to the root, while it is put together."""

    items: dict[str, Item] = field(default_factory=dict)

    def add(self, path: Path) -> None:
        """Take a file or folder (without what is in it) of the host, with every link on the way to it."""
        parts = deque(path.parts[1:])
        here, hops = PurePosixPath(), 0
        while parts:
            part = parts.popleft()
            if part == "..":
                here = here.parent
                continue
            here /= part
            real = Path("/") / here
            status = real.lstat()
            if stat.S_ISLNK(status.st_mode):
                target = str(real.readlink())
                self.items.setdefault(str(here), Item("l", target=target))
                hops += 1
                if hops > 40:
                    raise OSError(f"too many links: {path}")
                parts.extendleft(reversed([p for p in PurePosixPath(target).parts if p not in ("/", ".")]))
                here = PurePosixPath() if target.startswith("/") else here.parent
            elif stat.S_ISDIR(status.st_mode):
                # Open to everybody: the sandbox's user passes through /root to a Python that lies there.
                self.items.setdefault(str(here), Item("d", mode=0o755))
            elif stat.S_ISREG(status.st_mode):
                mode = 0o755 if status.st_mode & 0o111 else 0o644
                self.items.setdefault(str(here), Item("f", source=real, mode=mode))

    def put(self, name: str, text: bytes, mode: int = 0o644) -> None:
        """Add a file of ours."""
        self._parents(name)
        self.items[name] = Item("f", text=text, mode=mode)

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Add an empty folder."""
        self._parents(name)
        self.items[name] = Item("d", mode=mode)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link, unless something is there."""
        self._parents(name)
        self.items.setdefault(name, Item("l", target=target))

    def copy(self, name: str, source: Path) -> None:
        """Add a file of the host under another name."""
        self._parents(name)
        self.items[name] = Item("f", source=source, mode=0o755 if source.stat().st_mode & 0o111 else 0o644)

    def _parents(self, name: str) -> None:
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self.items.setdefault(str(parent), Item("d", mode=0o755))

    def key(self) -> str:
        """A digest of what decides the layer, by stat, without reading the files."""
        digest = hashlib.sha256(b"runbook layer 1\n")
        for name in sorted(self.items):
            item = self.items[name]
            facts: tuple[object, ...] = (
                name,
                item.kind,
                item.mode,
                item.target,
                hashlib.sha256(item.text).hexdigest(),
            )
            if item.source is not None:
                status = item.source.stat()
                facts += (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
            digest.update(repr(facts).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


@dataclass(frozen=True)
class Layout:
    """A written layout."""

    layer: str
    """`sha256:…` of the first layer's blob."""
    manifest: str
    """`sha256:…` of the image manifest."""
    size: int
    """Bytes of all its files."""


def write_layout(tree: Tree, target: Path, *, architecture: str, path: str) -> Layout:
    """Write the tree as an image of one layer into the new folder `target`.

    path: PATH inside. `docker load` names it `runbook/base:<24 hex of its id>`.
    """
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    draft = blobs / "layer"
    with draft.open("wb") as file, _Gzip(file) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
            for name in sorted(tree.items):
                _put(archive, name, tree.items[name])
        packed.finish()
    layer, size = packed.digest.hexdigest(), draft.stat().st_size
    draft.replace(blobs / layer)
    config = {
        "architecture": architecture,
        "config": {"Env": [f"PATH={path}"], "WorkingDir": "/"},
        "created": "1980-01-01T00:00:00Z",
        "history": [{"created": "1980-01-01T00:00:00Z", "created_by": "runbook: host closure"}],
        "os": "linux",
        "rootfs": {"diff_ids": [f"sha256:{packed.plain.hexdigest()}"], "type": "layers"},
    }
    return _finish(target, _json(config), [_descriptor(layer, size, f"{_MEDIA}.layer.v1.tar+gzip")])


def _finish(target: Path, config: bytes, layers: list[dict[str, Any]]) -> Layout:
    """Write configuration, manifest and the three index files of an image whose layers are there."""
    blobs = target / "blobs" / "sha256"
    described = _blob(blobs, config, f"{_MEDIA}.config.v1+json")
    manifest = {
        "config": described,
        "layers": layers,
        "mediaType": f"{_MEDIA}.manifest.v1+json",
        "schemaVersion": 2,
    }
    entry = _blob(blobs, _json(manifest), f"{_MEDIA}.manifest.v1+json")
    _write_index(target, entry, described["digest"], [layer["digest"] for layer in layers])
    total = sum(p.stat().st_size for p in target.rglob("*") if p.is_file())
    return Layout(layers[0]["digest"], entry["digest"], total)


def _write_index(target: Path, entry: dict[str, Any], config: str, layers: list[str]) -> None:
    """Write `oci-layout`, `index.json` and Docker's `manifest.json` of an image whose blobs are there."""
    tag = f"{REPOSITORY}:{config.removeprefix('sha256:')[:24]}"
    annotations = {"io.containerd.image.name": tag, "org.opencontainers.image.ref.name": tag.rpartition(":")[2]}
    (target / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (target / "index.json").write_bytes(
        _json({"manifests": [{**entry, "annotations": annotations}], "schemaVersion": 2})
    )
    named = [f"blobs/sha256/{layer.removeprefix('sha256:')}" for layer in layers]
    told = {"Config": f"blobs/sha256/{config.removeprefix('sha256:')}", "Layers": named, "RepoTags": [tag]}
    (target / "manifest.json").write_bytes(_json([told]))


def only_layer(layout: Path) -> str:
    """`sha256:…` of the one layer of a layout that write_layout wrote."""
    [image] = json.loads((layout / "manifest.json").read_bytes())
    [layer] = image["Layers"]
    return f"sha256:{PurePosixPath(layer).name}"


def write_image(config: bytes, layers: Iterable[IO[bytes]], target: Path) -> Layout:
    """Write an image that an engine saved (its configuration and plain layer tars) as a layout in `target`."""
    blobs = target / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    described = []
    for layer in layers:
        draft = blobs / "layer"
        with draft.open("wb") as file, _Gzip(file) as packed:
            shutil.copyfileobj(layer, packed, _BLOCK)
            packed.finish()
        name = packed.digest.hexdigest()
        draft.replace(blobs / name)
        described.append(_descriptor(name, (blobs / name).stat().st_size, f"{_MEDIA}.layer.v1.tar+gzip"))
    return _finish(target, config, described)


def write_pulled(target: Path, manifests: Sequence[bytes], config: str, layers: Sequence[str]) -> None:
    """Complete the layout of an image whose configuration and layer blobs are in `target`.

    manifests: as its registry has them, the last the image's own; the first is the one that names it.
    """
    entries = []
    for text in manifests:
        document = json.loads(text)
        kind = f"{_MEDIA}.{'index' if 'manifests' in document else 'manifest'}.v1+json"
        entries.append(_blob(target / "blobs" / "sha256", text, document.get("mediaType") or kind))
    _write_index(target, entries[0], config, list(layers))


def names_of(layout: Path) -> set[str]:
    """The digests, `sha256:…`, by which a record may name the image of our layout: manifest, or only layer."""
    found = {str(entry["digest"]) for entry in json.loads((layout / "index.json").read_bytes())["manifests"]}
    [image] = json.loads((layout / "manifest.json").read_bytes())
    return found | ({only_layer(layout)} if len(image["Layers"]) == 1 else set())


def verify_layout(layout: Path) -> None:
    """Check that each blob has the digest that names it and nothing else lies there. Raises BundleRejected."""
    blobs = layout / "blobs" / "sha256"
    expected = {"oci-layout", "index.json", "manifest.json"}
    if any(p.is_symlink() for p in layout.rglob("*")):
        raise _broken("a link")
    names = {p.relative_to(layout).as_posix() for p in layout.rglob("*") if p.is_file()}
    strangers = {n for n in names - expected if not n.startswith("blobs/sha256/")}
    if strangers or "index.json" not in names:
        raise _broken(min(strangers, default="no index.json"))
    if (layout / "index.json").stat().st_size > _JSON_CAP:
        raise _broken("index.json is too large")
    for path in sorted(blobs.iterdir()):
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                raise _broken(f"blob {path.name}")


def _broken(value: str) -> BundleRejected:
    return BundleRejected(
        "the carried base is damaged", value, hint="run `runbook verify` on the bundle", id="base-corrupt"
    )


def _blob(blobs: Path, text: bytes, media: str) -> dict[str, Any]:
    digest = hashlib.sha256(text).hexdigest()
    (blobs / digest).write_bytes(text)
    return _descriptor(digest, len(text), media)


def _descriptor(digest: str, size: int, media: str) -> dict[str, Any]:
    return {"digest": f"sha256:{digest}", "mediaType": media, "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _put(archive: tarfile.TarFile, name: str, item: Item) -> None:
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode = TIME, item.mode
    if item.kind == "d":
        entry.type = tarfile.DIRTYPE
        archive.addfile(entry)
    elif item.kind == "l":
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, item.target, 0o777
        archive.addfile(entry)
    elif item.source is None:
        entry.size = len(item.text)
        archive.addfile(entry, io.BytesIO(item.text))
    else:
        with item.source.open("rb") as file:
            entry.size = os.fstat(file.fileno()).st_size
            archive.addfile(entry, file)


class _Gzip:
    """Compresses blocks on all cores as members of one gzip file: the bytes do not depend on the cores."""

    def __init__(self, sink: io.BufferedWriter) -> None:
        self.plain = hashlib.sha256()
        self.digest = hashlib.sha256()
        self._sink = sink
        self._workers = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._workers, "gzip")
        self._buffer = bytearray()
        self._pending: deque[Future[bytes]] = deque()

    def __enter__(self) -> _Gzip:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def write(self, data: bytes) -> int:
        """Take more of the plain stream."""
        self.plain.update(data)
        self._buffer += data
        while len(self._buffer) >= _BLOCK:
            self._pending.append(self._pool.submit(_member, bytes(self._buffer[:_BLOCK])))
            del self._buffer[:_BLOCK]
            self._drain(2 * self._workers)
        return len(data)

    def finish(self) -> None:
        """Write what is left."""
        self._pending.append(self._pool.submit(_member, bytes(self._buffer)))
        self._drain(0)

    def _drain(self, keep: int) -> None:
        while len(self._pending) > keep:
            data = self._pending.popleft().result()
            self.digest.update(data)
            self._sink.write(data)


def _member(block: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
    body = packer.compress(block) + packer.flush()
    return _GZIP + body + zlib.crc32(block).to_bytes(4, "little") + len(block).to_bytes(4, "little")
