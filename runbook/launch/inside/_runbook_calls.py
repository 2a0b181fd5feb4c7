"""What a process reaches for beyond its own files: programs that it starts, and the network."""

# mypy: ignore-errors

import os
import sys
from _thread import get_ident
from time import monotonic

import _runbook_log as log

_URL = 4096
_URL_S = 60.0
_urls = {}
_written = {}
"""By thread: the file that it opened last to write."""
_DOWNLOADERS = (
    "datasets.builder",
    "datasets.download",
    "gdown",
    "gensim.downloader",
    "huggingface_hub._snapshot_download",
    "huggingface_hub.file_download",
    "kagglehub",
    "keras.src.utils.data_utils",
    "keras.src.utils.file_utils",
    "nltk.downloader",
    "openml",
    "pooch",
    "seaborn.utils",
    "sklearn.datasets",
    "tensorflow_datasets",
    "torch.hub",
    "torchaudio.datasets",
    "torchvision.datasets",
    "whisper",
)
"""Modules that keep what they download where they will look for it again: what they write is no result."""
_ASKERS = ("datasets", "huggingface_hub", "transformers")
"""Libraries that ask a hub for more than they keep, and have a switch to do without."""


def writes(path):
    """What this thread, which opens a file to write, asked for in the last minute; empty when nothing."""
    if len(_written) > 1000:
        _written.clear()
    _written[get_ident()] = path
    last = _urls.get(get_ident())
    return last[1] if last is not None and monotonic() - last[0] < _URL_S else ""


def _open_still(path):
    """Whether the process has this file open: what it asks for now may go there."""
    log.busy.add(get_ident())
    try:
        for number in os.listdir("/proc/self/fd"):
            try:
                if os.readlink("/proc/self/fd/" + number) == path:
                    return True
            except OSError as error:
                log.guard(error)
    except OSError as error:
        log.guard(error)
    finally:
        log.busy.discard(get_ident())
    return False


def downloader(names=_DOWNLOADERS):
    """The library on the stack that keeps what it downloads; empty for none."""
    frame, depth = sys._getframe(1), 0
    while frame is not None and depth < 100:
        module = str(frame.f_globals.get("__name__")) + "."
        for name in names:
            if module.startswith(name + "."):
                parts = name.split(".")
                return name if parts[0] in ("sklearn", "torch", "torchvision", "torchaudio") else parts[0]
        if frame.f_code.co_name == "urlretrieve" and module == "urllib.request.":
            return "urllib"
        frame, depth = frame.f_back, depth + 1
    return ""


def _popen(args):
    _program(args[0], args[1], args[3], "")


def _spawn(args):
    _program(args[0], args[1], args[2] if len(args) > 2 else None, "")


def _system(args):
    _program("/bin/sh", ["sh", "-c", args[0]], None, "")


def _program(executable, argv, environment, how):
    if isinstance(argv, (str, bytes, os.PathLike)):
        argv = [argv]
    argv = [os.fsdecode(one) for one in argv]
    log.emit_once("X", how, os.fsdecode(executable or argv[0]), *argv)
    if os.path.basename(argv[0]).startswith("python"):
        for option in argv[1:]:
            if option[:1] != "-" or option[:2] in ("-c", "-m", "-W", "-X", "--", "-"):
                break
            if set(option) & set("IES"):
                log.emit_once("L", "a Python process was started with " + option + " and was not watched")
        if environment is not None and "RUNBOOK_WATCH" not in environment and b"RUNBOOK_WATCH" not in environment:
            log.emit_once("L", "a Python process was started with an environment of its own and was not watched")


def bare(url):
    """A URL without its user, its fragment and the values of its query."""
    url = url[:_URL].partition("#")[0]
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    host = host.rpartition("@")[2]
    path, query, values = path.partition("?")
    names = "&".join(one.partition("=")[0] for one in values.split("&"))
    return scheme + mark + host + slash + path + query + names


def fetched(url, method=""):
    """The job asks for this URL now; a file that this thread writes next may hold it."""
    if url[:5].lower() in ("data:", "file:"):
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
        path = _written.get(get_ident())
        if path and not log.busy and _open_still(path):
            log.file("f", path, url, downloader())
    log.emit_once("C", "", "", url, method, "redirect" if redirected else downloader(_ASKERS + _DOWNLOADERS))


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
    fetched(url, words[0])


def _connect(args):
    address = args[1]
    if isinstance(address, tuple) and len(address) >= 2 and isinstance(address[1], int):
        log.emit_once("C", address[0], address[1], "", "", "")
    elif isinstance(address, (str, bytes)) and address:
        name = os.fsdecode(address)
        if name[-5:] == ".sock" and any(engine in name for engine in ("docker", "podman", "containerd")):
            log.emit_once("C", name, 0, "", "", "")


def _lookup(args):
    host, port = args[0], args[1]
    if host:
        log.emit_once(
            "C", os.fsdecode(host), port if isinstance(port, int) else os.fsdecode(port or "0"), "", "", ""
        )


HANDLERS = {
    "subprocess.Popen": _popen,
    "os.posix_spawn": _spawn,
    "os.system": _system,
    "socket.connect": _connect,
    "socket.getaddrinfo": _lookup,
    "urllib.Request": _request,
    "http.client.send": _sent,
}
