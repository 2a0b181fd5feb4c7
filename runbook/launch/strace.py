"""The text that strace writes, line by line, as values. Whatever is not understood is passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_QUIET = "SIGCHLD,SIGURG,SIGWINCH,SIGCONT,SIGPROF,SIGVTALRM"
OPTIONS = ("-f", "-q", "-y", "-x", "-s", "1024", "-e", f"signal=!{_QUIET}")
"""How strace must be told to write, so that this module understands it: names in full and escaped exactly.

Of a signal that it is told to leave out, it does not say either that it killed a process.
"""

_LINE_AT_MOST = 1 << 20
_LEADER = re.compile(rb"(\d+) +(.*)", re.DOTALL)
_RESUMED = re.compile(rb"<\.\.\. (\w+) resumed> ?(.*)", re.DOTALL)
_UNFINISHED = b" <unfinished ...>"
_BECAME = re.compile(rb"(.*) <pid changed to (\d+) \.\.\.>", re.DOTALL)
_CALL = re.compile(rb"(\w+)\((.*)", re.DOTALL)
_NAMED = rb'"(?:[^"\\]|\\.)*+"|<(?:[^<>\\]|\\.)*+>'
_NAMES = re.compile(_NAMED)
_ARGUMENT = re.compile(rb'(?:(AT_FDCWD|\d+)(?:<((?:[^<>\\]|\\.)*+)>)?(?:\(deleted\))?, )?@?"((?:[^"\\]|\\.)*+)"')
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([0-7]{1,3})|(.))", re.DOTALL)
_PLAIN_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}
_RESULT = re.compile(rb"(-?\d+)(?:<((?:[^<>\\]|\\.)*+)>)?")
_DELETED = b" (deleted)"


class Name(NamedTuple):
    """A path argument as the process gave it, and the folder that it is relative to."""

    text: bytes
    folder: bytes | None
    """Of the descriptor in front of it; empty when it was not told; None when it is the working folder's."""
    cwd: bytes = b""
    """The working folder, where strace told it (from 5.15 on)."""


class Call(NamedTuple):
    """One system call that has returned."""

    pid: int
    """The thread's."""
    name: str
    arguments: bytes
    """As strace wrote them."""
    result: int
    """Negative when it failed."""
    path: bytes = b""
    """What the descriptor that it returned stands for."""
    became: int = 0
    """The number that the thread has from now on, when it ended the others by `exec`."""


class Entered(NamedTuple):
    """A system call that has not returned yet."""

    pid: int
    name: str
    arguments: bytes


class Ended(NamedTuple):
    """A thread has ended; a process, when it is its first thread."""

    pid: int
    regular: bool
    """Whether by itself, not by a signal."""


def events(log: BinaryIO) -> Iterator[Call | Entered | Ended]:
    """What the log tells, in its order; memory does not grow with its length."""
    open_calls: dict[int, bytes] = {}
    for line in _lines(log):
        leader = _LEADER.fullmatch(line)
        if not leader:
            continue
        pid, text = int(leader[1]), leader[2]
        if text.startswith(b"+++ "):
            if text.startswith((b"+++ exited", b"+++ killed")):
                open_calls.pop(pid, None)
                yield Ended(pid, text.startswith(b"+++ exited"))
            continue
        if resumed := _RESUMED.fullmatch(text):
            begun = open_calls.pop(pid, None)
            if begun is None or not begun.startswith(resumed[1] + b"("):
                continue
            text = begun + resumed[2]
        elif text.endswith(_UNFINISHED):
            text = open_calls[pid] = text.removesuffix(_UNFINISHED)
            if call := _CALL.fullmatch(text):
                yield Entered(pid, call[1].decode(), call[2])
            continue
        elif became := _BECAME.fullmatch(text):
            if call := _CALL.fullmatch(became[1]):
                yield Call(pid, call[1].decode(), call[2], 0, became=int(became[2]))
            continue
        if returned := _returned(pid, text):
            yield returned


def _lines(log: BinaryIO) -> Iterator[bytes]:
    """Whole lines; one that was cut, or is longer than any of strace's, is left out."""
    while line := log.readline(_LINE_AT_MOST):
        if line.endswith(b"\n"):
            yield line[:-1]
            continue
        while line and not line.endswith(b"\n"):
            line = log.readline(_LINE_AT_MOST)


def _returned(pid: int, text: bytes) -> Call | None:
    call = _CALL.fullmatch(text)
    if not call:
        return None
    arguments = call[2]
    # The last ` = ` outside of names; only a line with names that hold one needs the slow way.
    at = arguments.rfind(b" = ")
    if arguments.count(b" = ") > 1:
        at = _NAMES.sub(lambda name: b"_" * len(name[0]), arguments).rfind(b" = ")
    if at < 0:
        return None
    result = _RESULT.match(arguments, at + 3)
    if not result:
        return None
    path = unescape(result[2] or b"")
    return Call(pid, call[1].decode(), arguments[:at], int(result[1]), path)


def names(arguments: bytes) -> list[Name]:
    """The quoted arguments, each with the descriptor in front of it, if there is one."""
    found = []
    for argument in _ARGUMENT.finditer(arguments):
        folder = unescape((argument[2] or b"").removesuffix(_DELETED))
        if argument[1] in (None, b"AT_FDCWD"):
            found.append(Name(unescape(argument[3]), None, folder))
        else:
            found.append(Name(unescape(argument[3]), folder))
    return found


def unescape(text: bytes) -> bytes:
    """A name as the system has it, from strace's escapes."""
    return _ESCAPE.sub(_one, text) if b"\\" in text else text


def _one(escape: re.Match[bytes]) -> bytes:
    if escape[1]:
        return bytes.fromhex(escape[1].decode())
    if escape[2]:
        return bytes([int(escape[2], 8) & 0xFF])
    return _PLAIN_ESCAPES.get(escape[3], escape[3])
