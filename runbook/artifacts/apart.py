"""Two files compared in a process apart, so that no file of a stranger can crash, fill or hold up this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

import runbook
from runbook.artifacts.judge import BYTES
from runbook.artifacts.worker import ANSWER_CAP, REQUEST_CAP, allowed
from runbook.model.artifact import ArtifactComparison

_START: Final = "import sys; sys.path.insert(0, sys.argv[2]); from runbook.artifacts.worker import main; main()"
_VARIABLES: Final = {
    "PATH": os.defpath,
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Blocks are taken and given back all the time: without this, each would come from the kernel, page by page.
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}


class Comparer:
    """Compares files one pair after the other; a context manager, as it holds a process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def compare(self, path: str, a: BinaryIO, b: BinaryIO) -> ArtifactComparison:
        """Compare two regular files; what cannot be read in time or memory is compared by nothing but bytes.

        path: the name that both have, for the format and the answer.
        """
        sizes = os.fstat(a.fileno()).st_size, os.fstat(b.fileno()).st_size
        link = self._begin()
        link.settimeout(allowed(sum(sizes)))
        why = "its reader crashed"
        try:
            socket.send_fds(link, [path.encode()[: REQUEST_CAP - 1]], [a.fileno(), b.fileno()])
            answer = link.recv(ANSWER_CAP)
        except TimeoutError:
            answer, why = b"", "its reader took too long"
        except OSError:
            answer = b""
        try:
            return msgspec.structs.replace(msgspec.json.decode(answer, type=ArtifactComparison), path=path)
        except ValueError:
            self._end()
        return ArtifactComparison(
            path=path,
            kind=BYTES,
            verdict="bytes differ",
            reason=f"the bytes differ; {why}, so nothing is said of the content",
            bytes=sizes[0],
            replay_bytes=sizes[1],
        )

    def _begin(self) -> socket.socket:
        if self._link is not None:
            return self._link
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = Path(runbook.__file__).parents[1]
        with there:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, str(there.fileno()), str(root)],
                pass_fds=(there.fileno(),),
                env=_VARIABLES,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._link = here
        return here

    def _end(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
