"""The environment variables that decide results, by an allow-list; names that look secret are always dropped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runbook.model.job import Variable
from runbook.observe.names import looks_secret
from runbook.observe.urls import without_credentials

# TensorFlow's by name and family: Terraform's begin with TF_ too, and some of those hold credentials.
_PREFIXES = (
    *("PYTHON", "LC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_", "VECLIB_", "NUMBA_"),
    *("CUBLAS_", "CUDA_", "CUDNN_", "NCCL_", "NVIDIA_TF32", "NVIDIA_VISIBLE", "HIP_", "ROCR_", "HSA_", "MIOPEN_"),
    *("TORCH_", "PYTORCH_", "TRITON_", "TF2_", "TF_CPP_", "TF_CPU_", "TF_CUBLAS_", "TF_CUDA_", "TF_CUDNN_"),
    *("TF_DETERMINISTIC_", "TF_DISABLE_", "TF_ENABLE_", "TF_FORCE_", "TF_FUNCTION_", "TF_GPU_", "TF_GRAPPLER_"),
    *("TF_LAYOUT_", "TF_MKL_", "TF_MLIR_", "TF_NUM_", "TF_ONEDNN_", "TF_TRT_", "TF_USE_", "TF_XLA_"),
    *("XLA_", "JAX_", "KERAS_", "HF_", "TRANSFORMERS_", "DATASETS_"),
    *("TOKENIZERS_", "ACCELERATE_", "SKLEARN_", "JOBLIB_", "LOKY_", "NPY_", "PL_", "HYDRA_"),
)
_NAMES = frozenset(
    (
        *("LANG", "LANGUAGE", "TZ", "MPLBACKEND", "SOURCE_DATE_EPOCH", "LD_LIBRARY_PATH", "LD_PRELOAD"),
        *("MALLOC_ARENA_MAX", "GOTO_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS"),
        *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK"),
        *("TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_IGNORE_PERFORMANCE", "TF_AUTOTUNE_THRESHOLD", "TF_CONFIG"),
        *("TF_KERAS", "TF_OVERRIDE_GLOBAL_THREADPOOL", "TF_SYNC_ON_FINISH", "TFDS_DATA_DIR", "TFHUB_CACHE_DIR"),
        *("MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NNODES"),
        "RUNBOOK_IMAGE",
    )
)


def allowed(env: Mapping[str, str], extra: Iterable[str] = ()) -> tuple[tuple[Variable, ...], int]:
    """The variables that may enter a record, sorted by name, and how many others there were.

    extra: names that the user asked for besides the list; a name that looks secret is dropped all the same.
    A credential inside a URL is masked, and the variable marked as redacted.
    """
    wanted = set(extra)
    kept = []
    for name, value in sorted(env.items()):
        if looks_secret(name) or not (name in wanted or name in _NAMES or name.startswith(_PREFIXES)):
            continue
        plain = without_credentials(value)
        kept.append(Variable(name=name, value=plain, redacted=plain != value))
    return tuple(kept), len(env) - len(kept)
