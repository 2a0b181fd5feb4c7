"""One process at a time builds an environment: a second one then finds it built."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import platformdirs


@contextmanager
def alone(environment_id: str) -> Iterator[None]:
    """Hold the lock of this environment; waits for whoever builds it now."""
    folder = platformdirs.user_cache_path("runbook") / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(environment_id.encode()).hexdigest()[:24]
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
