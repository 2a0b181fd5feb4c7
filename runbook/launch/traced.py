"""System calls of a traced job, as the records that the hook would have written about them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from runbook.launch.strace import Call, Ended, Entered, Name, names
from runbook.launch.watched import FORMAT, Fold

_PROCESSES = 20_000
_NOT_FILES = (b"/proc", b"/sys", b"/dev")
_LIBRARY = re.compile(rb"\.so(\.[0-9.]+)?$")
_FLAGS = re.compile(rb"\b(?:__)?O_[A-Z_]+|\bRENAME_[A-Z]+")
_HOST = re.compile(
    rb'sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]*)"'
)
_SOCKET = re.compile(rb'sun_path="([^"]*(?:docker|podman|containerd)[^"]*\.sock)"')
_NAME_SERVICE = (0, 53)
"""Ports of connections that only look names up, or ask the kernel for a route."""


class _Folder:
    """A working folder; threads share one."""

    __slots__ = ("path",)

    def __init__(self, path: bytes) -> None:
        self.path = path


class _Process:
    """Threads that share a number; it is told to the fold when it does something."""

    __slots__ = ("argv", "executable", "log", "parent", "pid")

    def __init__(self, pid: int, parent: _Process | None) -> None:
        self.pid, self.parent = pid, parent
        self.log: int | None = None
        self.argv: list[bytes] = list(parent.argv) if parent else []
        self.executable: bytes = parent.executable if parent else b""


class _Thread:
    __slots__ = ("folder", "process")

    def __init__(self, process: _Process, folder: _Folder) -> None:
        self.process, self.folder = process, folder


class Reader:
    """Turns system calls into the records that the hook writes."""

    def __init__(self, fold: Fold, watch: bytes, cwd: bytes) -> None:
        self._fold = fold
        self._watch = watch
        self._cwd = cwd
        self._threads: dict[int, _Thread] = {}
        self._cloning: dict[int, _Thread] = {}
        self._logs = 0
        self._takers: dict[str, Callable[[_Thread, Call], None]] = {
            **dict.fromkeys(("open", "openat", "openat2", "creat"), self._open),
            **dict.fromkeys(("execve", "execveat"), self._execute),
            **dict.fromkeys(("rename", "renameat", "renameat2"), self._rename),
            **dict.fromkeys(("unlink", "unlinkat"), self._remove),
            **dict.fromkeys(("link", "linkat"), self._link),
            **dict.fromkeys(("truncate", "truncate64"), self._truncate),
            **dict.fromkeys(("clone", "clone3", "fork", "vfork"), self._clone),
            **dict.fromkeys(("chroot", "pivot_root"), self._root),
            "chdir": self._chdir,
            "fchdir": self._fchdir,
            "open_by_handle_at": self._by_handle,
            "io_uring_setup": self._io_uring,
        }

    def take(self, event: Call | Entered | Ended) -> None:
        """Take the next one."""
        if isinstance(event, Ended):
            self._end(event)
            return
        thread = self._thread(event.pid)
        if isinstance(event, Entered):
            if event.name in ("clone", "clone3", "fork", "vfork"):
                self._cloning[event.pid] = thread
        elif event.name == "connect":
            self._connect(thread, event)
        elif event.name == "ptrace":
            if event.result < 0:
                self._fold.lose(
                    "a debugger, or another use of ptrace by the job, was refused because strace was there"
                )
        elif event.result >= 0 and event.name in self._takers:
            self._takers[event.name](thread, event)
        if isinstance(event, Call):
            self._cloning.pop(event.pid, None)

    # --- processes ---

    def _thread(self, pid: int) -> _Thread:
        found = self._threads.get(pid)
        if found is None:
            # A child may act before its parent's call returns: the last one entered is taken for it.
            above = next(reversed(self._cloning.values()), None)
            found = _Thread(
                _Process(pid, above.process if above else None), _Folder(above.folder.path if above else self._cwd)
            )
            self._threads[pid] = found
        return found

    def _clone(self, thread: _Thread, call: Call) -> None:
        child = self._threads.get(call.result)
        if child is None:
            child = self._threads[call.result] = _Thread(
                _Process(call.result, thread.process), _Folder(thread.folder.path)
            )
        elif child.process.log is None:
            child.process.parent = thread.process
        if b"CLONE_FS" in call.arguments:
            child.folder = thread.folder
        if b"CLONE_THREAD" in call.arguments:
            child.process = thread.process

    def _end(self, event: Ended) -> None:
        self._cloning.pop(event.pid, None)
        thread = self._threads.pop(event.pid, None)
        if (
            thread is not None
            and event.pid == thread.process.pid
            and event.regular
            and thread.process.log is not None
        ):
            self._fold.add(thread.process.log, b"Z", [])

    def _log(self, thread: _Thread, start: bytes = b"fork") -> int:
        """The process's number with the fold, which hears of it now if it has not."""
        process = thread.process
        if process.log is None:
            known: _Process | None = process.parent
            ancestors: list[bytes] = []
            while known is not None and len(ancestors) < 8:
                ancestors.append(b"%d" % known.pid)
                known = known.parent
            if self._logs >= _PROCESSES:
                self._fold.lose(
                    f"more than {_PROCESSES} processes: what the later ones did is told of the first one"
                )
                process.log = 0
                return 0
            process.log = self._logs
            self._logs += 1
            folder = thread.folder.path
            told = [b"%d" % process.pid, b",".join(ancestors), start if self._logs > 1 else b"start"]
            folder = os.path.normpath(folder) if folder else b""
            self._fold.add(process.log, b"P", [FORMAT, *told, b"", b"", process.executable, folder, b""])
            self._fold.add(process.log, b"A", process.argv)
        return process.log

    def _execute(self, thread: _Thread, call: Call) -> None:
        before = thread.process
        named = names(call.arguments)
        if not named:
            return
        executable = self._full(thread, named[0])
        # The arguments stand in brackets; the program's name may stand without a descriptor just before them.
        argv = [one.text for one in named[1:]]
        process = _Process(before.pid, before if before.log is not None else before.parent)
        process.argv, process.executable = argv, executable or named[0].text
        caller = before if before.log is not None else before.parent
        if call.became:
            thread = self._threads[before.pid] = _Thread(process, thread.folder)
            self._threads.pop(call.pid, None)
        thread.process = process
        thread.folder = _Folder(thread.folder.path)
        log = self._log(thread, b"start")
        if caller is not None and caller.log is not None:
            how = b"exec" if caller is before else b""
            self._fold.add(caller.log, b"X", [how, process.executable, *argv])
        if executable:
            self._note(log, b"r", executable)

    # --- files ---

    def _full(self, thread: _Thread, name: Name, resolved: bytes = b"") -> bytes:
        """The absolute path; empty when it is not known. resolved: the kernel's own, without links."""
        if name.cwd:
            thread.folder.path = name.cwd
        if name.text.startswith(b"/"):
            path = name.text
        else:
            folder = thread.folder.path if name.folder is None else name.folder
            path = folder + b"/" + name.text if folder.startswith(b"/") else resolved
        if b"\0" in path:
            return b""  # No call has such a name: the log is not strace's.
        if b".." in path.split(b"/") and resolved:
            # Leading out of a folder that is a link is not what the text says.
            plain = os.path.normpath(path)
            if plain != resolved and os.path.realpath(plain) != resolved:
                return resolved
        return path

    def _note(self, log: int, kind: bytes, *paths: bytes) -> None:
        for path in paths:
            plain = os.path.normpath(path)
            if not plain.startswith(b"/") or _below(plain, *_NOT_FILES, self._watch):
                return
        if kind == b"r":  # A path that is read is a whole record: its slash is the kind.
            kind, paths = b"/", (paths[0][1:],)
        self._fold.add(log, kind, list(paths))

    def _open(self, thread: _Thread, call: Call) -> None:
        named = names(call.arguments)
        if not named:
            return
        path = self._full(thread, named[0], call.path)
        flags = set(_FLAGS.findall(call.arguments, call.arguments.rfind(b'"')))
        if flags & {b"O_DIRECTORY", b"O_PATH", b"O_TMPFILE", b"__O_TMPFILE"}:
            return
        if call.path and (not call.path.startswith(b"/") or _below(call.path, *_NOT_FILES)):
            return
        if call.name == "creat" or b"O_WRONLY" in flags:
            kind = b"w"
        elif b"O_RDWR" in flags:
            kind = b"w" if flags & {b"O_TRUNC", b"O_EXCL"} else b"u"
        else:
            kind = b"n" if _LIBRARY.search(path) and b"O_CLOEXEC" in flags else b"r"
        self._note(self._log(thread), kind, path)

    def _by_handle(self, thread: _Thread, call: Call) -> None:
        if b"O_DIRECTORY" not in call.arguments and b"O_PATH" not in call.arguments:
            self._note(self._log(thread), b"r", call.path)

    def _pair(self, thread: _Thread, call: Call) -> tuple[bytes, bytes] | None:
        named = names(call.arguments)
        if len(named) < 2:
            return None
        return self._full(thread, named[0]), self._full(thread, named[1])

    def _rename(self, thread: _Thread, call: Call) -> None:
        pair = self._pair(thread, call)
        if pair is None:
            return
        log = self._log(thread)
        if b"RENAME_EXCHANGE" in call.arguments[call.arguments.rfind(b'"') :]:
            for path in pair:
                self._note(log, b"u", path)
            return
        known = self._fold.knows(pair[0])
        self._note(log, b"m", *pair)
        if not known and self._fold.knows(pair[1]):
            # No folder whose files are known, but a file from before the job: the new name holds its content.
            self._note(log, b"r", pair[0])
            self._note(log, b"m", *pair)

    def _link(self, thread: _Thread, call: Call) -> None:
        pair = self._pair(thread, call)
        if pair is not None:
            if not self._fold.knows(pair[0]):
                self._note(self._log(thread), b"r", pair[0])
            self._note(self._log(thread), b"w", pair[1])

    def _remove(self, thread: _Thread, call: Call) -> None:
        for name in names(call.arguments):
            self._note(self._log(thread), b"d", self._full(thread, name))

    def _truncate(self, thread: _Thread, call: Call) -> None:
        for name in names(call.arguments):
            self._note(self._log(thread), b"u", self._full(thread, name))

    def _chdir(self, thread: _Thread, call: Call) -> None:
        for name in names(call.arguments):
            path = self._full(thread, name)
            thread.folder.path = os.path.realpath(path) if path else b""

    def _fchdir(self, thread: _Thread, call: Call) -> None:
        # Written as a name in front of a path, so that one reading serves for both.
        for name in names(call.arguments.rstrip(b") ") + b', ""'):
            thread.folder.path = name.folder or b""

    # --- the rest ---

    def _connect(self, thread: _Thread, call: Call) -> None:
        if found := _HOST.search(call.arguments):
            if int(found[1]) not in _NAME_SERVICE:
                self._fold.add(self._log(thread), b"C", [found[2], found[1], b"", b"", b""])
        elif call.result >= 0 and _SOCKET.search(call.arguments):
            self._fold.lose(
                "a container engine was spoken to: files that a container of the job read are not seen"
            )

    def _io_uring(self, _thread: _Thread, _call: Call) -> None:
        self._fold.lose("io_uring was set up: files that are opened through it are not seen")

    def _root(self, _thread: _Thread, _call: Call) -> None:
        self._fold.lose("a process changed its root folder: its paths are those that it saw")


def _below(path: bytes, *folders: bytes) -> bool:
    return any(path == folder or path.startswith(folder + b"/") for folder in folders)
