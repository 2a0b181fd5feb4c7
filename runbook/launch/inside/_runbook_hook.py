"""Watches one Python process from inside: the audit hook, and what the process does with files and modules.

Standard library only, ASCII, CPython 3.8 to 3.14; of that only what the interpreter has loaded anyhow, `mmap` and
`atexit`. Nothing here may raise into the job, print, or take long. `runbook.launch.watch` reads the logs.
"""

# mypy: ignore-errors

import atexit
import mmap
import os
import sys
from _thread import get_ident
from time import monotonic

import _runbook_calls as calls
import _runbook_log as log
import _runbook_random as random
import _runbook_states as states

_KEEP_AT_MOST = 256 << 20
_SEARCH_S = 2.0
"""Seconds that a process spends on asking other processes' logs whether a file had been read."""
_TEMPORARY = getattr(os, "O_TMPFILE", 0) & ~log.NOT_FILES

_started = 0
_cwd = ""
_kept = 0
_searched = 0.0
_pending = []
_stdin = None
"""Device, inode and position of standard input at the start, when it is a file: it was opened before us."""
_imports = set()


def _where():
    """The working folder, with a slash; asked for again only after a chdir. A question mark when it is gone."""
    global _cwd
    if _cwd:
        return _cwd
    try:
        here = os.getcwd()
    except OSError as error:
        log.guard(error)
        return "?/"
    _cwd = here if here == "/" else here + "/"
    return _cwd


def _full(path, folder=-1):
    """An absolute path as text; None for a descriptor and other things that are no path."""
    if isinstance(path, int) or path is None:
        return None
    path = os.fsdecode(path)
    if path[:1] == "/":
        return path
    if isinstance(folder, int) and folder >= 0:
        try:
            return os.readlink("/proc/self/fd/%d" % folder) + "/" + path
        except OSError as error:
            log.guard(error)
            return None
    return _where() + path


def _first(kind, path):
    """Whether this use of the path is not among those remembered."""
    key = path if kind == "r" else (kind, path)
    if key in log.seen:
        return False
    log.seen.add(key)
    return True


def _opened(path, flags):
    if flags & log.OURS and get_ident() in log.busy:
        return
    path = _full(path)
    if path is None or flags & log.NOT_FILES or flags & _TEMPORARY:
        return
    access = flags & (os.O_WRONLY | os.O_RDWR)
    if access == os.O_RDONLY:
        if _first("r", path):
            log.file(path)
        return
    update = access == os.O_RDWR and not flags & (os.O_TRUNC | os.O_EXCL)
    kind = "u" if update else "w"
    if _first(kind, path):
        if not _keep(path, update):
            return
        log.file(kind, path)
    url = calls.writes(path)
    if url and _first("f" + url, path):
        log.file("f", path, url, calls.downloader())


def _keep(path, surely_read=False):
    """Copy what an older file holds before it is overwritten, when the job has read it.

    False for a folder, which `tempfile` names when it opens a file without a name.
    """
    global _kept, _started
    try:
        if not _started:
            _started = os.stat(log.folder + "started").st_mtime_ns
        before = os.stat(path)
    except OSError as error:
        log.guard(error)
        return True
    if before.st_mode & 0o170000 == 0o040000:
        return False
    if before.st_mtime_ns > _started or before.st_mode & 0o170000 != 0o100000 or not _first("k", path):
        return True
    if not (surely_read or path in log.seen or _read_elsewhere(path)):
        return True
    if before.st_size > _KEEP_AT_MOST:
        log.emit_once("L", "an input was overwritten and was too large to be kept as it was read: " + path)
        return True
    _kept += 1
    name = "%d-%d" % (os.getpid(), _kept)
    log.busy.add(get_ident())
    try:
        source = os.open(path, os.O_RDONLY | log.OURS)
        try:
            target = os.open(log.folder + "kept/" + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | log.OURS, 0o600)
            try:
                while True:
                    block = os.read(source, 1 << 20)
                    if not block:
                        break
                    while block:
                        block = block[os.write(target, block) :]
            finally:
                os.close(target)
        finally:
            os.close(source)
    except OSError as error:
        log.guard(error)
        log.emit_once("L", "an input was overwritten and could not be kept as it was read: " + path)
        return True
    finally:
        log.busy.discard(get_ident())
    log.file("k", path, name)
    return True


def _read_elsewhere(path):
    """Whether any log of the job says that this file was read."""
    global _searched
    needle = b"\0" + path.encode("utf-8", "surrogateescape") + b"\n\0"
    begun = monotonic()
    log.busy.add(get_ident())
    try:
        for name in os.listdir(log.folder):
            if _searched + monotonic() - begun > _SEARCH_S:
                log.emit_once(
                    "L", "files that one process overwrote after another had read them may not have been kept"
                )
                return False
            if not name.endswith(".log"):
                continue
            descriptor = os.open(log.folder + name, os.O_RDONLY | log.OURS)
            try:
                with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as other:
                    if other.find(needle) >= 0:
                        return True
            finally:
                os.close(descriptor)
    except (OSError, ValueError) as error:
        log.guard(error)
    finally:
        _searched += monotonic() - begun
        log.busy.discard(get_ident())
    return False


def _chdir(args):
    global _cwd
    _cwd = ""


def _rename(args):
    source, target = _full(args[0], *args[2:3]), _full(args[1], *args[3:4])
    if source and target:
        _keep(source)
        _keep(target)
        log.file("m", source, target)
        _forget(source, target)


def _remove(args):
    path = _full(*args[:2])
    if path:
        _keep(path)
        log.file("d", path)
        _forget(path)


def _forget(*paths):
    """A path that changed its file is seen anew when it is used again."""
    for path in paths:
        for key in (path, ("w", path), ("u", path)):
            log.seen.discard(key)


def _link(args):
    source, target = _full(args[0], *args[2:3]), _full(args[1], *args[3:4])
    if source and target:
        log.file("h", source, target)


def _symlink(args):
    link = _full(args[1], *args[2:3])
    if link:
        target = os.fsdecode(args[0])
        log.file("s", target if target[:1] == "/" else os.path.join(os.path.dirname(link), target), link)


def _truncate(args):
    path = _full(args[0])
    if path and _first("u", path):
        _keep(path, True)
        log.file("u", path)


def _database(args):
    path = args[0]
    if isinstance(path, (str, bytes, os.PathLike)):
        path = os.fsdecode(path)
        kind = "u"
        if path[:5] == "file:":
            path, _, query = path[5:].partition("?")
            path = path[2:] if path[:3] == "///" else path
            if "mode=memory" in query:
                return
            kind = "r" if "mode=ro" in query or "immutable=1" in query else kind
        if path and path != ":memory:":
            path = _full(path)
            if _first(kind, path):
                if kind == "u":
                    _keep(path, True)
                log.file(path) if kind == "r" else log.file(kind, path)


def _imported(args):
    name, file = args[0], args[1]
    if file and _first("n", file):
        log.file("n", _full(file))
    if "." not in name and name not in _imports:
        if _pending:
            confirm()
        _imports.add(name)
        _pending.append(name)


def confirm():
    """Write the imports that have succeeded by now; one that is neither loaded nor loading has failed."""
    for name in list(_pending):
        module = sys.modules.get(name)
        if module is not None:
            try:
                spec = object.__getattribute__(module, "__dict__").get("__spec__")
                if getattr(spec, "_initializing", False):
                    continue
            except AttributeError as error:
                log.guard(error)
            log.emit("I", name)
        else:
            _imports.discard(name)
        try:
            _pending.remove(name)
        except ValueError as error:
            log.guard(error)


def _library(args):
    name = args[0]
    if isinstance(name, (str, bytes)) and os.fsdecode(name)[:1] == "/" and _first("n", name):
        log.file("n", os.fsdecode(name))


def _exec(args):
    confirm()
    log.totals()
    calls._program(args[0], args[1], args[2] if len(args) > 2 else None, "exec")


_HANDLERS = {
    **calls.HANDLERS,
    "import": _imported,
    "os.chdir": _chdir,
    "os.fchdir": _chdir,
    "os.rename": _rename,
    "os.remove": _remove,
    "os.link": _link,
    "os.symlink": _symlink,
    "os.truncate": _truncate,
    "sqlite3.connect": _database,
    "ctypes.dlopen": _library,
    "os.exec": _exec,
}


def _standard_input():
    """Device, inode and position of a file on standard input; None for anything else."""
    try:
        told = os.fstat(0)
        if told.st_mode & 0o170000 == 0o100000:
            return told.st_dev, told.st_ino, os.lseek(0, 0, os.SEEK_CUR)
    except OSError as error:
        log.guard(error)
    return None


def _fed():
    """When this process read a file that it was given as standard input, say so: it is one more that it read."""
    now = _standard_input()
    if _stdin is not None and log.start != "fork" and now is not None and now[:2] == _stdin[:2] and now != _stdin:
        try:
            path = os.readlink("/proc/self/fd/0")
        except OSError as error:
            log.guard(error)
            return
        if path[-10:] != " (deleted)":
            log.file(path)


def finish():
    """The process ends in a regular way: write what only its end shows."""

    def last_words():
        confirm()
        _fed()
        states.finish(log.start == "fork")

    try:
        log.close(last_words)
    except BaseException as error:
        log.guard(error)


def _forked():
    log.forked()
    for memory in (calls._urls, calls._written, _imports, _pending):
        memory.clear()


def start(folder):
    """Watch this process from now on; do nothing when the folder cannot be written to."""
    global _stdin
    if log.open_in(folder):
        _stdin = _standard_input()
        atexit.register(finish)
        os.register_at_fork(after_in_child=_forked)
        if os.environ.get("RUNBOOK_VARY"):  # Only ever set by a replay that is to change something.
            import _runbook_vary

            _runbook_vary.start(os.environ["RUNBOOK_VARY"])
        random.start(finish)
        sys.addaudithook(log.audit(_opened, _where, _HANDLERS))
