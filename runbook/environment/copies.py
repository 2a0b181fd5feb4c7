"""The wheels of a lock as a bundle carries them: all of them, or none."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import msgspec

from runbook.environment.index import Index
from runbook.environment.wheels import fetch
from runbook.model.environment import Interpreter, Lock, WheelCopy
from runbook.progress import SILENT, Progress


def carry_wheels(
    lock: Lock,
    requirements: Path,
    interpreter: Interpreter,
    held: Path | None,
    target: Path,
    *,
    index: Index,
    cache: Path,
    progress: Progress = SILENT,
) -> Lock:
    """Fill the folder `target` with every wheel of the lock, each checked against it; the lock that says so.

    held: folder of the wheels that are at hand. Raises what `fetch` raises.
    """
    fetched = fetch(requirements, interpreter, held, target, index=index, cache=cache, progress=progress)
    unique = {wheel.file for wheel in lock.carried}
    copies = tuple(_copy(target / name) for name in fetched.wheels if name not in unique)
    carried = tuple(msgspec.structs.replace(wheel, stored=True) for wheel in lock.carried)
    return msgspec.structs.replace(lock, carried=carried, copies=copies)


def leave_wheels(lock: Lock, held: Path, cache: Path) -> Lock:
    """The lock of a bundle that carries none. What no index has is kept in `cache`, where replays look for it."""
    for wheel in lock.carried:
        place = cache / "wheels" / wheel.sha256 / wheel.file
        if wheel.stored and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            fresh = place.with_name(f".{wheel.file}.{os.getpid()}")
            shutil.copyfile(held / wheel.file, fresh)
            fresh.chmod(0o444)
            fresh.replace(place)
    carried = tuple(msgspec.structs.replace(wheel, stored=False) for wheel in lock.carried)
    return msgspec.structs.replace(lock, carried=carried, copies=())


def _copy(wheel: Path) -> WheelCopy:
    with wheel.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WheelCopy(file=wheel.name, sha256=digest, size=wheel.stat().st_size)
