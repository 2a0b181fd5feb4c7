"""Looks at batches of files in a process of its own; standard library only, run as `python -I -S worker.py`.

Threads lose on small files (the interpreter's lock), and a fork of a process with threads is not safe: so a plain
child, fed through pipes. It runs in the folder that the paths are relative to.

Request: what is asked, u32 length, then NUL-separated paths. Answers, in the order of the paths:
`stat`: an errno or 0 for each, whether each is executable, then the fingerprint of each.
`hash`: an errno or 0 for each, the bytes read of each, then the sha256 of each.
Columns and not rows: the parent takes a whole column at once.
"""

import errno
import gc
import os
import stat
import struct
import sys
from hashlib import sha256

REQUEST = struct.Struct("<cI")
STAT = b"s"
HASH = b"h"
MARK = struct.Struct("=QQQqq")
"""Device, inode, size, mtime_ns and ctime_ns, in this machine's byte order."""
SIZE = struct.Struct("<Q")
DIGEST_SIZE = 32
BUFFER = 1 << 18
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_MARK = bytes(MARK.size)
_NO_DIGEST = bytes(DIGEST_SIZE)


def look(paths: list[bytes]) -> bytes:
    """The answer to `stat` for these paths; what is no regular file is EINVAL."""
    failed, executable, marks = bytearray(len(paths)), bytearray(len(paths)), []
    pack, lstat, regular = MARK.pack, os.lstat, stat.S_IFREG
    for index, path in enumerate(paths):
        try:
            told = lstat(path)
        except OSError as error:
            failed[index] = error.errno or errno.EIO
            marks.append(_NO_MARK)
            continue
        mode = told.st_mode
        if mode & 0o170000 != regular:
            failed[index] = errno.EINVAL
        if mode & 0o100:
            executable[index] = 1
        marks.append(pack(told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns))
    return b"".join((failed, executable, *marks))


def digest(paths: list[bytes], buffer: memoryview) -> bytes:
    """The answer to `hash` for these paths."""
    failed, sizes, digests = bytearray(len(paths)), [], []
    # Names looked up once: this loop runs a million times.
    limit, open_, close, readv, pack = len(buffer), os.open, os.close, os.readv, SIZE.pack
    buffers = [buffer]
    for index, path in enumerate(paths):
        try:
            descriptor = open_(path, _FLAGS)
            try:
                total = read = readv(descriptor, buffers)
                hashed = sha256(buffer[:read])
                while read == limit or (read and total > limit):
                    read = readv(descriptor, buffers)
                    hashed.update(buffer[:read])
                    total += read
            finally:
                close(descriptor)
            sizes.append(pack(total))
            digests.append(hashed.digest())
        except OSError as error:
            failed[index] = error.errno or errno.EIO
            sizes.append(pack(0))
            digests.append(_NO_DIGEST)
    return b"".join((failed, *sizes, *digests))


def serve() -> None:
    """Answer requests on stdin until it ends."""
    gc.disable()  # Nothing here is cyclic, and looking for cycles among a million paths takes long.
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    buffer = memoryview(bytearray(BUFFER))
    while head := requests.read(REQUEST.size):
        asked, length = REQUEST.unpack(head)
        paths = requests.read(length).split(b"\0")
        answers.write(look(paths) if asked == STAT else digest(paths, buffer))
        answers.flush()


if __name__ == "__main__":
    try:
        serve()
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(130)
