"""The process in which files are compared: with limits, without a terminal, and with nothing to lose.

It is given pairs of open files over a socket and answers each with one ArtifactComparison as JSON.
"""

from __future__ import annotations

import resource
import socket
import sys
from typing import Final

import msgspec

MEMORY: Final = 1 << 30
"""Bytes that the process may have of its own; files that are mapped do not count."""
SECONDS: Final = 60
BYTES_A_SECOND: Final = 16 << 20
"""What is asked of the slowest reader beyond that minute."""
REQUEST_CAP: Final = 1 << 16
ANSWER_CAP: Final = 1 << 18


def allowed(size: int) -> int:
    """Seconds for comparing files of so many bytes together."""
    return SECONDS + size // BYTES_A_SECOND


def main() -> None:
    """Answer until the other side closes the socket; its number is the first argument."""
    from runbook.artifacts.judge import judge

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    link = socket.socket(fileno=int(sys.argv[1]))
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, REQUEST_CAP, 2)
        if not data:
            return
        a, b = (open(descriptor, "rb", buffering=0) for descriptor in descriptors)  # noqa: PTH123, SIM115
        with a, b:
            _give_time(allowed(a.seek(0, 2) + b.seek(0, 2)))
            answer = msgspec.json.encode(judge(data.decode(), a, b))
        link.sendall(answer)


def _give_time(seconds: int) -> None:
    """Let this process compute so long from now on, on all cores together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 4 * seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
