"""Watching a job from inside: how its environment is prepared, and what its logs tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runbook.model.watch import Watched


def prepare(folder: Path, env: Mapping[str, str], *, seen_as: str = "") -> dict[str, str]:
    """Make the watch folder and return the environment to start the job with.

    seen_as: the folder's path as the job sees it, when that is another (in a container).
    """
    (folder / "kept").mkdir(parents=True, exist_ok=True)
    return dict(env)


def read_watch(folder: Path) -> Watched:
    """What the logs of a watch folder tell. They are read as hostile."""
    return Watched()
