"""The job's output: copied byte for byte to our own stream and to a log, without ever stalling the job."""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import termios
from collections import deque
from pathlib import Path
from typing import BinaryIO

CHUNK = 65536
"""Bytes read at once: what a Linux pipe holds."""
_TAIL = 1024 * 1024
"""Bytes of the end that a log keeps when it is cut: the end is where final metrics are printed."""


class Log:
    """A log file of at most `cap` bytes: its beginning and its end are kept, and a note says what was cut."""

    def __init__(self, path: Path, cap: int) -> None:
        self._file: BinaryIO = path.open("wb", buffering=0)
        self._tail_size = min(_TAIL, cap // 2)
        self._head_left = cap - self._tail_size
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.written = 0
        """Bytes that the job wrote, kept or not."""
        self.cut = 0
        """Bytes that were not kept; final once the log is closed."""

    def write(self, data: bytes) -> None:
        """Append; what exceeds the head waits in memory as the tail, at most a mebibyte."""
        self.written += len(data)
        if self._head_left:
            head, data = data[: self._head_left], data[self._head_left :]
            self._head_left -= len(head)
            self._file.write(head)
        if data:
            self._tail.append(data)
            self._tail_bytes += len(data)
            while self._tail_bytes - len(self._tail[0]) >= self._tail_size:
                gone = len(self._tail.popleft())
                self._tail_bytes -= gone
                self.cut += gone

    def close(self) -> None:
        """Write the note and the tail, and close the file."""
        tail = b"".join(self._tail)
        excess = max(len(tail) - self._tail_size, 0)
        self.cut += excess
        if self.cut:
            self._file.write(b"\n[runbook: %d bytes were cut here]\n" % self.cut)
        self._file.write(tail[excess:])
        self._file.close()


class Pump:
    """Moves one stream: a pipe from the job → our own descriptor → the log.

    It reads only when what it read before has been passed on, so a slow reader of ours slows the job down, as a
    plain pipe would, and nothing grows in memory.
    """

    def __init__(self, source: int, sink: int | None, log: Log) -> None:
        self.source = source
        self.sink = sink
        self.log = log
        self.open = True
        """Whether the job's end may still deliver."""
        self._pending = b""
        self._left: int | None = None
        self._sink_is_file = sink is not None and stat.S_ISREG(os.fstat(sink).st_mode)

    @property
    def busy(self) -> bool:
        """Whether something is still to be read or passed on."""
        return self.open or bool(self._pending)

    def interest(self) -> tuple[int, int]:
        """The descriptor and the poll event that it waits for."""
        if self._pending and self.sink is not None:
            return self.sink, select.POLLOUT
        return self.source, select.POLLIN

    def step(self) -> None:
        """Do what can be done without blocking, once."""
        if self._pending:
            self._pass_on()
        elif self.open and _ready(self.source, select.POLLIN):
            size = CHUNK if self._left is None else min(CHUNK, self._left)
            data = os.read(self.source, size) if size else b""
            if self._left is not None:
                self._left -= len(data)
            if not data:
                self.end()
                return
            self.log.write(data)
            if self.sink is not None:
                self._pending = data
                self._pass_on()

    def finish_with_what_is_there(self) -> None:
        """Read only what the pipe holds now: somebody else keeps its other end open."""
        if self._left is None:
            waiting = fcntl.ioctl(self.source, termios.FIONREAD, b"\0" * 4)
            self._left = int(struct.unpack("i", waiting)[0])
            if not self._left:
                self.end()

    def end(self) -> None:
        """Close our end of the pipe."""
        if self.open:
            self.open = False
            os.close(self.source)

    def _pass_on(self) -> None:
        if self.sink is None or not _ready(self.sink, select.POLLOUT):
            return
        # A blocking pipe that is ready takes PIPE_BUF bytes at once; a larger write could block us.
        size = len(self._pending) if self._sink_is_file else select.PIPE_BUF
        try:
            self._pending = self._pending[os.write(self.sink, self._pending[:size]) :]
        except BlockingIOError:
            return
        except OSError:  # Nobody reads us any more (`| head`): the job goes on, into the log.
            self.sink, self._pending = None, b""


def _ready(descriptor: int, event: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(0))
