"""Options that several verbs share: what a person may declare about a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from runbook import config
from runbook.bounds import parse_tolerance
from runbook.config import Declaration
from runbook.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--name", help="Name of the run; the bundle is called after it."),
    click.option("--experiment", help="The experiment it belongs to."),
    click.option(
        "--input",
        "inputs",
        multiple=True,
        metavar="PATH[=URL]",
        help="A dataset the job reads: file or folder, and where others can have it from.",
    ),
    click.option("--output", "outputs", multiple=True, metavar="PATH", help="A file the job writes, to keep."),
    click.option("--metrics", multiple=True, metavar="FILE", help="Metrics file: .json .yaml .csv .tsv .jsonl."),
    click.option(
        "--metric",
        "patterns",
        multiple=True,
        metavar="NAME[=REGEX]",
        help="Metric on stdout, one group is the value; NAME alone (or a glob) takes what was held to be noise.",
    ),
    click.option(
        "--no-metric",
        "drops",
        multiple=True,
        metavar="NAME",
        help="Leave a found metric out; NAME may be a glob, *.",
    ),
    click.option(
        "--tolerance", "tolerances", multiple=True, metavar="NAME=abs:X,rel:Y…", help="NAME may be a glob, val_*."
    ),
    click.option("--seed", "seeds", multiple=True, metavar="NAME=VALUE", help="A seed that the job uses."),
    click.option("--env", multiple=True, metavar="NAME", help="Record this environment variable too."),
    click.option("--code", multiple=True, metavar="PATH", help="Freeze only this folder or file of the project."),
    click.option("--python", metavar="PATH", help="The job's interpreter, where the command does not tell."),
    click.option("--image", metavar="REF", help="Base image that the environment stands on."),
    click.option(
        "--embed-limit", metavar="SIZE", help="Inputs up to this size in all go into the bundle [64MiB]."
    ),
    click.option("--redact/--no-redact", default=None, help="Mask what looks like a secret instead of stopping."),
    click.option("--config", "file", type=click.Path(path_type=Path), help="A runbook.yaml [the project's own]."),
)


def declaring(command: F) -> F:
    """Add every declaring option to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def declaration(root: Path, cwd: Path, options: dict[str, Any]) -> Declaration:
    """runbook.yaml and the options together, paths relative to the root. The options win."""
    file: Path | None = options.pop("file")
    found = file or next((p for p in (cwd / config.FILE_NAME, root / config.FILE_NAME) if p.is_file()), None)
    said = rebased(config.read(found), root, found.absolute().parent) if found else Declaration()
    limit = options["embed_limit"]
    named = [config.parse_metric(text) for text in options["patterns"]]
    mine = Declaration(
        name=options["name"] or "",
        experiment=options["experiment"] or "",
        inputs=tuple(config.parse_input(text) for text in options["inputs"]),
        outputs=options["outputs"],
        metrics=options["metrics"],
        patterns={name: pattern for name, pattern in named if pattern},
        keep_metrics=tuple(name for name, pattern in named if not pattern),
        drop_metrics=options["drops"],
        tolerances=tuple(parse_tolerance(text) for text in options["tolerances"]),
        seeds=dict(_seed(text) for text in options["seeds"]),
        env=options["env"],
        code=options["code"],
        image=options["image"] or "",
        python=options["python"] or "",
        embed_limit=None if limit is None else config.parse_size(limit),
        redact=options["redact"],
    )
    return config.merge(said, rebased(mine, root, cwd))


def _seed(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals or not value:
        raise UsageError("not a seed", text, hint="--seed numpy=42", id="seed")
    return name, value


def data_places(texts: Iterable[str]) -> dict[str, str]:
    """Input name → PATH or URL, of `--data NAME=PATH`."""
    return dict(map(_data_place, texts))


def _data_place(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise UsageError("not a place for data", text, hint="--data NAME=PATH", id="data-option")
    return name, path


def rebased(said: Declaration, root: Path, folder: Path) -> Declaration:
    """The same with every path relative to the root where it lies inside it, else absolute."""
    import os

    import msgspec

    def place(path: str) -> str:
        full = Path(os.path.normpath(folder / path))
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else full.as_posix()

    return msgspec.structs.replace(
        said,
        inputs=tuple(msgspec.structs.replace(one, path=place(one.path)) for one in said.inputs),
        outputs=tuple(map(place, said.outputs)),
        metrics=tuple(map(place, said.metrics)),
        code=tuple(map(place, said.code)),
        stages=tuple(
            msgspec.structs.replace(
                one,
                inputs=tuple(map(place, one.inputs)),
                outputs=tuple(map(place, one.outputs)),
                metrics=tuple(map(place, one.metrics)),
                folder=place("."),
            )
            for one in said.stages
        ),
    )
