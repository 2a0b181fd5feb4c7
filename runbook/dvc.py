"""dvc.yaml as a declaration of stages. DVC itself is not needed, and none of its caching happens."""

from __future__ import annotations

import graphlib
import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from runbook.config import DeclaredStage
from runbook.errors import UsageError

_CAP = 1 << 20
_PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./=-]+( +[A-Za-z0-9_@%+:,./=-]+)*")
"""A command without anything that only a shell would understand."""
_METRICS = (".json", ".yaml", ".yml", ".csv", ".tsv", ".jsonl")
_INSTEAD = "runbook run -- dvc repro"


def read(path: Path) -> tuple[DeclaredStage, ...]:
    """The stages of a dvc.yaml, in an order in which each finds what it needs. Raises UsageError.

    `cmd`, `deps`, `outs`, `metrics`, `plots`, `params` and `wdir` are read; what would need DVC's own templating
    (`${…}`, `foreach`, `matrix`) is refused. Paths are relative to the file's folder.
    """
    from runbook import yamltext

    try:
        with path.open("rb") as stream:
            tree, _ = yamltext.load(stream.read(_CAP))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", path, hint="check its path", id="dvc") from None
    except yamltext.YamlError as error:
        raise UsageError(f"{path}, {error}", hint=_INSTEAD, id="dvc") from None
    stages = tree.get("stages") if isinstance(tree, dict) else None
    if not isinstance(stages, dict) or not stages:
        raise UsageError("a dvc.yaml without stages", path, hint="name one that has `stages:`", id="dvc")
    read = {str(name): _stage(str(name), value) for name, value in stages.items()}
    return tuple(read[name] for name in _ordered(read))


def _stage(name: str, value: Any) -> DeclaredStage:
    if not isinstance(value, dict) or "foreach" in value or "matrix" in value or "${" in repr(value):
        raise _refused(name, "uses foreach, matrix or ${…}, which only DVC resolves")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
        raise _refused(name, "has a name with other characters than letters, digits, . _ and -")
    lines = value.get("cmd")
    lines = [lines] if isinstance(lines, str) else lines
    if (
        not isinstance(lines, list)
        or not lines
        or not all(isinstance(line, str) and line.strip() for line in lines)
    ):
        raise _refused(name, "has no cmd")
    folder = value.get("wdir", "")
    if not isinstance(folder, str):
        raise _refused(name, "has a wdir that is no path")
    metrics = list(_paths(value.get("metrics")))
    outputs = [*_paths(value.get("outs")), *_paths(value.get("plots"))]
    return DeclaredStage(
        name=name,
        command=_command(lines, folder),
        inputs=_placed(folder, [*_paths(value.get("deps")), *_parameters(value.get("params"))]),
        outputs=_placed(folder, [*outputs, *(m for m in metrics if not m.endswith(_METRICS))]),
        metrics=_placed(folder, [m for m in metrics if m.endswith(_METRICS)]),
    )


def _command(lines: list[str], folder: str) -> tuple[str, ...]:
    """One plain command as its words; anything else as the shell line that DVC would run."""
    if len(lines) == 1 and not folder and _PLAIN.fullmatch(lines[0].strip()) and "=" not in lines[0].split()[0]:
        return tuple(lines[0].split())
    return ("sh", "-ec", "\n".join(([f"cd {shlex.quote(folder)}"] if folder else []) + [x.strip() for x in lines]))


def _paths(value: Any) -> Iterable[str]:
    """Paths of a list whose items are a path, or a mapping from it to its settings."""
    for item in value if isinstance(value, list) else []:
        for path in [item] if isinstance(item, str) else item if isinstance(item, dict) else ():
            if "://" not in str(path):
                yield str(path)


def _parameters(value: Any) -> Iterable[str]:
    """Files of parameters: params.yaml for bare names, else the file that is named."""
    for item in value if isinstance(value, list) else []:
        yield from map(str, item) if isinstance(item, dict) else ("params.yaml",)


def _placed(folder: str, paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(posixpath.normpath(posixpath.join(folder, path)) for path in paths))


def _ordered(stages: Mapping[str, DeclaredStage]) -> list[str]:
    """As they stand in the file, but none before what it needs."""
    makers = {path: name for name, stage in stages.items() for path in (*stage.outputs, *stage.metrics)}
    sorter: graphlib.TopologicalSorter[str] = graphlib.TopologicalSorter()
    for name, stage in stages.items():
        needs = {
            maker
            for made, maker in makers.items()
            for path in stage.inputs
            if path == made or path.startswith(f"{made}/") or made.startswith(f"{path}/")
        }
        sorter.add(name, *sorted(needs - {name}))
    try:
        sorter.prepare()
    except graphlib.CycleError as error:
        raise UsageError(
            "stages that need each other", " → ".join(error.args[1]), hint=_INSTEAD, id="dvc"
        ) from None
    order: list[str] = []
    ready: list[str] = []
    places = {name: place for place, name in enumerate(stages)}
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=places.__getitem__)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return order


def _refused(name: str, why: str) -> UsageError:
    return UsageError(f"the stage {name} of dvc.yaml {why}", hint=_INSTEAD, id="dvc")
