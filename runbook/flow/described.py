"""A run as the runbook.yaml that would declare it, with a comment for every line."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook import config, render, yamltext
from runbook.flow.codebase import default_name
from runbook.launch.metrics.interface import parse_source
from runbook.model.record import Record
from runbook.model.watch import Stage
from runbook.observe.variables import allowed
from runbook.trust.secrets import as_error, scan

_MANY = 20
"""Inputs and outputs that were seen and not declared, which are written out."""
_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+=-]*( [A-Za-z0-9_./+=-]+)*")


def text(record: Record | None, folder: Path) -> str:
    """The text of a runbook.yaml for `folder`: of this run, or, without one, all examples.

    It is valid as it stands. Raises SecretFound where the run's command holds what looks like a secret.
    """
    values = _values(record, folder.absolute()) if record else _Values()
    written = render.render("runbook.yaml.j2", **vars(values))
    hits = scan([(config.FILE_NAME, written.encode())])
    if hits:
        raise as_error(hits)
    config.parse(written.encode())
    return written


@dataclass
class _Values:
    """What the template asks for; texts are YAML already."""

    run: str = ""
    command: str = ""
    stdin: str = ""
    stages: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, str], ...] = ()
    name: str = ""
    experiment: str = ""
    inputs: tuple[dict[str, Any], ...] = ()
    inputs_left: int = 0
    outputs: tuple[str, ...] = ()
    outputs_left: int = 0
    metrics: tuple[str, ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    found: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    tolerances: tuple[dict[str, str], ...] = ()
    example: str = "val_*"
    seeds: tuple[tuple[str, str], ...] = ()
    env: tuple[str, ...] = ()
    usual: str = ""


def _values(record: Record, folder: Path) -> _Values:
    def place(path: str) -> str:
        """As the file names it: relative where the record does, which is inside the project."""
        return (
            path
            if path.startswith("/")
            else Path(os.path.relpath(Path(record.job.root) / path, folder)).as_posix()
        )

    sources = [parse_source(one) for one in record.sources]
    measured = {one.path for one in sources if one.kind == "file"}
    declared = [one for one in record.stages if one.declared]
    staged = {path for one in declared for path in (*one.inputs, *one.outputs)}
    inputs = _inputs(record, staged, place)
    outputs = [
        place(one.path) for one in record.outputs if one.role == "artifact" and one.path not in staged | measured
    ]
    usual = {one.name for one in allowed({v.name: v.value for v in record.job.variables})[0]}
    names = [one.name for one in record.job.variables]
    return _Values(
        run=_comment(record.run),
        command="" if declared else _scalar(shlex.join(record.job.argv)),
        stdin=_comment(shlex.quote(place(record.job.stdin.path))) if record.job.stdin else "",
        stages=tuple(_stage(one, measured, place) for one in declared),
        steps=tuple(
            {"name": _comment(one.name), "command": _comment(_quoted(one))}
            for one in record.stages
            if one.argv != record.job.argv
        ),
        name="" if record.name == default_name(record.job.argv) else _scalar(record.name),
        experiment=_scalar(record.experiment) if record.experiment else "",
        inputs=tuple(inputs[:_MANY]),
        inputs_left=max(0, len(inputs) - _MANY),
        outputs=tuple(map(_scalar, outputs[:_MANY])),
        outputs_left=max(0, len(outputs) - _MANY),
        metrics=tuple(_scalar(place(path)) for path in sorted(measured - staged)),
        patterns=tuple((_scalar(one.name), _scalar(one.pattern)) for one in sources if one.kind == "stdout"),
        found=tuple(
            _comment(f"{one.label}: {', '.join(one.names) or 'what the job logs itself'}")
            for one in sources
            if one.kind in ("found", "api")
        ),
        drop=tuple(map(_scalar, record.drop_metrics)),
        keep=tuple(map(_scalar, record.keep_metrics)),
        tolerances=tuple(
            {"pattern": _scalar(one.pattern), "absolute": repr(one.absolute), "relative": repr(one.relative)}
            for one in record.tolerances
        ),
        example=_comment(_scalar(record.metrics[0].name)) if record.metrics else "val_*",
        seeds=_seeds(record),
        env=tuple(name for name in names if name not in usual),
        usual=", ".join(name for name in names if name in usual),
    )


def _inputs(record: Record, staged: Iterable[str], place: Any) -> list[dict[str, Any]]:
    """What a next run would read too: not what this one made, nor what a package brings."""
    made = set(staged)
    result = []
    for one in sorted(record.inputs, key=lambda i: (i.evidence != "declared", i.path)):
        if one.path in made or one.stored == "package" or (one.evidence == "observed" and one.changed.value):
            continue
        more = [
            (key, _scalar(fact.value))
            for key, fact in (("source", one.source), ("version", one.version))
            if fact.value and fact.evidence != "inferred"
        ]
        result.append({"path": _scalar(place(one.path)), "more": more})
    return result


def _stage(one: Stage, measured: Iterable[str], place: Any) -> dict[str, Any]:
    outputs = [path for path in one.outputs if path not in measured]
    return {
        "name": _scalar(one.name),
        "command": _scalar(shlex.join(one.argv)),
        "inputs": [_scalar(place(path)) for path in one.inputs],
        "outputs": [_scalar(place(path)) for path in outputs],
        "metrics": [_scalar(place(path)) for path in one.outputs if path in measured],
    }


def _seeds(record: Record) -> tuple[tuple[str, str], ...]:
    """Declared ones, and calls that were seen; those of the command line and the environment are there already."""
    found: dict[str, str] = {}
    for one in record.seeds:
        variable = one.evidence == "observed" and not one.where
        if not one.name.startswith("argv ") and not variable:
            number = re.fullmatch(r"0|[1-9][0-9]{0,18}", one.value)
            found.setdefault(_scalar(one.name), one.value if number else _scalar(one.value))
    return tuple(found.items())


def _quoted(one: Stage) -> str:
    return json.dumps(shlex.join(one.argv), ensure_ascii=False)


def _comment(value: str) -> str:
    """A text for a comment: on one line."""
    return "".join(c if c.isprintable() else "?" for c in value)


def _scalar(value: str) -> str:
    """The text as a YAML scalar that reads back as the same text, plain where it can be."""
    if _PLAIN.fullmatch(value):
        try:
            if yamltext.load(f"x: {value}".encode())[0] == {"x": value}:
                return value
        except yamltext.YamlError:
            pass
    return json.dumps(value)
