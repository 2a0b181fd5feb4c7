"""Watches one Python process from inside and writes what it sees to a log that outlives any end of the process.

Standard library only, ASCII, CPython 3.8 to 3.14; it imports what the interpreter has loaded anyhow, and `mmap`.
Nothing here may raise into the job, print, or take long. `runbook.launch.watch` reads the logs.

The log is a file of records, each a kind byte, fields with 0x1f between them, a line feed and a zero byte. It is
written through a shared mapping of preallocated pages: they are the kernel's, so nothing is lost with the process,
and no write can meet a full disk. `mmap.write` is one call that appends: threads and signal handlers cannot mix.
"""

# mypy: ignore-errors

import atexit
import mmap
import os
import sys
from _thread import RLock, get_ident
from time import monotonic

FORMAT = "1"
_SEGMENTS = (1 << 16, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 27)
"""Bytes of each part of a log; when the last is full, the rest is not seen."""
_ALL_LOGS = 1 << 31
_KEEP_AT_MOST = 256 << 20
_SEARCH_S = 2.0
"""Seconds that a process spends on asking other processes' logs whether a file had been read."""
_REMEMBERED = 1 << 16
_TEXT, _FIELDS, _EVENTS = 4096, 256, 5000
_URL_S = 60.0
_TICK_S = 0.001
_NOT_FILES = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", 0)
_OURS = os.O_NOCTTY
"""Marks what we open ourselves."""
_NOT_PLAIN_READ = os.O_WRONLY | os.O_RDWR | _NOT_FILES | _OURS
_TEMPORARY = getattr(os, "O_TMPFILE", _NOT_FILES) & ~_NOT_FILES
_VARIABLES = (
    "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK NODE_RANK MASTER_ADDR MASTER_PORT "
    "TORCHELASTIC_RESTART_COUNT SLURM_PROCID SLURM_NTASKS SLURM_LOCALID OMPI_COMM_WORLD_RANK "
    "OMPI_COMM_WORLD_SIZE PYTHONHASHSEED OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS "
    "NUMEXPR_NUM_THREADS VECLIB_MAXIMUM_THREADS NUMBA_NUM_THREADS RAYON_NUM_THREADS OMP_DYNAMIC MKL_CBWR "
    "MKL_DYNAMIC OPENBLAS_CORETYPE CUBLAS_WORKSPACE_CONFIG CUDA_VISIBLE_DEVICES CUDA_LAUNCH_BLOCKING "
    "NVIDIA_TF32_OVERRIDE TF_DETERMINISTIC_OPS TF_CUDNN_DETERMINISTIC XLA_FLAGS JAX_DEFAULT_PRNG_IMPL "
    "JAX_ENABLE_X64 PL_GLOBAL_SEED HF_HUB_OFFLINE TOKENIZERS_PARALLELISM"
).split()

_folder = ""
_started = 0
_write = None
_tick = 0.0
_cwd = ""
_seen = set()
"""Paths that were read, and (kind, path) of other uses, since it was last cleared."""
_lock = RLock()
_busy = set()
_name = ""
_size = 0
_used = 0
_kept = 0
_searched = 0.0
_retired = []
"""Mappings are never closed: a daemon may have closed their descriptors, whose numbers are others' by now."""
_once = set()
_counts = {}
_urls = {}
_pending = []
_imports = set()
_random = None
_start = "start"


# --- the log -----------------------------------------------------------------------------------------------------


def _nowhere(data):
    """Where records go when there is no log any more."""


def _segment():
    """Map the next part of the log and write there from now on; False when there is none to be had."""
    global _write, _size, _used
    if _used == len(_SEGMENTS):
        _last("the log of a process is full: what it did from then on is not seen")
        return False
    length = _SEGMENTS[_used]
    if _used > 1 and not _room():
        return False
    fillers = []
    _busy.add(get_ident())
    try:
        descriptor = os.open(_folder + _name, os.O_RDWR | os.O_CREAT | _OURS, 0o666)
        try:
            _allocate(descriptor, length)
            if sys.version_info >= (3, 13):
                area = mmap.mmap(descriptor, length, offset=_size, trackfd=False)
            else:
                # The mapping holds a descriptor; the low numbers are left to the job, as if we were not here.
                last, top = descriptor, min(100, os.sysconf("SC_OPEN_MAX") // 2)
                while last < top:
                    last = os.dup(descriptor)
                    fillers.append(last)
                area = mmap.mmap(descriptor, length, offset=_size)
        finally:
            for one in fillers:
                os.close(one)
            os.close(descriptor)
    except (OSError, ValueError):
        _last("the log of a process could not grow: what it did from then on is not seen")
        return False
    finally:
        _busy.discard(get_ident())
    if _retired and hasattr(area, "madvise"):
        _retired[-1].madvise(mmap.MADV_DONTNEED)
    _retired.append(area)
    _size += length
    _used += 1
    gil = getattr(sys, "_is_gil_enabled", None)
    _write = area.write if gil is None or gil() else _locked(area.write)
    return True


def _room():
    """Whether the logs of all processes are still small enough: many short workers may read the same files."""
    with os.scandir(_folder) as entries:
        total = sum(entry.stat().st_size for entry in entries)
    if total + _SEGMENTS[_used] <= _ALL_LOGS:
        return True
    _last("the logs of the job are full: what this process did from then on is not seen")
    return False


def _last(sentence):
    """Say it in what is left of the log, and write no more."""
    global _write
    write, _write = _write, _nowhere
    try:
        write(b"L" + sentence.encode() + b"\n\0")
    except ValueError:
        pass


def _allocate(descriptor, length):
    """Have the pages before they are written to: a full disk is an error here, and a SIGBUS later."""
    try:
        os.posix_fallocate(descriptor, _size, length)
    except (AttributeError, OSError) as error:
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


def _grow(data):
    """Write what did not fit: another thread may have made room meanwhile."""
    with _lock:
        try:
            _write(data)
            return
        except ValueError:
            pass
        while _segment():
            try:
                _write(data)
                return
            except ValueError:
                continue


def _begin(data):
    """The first record of this process: make its log, say who it is."""
    global _write, _name, _size, _used
    with _lock:
        if _write is _begin:
            _size = _used = 0
            _name = "%d-%x.log" % (os.getpid(), int(monotonic() * 1e9))
            _write = _nowhere
            if _segment():
                _introduce()
    if data:
        _put(data)


def _introduce():
    version = "%d.%d.%d" % sys.version_info[:3]
    try:
        cwd = os.getcwd()
    except OSError:
        cwd = ""
    now = int(monotonic() * 1e9)
    emit("P", FORMAT, os.getpid(), _ancestors(), _start, now, version, sys.executable or "", cwd, _folder)
    argv = getattr(sys, "orig_argv", None)
    if argv is None:
        argv = _slurp("/proc/self/cmdline").decode("utf-8", "surrogateescape").split("\0")[:-1]
    emit("A", *argv)
    emit("V", *[name + "=" + os.environ[name] for name in _VARIABLES if name in os.environ])


def _ancestors():
    """The process ids above this one, nearest first: the one that the hook entered may not be the next."""
    found, pid = [], os.getppid()
    while pid > 1 and len(found) < 8:
        found.append(str(pid))
        words = _slurp("/proc/%d/stat" % pid).rpartition(b")")[2].split()
        pid = int(words[1]) if len(words) > 1 else 0
    return ",".join(found)


def _slurp(path):
    _busy.add(get_ident())
    try:
        descriptor = os.open(path, os.O_RDONLY | _OURS)
        try:
            return os.read(descriptor, 1 << 17)
        finally:
            os.close(descriptor)
    except OSError:
        return b""
    finally:
        _busy.discard(get_ident())


def _put(data):
    now = monotonic()
    if now > _tick:
        _ticked(now)
    try:
        _write(data)
    except ValueError:
        _grow(data)


def emit(kind, *fields):
    """Write one record; what is too long is cut."""
    words = [str(one)[:_TEXT].replace("\0", "\ufffd").replace("\x1f", "\ufffd") for one in fields[:_FIELDS]]
    text = kind + "\x1f".join(words)[: 1 << 16] + "\n\0"
    try:
        data = text.encode("utf-8", "surrogateescape")
    except ValueError:
        data = text.encode("utf-8", "replace")
    _put(data)


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


def guard(error):
    """Swallow an error of ours; what a signal handler of the job raised while we ran is the job's."""
    trace, inner = error.__traceback__, None
    while trace is not None:
        inner, trace = trace, trace.tb_next
    ours = inner is None or inner.tb_frame.f_globals.get("__name__") in ("_runbook_hook", "_runbook_random")
    if not ours or isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error


# --- events ------------------------------------------------------------------------------------------------------


def _audit(event, args):
    """What the interpreter calls for everything; opening a file for reading is the path that must be short."""
    try:
        if event == "open":
            path, _, flags = args
            if type(path) is not str or flags & _NOT_PLAIN_READ:
                _opened(path, flags)
                return
            if path[:1] != "/":
                path = (_cwd or _where()) + path
            if path not in _seen:
                _seen.add(path)
                now = monotonic()
                if now > _tick:
                    _ticked(now)
                _write((path + "\n\0").encode())  # A record that starts with a slash is a file that was read.
        elif event in _HANDLERS:
            if not _busy or get_ident() not in _busy:
                _HANDLERS[event](args)
    except ValueError as error:  # A full segment, or a name that is not UTF-8.
        guard(error)
        try:
            if event == "open" and type(path) is str:
                _file(path)
        except BaseException as error:
            guard(error)
    except BaseException as error:
        guard(error)


def _ticked(now):
    """Once a millisecond at most: write the time, and bound what is remembered."""
    global _tick
    _tick = now + _TICK_S
    if len(_seen) > _REMEMBERED:
        _seen.clear()
    data = b"t%d\n\0" % (now * 1e9)
    try:
        _write(data)
    except ValueError:
        _grow(data)


def _where():
    """The working folder, with a slash; asked for again only after a chdir. A question mark when it is gone."""
    global _cwd
    try:
        here = os.getcwd()
    except OSError:
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
        except OSError:
            return None
    return (_cwd or _where()) + path


def _file(kind, *fields):
    """A record about files: never cut, else it would name another file."""
    _put((kind + "\x1f".join(fields) + "\n\0").encode("utf-8", "surrogateescape"))


def _first(kind, path):
    """Whether this use of the path is not among those remembered."""
    key = path if kind == "r" else (kind, path)
    if key in _seen:
        return False
    _seen.add(key)
    return True


def _opened(path, flags):
    if flags & _OURS and get_ident() in _busy:
        return
    path = _full(path)
    if path is None or flags & _NOT_FILES or (_TEMPORARY and flags & _TEMPORARY):
        return
    access = flags & (os.O_WRONLY | os.O_RDWR)
    if access == os.O_RDONLY:
        if _first("r", path):
            _file(path)
        return
    update = access == os.O_RDWR and not flags & (os.O_TRUNC | os.O_EXCL)
    kind = "u" if update else "w"
    if _first(kind, path) and _keep(path, update):
        _file(kind, path)
        url = _urls.get(get_ident())
        if url is not None and monotonic() - url[0] < _URL_S:
            _file("f", path, url[1])


def _keep(path, surely_read=False):
    """Copy what an older file holds before it is overwritten, when the job has read it.

    False for a folder, which `tempfile` names when it opens a file without a name.
    """
    global _kept, _started
    try:
        if not _started:
            _started = os.stat(_folder + "started").st_mtime_ns
        before = os.stat(path)
    except OSError:
        return True
    if before.st_mode & 0o170000 == 0o040000:
        return False
    if before.st_mtime_ns > _started or before.st_mode & 0o170000 != 0o100000 or not _first("k", path):
        return True
    if not (surely_read or path in _seen or _read_elsewhere(path)):
        return True
    if before.st_size > _KEEP_AT_MOST:
        emit_once("L", "an input was overwritten and was too large to be kept as it was read: " + path)
        return True
    _kept += 1
    name = "%d-%d" % (os.getpid(), _kept)
    _busy.add(get_ident())
    try:
        source = os.open(path, os.O_RDONLY | _OURS)
        try:
            target = os.open(_folder + "kept/" + name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OURS, 0o600)
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
    except OSError:
        emit_once("L", "an input was overwritten and could not be kept as it was read: " + path)
        return True
    finally:
        _busy.discard(get_ident())
    _file("k", path, name)
    return True


def _read_elsewhere(path):
    """Whether any log of the job says that this file was read."""
    global _searched
    needle = b"\0" + path.encode("utf-8", "surrogateescape") + b"\n\0"
    begun = monotonic()
    _busy.add(get_ident())
    try:
        for name in os.listdir(_folder):
            if _searched + monotonic() - begun > _SEARCH_S:
                emit_once(
                    "L", "files that one process overwrote after another had read them may not have been kept"
                )
                return False
            if not name.endswith(".log"):
                continue
            descriptor = os.open(_folder + name, os.O_RDONLY | _OURS)
            try:
                with mmap.mmap(descriptor, 0, prot=mmap.PROT_READ) as log:
                    if log.find(needle) >= 0:
                        return True
            finally:
                os.close(descriptor)
    except (OSError, ValueError):
        pass
    finally:
        _searched += monotonic() - begun
        _busy.discard(get_ident())
    return False


def _chdir(args):
    global _cwd
    _cwd = ""


def _rename(args):
    source, target = _full(args[0], *args[2:3]), _full(args[1], *args[3:4])
    if source and target:
        _keep(source)
        _keep(target)
        _file("m", source, target)
        _forget(source, target)


def _remove(args):
    path = _full(*args[:2])
    if path:
        _keep(path)
        _file("d", path)
        _forget(path)


def _forget(*paths):
    """A path that changed its file is seen anew when it is used again."""
    for path in paths:
        for key in (path, ("w", path), ("u", path)):
            _seen.discard(key)


def _link(args):
    source, target = _full(args[0], *args[2:3]), _full(args[1], *args[3:4])
    if source and target:
        _file("h", source, target)


def _truncate(args):
    path = _full(args[0])
    if path and _first("u", path):
        _keep(path, True)
        _file("u", path)


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
                _file(path) if kind == "r" else _file(kind, path)


def _imported(args):
    name, file = args[0], args[1]
    if file and _first("n", file):
        _file("n", _full(file))
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
            except AttributeError:
                pass
            emit("I", name)
        else:
            _imports.discard(name)
        try:
            _pending.remove(name)
        except ValueError:
            pass


def _library(args):
    name = args[0]
    if isinstance(name, (str, bytes)) and os.fsdecode(name)[:1] == "/" and _first("n", name):
        _file("n", os.fsdecode(name))


def _popen(args):
    _program(args[0], args[1], args[3], "")


def _spawn(args):
    _program(args[0], args[1], args[2] if len(args) > 2 else None, "")


def _exec(args):
    confirm()
    totals()
    _program(args[0], args[1], args[2] if len(args) > 2 else None, "exec")


def _system(args):
    _program("/bin/sh", ["sh", "-c", args[0]], None, "")


def _program(executable, argv, environment, how):
    if isinstance(argv, (str, bytes, os.PathLike)):
        argv = [argv]
    argv = [os.fsdecode(one) for one in argv]
    emit_once("X", how, os.fsdecode(executable or argv[0]), *argv)
    if os.path.basename(argv[0]).startswith("python"):
        for option in argv[1:]:
            if option[:1] != "-" or option[:2] in ("-c", "-m", "-W", "-X", "--", "-"):
                break
            if set(option) & set("IES"):
                emit_once("L", "a Python process was started with " + option + " and was not watched")
        if environment is not None and "RUNBOOK_WATCH" not in environment and b"RUNBOOK_WATCH" not in environment:
            emit_once("L", "a Python process was started with an environment of its own and was not watched")


# --- the network -------------------------------------------------------------------------------------------------


def bare(url):
    """A URL without its user, its fragment and the values of its query."""
    url = url[:_TEXT].partition("#")[0]
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    path, query, values = path.partition("?")
    names = "&".join(one.partition("=")[0] for one in values.split("&"))
    return scheme + mark + host + slash + path + query + names


def fetched(url):
    """The job asks for this URL now; a file that this thread writes next may hold it."""
    if url[:5].lower() == "data:":
        return
    url = bare(url)
    frame, depth, redirected = sys._getframe(1), 0, False
    while frame is not None and depth < 40 and not redirected:
        redirected = frame.f_code.co_name in ("http_error_302", "resolve_redirects")
        frame, depth = frame.f_back, depth + 1
    if not redirected or get_ident() not in _urls:
        if len(_urls) > 1000:
            _urls.clear()
        _urls[get_ident()] = (monotonic(), url)
    emit_once("C", "", "", url)


def _request(args):
    fetched(str(args[0]))


def _sent(args):
    connection, data = args
    if type(data) is not bytes:
        return
    head = data[:16384].decode("latin-1")
    line, _, rest = head.partition("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2][:5] != "HTTP/" or words[0] == "CONNECT":
        return
    url = words[1]
    if url[:1] == "/":
        host = ""
        for header in rest.split("\r\n"):
            if header[:5].lower() == "host:":
                host = header[5:].strip()
        scheme = "https" if getattr(connection, "default_port", 80) == 443 else "http"
        url = scheme + "://" + (host or str(getattr(connection, "host", ""))) + url
    fetched(url)


def _connect(args):
    address = args[1]
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[1], int):
        emit_once("C", address[0], address[1], "")


def _lookup(args):
    host, port = args[0], args[1]
    if host:
        emit_once("C", os.fsdecode(host), port if isinstance(port, int) else os.fsdecode(port or "0"), "")


_HANDLERS = {
    "import": _imported,
    "os.chdir": _chdir,
    "os.fchdir": _chdir,
    "os.rename": _rename,
    "os.remove": _remove,
    "os.link": _link,
    "os.truncate": _truncate,
    "sqlite3.connect": _database,
    "ctypes.dlopen": _library,
    "subprocess.Popen": _popen,
    "os.posix_spawn": _spawn,
    "os.exec": _exec,
    "os.system": _system,
    "socket.connect": _connect,
    "socket.getaddrinfo": _lookup,
    "urllib.Request": _request,
    "http.client.send": _sent,
}


# --- beginning and end -------------------------------------------------------------------------------------------


def totals():
    """Write the counts that were not written yet."""
    for (kind, fields), number in list(_counts.items()):
        if number & (number - 1):
            emit(kind, number, *fields)


def finish():
    """The process ends in a regular way: write what only its end shows, and give back the room not used."""
    global _write
    try:
        if _write is not _nowhere:
            confirm()
            totals()
            _random.finish(_start == "fork")
            emit("Z")
            if _used:
                end = _size - _SEGMENTS[_used - 1] + _retired[-1].tell()
                _write = _nowhere
                os.truncate(_folder + _name, -(-end // mmap.PAGESIZE) * mmap.PAGESIZE)
    except BaseException as error:
        guard(error)


def _forked():
    """In the child of a fork: its own log, made with its first record; a child that only execs needs none."""
    global _write, _start, _lock, _tick
    if _write is not _nowhere:
        _start, _lock, _tick, _write = "fork", RLock(), 0.0, _begin
        for memory in (_seen, _busy, _once, _counts, _urls, _imports, _pending):
            memory.clear()


def start(folder, random):
    """Watch this process from now on; do nothing when the folder cannot be written to."""
    global _folder, _random, _write
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    _folder, _random = os.path.join(folder, ""), random
    _write = _begin
    _begin(b"")
    if _write is _nowhere:
        return
    atexit.register(finish)
    os.register_at_fork(after_in_child=_forked)
    random.start(sys.modules[__name__])
    sys.addaudithook(_audit)
