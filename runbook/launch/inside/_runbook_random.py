"""Where the job's randomness comes from: its seeding calls.

The functions of a small table are wrapped when their module has been imported; a library that the job does not
import costs nothing. Classes stay what they are, and a wrapper calls through with the same arguments.
"""

# mypy: ignore-errors

import os
import sys

import _runbook_calls as calls
import _runbook_log as log
import _runbook_states as states

_finish = None
_SHOWN = 100
_US = ("_runbook_hook", "_runbook_log", "_runbook_calls", "_runbook_random", "_runbook_states")
_ARGUMENTS = ("seed", "a", "new_seed", "random_state", "state", "new_state", "key")
_OWN = 4
"""How many different seeds of generators of their own are told of one line."""
_WORKER = os.path.join("torch", "utils", "data", "_utils", "worker.py")
_ASKED = 200
"""How often we ask who stands behind one place that seeds such generators: a forest does it for each tree."""


# --- wrapping ----------------------------------------------------------------------------------------------------


def _shown(value):
    """An argument as Python writes it, in one line, cut; a long array is named, not written."""
    try:
        if isinstance(value, (int, str, bytes, float, bool, type(None), tuple, list)) or hasattr(value, "shape"):
            size = getattr(value, "size", 0)
            if not isinstance(value, (tuple, list)) or len(value) <= _SHOWN:
                if not isinstance(size, int) or size <= _SHOWN:
                    return " ".join(repr(value).split())[:_SHOWN]
        return "(" + type(value).__name__ + ")"
    except Exception as error:
        log.guard(error)
        return "(not shown)"


def _line():
    """The innermost line outside libraries, as `file:line`, and True; else the innermost of all, and False.

    What a library does while it is imported is its own doing. Empty for what torch's DataLoader does in a worker:
    it seeds each anew, from the parent's generator: numbers as others that are drawn from it, and no seed.
    """
    frame, nearest, importing = sys._getframe(1), "", False
    while frame is not None:
        name = frame.f_code.co_filename
        if frame.f_code.co_name == "_worker_loop" and name.endswith(_WORKER):
            return "", False
        if name[:1] == "<":
            importing = importing or name[:17] == "<frozen importlib"
            if name[:7] in ("<stdin>", "<string") or name[:9] == "<ipython-":
                return name + ":" + str(frame.f_lineno), not importing
        elif frame.f_globals.get("__name__") not in _US:
            here = name + ":" + str(frame.f_lineno)
            nearest = nearest or here
            if not states.library(name):
                return (nearest, False) if importing else (here, True)
        frame = frame.f_back
    return nearest, False


def _argument(args, kwargs):
    if args:
        return args[0]
    for name in _ARGUMENTS:
        if name in kwargs:
            return kwargs[name]
    return None


def _wrap(owner, name, note, after=None):
    """Put a function in front of owner.name that tells us of the call and passes it on unchanged."""
    original = getattr(owner, name, None)
    if not callable(original) or hasattr(original, "_runbook_original"):
        return
    guard = log.guard

    def wrapper(*args, **kwargs):
        try:
            note(args, kwargs)
        except BaseException as error:
            guard(error)
        if after is None:
            return original(*args, **kwargs)
        result = original(*args, **kwargs)
        try:
            after()
        except BaseException as error:
            guard(error)
        return result

    # As functools.wraps would, without importing it for the job.
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        if hasattr(original, attribute):
            setattr(wrapper, attribute, getattr(original, attribute))
    wrapper.__dict__.update(getattr(original, "__dict__", {}))
    wrapper.__wrapped__ = original
    if isinstance(owner, type(sys)):
        wrapper.__qualname__ = name  # So that pickle finds it by its name, bound methods of a module too.
    wrapper._runbook_original = original
    setattr(owner, name, wrapper)


_HERE = _argument.__code__.co_filename


def _caller():
    """The file of whoever called the wrapped function."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == _HERE:
        frame = frame.f_back
    return frame.f_code.co_filename


def _restoring(label, library):
    """Of a call that sets a whole state: a library that does it puts back what it had taken, and seeds nothing."""
    inner = _seeding(label, library)

    def note(args, kwargs):
        if not states.library(_caller()):
            inner(args, kwargs)

    return note


def _seeding(label, library="", own=False):
    """What to note of a seeding call; without an argument it takes the system's randomness, and is no seed.

    own: it seeds a generator of its own, which decides nothing beyond its caller: libraries' own use is not told,
    and of a line that makes many, only the first few are.
    """
    told, asked = {}, {}

    def note(args, kwargs):
        if own:
            frame = sys._getframe(1)
            while frame.f_code.co_filename == _HERE:
                frame = frame.f_back
            place = frame.f_code, frame.f_lasti
            number = asked.get(place, 0)
            if number >= _ASKED or len(asked) > 1000:
                return
            asked[place] = number + 1
        value = _argument(args, kwargs)
        line, job = _line()
        if not line:
            states.seeded.add(library)
            return
        if own:
            plain = (
                value is None or isinstance(value, int) or hasattr(value, "__index__") or hasattr(value, "__len__")
            )
            values = told.setdefault(line, set()) if job and plain and len(told) < 1000 else None
            shown = _shown(value)
            if values is None or (shown not in values and len(values) >= _OWN):
                return
            values.add(shown)
        if value is None:
            log.count("Y", label, "0", "", line)
            return
        if library:
            states.seeded.add(library)
        log.count("S", label, _shown(value), line)

    return note


def _seeds(prefix, library, *names):
    """An action that wraps the module's seeding functions."""

    def act(module):
        for name in names:
            _wrap(module, name, (_restoring if "state" in name else _seeding)(prefix + name, library))

    return act


def _unbound(label):
    """Like _seeding, for a method: its first argument is the object."""
    inner = _seeding(label, own=True)

    def note(args, kwargs):
        # Random(), unseeded, is what every library makes for its own use: no call worth telling.
        if _argument(args[1:], kwargs) is not None:
            inner(args[1:], kwargs)

    return note


def _only_integers(label):
    """For a function that gets a seed, a generator or None: only the seed is one."""
    inner = _seeding(label, own=True)

    def note(args, kwargs):
        value = _argument(args, kwargs)
        if value is not None and (isinstance(value, int) or hasattr(value, "__index__")):
            inner(args, kwargs)

    return note


def _standard(module):
    # The bound methods of the module come first: they must not be counted again as methods.
    _wrap(module, "seed", _seeding("random.seed", "random"))
    _wrap(module, "setstate", _restoring("random.setstate", "random"))
    _wrap(module.Random, "seed", _unbound("random.Random.seed"))
    states.mark("random")
    os.register_at_fork(after_in_child=_reseeded)


def _reseeded():
    """After a fork the standard library has seeded its generator anew, from the system."""
    try:
        states.seeded.discard("random")
        states.mark("random")
    except BaseException as error:
        log.guard(error)


def _legacy_numpy(module):
    _seeds("numpy.random.", "numpy.random", "seed", "set_state")(module)
    states.mark("numpy.random.mtrand")


def _torch(module):
    states.mark("torch")


def _new_numpy(module):
    _wrap(module, "default_rng", _seeding("numpy.random.default_rng", own=True))


def _sklearn(module):
    _wrap(module, "check_random_state", _only_integers("sklearn random_state"))


def _jax(module):
    for name in ("PRNGKey", "key"):
        inner = _seeding("jax.random." + name)

        def note(args, kwargs, inner=inner):
            # While a function is traced, its argument has no value yet.
            if "Tracer" not in type(_argument(args, kwargs)).__name__:
                inner(args, kwargs)

        _wrap(module, name, note)


def _distributed(module):
    def joined():
        group = module.get_backend(), module.get_world_size(), module.get_rank()
        log.emit("D", "torch", *group)

    _wrap(module, "init_process_group", lambda args, kwargs: None, joined)


def _multiprocessing(module):
    # A forked child ends by os._exit: this is the last that it runs.
    original = module._exit_function

    def exit_function(*args, **kwargs):
        original(*args, **kwargs)
        _finish()

    module._exit_function = exit_function


def _httpx(module):
    def note(args, kwargs):
        request = args[1] if len(args) > 1 else kwargs["request"]
        calls.fetched(str(request.url), request.method)

    for owner in (module.Client, module.AsyncClient):
        _wrap(owner, "send", note)


def _aiohttp(module):
    def note(args, kwargs):
        session, method = args[0], args[1] if len(args) > 1 else kwargs["method"]
        url = args[2] if len(args) > 2 else kwargs["str_or_url"]
        complete = getattr(session, "_build_url", str)  # It may be relative to the session's own.
        calls.fetched(str(complete(url)), str(method).upper())

    _wrap(module.ClientSession, "_request", note)


_TABLE = {
    "random": _standard,
    "numpy.random.mtrand": _legacy_numpy,
    "numpy.random._generator": _new_numpy,
    "torch": _torch,
    "torch.random": _seeds("torch.", "torch", "manual_seed", "set_rng_state"),
    "torch.cuda.random": _seeds("torch.cuda.", "torch.cuda", "manual_seed", "manual_seed_all", "set_rng_state"),
    "torch.distributed.distributed_c10d": _distributed,
    "jax": lambda module: None,  # It draws from numpy's generator while it is imported.
    # They were defined in the first, then in the second; the third is what is documented.
    "jax._src.random": _jax,
    "jax._src.random.core": _jax,
    "jax.random": _jax,
    "tensorflow.python.framework.random_seed": _seeds("tensorflow.random.", "", "set_seed", "set_random_seed"),
    "keras.src.utils.rng_utils": _seeds("keras.utils.", "", "set_random_seed"),
    "keras.src.utils.tf_utils": _seeds("keras.utils.", "", "set_random_seed"),
    "sklearn.utils.validation": _sklearn,
    "lightning.fabric.utilities.seed": _seeds("lightning.", "", "seed_everything"),
    "lightning_fabric.utilities.seed": _seeds("lightning.", "", "seed_everything"),
    "pytorch_lightning.utilities.seed": _seeds("lightning.", "", "seed_everything"),
    "transformers.trainer_utils": _seeds("transformers.", "", "set_seed"),
    "accelerate.utils.random": _seeds("accelerate.utils.", "", "set_seed"),
    "multiprocessing.util": _multiprocessing,
    "httpx._client": _httpx,
    "httpx2._client": _httpx,
    "aiohttp.client": _aiohttp,
}


class _Finder:
    """Knows the modules of the table only; asks the other finders for them and adds what is to be done after."""

    def find_spec(self, name, path=None, target=None):
        if name not in _TABLE:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, _TABLE[name])
                return spec
        return None


class _Loader:
    """The module's own loader, which is put back before the module runs; then the action."""

    def __init__(self, loader, act):
        self._loader, self._act = loader, act

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        spec.loader = self._loader
        module = self._loader.create_module(spec)
        spec.loader = self
        return module

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        untouched = states.untouched()
        self._loader.exec_module(module)
        try:
            states.untouch(untouched)
            self._act(module)
        except BaseException as error:
            log.guard(error)


def watch(name, act):
    """Have something done to a module when it has been imported; to be said before `start`."""
    _TABLE[name] = act


def start(finish_process):
    """Wait for the modules of the table; those that are there already are done at once."""
    global _finish
    _finish = finish_process
    sys.meta_path.insert(0, _Finder())
    for name, act in _TABLE.items():
        module = sys.modules.get(name)
        if module is not None:
            try:
                act(module)
            except BaseException as error:
                log.guard(error)
