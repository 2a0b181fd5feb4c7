"""How much a difference is known to matter for a result, and why. The order in which a person should look.

What is ranked high decides results by itself (seed, code, data, numerical packages); medium changes the order or
the precision of arithmetic (threads, CPU, driver); low is not known to matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal

from runbook.model.verdict import Difference

Risk = Literal["high", "medium", "low"]

NUMERICAL = frozenset(
    (
        *("catboost", "cupy", "dask", "einops", "flax", "jax", "jaxlib", "keras", "lightgbm", "mkl", "mlx"),
        *(
            "numba",
            "numexpr",
            "numpy",
            "onnxruntime",
            "openblas",
            "optax",
            "pandas",
            "polars",
            "pytorch-lightning",
        ),
        *(
            "scikit-learn",
            "scipy",
            "statsmodels",
            "tensorflow",
            "tokenizers",
            "torch",
            "torchaudio",
            "torchvision",
        ),
        *("transformers", "triton", "xgboost"),
    )
)
"""Packages (normalised names) whose arithmetic, defaults or random streams change between releases."""

INSTALLERS = frozenset(("pip", "setuptools", "wheel", "uv"))
"""Packages that install others; a job's result does not come from them."""

_ARITHMETIC_FLAGS = re.compile(r"avx|fma|amx|sse4|neon|asimd|sve|bf16|f16c|vnni")
_DOCUMENTS = frozenset((".md", ".rst", ".txt", ".png", ".svg", ".jpg", ".pdf", ".cff"))
_KNOBS: dict[str, str] = {
    "CUBLAS_WORKSPACE_CONFIG": "decides whether cuBLAS is deterministic",
    "CUDA_VISIBLE_DEVICES": "decides which GPUs the job sees",
    "CUDA_LAUNCH_BLOCKING": "changes the order of GPU work",
    "MKL_CBWR": "pins the MKL code path; without it results depend on the CPU",
    "NVIDIA_TF32_OVERRIDE": "switches TensorFloat-32, which rounds to 10 bits",
    "TF_DETERMINISTIC_OPS": "decides whether TensorFlow is deterministic",
    "TF_CUDNN_DETERMINISTIC": "decides whether cuDNN is deterministic",
    "XLA_FLAGS": "chooses XLA's kernels",
    "PYTHONHASHSEED": "seeds the order of sets and of hashes of text",
}
_ORDER: dict[Risk, int] = {"high": 0, "medium": 1, "low": 2}
_FAMILIES = (
    *("outcome", "seed", "code", "data", "argv", "lock", "interpreter", "library", "accelerator", "base", "cpu"),
    *("threads", "engine", "variable", "host"),
)


def ranked(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """High risk first; within a risk by family, then in the order given."""
    return tuple(sorted(differences, key=lambda d: (_ORDER[d.risk], _FAMILIES.index(d.family))))


def package(name: str, *, edited: bool = False) -> tuple[Risk, str]:
    """The risk of a package that is not the same on both sides."""
    if name in INSTALLERS:
        return "low", "an installer: no result comes from it"
    if edited:
        return "high", "installed files were changed by hand: the version does not say what ran"
    if name in NUMERICAL or name.startswith(("nvidia-", "jax-", "tensorflow-")):
        return "high", "a numerical package: results may change from release to release"
    return "low", "not known to change numbers"


def source_file(path: str) -> tuple[Risk, str]:
    """The risk of a source file that is not the same on both sides."""
    if PurePosixPath(path).suffix.lower() in _DOCUMENTS:
        return "low", "not a program, unless the job reads it"
    return "high", "the code is what the result comes from"


def flags(changed: Iterable[str]) -> tuple[Risk, str]:
    """The risk of CPU flags that only one side has."""
    if kernel_flags(changed):
        return "medium", "numerical libraries choose their kernels by these flags"
    return "low", "no flag that numerical libraries are known to look at"


def kernel_flags(flags: Iterable[str]) -> list[str]:
    """Those CPU flags that numerical libraries choose their kernels by, sorted."""
    return sorted(flag for flag in flags if _ARITHMETIC_FLAGS.search(flag))


def variable(name: str) -> tuple[Risk, str]:
    """The risk of an environment variable that is not the same on both sides."""
    if name in _KNOBS:
        return "medium", _KNOBS[name]
    if name.endswith(("_THREADS", "_DYNAMIC")):
        return "medium", "the number of threads decides the order of sums"
    return "low", "not known to change numbers"


def framework(name: str) -> tuple[Risk, str]:
    """The risk of a library that the job's packages bring: CUDA, cuDNN, a BLAS."""
    if any(part in name.lower() for part in ("cuda", "cudnn", "cublas", "blas", "mkl", "nccl", "rocm")):
        return "high", "the arithmetic itself is done in it"
    return "medium", "it is loaded by the job's packages"
