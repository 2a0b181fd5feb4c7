"""Hashes batches of small files in a process of its own; standard library only, run as `python -I -S worker.py`.

Threads lose on small files (the interpreter's lock), and a fork of a process with threads is not safe: so a plain
child, fed through pipes. It runs in the folder that the paths are relative to.

Request: u32 length, then NUL-separated paths. Answer: one record a path, in order: errno or 0, bytes read, sha256.
"""

import errno
import os
import struct
import sys
from hashlib import sha256

LENGTH = struct.Struct("<I")
RECORD = struct.Struct("<BQ32s")
BUFFER = 1 << 18
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def hash_batch(paths: list[bytes], buffer: memoryview) -> bytes:
    """The answer's records for these paths."""
    records = []
    # Names looked up once: this loop runs a million times.
    pack, limit, open_, close, readv = RECORD.pack, len(buffer), os.open, os.close, os.readv
    buffers = [buffer]
    for path in paths:
        try:
            descriptor = open_(path, _FLAGS)
            try:
                total = read = readv(descriptor, buffers)
                digest = sha256(buffer[:read])
                while read == limit or (read and total > limit):
                    read = readv(descriptor, buffers)
                    digest.update(buffer[:read])
                    total += read
            finally:
                close(descriptor)
            records.append(pack(0, total, digest.digest()))
        except OSError as error:
            records.append(pack(error.errno or errno.EIO, 0, bytes(32)))
    return b"".join(records)


def serve() -> None:
    """Answer requests on stdin until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    buffer = memoryview(bytearray(BUFFER))
    while head := requests.read(LENGTH.size):
        paths = requests.read(LENGTH.unpack(head)[0]).split(b"\0")
        answers.write(hash_batch(paths, buffer))
        answers.flush()


if __name__ == "__main__":
    try:
        serve()
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
