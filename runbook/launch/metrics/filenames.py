"""Which files hold metrics by their name, and which part of a path stays the same from run to run. Pure."""

from __future__ import annotations

import re

from runbook.launch.metrics.interface import Claim

_METRICS = re.compile(
    r"metrics?(?![a-z])|history|results?(?![a-z])|scores?(?![a-z])|(?:^|[_-])eval(?:uation)?(?![a-z])|"
    r"^(?:training|train|csv)?[_-]?log(?![a-z])|^training\.|^progress\."
)
"""In the name of a file, lower case: `metrics.json`, `eval_results.json`, `val_scores.csv`, `training.log`."""
_NOT = re.compile(r"^(?:package|tsconfig|config|hparams|meta)|dvclive|schema|predictions?|samples?")
_CHANGES = re.compile(
    r"(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d"  # 2026-11-24, 20261124
    r"|(?<!\d)\d\d[-_:.h]\d\d[-_:.m]\d\d(?!\d)"  # 12-00-00
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\d\d_"
    r"|^version_\d+$|^(?:offline-)?run-\d|^checkpoint-\d+$"
    r"|\d{9,}"  # Seconds since the epoch.
    r"|[0-9a-f]{16,}"
    r"|^(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}$"  # A short id or hash.
)


def claim_file(path: str, suffixes: tuple[str, ...]) -> Claim | None:
    """The claim on a file of a general format whose name says that it holds metrics."""
    if not path.endswith(suffixes):
        return None
    folder, _, name = path.rpartition("/")
    name = name.lower()
    if not _METRICS.search(name) or _NOT.search(name) or folder.rpartition("/")[2] == "dvclive":
        return None
    if path.endswith(".tsv") and "plots/metrics" in folder:
        return None
    return Claim(store=path, run=folder)


def changes(part: str) -> bool:
    """Whether a part of a path holds what differs from run to run: a time stamp, an id, a running number."""
    return _CHANGES.search(part) is not None


def stable(path: str) -> str:
    """The beginning of a path up to the first part that differs from run to run."""
    parts = path.split("/") if path else []
    kept = next((number for number, part in enumerate(parts) if changes(part)), len(parts))
    return "/".join(parts[:kept])


def label(path: str) -> str:
    """What is left of a path when the parts that differ from run to run are gone."""
    return "/".join(part for part in path.split("/") if part and not changes(part))
