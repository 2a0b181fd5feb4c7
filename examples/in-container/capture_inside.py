"""Run and capture a job inside a container that has no network, then replay the bundle outside of it.

usage: python capture_inside.py [FOLDER]     FOLDER, ./build by default, holds the bundle afterwards

BASE_IMAGE=python:3.12-slim-bookworm names a base with PYTHON=/usr/local/bin/python in it. Without it, the base is
made from this machine's own Python, so that no registry is needed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import docker

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
JOB = HERE.parent / "sklearn-digits"
IMAGE = "runbook-example-in-container"


def make_base(client: docker.DockerClient) -> tuple[str, str]:
    """A base image and the path of its Python; made from this machine's Python when none is given."""
    given = os.environ.get("BASE_IMAGE")
    if given:
        return given, os.environ.get("PYTHON", "/usr/local/bin/python")
    from runbook.environment.closure import build_closure
    from runbook.observe.probing import read_interpreter, run_probe

    interpreter = read_interpreter(run_probe(sys.executable, os.environ, HERE))
    with tempfile.TemporaryDirectory() as scratch:
        closure = build_closure(interpreter, cache=Path(scratch))
        layer = closure.layout / "blobs" / "sha256" / _only_layer(closure.layout)
        client.api.import_image_from_file(str(layer), repository=f"{IMAGE}-base", tag="latest")
    return f"{IMAGE}-base", closure.python


def build_image(client: docker.DockerClient, context: Path) -> None:
    """Build the training image: wheels are fetched here by pip, installed there without a network."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", context / "wheels"]
    subprocess.run([*pip, PROJECT, "-r", JOB / "requirements.txt"], check=True)
    shutil.copy(HERE / "Dockerfile", context)
    shutil.copy(JOB / "train.py", context)
    base, python = make_base(client)
    arguments = {"BASE": base, "PYTHON": python}
    client.images.build(
        path=str(context), tag=IMAGE, buildargs=arguments, network_mode="none", rm=True, forcerm=True
    )


def capture(client: docker.DockerClient, folder: Path) -> Path:
    """Run the job and capture it, both inside the container; the bundle comes out through one mount."""
    command = ["/opt/runbook/bin/runbook", "run", "--name", "digits", "--metrics", "metrics.json"]
    command += ["--capture", "--offline", "-o", "/out/digits.runbook"]
    command += ["--", "/opt/job/bin/python", "train.py", "--seed", "7"]
    mounts = {str(folder): {"bind": "/out", "mode": "rw"}}
    said = client.containers.run(
        IMAGE, command, volumes=mounts, network_mode="none", environment={"HOME": "/tmp"}, remove=True, stderr=True
    )
    sys.stderr.write(said.decode(errors="replace"))
    return folder / "digits.runbook"


def replay(bundle: Path, folder: Path) -> str:
    """Replay outside of that container, in the sandbox; the overall verdict."""
    command = [
        sys.executable,
        "-m",
        "runbook",
        "replay",
        bundle,
        "--engine",
        "docker",
        "-o",
        folder / "replay",
        "--json",
    ]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    return json.loads(done.stdout)["comparison"]["verdict"] if done.stdout else f"exit {done.returncode}"


def main(folder: Path) -> str:
    """Do it all and remove the images; returns the verdict."""
    folder = folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    client = docker.from_env()
    try:
        with tempfile.TemporaryDirectory() as context:
            build_image(client, Path(context))
        return replay(capture(client, folder), folder)
    finally:
        for image in (IMAGE, f"{IMAGE}-base"):
            if client.images.list(image):
                client.images.remove(image, force=True)
        client.close()


def _only_layer(layout: Path) -> str:
    def blob(digest: str) -> dict:
        return json.loads((layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_text())

    index = json.loads((layout / "index.json").read_text())
    [layer] = blob(index["manifests"][0]["digest"])["layers"]
    return layer["digest"].removeprefix("sha256:")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "build"))
