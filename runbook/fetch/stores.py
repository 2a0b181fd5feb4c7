"""Object stores and hubs, by fsspec: S3, Google Cloud, Azure, Hugging Face. Each is an extra of runbook.

What a store's own client reads from the user's environment (AWS_PROFILE, AWS_ENDPOINT_URL, application default
credentials, HF_TOKEN, fsspec's own configuration) decides as whom is asked and where; nothing of it comes from a
record.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from runbook.remote.files import FsspecFiles


class StoreRemote:
    """Whatever fsspec can open, of these schemes."""

    name = "object-store"
    schemes = ("s3", "gs", "gcs", "az", "abfs", "abfss", "hf")

    def child(self, url: str, path: str) -> str:
        """A key is raw text: nothing is quoted."""
        return f"{url.rstrip('/')}/{path}"

    def size(self, url: str) -> int | None:
        """As the store's listing says."""
        folder, _, name = url.rpartition("/")
        found = FsspecFiles(folder).size(name)
        if found is None:
            raise FileNotFoundError("it is not there")
        return found

    def open(self, url: str, offset: int) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """From any offset: stores know ranges."""
        folder, _, name = url.rpartition("/")
        return FsspecFiles(folder).open(name, offset)


MEMBER = StoreRemote()
