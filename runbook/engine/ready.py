"""Runs inside a container of the base, offline: readies its Python for environments, and says what it is.

Standard library only, Python 3.8 or later, no import from runbook: it is mounted into foreign bases.
argv: FOLDER SONAME…; FOLDER holds `bring.py brought/`, for the shared libraries SONAME….
Prints one JSON object on the last line of stdout. No code of the bundle runs.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import json
import os
import platform
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
    """Bring the system's libraries that the base lacks: at the very end, so that none is loaded before."""
    if not sonames:
        return {"brought": [], "lacking": []}
    script, source = os.path.join(folder, "bring.py"), os.path.join(folder, "brought")
    told = subprocess.check_output([sys.executable, "-I", "-S", script, source, "/"] + sonames)
    return json.loads(told.decode())


def base_executable():
    """The interpreter that a virtual environment names: one beside its library, links followed if need be."""
    plain = os.path.abspath(getattr(sys, "_base_executable", None) or sys.executable)
    for path in (plain, os.path.realpath(plain)):
        library = os.path.join(os.path.dirname(os.path.dirname(path)), "lib", "python%d.%d" % sys.version_info[:2])
        if os.path.exists(os.path.join(library, "os.py")):
            return path
    return os.path.realpath(plain)


def main():
    """Ready it, and say what it is."""
    folder = sys.argv[1]
    os.umask(0o022)
    told = {
        "python": platform.python_version(),
        "prefix": sys.base_prefix,
        "executable": base_executable(),
        "implementation": platform.python_implementation(),
        "tag": sys.implementation.cache_tag or "",
    }
    compile_library(sys.executable)
    told.update(bring(folder, sys.argv[2:]))
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
