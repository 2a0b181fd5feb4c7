"""runbook: freeze a training run into a bundle, replay it elsewhere, and say whether it was reproduced.

A job may log what it knows by itself: `runbook.log_metric("loss", 0.3, step=1)`; see docs/python-api.md.
"""

TYPE_CHECKING = False  # As type checkers read it; `typing` would be the only import here.
if TYPE_CHECKING:
    from runbook.api import log_artifact, log_metric, log_param, run

__version__ = "0.1.0"
__all__ = ["__version__", "log_artifact", "log_metric", "log_param", "run"]


def __getattr__(name: str) -> object:
    """The functions for jobs, loaded when one is used: the command line needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from runbook import api

    value: object = getattr(api, name)
    globals()[name] = value
    return value
