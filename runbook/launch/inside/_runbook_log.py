"""The log of one process: it outlives any end of it, and costs the job a memory copy.

A file of records, each a kind byte, fields with 0x1f between them, a line feed and a zero byte. It is written
through a shared mapping of preallocated pages: they are the kernel's, so nothing is lost with the process, and no
write can meet a full disk. `mmap.write` is one call that appends: threads and signal handlers cannot mix.
"""

# mypy: ignore-errors

import mmap
import os
import sys
from _thread import RLock, get_ident
from time import monotonic

FORMAT = "1"
_SEGMENTS = (1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 27)
"""Bytes of each part of a log; when the last is full, the rest is not seen."""
_UNREMEMBERED = 4
_MAPPED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
"""All pages at once: a fault for each, between the job's own calls, is a third of what the hook costs."""
_ALL_LOGS = 1 << 31
_REMEMBERED = 1 << 16
_SLACK = 1 << 16
"""Bytes that stay behind the last record: another thread may be about to write."""
_TEXT, _FIELDS, _EVENTS = 4096, 256, 5000
_TICK_S = 0.001
OURS = os.O_NOCTTY
"""Marks what we open ourselves."""
NOT_FILES = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
NOT_PLAIN_READ = os.O_WRONLY | os.O_RDWR | NOT_FILES | OURS
_VARIABLES = (
    "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK MASTER_ADDR MASTER_PORT "
    "TORCHELASTIC_RESTART_COUNT SLURM_PROCID SLURM_NTASKS SLURM_LOCALID OMPI_COMM_WORLD_RANK "
    "OMPI_COMM_WORLD_SIZE PYTHONHASHSEED OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS "
    "NUMEXPR_NUM_THREADS VECLIB_MAXIMUM_THREADS NUMBA_NUM_THREADS RAYON_NUM_THREADS OMP_DYNAMIC MKL_CBWR "
    "MKL_DYNAMIC OPENBLAS_CORETYPE CUBLAS_WORKSPACE_CONFIG CUDA_VISIBLE_DEVICES CUDA_LAUNCH_BLOCKING "
    "NVIDIA_TF32_OVERRIDE TF_DETERMINISTIC_OPS TF_CUDNN_DETERMINISTIC XLA_FLAGS JAX_DEFAULT_PRNG_IMPL "
    "JAX_ENABLE_X64 PL_GLOBAL_SEED HF_HUB_OFFLINE TOKENIZERS_PARALLELISM RUNBOOK_STAGE"
).split()

folder = ""
"""The watch folder, with a slash; what it holds is ours."""
start = "start"
write = None
write_read = None
"""`write` for the record of a file that was read; when the log is long, it leaves out what is remembered.

A set of paths costs more than the rest of the hook: it is begun after some 100,000 files.
"""
tick = 0.0
seen = set()
"""Paths that were read, and (kind, path) of other uses, since it was last cleared."""
busy = set()
"""Threads that are at work for us."""
_lock = RLock()
_name = ""
_size = 0
_used = 0
_retired = []
"""Mappings are never closed: a daemon may have closed their descriptors, whose numbers are others' by now."""
_once = set()
_counts = {}


def _write_to(function):
    global write, write_read
    write = write_read = function


def _nowhere(data):
    """Where records go when there is no log any more."""


def _segment():
    """Map the next part of the log and write there from now on; False when there is none to be had."""
    global write_read, _size, _used
    if _used == len(_SEGMENTS):
        _last("the log of a process is full: what it did from then on is not seen")
        return False
    length = _SEGMENTS[_used]
    if _used > 1 and not _room():
        return False
    fillers = []
    busy.add(get_ident())
    try:
        descriptor = os.open(folder + _name, os.O_RDWR | os.O_CREAT | OURS, 0o666)
        try:
            _allocate(descriptor, length)
            if sys.version_info >= (3, 13):
                area = mmap.mmap(descriptor, length, _MAPPED, offset=_size, trackfd=False)
            else:
                # The mapping holds a descriptor; the low numbers are left to the job, as if we were not here.
                last, top = descriptor, min(100, os.sysconf("SC_OPEN_MAX") // 2)
                while last < top:
                    last = os.dup(descriptor)
                    fillers.append(last)
                area = mmap.mmap(descriptor, length, _MAPPED, offset=_size)
        finally:
            for one in fillers:
                os.close(one)
            os.close(descriptor)
    except (OSError, ValueError) as error:
        guard(error)
        _last("the log of a process could not grow: what it did from then on is not seen")
        return False
    finally:
        busy.discard(get_ident())
    if _retired and hasattr(area, "madvise"):
        _retired[-1].madvise(mmap.MADV_DONTNEED)
    _retired.append(area)
    _size += length
    _used += 1
    gil = getattr(sys, "_is_gil_enabled", None)
    _write_to(area.write if gil is None or gil() else _locked(area.write))
    if _used > _UNREMEMBERED:
        write_read = _once_only(write)
    return True


def _room():
    """Whether the logs of all processes are still small enough: many short workers may read the same files."""
    with os.scandir(folder) as entries:
        total = sum(entry.stat().st_size for entry in entries)
    if total + _SEGMENTS[_used] <= _ALL_LOGS:
        return True
    _last("the logs of the job are full: what this process did from then on is not seen")
    return False


def _last(sentence):
    """Say it in what is left of the log, and write no more."""
    last = write
    _write_to(_nowhere)
    data = b"L" + sentence.encode() + b"\n\0"
    try:
        last(data)
    except ValueError as error:  # Over the last records: the zero byte makes a torn one of what it cuts.
        guard(error)
        _retired[-1].seek(-len(data) - 1, os.SEEK_END)
        _retired[-1].write(b"\0" + data)


def _allocate(descriptor, length):
    """Have the pages before they are written to: a full disk is an error here, and a SIGBUS later."""
    try:
        os.posix_fallocate(descriptor, _size, length)
    except (AttributeError, OSError) as error:
        guard(error)
        if getattr(error, "errno", None) == 28:  # ENOSPC; anything else is a file system that cannot.
            raise
        block = bytes(1 << 16)
        for offset in range(_size, _size + length, len(block)):
            if os.pwrite(descriptor, block, offset) != len(block):
                raise OSError from None


def _locked(write):
    """Without a global lock, appending needs its own."""

    def one_at_a_time(data):
        with _lock:
            write(data)

    return one_at_a_time


def _once_only(write):
    """A file that was read and is remembered is not written again."""

    def remembering(data):
        path = data[:-2].decode()
        if path not in seen:
            write(data)
            seen.add(path)

    return remembering


def _grow(data):
    """Write what did not fit: another thread may have made room meanwhile."""
    with _lock:
        try:
            write(data)
            return
        except ValueError as error:
            guard(error)
        while _segment():
            try:
                write(data)
                return
            except ValueError as error:
                guard(error)
                continue


def begin(data):
    """The first record of this process: make its log, say who it is."""
    global _name, _size, _used
    with _lock:
        if write is begin:
            _size = _used = 0
            _name = "%d-%x.log" % (os.getpid(), int(monotonic() * 1e9))
            _write_to(_nowhere)
            if _segment():
                _introduce()
    if data:
        put(data)


def _introduce():
    version = "%d.%d.%d" % sys.version_info[:3]
    try:
        cwd = os.getcwd()
    except OSError as error:
        guard(error)
        cwd = ""
    now = int(monotonic() * 1e9)
    emit("P", FORMAT, os.getpid(), _ancestors(), start, now, version, sys.executable or "", cwd, folder)
    argv = getattr(sys, "orig_argv", None)
    if argv is None:
        argv = slurp("/proc/self/cmdline").decode("utf-8", "surrogateescape").split("\0")[:-1]
    emit("A", *argv)
    emit("V", *[name + "=" + os.environ[name] for name in _VARIABLES if name in os.environ])


def _ancestors():
    """The process ids above this one, nearest first: the one that the hook entered may not be the next."""
    found, pid = [], os.getppid()
    while pid > 1 and len(found) < 8:
        found.append(str(pid))
        words = slurp("/proc/%d/stat" % pid).rpartition(b")")[2].split()
        pid = int(words[1]) if len(words) > 1 else 0
    return ",".join(found)


def slurp(path):
    """The beginning of a file, 128 KiB; empty when it cannot be read."""
    busy.add(get_ident())
    try:
        descriptor = os.open(path, os.O_RDONLY | OURS)
        try:
            return os.read(descriptor, 1 << 17)
        finally:
            os.close(descriptor)
    except OSError as error:
        guard(error)
        return b""
    finally:
        busy.discard(get_ident())


def put(data):
    """Write bytes that are whole records."""
    if monotonic() > tick:
        ticked()
    try:
        write(data)
    except ValueError as error:
        guard(error)
        _grow(data)


def emit(kind, *fields):
    """Write one record; what is too long is cut."""
    words = [str(one)[:_TEXT].replace("\0", "\ufffd").replace("\x1f", "\ufffd") for one in fields[:_FIELDS]]
    text = kind + "\x1f".join(words)[: 1 << 16] + "\n\0"
    try:
        data = text.encode("utf-8", "surrogateescape")
    except ValueError as error:
        guard(error)
        data = text.encode("utf-8", "replace")
    put(data)


def emit_once(kind, *fields):
    """Write a record unless this process wrote the same before; at most some thousands of them."""
    key = (kind, fields)
    if key in _once or len(_once) > _EVENTS:
        return
    _once.add(key)
    emit(kind, *fields)
    if len(_once) == _EVENTS:
        emit(
            "L",
            "a process had more connections, subprocesses and seeds than are kept: the later ones are not seen",
        )


def count(kind, *fields):
    """Write a record the first time, and how often it came at 2, 4, 8 … times and at the end."""
    key = (kind, fields)
    number = _counts.get(key, 0) + 1
    if number == 1 and len(_counts) >= _EVENTS:
        emit_once("L", "a process made more different seeding calls than are kept")
        return
    _counts[key] = number
    if not number & (number - 1):
        emit(kind, number, *fields)


def file(kind, *fields):
    """A record about files: never cut, else it would name another file."""
    put((kind + "\x1f".join(fields) + "\n\0").encode("utf-8", "surrogateescape"))


def ticked():
    """Once a millisecond at most: write the time, and bound what is remembered."""
    global tick
    now = monotonic()
    tick = now + _TICK_S
    if len(seen) > _REMEMBERED:
        seen.clear()
    data = b"t%d\n\0" % (now * 1e9)
    try:
        write(data)
    except ValueError as error:
        guard(error)
        _grow(data)


def totals():
    """Write the counts that were not written yet."""
    for (kind, fields), number in list(_counts.items()):
        if number & (number - 1):
            emit(kind, number, *fields)


def guard(error):
    """Swallow an error of ours; what a signal handler of the job raised while we ran is the job's.

    Every `except` of the hook begins with it: a handler may raise ValueError or OSError (TimeoutError) too.
    """
    trace, inner = error.__traceback__, None
    while trace is not None:
        inner, trace = trace, trace.tb_next
    ours = inner is None or str(inner.tb_frame.f_globals.get("__name__")).startswith("_runbook_")
    if not ours or isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error


def audit(opened, where, handlers):
    """The audit hook. Opening a file for reading is the path that must be short; so it is here, beside the log.

    opened: what is called with path and flags for every other way to open; where: tells the working folder, with a
    slash; handlers: functions by event, called with its arguments.
    """

    def _audit(event, args):
        try:
            if event == "open":
                path, _, flags = args
                if flags & NOT_PLAIN_READ:
                    opened(path, flags)
                    return
                data = path.encode() + b"\n\0"  # A record that starts with a slash is a file that was read.
                if data[0] != 47:
                    data = (where() + path).encode() + b"\n\0"
                if monotonic() > tick:
                    ticked()
                write_read(data)
            elif event in handlers:
                if not busy or get_ident() not in busy:
                    handlers[event](args)
        except (ValueError, AttributeError) as error:  # A full segment; a name that is not UTF-8 or no text.
            guard(error)
            try:
                if event == "open":
                    opened(path, flags)
            except BaseException as error:
                guard(error)
        except BaseException as error:
            guard(error)

    return _audit


def close(last_words):
    """The process ends in a regular way: write what only its end shows, and give back the room not used."""
    if write is not _nowhere:
        last_words()
        totals()
        emit("Z")
        if _used:
            end = _size - _SEGMENTS[_used - 1] + _retired[-1].tell() + _SLACK
            _write_to(_nowhere)
            if end < _size:
                os.truncate(folder + _name, -(-end // mmap.PAGESIZE) * mmap.PAGESIZE)


def forked():
    """In the child of a fork: its own log, made with its first record; a child that only execs needs none."""
    global start, _lock, tick
    if write is not _nowhere:
        start, _lock, tick = "fork", RLock(), 0.0
        _write_to(begin)
        for memory in (seen, busy, _once, _counts):
            memory.clear()


def open_in(watch_folder):
    """Begin the log of this process; False when nothing can be written there."""
    global folder
    if not os.access(watch_folder, os.W_OK | os.X_OK):
        return False
    folder = os.path.join(watch_folder, "")
    _write_to(begin)
    begin(b"")
    return write is not _nowhere
