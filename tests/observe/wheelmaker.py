"""Makes small pure wheels, and is itself a PEP 517/660 build backend that needs nothing (`backend-path`)."""

import base64
import hashlib
import pathlib
import zipfile


def make_wheel(folder, name, version, files, requires=(), tag="py3-none-any"):
    """Write NAME-VERSION.whl with these files (path → text or bytes) into a folder; its path."""
    dist = f"{name.replace('-', '_')}-{version}"
    info = f"{dist}.dist-info"
    needs = "".join(f"Requires-Dist: {r}\n" for r in requires)
    members = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}".encode()
    pure = "true" if tag.endswith("none-any") else "false"
    members[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nRoot-Is-Purelib: {pure}\nTag: {tag}\n".encode()
    rows = []
    for path, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(data)}\n")
    members[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"]).encode()
    wheel = pathlib.Path(folder) / f"{dist}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return wheel


def make_project(folder, name, version, files):
    """Write a project that builds with this very file as its backend."""
    folder = pathlib.Path(folder)
    for path, text in files.items():
        (folder / "src" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "src" / path).write_text(text)
    (folder / "backend.py").write_text(pathlib.Path(__file__).read_text())
    (folder / "name.txt").write_text(f"{name} {version}")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\n'
    )
    return folder


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name, version = pathlib.Path("name.txt").read_text().split()
    source = pathlib.Path("src")
    files = {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    return make_wheel(wheel_directory, name, version, files).name


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name, version = pathlib.Path("name.txt").read_text().split()
    files = {f"__editable__.{name}-{version}.pth": f"{pathlib.Path('src').resolve()}\n"}
    return make_wheel(wheel_directory, name, version, files).name
