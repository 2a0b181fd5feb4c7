"""What a job logged itself, put beside what the command line and the options say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from runbook.config import Declaration
from runbook.flow.artifacts import place
from runbook.launch.logged import Logged
from runbook.model.record import Finding

_BESIDE = " (logged)"
"""What the name of a logged parameter ends in when the command line gives another value."""


def parameters(given: Mapping[str, str], logged: Logged) -> tuple[dict[str, str], list[Finding]]:
    """Both side by side, and a finding where they disagree: the job may have changed what it was given.

    given: from the command line.
    """
    found = dict(given)
    findings = []
    for name, value in logged.parameters:
        if name not in given or _same(given[name], value):
            found.setdefault(name, value)
        else:
            found[name + _BESIDE] = value
            text = f"{name} is {given[name]} on the command line, and the job logged {value}"
            findings.append(Finding(id="parameter-conflict", level="warning", text=text))
    return found, findings


def replayed(original: Mapping[str, str], logged: Logged) -> dict[str, str]:
    """The parameters of a replay: the original's, with what the job logged this time."""
    now = dict(original)
    for name, value in logged.parameters:
        known = name + _BESIDE if name + _BESIDE in original else name
        now[known] = original[known] if _same(original.get(known, ""), value) else value
    return now


def with_artifacts(declaration: Declaration, logged: Logged, root: Path) -> Declaration:
    """The declaration with the artifacts that the job named among its outputs."""
    named = (place(Path(path), root) for path in logged.artifacts)
    outputs = tuple(dict.fromkeys((*declaration.outputs, *named)))
    return msgspec.structs.replace(declaration, outputs=outputs)


def _same(one: str, other: str) -> bool:
    """Whether two texts say one value: `1e-1` and `0.1` do, `true` and `True` too."""
    if one.casefold() == other.casefold():
        return True
    try:
        return float(one) == float(other)
    except ValueError:
        return False
