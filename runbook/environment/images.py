"""A carried base, as an OCI layout in runbook's cache: kept from before, from its registry, or from the engine.

Every byte is checked against the digest that names the base: the record's.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runbook.digest import receive
from runbook.environment.layer import Layout, names_of, verify_layout, write_image, write_pulled
from runbook.errors import BundleRejected, NeedMissing
from runbook.model.environment import Base
from runbook.model.reference import Reference, parse_reference
from runbook.progress import Progress
from runbook.remote.registry import Repository

if TYPE_CHECKING:
    from docker import APIClient

_PATIENT_S = 30.0
_ENGINE_S = 60
_LAYERS_CAP = 1000


def find_layout(cache: Path, digest: str) -> Path | None:
    """The layout of the base with this digest, where an earlier capture kept it in `cache` and it is sound."""
    name = digest.removeprefix("sha256:")
    for folder in ("closures", "images"):
        for blob in sorted((cache / folder).glob(f"*/blobs/sha256/{name}")):
            layout = blob.parents[2]
            try:
                verify_layout(layout)
                if digest in names_of(layout):
                    return layout
            except (BundleRejected, OSError, ValueError, KeyError):
                continue
    return None


def pull_layout(reference: Reference, platform: str, cache: Path, progress: Progress) -> Path:
    """The image that `reference` names by digest, as its registry has it, in the platform `linux/amd64`.

    Raises ConnectionError when no registry answers, OSError when one does not give it, each with one sentence.
    """
    target = cache / "images" / reference.digest.removeprefix("sha256:")
    target.parent.mkdir(parents=True, exist_ok=True)
    progress.say(f"fetching the base {reference.at(reference.digest)}")
    with (
        Repository(reference, timeout_s=_PATIENT_S) as repository,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch,
    ):
        fresh = Path(scratch) / "layout"
        blobs = fresh / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        manifests = list(_manifests(repository, reference.digest, platform))
        config, layers = _parts(manifests[-1])
        total = sum(size for _, size in (config, *layers))
        with progress.bar("fetching the base", total) as advance:
            for digest, size in dict.fromkeys((config, *layers)):
                with (blobs / digest.removeprefix("sha256:")).open("x+b") as sink:
                    found = receive.append(sink, partial(repository.open, digest), advance, cap=size)
                if f"sha256:{found}" != digest:
                    raise OSError(f"the registry answered with other bytes than {digest}")
        write_pulled(fresh, manifests, config[0], [digest for digest, _ in layers])
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    return target


def _manifests(repository: Repository, digest: str, platform: str) -> Iterator[bytes]:
    """The manifest with this digest; of a list of manifests the list and then the platform's own."""
    content = repository.manifest(digest)
    yield content
    document = _object(content)
    if "manifests" in document:
        for entry in document["manifests"] if isinstance(document["manifests"], list) else ():
            told = entry.get("platform") if isinstance(entry, dict) else None
            if isinstance(told, dict) and f"{told.get('os')}/{told.get('architecture')}" == platform:
                yield repository.manifest(str(entry.get("digest")))
                return
        raise OSError(f"the image {digest} has no {platform}")


def _parts(manifest: bytes) -> tuple[tuple[str, int], list[tuple[str, int]]]:
    """(digest, size) of an image's configuration and of its layers."""
    document = _object(manifest)
    layers = document.get("layers")
    if not isinstance(layers, list) or not 0 < len(layers) <= _LAYERS_CAP:
        raise OSError("the registry answered with a manifest without layers")
    found = [_descriptor(one) for one in (document.get("config"), *layers)]
    return found[0], found[1:]


def _descriptor(one: Any) -> tuple[str, int]:
    digest, size = (one.get("digest"), one.get("size")) if isinstance(one, dict) else (None, None)
    named = parse_reference(f"blob@{digest}") if isinstance(digest, str) else None
    if named is None or not named.digest or not isinstance(size, int) or size < 0:
        raise OSError("the registry answered with a manifest that names no blob")
    return named.digest, size


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise OSError("the registry answered with what is no manifest")
    return document


def in_engine(name: str) -> tuple[APIClient, dict[str, Any]] | None:
    """The local engine and what it says of the image; None without either. The caller closes the engine."""
    from docker import APIClient
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    try:
        api = APIClient(version="auto", timeout=_ENGINE_S, **kwargs_from_env())
    except DockerException:
        return None
    try:
        return api, api.inspect_image(name)
    except DockerException:
        api.close()
        return None


def save_layout(api: APIClient, image: str, cache: Path) -> tuple[Path, Layout]:
    """The engine's image with this id as a layout, made anew; the same image gives the same bytes."""
    target = cache / "images" / image.removeprefix("sha256:")
    shutil.rmtree(target, ignore_errors=True)
    with tempfile.TemporaryFile() as saved:
        for block in api.get_image(image):
            saved.write(block)
        saved.seek(0)
        with tarfile.open(fileobj=saved) as archive:
            [told] = json.load(_member(archive, "manifest.json"))
            config = _member(archive, told["Config"]).read()
            return target, write_image(config, _layers(archive, told["Layers"]), target)


def _layers(archive: tarfile.TarFile, names: Sequence[str]) -> Iterator[IO[bytes]]:
    for name in names:
        yield _member(archive, name)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise NeedMissing("the engine saved an image without", name, id="image-not-saved")
    return found


def carry(base: Base, cache: Path, progress: Progress) -> Path:
    """A layout that holds the base with the record's digest. Raises NeedMissing where it is nowhere to be had."""
    kept = find_layout(cache, base.digest)
    if kept is not None:
        return kept
    reference = parse_reference(base.reference)
    problem = "nothing on this machine has it"
    if reference is not None and reference.digest == base.digest:
        try:
            return pull_layout(reference, base.platform, cache, progress)
        except OSError as error:
            problem = str(error)
    elif base.kind == "image" and (found := in_engine(base.requested)) is not None:
        api, inspected = found
        with api:
            target, layout = save_layout(api, inspected["Id"], cache)
        if layout.manifest == base.digest:
            return target
        problem = f"the engine's {base.requested} is another"
    hint = "docker login for its registry, or do this where the run was captured"
    raise NeedMissing(
        f"the base cannot be carried ({problem})", base.reference or base.digest, hint=hint, id="base-not-carried"
    )
