"""Object stores and hubs, by fsspec: S3, Google Cloud, Azure, Hugging Face. Each is an extra of runbook.

What a store's own client reads from the user's environment (AWS_PROFILE, AWS_ENDPOINT_URL, application default
credentials, HF_TOKEN, fsspec's own configuration) decides as whom is asked and where; nothing of it comes from a
record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_BLOCK = 4 << 20
_EXTRAS = {
    "s3": ("s3", "s3fs"),
    "gs": ("gs", "gcsfs"),
    "gcs": ("gs", "gcsfs"),
    "az": ("azure", "adlfs"),
    "abfs": ("azure", "adlfs"),
    "abfss": ("azure", "adlfs"),
    "hf": ("hf", "huggingface_hub"),
}
"""Scheme → extra of runbook, and the module that it brings."""


class StoreRemote:
    """Whatever fsspec can open, of these schemes."""

    name = "object-store"
    schemes = tuple(_EXTRAS)

    def missing(self, scheme: str) -> str:
        """The extra, when its module or fsspec is not installed."""
        extra, module = _EXTRAS[scheme]
        there = find_spec("fsspec") is not None and find_spec(module) is not None
        return "" if there else f"pip install 'runbook[{extra}]'"

    def child(self, url: str, path: str) -> str:
        """A key is raw text: nothing is quoted."""
        return f"{url.rstrip('/')}/{path}"

    def size(self, url: str) -> int | None:
        """As the store's listing says."""
        with _asking(url) as (system, path):
            size = system.info(path).get("size")
            return int(size) if size is not None else None

    @contextmanager
    def open(self, url: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """From any offset: stores know ranges."""
        with (
            _asking(url) as (system, path),
            system.open(path, "rb", block_size=_BLOCK, cache_type="readahead") as file,
        ):
            file.seek(offset)
            yield offset, _blocks(file, url)


def _blocks(file: Any, url: str) -> Iterator[bytes]:
    while True:
        try:
            block = file.read(_BLOCK)
        except OSError:
            raise
        except Exception as error:
            raise _told(error, url) from error
        if not block:
            return
        yield block


@contextmanager
def _asking(url: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """The file system of a URL and the path there; what its client raises becomes an OSError."""
    from fsspec import filesystem

    try:
        # Not url_to_fs: it reads options out of the URL, which is the bundle's.
        system = filesystem(urlsplit(url).scheme)
        yield system, system._strip_protocol(url)
    except OSError:
        raise
    except Exception as error:
        raise _told(error, url) from error


def _told(error: Exception, url: str) -> OSError:
    """One sentence of what a store's client raises, which is of no common class."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    return OSError(f"{urlsplit(url).scheme}: {text}")


MEMBER = StoreRemote()
