"""Changes one thing about the job on purpose, the order of folder listings or the clock: only for `replay --vary`.

What Python code asks of `os`, `time` and `datetime` is changed; what C code asks the system for itself is not.
Each use is told in the log, so that a report can say whether the job was reached at all.
"""

# mypy: ignore-errors

import os
import sys
import time
from _thread import get_ident

import _runbook_log as log
import _runbook_random as random

SHIFT_S = 457 * 86400 + 5 * 3600 + 7 * 60
"""Seconds by which the clock is ahead: a year and three months, another day of the week, another hour."""
_SALT = b"runbook"
_WORD = 0xFFFFFFFFFFFFFFFF
_at_work = set()
"""Threads that are telling of a use: what they ask for themselves is not changed."""


class _Builtin:
    """A stand-in for a function written in C: like that one it is no method when it stands in a class."""

    def __init__(self, module, original, call):
        self._call, self.__wrapped__ = call, original
        self.__name__ = self.__qualname__ = original.__name__
        self.__module__, self.__doc__ = module, original.__doc__

    def __call__(self, *args, **kwargs):
        return self._call(*args, **kwargs)

    def __reduce__(self):
        return self.__name__  # Pickled as the function would be: by its name in its module.


def _used(what):
    """Tell that the job met the change; False when it is the hook itself that asks."""
    me = get_ident()
    if me in _at_work or me in log.busy:
        return False
    _at_work.add(me)
    try:
        log.count("B", what)
    except BaseException as error:
        log.guard(error)
    finally:
        _at_work.discard(me)
    return True


def _replace(module, name, make):
    """Put `make(original)` in the place of a function."""
    original = getattr(module, name, None)
    if original is not None:
        setattr(module, name, _Builtin(module.__name__, original, make(original)))


# --- the order of listings ---------------------------------------------------------------------------------------


def _key(name):
    """A number that a name always has, without order: FNV-1a, mixed as MurmurHash3 ends."""
    value = 0xCBF29CE484222325
    for byte in _SALT + os.fsencode(name):
        value = ((value ^ byte) * 0x100000001B3) & _WORD
    value = ((value ^ value >> 33) * 0xFF51AFD7ED558CCD) & _WORD
    value = ((value ^ value >> 33) * 0xC4CEB9FE1A85EC53) & _WORD
    return value ^ value >> 33


def shuffled(items, name):
    """The items in an order that depends on their names alone, and is never the one that they came in."""
    found = sorted(items, key=lambda item: (_key(name(item)), name(item)))
    return found[::-1] if found == items else found


class _Entries:
    """What `os.scandir` gives, in another order."""

    def __init__(self, entries):
        self._entries = iter(entries)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._entries = iter(())


def _listing(original):
    def listdir(*args, **kwargs):
        names = original(*args, **kwargs)
        return shuffled(names, lambda name: name) if len(names) > 1 and _used("order") else names

    return listdir


def _scanning(original):
    def scandir(*args, **kwargs):
        with original(*args, **kwargs) as entries:
            found = list(entries)
        return _Entries(shuffled(found, lambda one: one.name) if len(found) > 1 and _used("order") else found)

    return scandir


def _order():
    for name, make in (("listdir", _listing), ("scandir", _scanning)):
        known = getattr(os, name) in os.supports_fd
        _replace(os, name, make)
        if known:
            os.supports_fd.add(getattr(os, name))


# --- the clock ---------------------------------------------------------------------------------------------------


def _ahead(shift):
    """For a function that tells the time."""

    def make(original):
        def told():
            return original() + (shift if _used("time") else 0)

        return told

    return make


def _of_clock(shift):
    """For a function that tells the time of a clock: only the one of the day is ahead."""

    def make(original):
        def told(clock):
            ahead = clock == time.CLOCK_REALTIME and _used("time")
            return original(clock) + (shift if ahead else 0)

        return told

    return make


def _or_now(original):
    """For a function of seconds, by default now."""

    def converted(seconds=None):
        return original(time.time() if seconds is None else seconds)

    return converted


def _ending_now(required):
    """For a function of a broken-down time behind so many other arguments, by default now."""

    def make(original):
        def written(*args):
            return original(*args, time.localtime()) if len(args) == required else original(*args)

        return written

    return make


def _clock():
    whole = SHIFT_S * 10**9
    for name, make in (
        ("time", _ahead(SHIFT_S)),
        ("time_ns", _ahead(whole)),
        ("clock_gettime", _of_clock(SHIFT_S)),
        ("clock_gettime_ns", _of_clock(whole)),
        ("localtime", _or_now),
        ("gmtime", _or_now),
        ("ctime", _or_now),
        ("asctime", _ending_now(0)),
        ("strftime", _ending_now(1)),
    ):
        _replace(time, name, make)
    random.watch("datetime", _dates)


def _dates(module):
    """The type stays the very same; its two functions are exchanged before anybody has asked for them.

    `date.today` and `datetime.today` ask `time.time`.
    """
    import gc

    methods = gc.get_referents(module.datetime.__dict__)[0]
    if type(methods) is not dict:
        log.emit_once("L", "the clock of datetime could not be set ahead in this Python")
        return
    now_in_utc, ahead = methods["utcnow"], module.timedelta(seconds=SHIFT_S)

    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    def utcnow(cls):
        told = now_in_utc.__get__(None, cls)()
        return told + ahead if _used("time") else told

    methods["now"], methods["utcnow"] = classmethod(now), classmethod(utcnow)
    sys._clear_type_cache() if hasattr(sys, "_clear_type_cache") and sys.version_info < (3, 13) else None


def _nothing():
    """Nothing of this name can be changed."""


_CHANGES = {"order": _order, "time": _clock}


def start(names):
    """Change what is asked for, `order` or `time`; what is unknown is left."""
    for name in names.split(","):
        try:
            _CHANGES.get(name, _nothing)()
        except BaseException as error:
            log.guard(error)
            log.emit_once("L", "the job was to meet another " + name + ", which could not be arranged")
