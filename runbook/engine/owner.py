"""Who made what: everything an engine makes names its process, so that what a killed one left can be removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psutil

LABEL = "org.runbook.owner"
"""Label of every container that runbook makes."""
_PREFIX = "runbook-"
_HELD_S = 10
"""Seconds that an interruption is held back at most."""


@cache
def _mark(pid: int) -> str:
    return f"{_place()}-{pid}-{_started(pid)}"


def owner() -> str:
    """Name this process for all time on this machine: `<boot and process namespace>-<pid>-<start time>`."""
    return _mark(os.getpid())


def is_dead(mark: str) -> bool:
    """Whether the process that `owner` named has ended; False where that cannot be known from here."""
    place, _, rest = mark.partition("-")
    pid, _, started = rest.partition("-")
    if place != _place() or not pid.isdecimal():
        return False
    return _started(int(pid)) != started


def fresh_name() -> str:
    """A name for a container or folder that carries its owner."""
    return f"{_PREFIX}{owner()}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for this process alone, removed whatever happens."""
    folder = Path(tempfile.gettempdir()) / fresh_name()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        with uninterrupted():
            shutil.rmtree(folder, ignore_errors=True)


def sweep_scratch() -> int:
    """Remove the folders of dead owners; how many."""
    gone = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*-*-*"):
        mark = folder.name.removeprefix(_PREFIX).rpartition("-")[0]
        if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid() and is_dead(mark):
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    return gone


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back while something is put away, then deliver them.

    A second one breaks through, and so does the first after some seconds: an engine may never answer.
    By handlers, not by a mask: Python runs them in the main thread whichever thread the kernel chose.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    waiting: list[threading.Timer] = []

    def hold(number: int, _frame: object) -> None:
        if held:
            release()
            held.clear()
            os.kill(os.getpid(), number)
            return
        held.append(number)
        timer = threading.Timer(_HELD_S, os.kill, (os.getpid(), number))
        timer.daemon = True
        waiting.append(timer)
        timer.start()

    def release() -> None:
        for timer in waiting:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)

    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, hold) for number in numbers}
    try:
        yield
    finally:
        release()
        for held_number in held:
            os.kill(os.getpid(), held_number)


@cache
def _place() -> str:
    """The boot and the process namespace: a pid means something only within both. Hex digits, no dash.

    After a reboot the old marks are of another place; their containers have ended by then, and nothing is known
    of the folders of another container that shares /tmp.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().replace("-", "")[:8]
        namespace = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        return "0"
    return f"{boot}{int(namespace):x}"


def _started(pid: int) -> str:
    """Start of the process in hundredths of a second, or nothing when there is no such process."""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(round(process.create_time() * 100))
    except psutil.Error:
        return ""
