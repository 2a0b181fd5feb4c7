"""Runs inside the container of the base, offline: makes the virtual environment and installs the locked wheels.

Standard library only, Python 3.8 or later, no import from runbook: it is mounted into foreign environments.
argv: TARGET FOLDER MINOR, where FOLDER holds `wheels/`, `requirements.txt`, `uv` and `pip/`, and MINOR is `3.11`.
Prints one JSON object on the last line of stdout. No code of the bundle runs: wheels are unpacked and compiled,
source distributions are refused.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import json
import os
import platform
import shutil
import subprocess
import sys

OTHER_PYTHON = 3
"""Exit code: the base's Python is not of the minor version that the lock is for."""


def works(argv):
    """Whether a tool starts here at all: the uv executable needs a C library that an image may lack."""
    try:
        return subprocess.call(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def main():
    """Install, and say with what."""
    target, folder, minor = sys.argv[1:4]
    os.umask(0o022)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # The layer holds the environment and nothing of the base.
    found = "%d.%d" % sys.version_info[:2]
    told = {"python": platform.python_version(), "prefix": sys.base_prefix, "tool": ""}
    if found != minor:
        print(json.dumps(told))
        return OTHER_PYTHON
    uv, wheels = os.path.join(folder, "uv"), os.path.join(folder, "wheels")
    requirements, cache = os.path.join(folder, "requirements.txt"), target + ".cache"
    common = ["--require-hashes", "--no-index", "--no-deps", "--find-links", wheels, "-r", requirements]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if works([uv, "--version"]):
        told["tool"] = "uv"
        # The cache lies beside the target, on the same file system, so that files are linked, not copied.
        quiet = [uv, "--offline", "--no-config", "--no-progress", "--quiet", "--cache-dir", cache]
        commands = [
            quiet + ["venv", "--no-project", "--python", sys.executable, target],
            quiet
            + ["pip", "install", "--python", target + "/bin/python", "--no-build", "--link-mode", "hardlink"]
            + ["--compile-bytecode"]
            + common,
        ]
    else:
        told["tool"] = "pip"
        pip = [target + "/bin/python", "-I", os.path.join(folder, "pip", "__main__.py"), "--isolated"]
        commands = [
            [sys.executable, "-m", "venv", "--without-pip", target],
            pip
            + ["install", "--quiet", "--no-cache-dir", "--disable-pip-version-check", "--only-binary", ":all:"]
            + common,
        ]
    for command in commands:
        code = subprocess.call(command, stdout=sys.stderr)
        if code:
            return 1
    shutil.rmtree(cache, ignore_errors=True)
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
