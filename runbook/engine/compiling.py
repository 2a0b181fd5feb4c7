"""Runs inside a container of the base, offline: compiles modules of wheels, which nobody imports or executes.

Standard library only, Python 3.8 or later, no import from runbook: it is mounted into foreign bases.
argv: FOLDER PREFIX LIST; a line of LIST is `NUMBER/MODULE`, a module in a folder of FOLDER, for which PREFIX will
stand. On stdout, for each in its order: the length of its bytecode as eight bytes, and the bytecode. Zero: it does
not compile, and is left as it is.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import importlib.machinery
import importlib.util
import marshal
import os
import struct
import sys
import tempfile
import warnings

AT_ONCE = 64
"""Modules that one process compiles: what crashes it spares the others."""


def bytecode(path, name):
    """What a `.pyc` file holds, checked by time and size of its source; empty where it does not compile."""
    try:
        status = os.stat(path)
        with open(path, "rb") as file:
            source = file.read()
        loader = importlib.machinery.SourceFileLoader("module", path)
        code = loader.source_to_code(source, name)
        head = importlib.util.MAGIC_NUMBER + struct.pack(
            "<III", 0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF
        )
        return head + marshal.dumps(code)
    except (Exception, RecursionError):
        return b""


def compile_all(names, folder, prefix, target):
    """Compile into the file `target`; each module whole, so that a crash of the compiler ends it between two."""
    with open(target, "wb") as sink:
        for name in names:
            data = bytecode(os.path.join(folder, name), os.path.join(prefix, name.partition("/")[2]))
            sink.write(struct.pack(">Q", len(data)) + data)
            sink.flush()


def compiled(path, count):
    """What was compiled into a file, so many modules; empty ones for those that a crash left out."""
    try:
        file = open(path, "rb")
    except OSError:
        return [b""] * count
    with file:
        found = []  # type: list[bytes]
        while len(found) < count:
            head = file.read(8)
            length = struct.unpack(">Q", head)[0] if len(head) == 8 else 0
            data = file.read(length)
            found.append(data if len(data) == length else b"")
    return found


def main():
    """Compile on all cores, each few modules in a process of their own, and write in order."""
    folder, prefix, listed = sys.argv[1:4]
    warnings.simplefilter("ignore")
    with open(listed, "rb") as file:
        names = os.fsdecode(file.read()).split("\n")[:-1]
    parts = [names[at : at + AT_ONCE] for at in range(0, len(names), AT_ONCE)]
    with tempfile.TemporaryDirectory() as scratch:
        paths = [os.path.join(scratch, str(number)) for number in range(len(parts))]
        running = 0
        for part, path in zip(parts, paths):
            if running >= len(os.sched_getaffinity(0)):
                os.wait()
                running -= 1
            if os.fork() == 0:
                try:
                    compile_all(part, folder, prefix, path)
                finally:
                    os._exit(0)
            running += 1
        for _ in range(running):
            os.wait()
        for part, path in zip(parts, paths):
            for data in compiled(path, len(part)):
                sys.stdout.buffer.write(struct.pack(">Q", len(data)) + data)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
