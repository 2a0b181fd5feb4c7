"""The base of an environment in Docker: found in the engine, loaded from an OCI layout, or pulled by digest.

A layout comes from a bundle: only blobs whose bytes have the digest that names them reach the engine, under a
manifest and a name of ours. Nothing of the base's configuration is run: no ONBUILD trigger, entrypoint or command.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from runbook.engine.container import no_room
from runbook.engine.daemon import moving
from runbook.engine.interface import Plan
from runbook.engine.layers import RATIO, ROOMY, weigh
from runbook.errors import BundleRejected, EnvironmentNotRebuilt, NeedMissing
from runbook.model.environment import Base
from runbook.progress import Progress

if TYPE_CHECKING:
    from docker import APIClient

REPOSITORY = "runbook/base"
_JSON_CAP = 4 << 20
_CHUNK = 1 << 20
_ASK_S = 30
"""Seconds that an engine has to ask a registry for a digest."""
HINT = "log in to its registry (docker login), load it (docker load), or capture again with the base carried"
_HOSTILE_VARIABLES = ("LD_PRELOAD", "LD_AUDIT")


@dataclass(frozen=True)
class BaseImage:
    """A base that lies in the engine and may be used."""

    id: str
    variables: Mapping[str, str]
    pythons: tuple[str, ...]
    """Where its interpreter may be, the most likely first."""


def obtain(api: APIClient, plan: Plan, progress: Progress) -> BaseImage:
    """The base in the engine. Raises EnvironmentNotRebuilt when it cannot be had or must not be used."""
    image = _from_layout(api, plan, progress) if plan.layout else _by_reference(api, plan, progress)
    found = api.inspect_image(image)
    _check_platform(plan, found)
    config = found.get("Config") or {}
    variables = read_variables(config)
    for name in _HOSTILE_VARIABLES:
        if name in variables:
            raise EnvironmentNotRebuilt(
                f"the base image sets {name}, which would run its code before ours",
                plan.base.reference or plan.base.digest,
                hint="capture again on a base without it",
                id="base-preloads",
            )
    return BaseImage(id=image, variables=variables, pythons=tuple(_pythons(plan, variables)))


def is_there(api: APIClient, base: Base) -> bool:
    """Whether the engine has the base under the name that pins it."""
    from docker.errors import APIError

    try:
        api.inspect_image(base.reference or base.digest)
    except APIError:
        return False
    return True


def unobtainable(api: APIClient, base: Base) -> str:
    """Why a base that the engine lacks cannot be pulled, by having the engine ask the registry; empty if it can.

    The engine asks, not this process: it has its own proxies, certificates and registries without TLS.
    """
    from docker.errors import APIError
    from requests import RequestException

    if base.kind == "host-closure" or "@sha256:" not in base.reference:
        return "the base image is not in this engine"
    patience, api.timeout = api.timeout, _ASK_S
    try:
        api.inspect_distribution(base.reference)
    except APIError as error:
        said = str(error.explanation or error)
        # An engine that cannot be asked so (Podman) still pulls.
        return "" if "page not found" in said.lower() else f"the base image cannot be pulled ({said})"
    except RequestException:
        return f"the base image cannot be pulled (its registry did not answer within {_ASK_S} s)"
    finally:
        api.timeout = patience
    return ""


def read_variables(config: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables of an image's configuration."""
    return dict(entry.partition("=")[::2] for entry in config.get("Env") or ())


def _check_platform(plan: Plan, found: Mapping[str, Any]) -> None:
    platform = f"{found.get('Os')}/{found.get('Architecture')}"
    wanted = "/".join(plan.base.platform.split("/")[:2])
    if wanted and platform != wanted:
        raise EnvironmentNotRebuilt(
            f"the base is for {wanted}, but the engine's image is for", platform, id="base-platform"
        )


def _pythons(plan: Plan, variables: Mapping[str, str]) -> Iterator[str]:
    if plan.base.python:
        yield plan.base.python
    minor = ".".join(plan.interpreter.version.split(".")[:2])
    path = variables.get("PATH", "")
    folders = dict.fromkeys([*path.split(":"), "/usr/local/bin", "/usr/bin", "/opt/conda/bin"])
    for name in (f"python{minor}", "python3", "python"):
        for folder in folders:
            if folder.startswith("/"):
                yield f"{folder}/{name}"


def _by_reference(api: APIClient, plan: Plan, progress: Progress) -> str:
    """An image that the engine has, or that a registry gives by its digest."""
    from docker.errors import APIError, NotFound

    reference = plan.base.reference or plan.base.digest
    if "@sha256:" not in reference and not reference.startswith("sha256:"):
        raise EnvironmentNotRebuilt(
            "the base is not named by a digest", reference, hint="capture again with --image", id="base-not-pinned"
        )
    try:
        return str(api.inspect_image(reference)["Id"])
    except NotFound:
        pass
    if plan.base.kind == "host-closure" or "@" not in reference:
        raise EnvironmentNotRebuilt(
            "the base image is not in this engine", reference, hint=HINT, id="base-unavailable"
        )
    progress.say(f"pulling the base {reference}")
    try:
        with moving(api):
            for line in api.pull(reference, stream=True, decode=True):
                if "error" in line:
                    raise EnvironmentNotRebuilt(
                        f"the base image cannot be pulled ({line['error']})",
                        reference,
                        hint=HINT,
                        id="base-unavailable",
                    )
        return str(api.inspect_image(reference)["Id"])
    except APIError as error:
        said = str(error.explanation or error)
        raise EnvironmentNotRebuilt(
            f"the base image cannot be pulled ({said})", reference, hint=HINT, id="base-unavailable"
        ) from error


def _from_layout(api: APIClient, plan: Plan, progress: Progress) -> str:
    """Load the carried base, unless the engine has it; its image id."""
    from docker.errors import APIError, NotFound

    assert plan.layout is not None
    layout = plan.layout()
    blobs = layout / "blobs" / "sha256"
    config, layers = _image_of(layout, plan.base)
    image = f"sha256:{config}"
    try:
        api.inspect_image(image)
    except NotFound:
        progress.say("loading the base that the bundle carries")
        _weigh(blobs, layers)
        try:
            with moving(api):
                for line in api.load_image(_archive(blobs, config, layers)):
                    if "errorDetail" in line or "error" in line:
                        raise _not_had("the base cannot be loaded", str(line.get("error")), "base-not-loaded")
        except APIError as error:
            said = str(error.explanation or error)
            raise _not_had("the base cannot be loaded", said, "base-not-loaded") from error
    return image


def _weigh(blobs: Path, layers: list[str]) -> None:
    """Refuse a base that would fill the engine's disk, before the engine has a byte of it."""
    with ThreadPoolExecutor(os.cpu_count() or 1, "weigh") as pool:
        try:
            sizes = list(pool.map(lambda layer: weigh(blobs / layer), layers))
        except OSError as error:
            raise NeedMissing("the carried base cannot be read", error, id="base-unreadable") from error
    if sum(sizes) > max(ROOMY, RATIO * sum((blobs / layer).stat().st_size for layer in layers)):
        raise BundleRejected("the carried base would fill the disk", f"{sum(sizes)} bytes", id="base-bomb")


def _not_had(what: str, said: str, id: str) -> NeedMissing | EnvironmentNotRebuilt:
    return no_room(said) or EnvironmentNotRebuilt(what, said, id=id)


def _image_of(layout: Path, base: Base) -> tuple[str, list[str]]:
    """Config and layers (hex) of the image in a layout: the one whose manifest, or only layer, has this digest.

    Where the digest is that of a list of manifests, it is the one of the base's platform.
    """
    blobs, digest = layout / "blobs" / "sha256", base.digest
    for entry in _list(_read_json(layout / "index.json"), "manifests"):
        name = _hex(entry)
        named = f"sha256:{name}" == digest
        manifest = _read_json(blobs / name, name)
        if named and "manifests" in manifest:
            name = _of_platform(manifest, base.platform)
            manifest = _read_json(blobs / name, name)
        layers = [_hex(layer) for layer in _list(manifest, "layers")]
        if named or [f"sha256:{layer}" for layer in layers] == [digest]:
            config = _hex(manifest.get("config"))
            _read_json(blobs / config, config)
            return config, layers
    raise BundleRejected(
        "the carried base is not the one that the record names", digest, id="base-not-as-recorded"
    )


def _of_platform(index: Any, platform: str) -> str:
    for entry in _list(index, "manifests"):
        told = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(told, dict) and f"{told.get('os')}/{told.get('architecture')}" == platform:
            return _hex(entry)
    raise BundleRejected("the carried base is malformed", f"no image for {platform}", id="base-malformed")


def _list(document: Any, key: str) -> list[Any]:
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise BundleRejected("the carried base is malformed", f"no list `{key}`", id="base-malformed")
    return found


def _hex(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    text = digest.removeprefix("sha256:") if isinstance(digest, str) else ""
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise BundleRejected(
            "the carried base is malformed", f"not a sha256 digest: {digest}", id="base-malformed"
        )
    return text


def _read_json(path: Path, expected: str = "") -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(_JSON_CAP + 1)
        if len(content) > _JSON_CAP:
            raise ValueError("too large")
        document = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleRejected(
            "the carried base is malformed", f"{path.name}: {error}", id="base-malformed"
        ) from error
    if expected and hashlib.sha256(content).hexdigest() != expected:
        raise BundleRejected("the carried base is corrupt", path.name, id="base-corrupt")
    return document


def _archive(blobs: Path, config: str, layers: list[str]) -> Iterator[bytes]:
    """What `docker load` reads, streamed: config, layers and a manifest of ours that names the image.

    A blob whose bytes do not have its digest ends the stream before the manifest, so nothing is loaded.
    """
    receive, send = os.pipe()
    failure: list[BaseException] = []

    def write() -> None:
        try:
            with os.fdopen(send, "wb") as pipe, tarfile.open(fileobj=pipe, mode="w|") as archive:
                for name in [config, *layers]:
                    _add(archive, blobs / name, name)
                entry = {"Config": config, "Layers": layers, "RepoTags": [f"{REPOSITORY}:{config[:24]}"]}
                manifest = json.dumps([entry]).encode()
                member = tarfile.TarInfo("manifest.json")
                member.size = len(manifest)
                archive.addfile(member, io.BytesIO(manifest))
        except BrokenPipeError:
            pass
        except (OSError, BundleRejected) as error:
            failure.append(error)

    thread = threading.Thread(target=write, name="runbook-load", daemon=True)
    thread.start()
    with os.fdopen(receive, "rb") as pipe:
        while chunk := pipe.read(_CHUNK):
            yield chunk
    thread.join()
    for error in failure:
        if isinstance(error, OSError):
            raise NeedMissing("the carried base cannot be read", error, id="base-unreadable")
        raise error


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    with path.open("rb") as file:
        member.size = os.fstat(file.fileno()).st_size
        hashing = _Hashing(file)
        archive.addfile(member, hashing)
    if hashing.digest.hexdigest() != name:
        raise BundleRejected("the carried base is corrupt", name, id="base-corrupt")


class _Hashing:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self.digest.update(data)
        return data
