"""One lane a core: a thread, and a worker process of its own once it has small files to look at."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from runbook.digest import worker


class Lane:
    """Asks its worker process; or, where so few files are not worth a process, looks itself."""

    def __init__(self, root: Path, *, alone: bool, stop: threading.Event) -> None:
        self._root = root
        self._alone = alone
        self._child: subprocess.Popen[bytes] | None = None
        self.stop = stop
        """Set when whatever is long should end."""

    def stat(self, paths: list[str]) -> bytes:
        """See `worker.look`."""
        if self._alone:
            return worker.look(self._absolute(paths))
        return self._ask(worker.STAT, paths, 2 + worker.MARK.size)

    def hash(self, paths: list[str]) -> bytes:
        """See `worker.digest`."""
        if self._alone:
            return worker.digest(self._absolute(paths), memoryview(bytearray(worker.BUFFER)))
        return self._ask(worker.HASH, paths, 1 + worker.SIZE.size + worker.DIGEST_SIZE)

    def close(self, *, kill: bool) -> None:
        """End the worker process."""
        if self._child is not None:
            if kill:
                self._child.kill()
            with self._child:
                pass

    def _absolute(self, paths: list[str]) -> list[bytes]:
        return [os.fsencode(self._root / path) for path in paths]

    def _ask(self, what: bytes, paths: list[str], width: int) -> bytes:
        child = self._child = self._child or _start(self._root)
        if child.stdin is None or child.stdout is None:
            raise AssertionError("a worker has pipes")
        request = "\0".join(paths).encode()
        child.stdin.write(worker.REQUEST.pack(what, len(request)) + request)
        child.stdin.flush()
        answer = child.stdout.read(len(paths) * width)
        if len(answer) != len(paths) * width:
            raise OSError(f"a hashing process ended with {child.wait()}")
        return answer


Job = Callable[[Lane], None]


class Lanes:
    """Does jobs on all cores; what one of them raises ends all and is raised to the caller."""

    def __init__(self, lanes: list[Lane], stop: threading.Event) -> None:
        self._lanes = lanes
        self._stop = stop

    def do(self, jobs: Iterable[Job]) -> None:
        """Do these jobs, in order of their coming, as lanes are free; more may come while the first are done."""
        queue, failures = SimpleQueue[Job | None](), SimpleQueue[BaseException]()

        def run(lane: Lane) -> None:
            try:
                while (job := queue.get()) is not None and not self._stop.is_set():
                    job(lane)
            except BaseException as error:
                self._stop.set()
                failures.put(error)

        threads = [threading.Thread(target=run, args=(lane,), name="digest") for lane in self._lanes]
        try:
            for thread in threads:
                thread.start()
            for job in jobs:
                queue.put(job)
                if self._stop.is_set():
                    break
            for _ in threads:
                queue.put(None)
            for thread in threads:
                thread.join()  # Here, where Ctrl-C is heard, and below, where what was begun is ended.
        except BaseException:
            self._stop.set()
            raise
        finally:
            for _ in threads:
                queue.put(None)
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        with contextlib.suppress(Empty):
            raise failures.get_nowait()


@contextlib.contextmanager
def lanes(root: Path, *, alone: bool) -> Iterator[Lanes]:
    """A lane for every core. alone: look at small files in this process."""
    stop = threading.Event()
    made = [Lane(root, alone=alone, stop=stop) for _ in range(cores())]
    try:
        yield Lanes(made, stop)
    except BaseException:
        for lane in made:
            lane.close(kill=True)
        raise
    for lane in made:
        lane.close(kill=False)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(root: Path) -> subprocess.Popen[bytes]:
    # The worker's own group: Ctrl-C is for the parent, which then closes the pipes.
    command = [sys.executable, "-I", "-S", worker.__file__]
    return subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
