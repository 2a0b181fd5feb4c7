"""Enters every Python process of a watched job, through PYTHONPATH, and then steps aside.

It must run, and do nothing, in any Python at all: the job may start an old one.
"""

# mypy: ignore-errors

import sys


def _enter():
    """Leave the import path, start the hook, leave no module of ours behind."""
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    if sys.version_info >= (3, 8) and hasattr(sys, "addaudithook"):
        # Our own bytecode goes to our own folder, whatever the job wants for its own; it saves each process 10 ms.
        before = sys.dont_write_bytecode
        sys.dont_write_bytecode = before and sys.pycache_prefix is not None
        try:
            import _runbook_hook

            _runbook_hook.start(os.path.dirname(here))
        except Exception:  # The job runs on, unwatched: the reader finds no log of it.
            pass
        sys.dont_write_bytecode = before
    for name in ("hook", "log", "calls", "random", "states", "vary"):
        sys.modules.pop("_runbook_" + name, None)
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    sys.path_importer_cache.pop(here, None)


def _chain():
    """Run the sitecustomize that Python would have run without us, or be as absent as it would have been."""
    if sys.version_info < (3, 8):
        return
    # importlib.machinery without importing it for the job.
    spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or not hasattr(spec.loader, "exec_module"):
        raise ImportError("No module named 'sitecustomize'", name="sitecustomize")
    module = type(sys)("sitecustomize")
    module.__spec__ = spec
    module.__loader__ = spec.loader
    module.__file__ = spec.origin
    module.__cached__ = spec.cached
    module.__package__ = spec.parent
    if spec.submodule_search_locations is not None:
        module.__path__ = spec.submodule_search_locations
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


_enter()
_chain()
