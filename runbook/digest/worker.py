"""Hashes batches of small files in a process of its own; standard library only, run as `python -I -S worker.py`.

Threads lose on small files (the interpreter's lock), and a fork of a process with threads is not safe: so a plain
child, fed through pipes. It runs in the folder that the paths are relative to.

Request: u32 length, then NUL-separated paths. Answer: u32 count, then one record a path, in order:
`<B` 0 or an errno, fingerprint (40 bytes, of a stat after reading), sha256 (32 bytes).
"""

import errno
import os
import stat
import struct
import sys
from hashlib import sha256

LENGTH = struct.Struct("<I")
RECORD = struct.Struct("<BQQQqq32s")
BUFFER = 1 << 18
NOT_REGULAR = errno.EFTYPE if hasattr(errno, "EFTYPE") else errno.EINVAL
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def hash_batch(paths: list[bytes], buffer: memoryview) -> bytes:
    """The answer's records for these paths."""
    records = []
    pack, size = RECORD.pack, len(buffer)
    buffers = [buffer]
    for path in paths:
        try:
            descriptor = os.open(path, _FLAGS)
            try:
                read = os.readv(descriptor, buffers)
                if read < size:
                    digest = sha256(buffer[:read])
                else:
                    digest = sha256()
                    while read:
                        digest.update(buffer[:read])
                        read = os.readv(descriptor, buffers)
                status = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            failed = 0 if stat.S_ISREG(status.st_mode) else NOT_REGULAR
            records.append(
                pack(
                    failed,
                    status.st_dev,
                    status.st_ino,
                    status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    digest.digest(),
                )
            )
        except OSError as error:
            records.append(pack(error.errno or errno.EIO, 0, 0, 0, 0, 0, bytes(32)))
    return b"".join(records)


def serve() -> None:
    """Answer requests on stdin until it ends."""
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    buffer = memoryview(bytearray(BUFFER))
    while head := requests.read(LENGTH.size):
        paths = requests.read(LENGTH.unpack(head)[0]).split(b"\0")
        answer = hash_batch(paths, buffer)
        answers.write(LENGTH.pack(len(paths)))
        answers.write(answer)
        answers.flush()


if __name__ == "__main__":
    try:
        serve()
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
