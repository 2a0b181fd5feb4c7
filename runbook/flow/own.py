"""Which bundles this user froze here, by their ids: what may run without a sandbox when nobody chose that.

An id is the digest of a bundle's manifest, so that no author of another one can claim it. The list is the user's
(`captured/` among the user's data), holds nothing but ids, and may be removed: `--engine local` is then asked for.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import platformdirs


def note(bundle_id: str) -> None:
    """Remember a bundle that was frozen here; where that cannot be written, it is not remembered."""
    with contextlib.suppress(OSError):
        place = _place(bundle_id)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.touch()


def note_derived(bundle_id: str, source_id: str) -> None:
    """Remember a bundle that was made of another, if that was frozen here."""
    if is_own(source_id):
        note(bundle_id)


def is_own(bundle_id: str) -> bool:
    """Whether it was frozen here."""
    return _place(bundle_id).is_file()


def _place(bundle_id: str) -> Path:
    return platformdirs.user_data_path("runbook") / "captured" / bundle_id.removeprefix("sha256:")
