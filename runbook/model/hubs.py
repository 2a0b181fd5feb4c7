"""What libraries download and keep, and where: the facts about their caches. Pure.

The switches and layouts are the libraries' own: huggingface_hub (environment variables; cache of blobs, snapshots
and refs), datasets, transformers, torch.hub, scikit-learn, Keras, NLTK, TensorFlow Datasets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from runbook.model.fact import Value

_HUGGING_FACE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


class Cache(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A folder in which a library keeps what it downloaded, and that the job used."""

    name: str
    """`Hugging Face's cache` …"""
    folder: str
    """Absolute, on the original machine."""
    offline: dict[str, str] = {}
    """Variables that keep the library from asking the network; set on replay."""


@dataclass(frozen=True)
class Library:
    """One library's cache."""

    name: str
    folders: tuple[str, ...]
    """Below HOME; what begins with `.cache/` lies below XDG_CACHE_HOME where that is set."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables that move it, each with the folder below the one that it names."""
    unit: str = ""
    """Pattern of what belongs together, from the beginning of a path below the folder: it is one input."""
    offline: Mapping[str, str] = field(default_factory=dict)


LIBRARIES = (
    Library(
        "Hugging Face's cache",
        (".cache/huggingface/hub",),
        {"HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HOME": "hub", "TRANSFORMERS_CACHE": ""},
        r"(?:models|datasets|spaces)--[^/]+(?=/)",
        _HUGGING_FACE,
    ),
    Library(
        "Hugging Face's datasets",
        (".cache/huggingface/datasets",),
        {"HF_DATASETS_CACHE": "", "HF_HOME": "datasets"},
        r"(?!downloads/)[^/]+(?=/)",
        _HUGGING_FACE,
    ),
    Library("Hugging Face's cache", (".cache/huggingface",), {"HF_HOME": ""}, "", _HUGGING_FACE),
    Library("torch hub's cache", (".cache/torch/hub",), {"TORCH_HOME": "hub"}, r"(?!checkpoints/)[^/]+(?=/)"),
    Library(
        "sentence-transformers' cache",
        (".cache/torch/sentence_transformers",),
        {"SENTENCE_TRANSFORMERS_HOME": ""},
        r"[^/]+(?=/)",
        _HUGGING_FACE,
    ),
    Library("scikit-learn's data folder", ("scikit_learn_data",), {"SCIKIT_LEARN_DATA": ""}),
    Library("Keras' cache", (".keras",), {"KERAS_HOME": ""}, r"datasets/[^/]+(?=/)"),
    Library("NLTK's data folder", ("nltk_data",), {"NLTK_DATA": ""}),
    Library(
        "Kaggle's cache",
        (".cache/kagglehub",),
        {"KAGGLEHUB_CACHE": ""},
        r"(?:datasets|models|competitions)/[^/]+/[^/]+(?=/)",
    ),
    Library(
        "TensorFlow datasets' folder",
        ("tensorflow_datasets",),
        {"TFDS_DATA_DIR": ""},
        r"(?!downloads/)[^/]+(?=/)",
    ),
    Library("gensim's data folder", ("gensim-data", ".cache/gensim"), {"GENSIM_DATA_DIR": ""}),
    Library("seaborn's data folder", ("seaborn-data",), {"SEABORN_DATA": ""}),
    Library("Whisper's cache", (".cache/whisper",)),
    Library("CLIP's cache", (".cache/clip",)),
    Library("fastai's folder", (".fastai",), {"FASTAI_HOME": ""}),
)
BOOKKEEPING = re.compile(
    r"(\.lock|\.incomplete|/\.locks/.*|/version\.txt|/version_diffusers_cache\.txt|/CACHEDIR\.TAG|/xet/.*)$"
)
"""What such a cache keeps for itself."""
_REPOSITORY = re.compile(r"(.+)/((?:models|datasets|spaces)--[^/]+)/(?:blobs|refs|snapshots|\.no_exist)/")
"""Hugging Face's layout, wherever a job put it (`cache_dir=`)."""
_OWN_CACHES = frozenset(
    (
        *("JetBrains", "black", "ccache", "fontconfig", "go-build", "ipython", "jax", "jedi", "matplotlib"),
        *("mesa_shader_cache", "mesa_shader_cache_db", "mypy", "node", "numba", "nvidia", "parso", "pip"),
        *("pre-commit", "pypoetry", "ruff", "runbook", "thumbnails", "torch", "torch_extensions"),
        *("torchinductor", "triton", "uv", "wandb", "yarn"),
    )
)
"""Folders below ~/.cache that hold what programs compute for themselves, and nothing that decides a result."""


@dataclass(frozen=True)
class Place:
    """A cache on this machine."""

    library: Library
    folder: str
    variable: str
    """The variable that decided where it is, `HOME` where none moved it."""

    def unit(self, path: str) -> str:
        """The folder that belongs together with this path, or the path itself."""
        found = re.match(self.library.unit, path[len(self.folder) + 1 :]) if self.library.unit else None
        return f"{self.folder}/{found[0]}" if found else path

    def cache(self) -> Cache:
        """As a record names it."""
        return Cache(name=self.library.name, folder=self.folder, offline=dict(self.library.offline))


def places(home: str, variables: Mapping[str, str]) -> tuple[Place, ...]:
    """Where the caches of this user are; home: absolute, or empty."""
    return tuple(_places(home.rstrip("/"), variables))


def _places(home: str, variables: Mapping[str, str]) -> Iterator[Place]:
    moved = variables.get("XDG_CACHE_HOME", "")
    for library in LIBRARIES:
        for name, below in library.variables.items():
            value = variables.get(name, "").rstrip("/")
            if value.startswith("/"):
                yield Place(library, f"{value}/{below}" if below else value, name)
        for folder in library.folders:
            if home:
                yield Place(library, f"{home}/{folder}", "HOME")
            if moved.startswith("/") and folder.startswith(".cache/"):
                yield Place(library, f"{moved.rstrip('/')}/{folder.removeprefix('.cache/')}", "XDG_CACHE_HOME")


def find(path: str, known: tuple[Place, ...]) -> Place | None:
    """The cache that this path lies in."""
    for place in known:
        if path.startswith(place.folder + "/"):
            return place
    found = _REPOSITORY.match(path)
    return Place(LIBRARIES[0], found[1], "") if found else None


def unknown_cache(path: str, home: str, variables: Mapping[str, str]) -> tuple[str, str] | None:
    """Folder and variable of the cache of a library that is not listed, such as one of pooch; None for others."""
    moved = variables.get("XDG_CACHE_HOME", "").rstrip("/")
    for folder, variable in ((moved, "XDG_CACHE_HOME"), (f"{home}/.cache" if home else "", "HOME")):
        if folder and path.startswith(folder + "/"):
            name = path[len(folder) + 1 :].partition("/")[0]
            return (
                None if name in _OWN_CACHES or name == path[len(folder) + 1 :] else (f"{folder}/{name}", variable)
            )
    return None
