"""The state of the job's randomness at the end: generators that nobody seeded, switches, thread counts.

Nothing is imported for it: only what the job has loaded is asked.
"""

# mypy: ignore-errors

import os
import sys

import _runbook_log as log

seeded = set()
"""Libraries whose own generator was seeded."""
_before = {}
_STDLIB = os.path.dirname(os.__file__) + os.sep
_MODULES = 5000


def library(file):
    """Whether a source file belongs to a library or to Python, and not to the job."""
    return "site-packages" in file or "dist-packages" in file or file.startswith(_STDLIB)


# --- generators --------------------------------------------------------------------------------------------------


def _state(name):
    """A fingerprint of the state of a library's own generator; None when it cannot be had."""
    module = sys.modules.get(name)
    if module is None:
        return None
    if name == "random":
        return hash(module.getstate())
    if name == "numpy.random.mtrand":
        generator = module._rand
        # In a forked child the lock may be held for ever, by a thread that exists no more.
        lock = generator._bit_generator.lock
        if not lock.acquire(False):
            return None
        lock.release()
        state = generator.get_state(legacy=False)
        inner = state["state"]
        return hash((bytes(memoryview(inner["key"])), inner["pos"], state.get("has_gauss")))
    return hash(tuple(module.get_rng_state().tolist()))


def mark(name):
    """Remember the state, to know later whether numbers were drawn."""
    _before[name] = _state(name)


def untouched():
    """The generators that gave no numbers yet, before a library is imported."""
    try:
        return [name for name in ("random", "numpy.random.mtrand") if _state(name) == _before.get(name)]
    except BaseException as error:
        log.guard(error)
        return []


def untouch(names):
    """What the library drew from these while it was imported is its own doing, and none of the job's."""
    for name in names:
        if name in sys.modules:
            mark(name)


def _uses(forked):
    """Which generators gave numbers, or were seeded."""
    for name, label in (("random", "random"), ("numpy.random.mtrand", "numpy.random"), ("torch", "torch")):
        if name in _before:
            known = label in seeded
            # A forked child does not touch torch's generator: its lock cannot be asked for.
            if known or (not (forked and name == "torch") and _state(name) != _before[name]):
                detail = str(sys.modules["torch"].initial_seed()) if name == "torch" else ""
                how = "1" if known else "l" if name == "random" and not _job_knows(sys.modules[name]) else "0"
                log.emit("Y", "1", label, how, detail, "")


def _job_knows(random):
    """Whether the job's own code has `random`; where it has not, a library drew the numbers, for a name or an id.

    Asked of the modules' names and of their source: a function may import it for itself.
    """
    words = getattr(sys, "orig_argv", sys.argv)
    files = [word for word in words[1:] if os.path.isfile(word)]
    texts = [word.encode("utf-8", "surrogateescape") for word in words]
    for name, module in list(sys.modules.items())[:_MODULES]:
        try:
            names = object.__getattribute__(module, "__dict__")
        except AttributeError as error:
            log.guard(error)
            continue
        file = names.get("__file__")
        if (type(file) is str and library(file)) or (type(file) is not str and name != "__main__"):
            continue
        if type(file) is str:
            files.append(file)
        elif not files and not {"-c", "-m"}.intersection(words):
            return True  # A script on standard input, or cells of a notebook: their text is gone.
        for value in list(names.values()):
            kind = type(value)
            if value is random or (kind in (type(len), type(random.shuffle)) and value.__self__ is random._inst):
                return True
    return any(_imports_random(text) for text in texts + [log.slurp(one) for one in files])


def _imports_random(text):
    """Whether a line of this Python source imports something that is called random."""
    for line in text.split(b"\n"):
        if b"random" in line and b"import" in line:
            if b"random" in line.replace(b",", b" ").replace(b";", b" ").split():
                return True
    return False


def _torch_switches(torch):
    backends = torch.backends
    for name in (
        "are_deterministic_algorithms_enabled",
        "is_deterministic_algorithms_warn_only_enabled",
        "get_float32_matmul_precision",
        "get_default_dtype",
        "get_num_threads",
        "get_num_interop_threads",
    ):
        if hasattr(torch, name):
            yield "torch." + name, getattr(torch, name)
    yield "torch.backends.cudnn.deterministic", lambda: backends.cudnn.deterministic
    yield "torch.backends.cudnn.benchmark", lambda: backends.cudnn.benchmark
    yield "torch.backends.cudnn.allow_tf32", lambda: backends.cudnn.allow_tf32
    yield "torch.backends.cuda.matmul.allow_tf32", lambda: backends.cuda.matmul.allow_tf32
    yield "torch.cuda.is_initialized", torch.cuda.is_initialized


def _switches():
    """Name and how to ask, for the libraries that are loaded; nothing is imported for it."""
    loaded = sys.modules.get
    yield "sys.flags.hash_randomization", lambda: sys.flags.hash_randomization
    torch = loaded("torch")
    if torch is not None and hasattr(torch, "backends"):
        yield from _torch_switches(torch)
    config = loaded("tensorflow.python.framework.config")
    if config is not None:
        yield "tensorflow.config.experimental.enable_op_determinism", config.is_op_determinism_enabled
        yield "tensorflow.config.threading.intra_op", config.get_intra_op_parallelism_threads
        yield "tensorflow.config.threading.inter_op", config.get_inter_op_parallelism_threads
    jax = loaded("jax")
    if jax is not None and hasattr(jax, "config"):
        for name in (
            "jax_enable_x64",
            "jax_default_prng_impl",
            "jax_threefry_partitionable",
            "jax_default_matmul_precision",
        ):
            yield name, lambda name=name: getattr(jax.config, name)
    pools = loaded("threadpoolctl")
    if pools is not None:
        try:
            found = pools.threadpool_info()
        except Exception as error:
            log.guard(error)
            found = []
        for one in found:
            label = "threadpool " + str(one.get("internal_api")) + " " + str(one.get("prefix"))
            text = str(one.get("num_threads"))
            more = [str(one[key]) for key in ("version", "architecture", "threading_layer") if one.get(key)]
            yield label, lambda text=text, more=more: " ".join([text] + more)


def finish(forked):
    """At the end of the process: which generators were used, and how the switches stand.

    A forked child has its parent's switches, and libraries that it must not stir.
    """
    try:
        _uses(forked)
    except BaseException as error:
        log.guard(error)
    if forked:
        return
    for name, ask in _switches():
        try:
            log.emit("G", name, ask())
        except BaseException as error:
            log.guard(error)
