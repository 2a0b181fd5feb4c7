"""Runs inside the container of the base, offline: makes the virtual environment and installs the locked wheels.

Standard library only, Python 3.8 or later, no import from runbook: it is mounted into foreign environments.
argv: TARGET FOLDER MINOR SONAME…; MINOR is like `3.11`, FOLDER holds `wheels/ requirements.txt uv libraries/ pip/`
and `bring.py brought/`, for the shared libraries SONAME….
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

COMMON = """
argparse asyncio bz2 calendar cmath concurrent.futures configparser copy csv ctypes.util dataclasses datetime
decimal difflib distutils doctest email.mime.text email.parser fractions getpass gettext glob graphlib gzip
hashlib heapq html http.client http.server importlib.metadata importlib.resources inspect ipaddress json locale
logging.config logging.handlers lzma mimetypes multiprocessing.connection multiprocessing.pool
multiprocessing.shared_memory netrc numbers optparse pathlib pdb pickle pickletools pkgutil platform plistlib
pprint profile pstats pydoc queue random runpy secrets shelve shlex shutil site smtplib socket socketserver
sqlite3 ssl statistics string subprocess sysconfig tarfile tempfile textwrap threading timeit tomllib trace
traceback unittest.mock urllib.request urllib.robotparser uuid venv weakref webbrowser wsgiref.simple_server
xml.dom.minidom xml.etree.ElementTree xml.sax xmlrpc.client zipfile zoneinfo
"""
"""Modules of the standard library that jobs and their frameworks import."""
OTHER_PYTHON = 3
"""Exit code: the base's Python is not of the minor version that the lock is for."""


def find_uv(folder):
    """The command that starts uv here, or None: a base may lack the C library, or a part of it, that uv needs."""
    uv, libraries = os.path.join(folder, "uv"), os.path.join(folder, "libraries")
    loaders = sorted(name for name in os.listdir(libraries) if name.startswith("ld-"))
    for command in [[uv]] + [[os.path.join(libraries, name), "--library-path", libraries, uv] for name in loaders]:
        try:
            silent = subprocess.DEVNULL
            if subprocess.call(command + ["--version"], stdout=silent, stderr=silent) == 0:
                return command
        except OSError:
            continue
    return None


def compile_modules(python, target):
    """Compile what a job may import, on all cores; a package's own tests, half of many, are left out.

    Without `site`, so that no .pth line of a package runs. A module that does not compile is left as it is.
    """
    options = ["-I", "-S", "-m", "compileall", "-q", "-q", "-j", "0", "-x", "/tests?/"]
    lib = os.path.join(target, "lib")
    subprocess.call([python] + options + [lib], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compile_library(python):
    """Have the common modules of the base's own library compiled: bases come without, and no job can keep them."""
    code = (
        "import importlib, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except Exception: pass\n"
    )
    silent = subprocess.DEVNULL
    subprocess.call([python, "-I", "-S", "-c", code] + COMMON.split(), stdout=silent, stderr=silent)


def bring(folder, sonames):
    """Bring the system's libraries that the base lacks: at the very end, so that none is loaded while building."""
    if not sonames:
        return {"brought": [], "lacking": []}
    script, source = os.path.join(folder, "bring.py"), os.path.join(folder, "brought")
    told = subprocess.check_output([sys.executable, "-I", "-S", script, source, "/"] + sonames)
    return json.loads(told.decode())


def main():
    """Install, and say with what."""
    target, folder, minor = sys.argv[1:4]
    os.umask(0o022)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # Only what is compiled below is kept of the base.
    found = "%d.%d" % sys.version_info[:2]
    told = {"python": platform.python_version(), "prefix": sys.base_prefix, "tool": ""}
    if found != minor:
        print(json.dumps(told))
        return OTHER_PYTHON
    uv, wheels = find_uv(folder), os.path.join(folder, "wheels")
    requirements, cache = os.path.join(folder, "requirements.txt"), target + ".cache"
    common = ["--require-hashes", "--no-index", "--no-deps", "--find-links", wheels, "-r", requirements]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if uv:
        told["tool"] = "uv"
        # The cache lies beside the target, on the same file system, so that files are linked, not copied.
        quiet = uv + ["--offline", "--no-config", "--no-progress", "--quiet", "--cache-dir", cache]
        commands = [
            quiet + ["venv", "--no-project", "--python", sys.executable, target],
            quiet
            + ["pip", "install", "--python", target + "/bin/python", "--no-build", "--link-mode", "hardlink"]
            + common,
        ]
    else:
        told["tool"] = "pip"
        pip = [target + "/bin/python", "-I", os.path.join(folder, "pip", "__main__.py"), "--isolated"]
        commands = [
            [sys.executable, "-m", "venv", "--without-pip", target],
            pip
            + [
                "install",
                "--quiet",
                "--no-cache-dir",
                "--disable-pip-version-check",
                "--no-compile",
                "--only-binary",
                ":all:",
            ]
            + common,
        ]
    for command in commands:
        code = subprocess.call(command, stdout=sys.stderr)
        if code:
            return 1
    shutil.rmtree(cache, ignore_errors=True)
    compile_modules(sys.executable, target)
    compile_library(sys.executable)
    told.update(bring(folder, sys.argv[4:]))
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
