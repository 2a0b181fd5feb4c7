"""A tiny base for engine tests: this interpreter and the libraries it loads, as an OCI layout of one layer."""

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

_LEFT_OUT = {"site-packages", "test", "__pycache__", "idlelib", "tkinter", "ensurepip", "turtledemo", "lib2to3"}


def make_layout(
    folder: Path, *, variables=(), volumes=(), user="", onbuild=(), repo_tags=(), libgcc=True, **more
) -> str:
    """Write the layout into `folder`; the manifest's digest, `sha256:…`. more: further keys of its `config`."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer = blobs / "layer"
    _write_layer(layer, libgcc=libgcc)
    diff = _file_digest(layer)
    layer.rename(blobs / diff)
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()],
        "os": "linux",
        "config": {
            "Env": [f"PATH={Path(python_path()).parent}:/usr/bin:/bin", *variables],
            "Volumes": {v: {} for v in volumes},
            "User": user,
            "OnBuild": list(onbuild),
            "Entrypoint": ["/bin/false"],
            **more,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        # Its own image id each time, so that removing it never takes another test run's base away.
        "history": [{"created_by": os.urandom(8).hex()}],
    }
    config_digest = _blob(blobs, config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"digest": f"sha256:{config_digest}", "size": 0},
        "layers": [{"digest": f"sha256:{diff}", "size": 0}],
    }
    digest = _blob(blobs, manifest)
    (folder / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [{"digest": f"sha256:{digest}"}]})
    )
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {
        "Config": f"blobs/sha256/{config_digest}",
        "Layers": [f"blobs/sha256/{diff}"],
        "RepoTags": list(repo_tags),
    }
    (folder / "manifest.json").write_text(json.dumps([entry]))
    return f"sha256:{digest}"


def python_path() -> str:
    """Where the interpreter lies, here and in the base."""
    return str(Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}")


def _blob(blobs: Path, document: object) -> str:
    content = json.dumps(document).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return digest


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_layer(target: Path, *, libgcc: bool) -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    files = {Path(python_path()).resolve()}
    for folder, folders, names in os.walk(library):
        folders[:] = sorted(d for d in folders if d not in _LEFT_OUT and not d.startswith("config-"))
        files |= {Path(folder, name) for name in names}
    loaded = [p for p in files if p.suffix == ".so"] + [Path(python_path()).resolve()]
    files |= {path for path in _needed(loaded) if libgcc or "libgcc_s" not in path.name}
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        made: set[Path] = set()
        for file in sorted(files):
            for parent in reversed(file.parents):
                if parent not in made and parent != Path("/"):
                    made.add(parent)
                    _add(archive, parent, tarfile.DIRTYPE, 0o755)
            _add(archive, file, tarfile.REGTYPE, 0o755 if os.access(file, os.X_OK) else 0o644)


def _needed(loaded: list[Path]) -> set[Path]:
    """Libraries by the paths at which the loader looks; libgcc_s is opened by libc and by uv."""
    said = subprocess.run(["ldd", *map(str, loaded)], capture_output=True, text=True, check=False).stdout
    found = {Path(p) for p in re.findall(r"(?:=> |^\s+)(/[^ ]+) \(0x", said, re.M)}
    for folder in {p.parent for p in found}:
        found |= set(folder.glob("libgcc_s.so.1"))
    return found


def _add(archive: tarfile.TarFile, path: Path, kind: bytes, mode: int) -> None:
    member = tarfile.TarInfo(str(path).lstrip("/"))
    member.type, member.mode = kind, mode
    if kind == tarfile.DIRTYPE:
        archive.addfile(member)
        return
    content = path.read_bytes()
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def base_tag(layout: Path) -> str:
    """The name under which the engine keeps this base."""
    entry = json.loads((layout / "manifest.json").read_text())[0]
    return f"runbook/base:{Path(entry['Config']).name[:24]}"
