"""Runs inside the container of the base, offline: brings the shared libraries that the base lacks.

Standard library only, Python 3.8 or later, no import from runbook: it is mounted into foreign environments.
argv: FOLDER ROOT SONAME…; FOLDER holds a file for each library that is at hand, ROOT is where `/` is written to.
A library goes where the C library of this Python lies, which the dynamic loader searches by itself. What is there
is never replaced, and nothing is loaded. Prints one JSON object: `brought` and `lacking`, lists of sonames.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import json
import os
import re
import shutil
import subprocess
import sys

OWN = re.compile(r"(ld-.*|ld64.*|lib(c|m|pthread|dl|rt|util|resolv|anl|mvec|nss_.*|nsl)\.so.*|libpython.*)")
"""What belongs to the C library or is the interpreter: a base has its own."""
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


def home():
    """The folder of the C library that this Python runs on; empty where it is none of ours (musl)."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if re.search(r"(^|/)libc(\.so\.6|-2\.[0-9]+\.so)$", path):
                return os.path.dirname(os.path.realpath("/" + path))
    return ""


def known(folder):
    """Names that the loader finds: its cache, and the folders that it searches in any case."""
    names = set()
    for tool in ("/sbin/ldconfig", "/usr/sbin/ldconfig"):
        try:
            done = subprocess.run([tool, "-p"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            continue
        said = done.stdout.decode(errors="replace")
        names.update(re.findall(r"^\s+(\S+) \(.*?\) => /", said, re.MULTILINE))
        break
    for place in (folder, "/lib64", "/usr/lib64", "/lib", "/usr/lib"):
        try:
            names.update(os.listdir(place))
        except OSError:
            continue
    return names


def main():
    """Bring what is lacking, and say what was and what is not at hand."""
    source, root = sys.argv[1:3]
    wanted = [name for name in sys.argv[3:] if PLAIN.fullmatch(name) and not OWN.fullmatch(name)]
    folder = home()
    there = known(folder) if folder else set()
    brought, lacking = [], []
    for name in wanted:
        if name in there:
            continue
        path = os.path.join(source, name)
        if not folder or not os.path.isfile(path):
            lacking.append(name)
            continue
        target = os.path.join(root, folder.lstrip("/"))
        os.makedirs(target, exist_ok=True)
        shutil.copyfile(path, os.path.join(target, name))
        os.chmod(os.path.join(target, name), 0o644)
        brought.append(name)
    print(json.dumps({"brought": brought, "lacking": lacking}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
