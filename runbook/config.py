"""runbook.yaml: read, checked against its schema, turned into one value; and the forms that options take.

The same Declaration holds what runbook.yaml says and what the command line says; `merge` puts them together.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from runbook.bounds import CurveEntry, ToleranceEntry, of_entry
from runbook.errors import UsageError
from runbook.model.fact import Value
from runbook.model.metric import Tolerance

if TYPE_CHECKING:
    import yaml

FILE_NAME: Final = "runbook.yaml"
EMBED_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of inputs that a bundle holds when nothing else is said."""
_CAP = 1024 * 1024
_SCHEMA_ID = "https://github.com/runbook-ml/runbook/raw/main/docs/runbook.schema.json"
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)}
_UNITS |= {f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)}

Text = Annotated[str, Meta(min_length=1)]


class DeclaredInput(Value, frozen=True, kw_only=True, omit_defaults=True):
    """A dataset that the job reads."""

    path: Text
    """Relative to the project's root, or absolute."""
    name: Annotated[str, Meta(pattern=r"^([A-Za-z0-9._-]+)?$")] = ""
    """How the record calls it; empty: after its path."""
    source: str = ""
    """Where it can be had from, a URI."""
    version: str = ""


class DeclaredStage(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a job of several."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]+$")]
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Metrics files; they are outputs too."""
    folder: str = "."
    """Where it runs, relative to the project's root: the folder of the file that declares it."""


class Declaration(Value, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a person may say about a run. Empty or None: not said."""

    command: tuple[str, ...] = ()
    stages: tuple[DeclaredStage, ...] = ()
    """In the order in which they run, in the place of a command."""
    name: str = ""
    experiment: str = ""
    inputs: tuple[DeclaredInput, ...] = ()
    outputs: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    """Files, relative to the project's root."""
    patterns: dict[str, str] = {}
    """Metric name → regular expression over the standard output (RE2, one group)."""
    keep_metrics: tuple[str, ...] = ()
    """Names or globs of numbers to take as metrics although they look like none: `lr`."""
    drop_metrics: tuple[str, ...] = ()
    """Names or globs of found metrics to leave out; `*`: take nothing that was not declared."""
    tolerances: tuple[Tolerance, ...] = ()
    """The first whose pattern matches a metric's name decides."""
    seeds: dict[str, str] = {}
    env: tuple[str, ...] = ()
    """Names of environment variables to keep besides the built-in allow-list."""
    code: tuple[str, ...] = ()
    image: str = ""
    python: str = ""
    embed_limit: int | None = None
    """Bytes."""
    redact: bool | None = None


class InputEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A dataset that the job reads."""

    path: Annotated[str, Meta(min_length=1, description="File or folder, relative to this file's folder.")]
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]+$", description="How the record calls it.")] | UnsetType = (
        UNSET
    )
    source: Annotated[str, Meta(description="Where it can be had from, a URI.")] | UnsetType = UNSET
    version: Annotated[str, Meta(description="The dataset's own version.")] | UnsetType = UNSET


def _about(text: str) -> Meta:
    return Meta(description=text)


class StageEntry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One step of a job of several."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9._-]+$", description="Unique; letters, digits, . _ and -.")]
    command: Annotated[Text | Annotated[tuple[str, ...], Meta(min_length=1)], _about("As `command` of the file.")]
    inputs: Annotated[tuple[Text, ...], _about("What it reads: data, and outputs of earlier stages.")] = ()
    outputs: Annotated[tuple[Text, ...], _about("What it writes.")] = ()
    metrics: Annotated[tuple[Text, ...], _about("Metrics files that it writes.")] = ()


class RunbookFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """runbook.yaml: what a person declares about a run. Every path is relative to this file's folder."""

    command: Annotated[
        Text | Annotated[tuple[str, ...], Meta(min_length=1)],
        _about("The job: one line, split into words as a shell would but never run by one, or a list of words."),
    ] = ()
    stages: Annotated[
        tuple[StageEntry, ...],
        _about("Steps to run in order, in the place of `command`; the first that fails ends."),
    ] = ()
    name: Annotated[str, _about("Name of the run; the bundle is called after it.")] = ""
    experiment: Annotated[str, _about("The experiment that this run belongs to.")] = ""
    inputs: Annotated[
        tuple[Text | InputEntry, ...], _about("Datasets: paths, or objects with a source and version.")
    ] = ()
    outputs: Annotated[tuple[Text, ...], _about("Files that the job writes and the bundle should hold.")] = ()
    metrics: Annotated[tuple[Text, ...], _about("Metrics files: .json, .yaml, .csv, .tsv or .jsonl.")] = ()
    patterns: Annotated[
        dict[str, Text], _about("Metric name → regular expression (RE2, one group) over the standard output.")
    ] = {}
    keep_metrics: Annotated[
        tuple[Text, ...], _about("Names or globs of numbers to take as metrics although they look like none: lr.")
    ] = ()
    drop_metrics: Annotated[
        tuple[Text, ...], _about("Names or globs of found metrics to leave out; '*': only what is declared.")
    ] = ()
    tolerances: Annotated[
        dict[str, ToleranceEntry], _about("Metric name or glob → tolerance. The first that matches decides.")
    ] = {}
    seeds: Annotated[dict[str, int | str], _about("Seeds that the job uses, by name.")] = {}
    env: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")], ...],
        _about("Names of environment variables to record besides the built-in list. Never values."),
    ] = ()
    code: Annotated[tuple[Text, ...], _about("Folders and files of code to freeze; none: the whole project.")] = ()
    image: Annotated[str, _about("Base image that the environment stands on.")] = ""
    python: Annotated[str, _about("The job's interpreter, where it cannot be seen from the command.")] = ""
    embed_limit: Annotated[
        int | str, _about("Bytes of inputs that the bundle holds, such as 64MiB; what exceeds it is referenced.")
    ] = ""
    redact: Annotated[bool, _about("Mask what looks like a secret instead of stopping.")] | UnsetType = UNSET


def read(path: Path) -> Declaration:
    """What a runbook.yaml declares. Raises UsageError with the line."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_CAP + 1)
    except OSError as error:
        raise UsageError(
            f"cannot be read ({error.strerror})", path, hint="check its path", id="config-unreadable"
        ) from None
    if len(text) > _CAP:
        raise UsageError(
            "runbook.yaml is larger than 1 MiB", path, hint="data does not belong in it", id="config-size"
        )
    return parse(text, str(path))


def parse(text: bytes, where: str = FILE_NAME) -> Declaration:
    """What the text of a runbook.yaml declares; `where` names it in errors."""
    from runbook import yamltext  # Not every verb reads YAML.

    try:
        tree, node = yamltext.load(text)
    except yamltext.YamlError as error:
        raise _wrong(where, error.line, error.what, "indent with spaces; quote text that holds : or #") from None
    if tree is None:
        return Declaration()
    try:
        file = msgspec.convert(tree, RunbookFile)
    except msgspec.ValidationError as error:
        raise _explain(str(error), tree, node, where) from None
    try:
        return _declaration(file)
    except UsageError as error:
        paths = {"tolerance": ("tolerances", error.value), "size": ("embed_limit",), "stages": ("stages",)}
        line = _line(node, paths.get(error.id, ("stages",) if file.stages else ("command",)))
        raise _wrong(where, line, str(error), error.hint) from None


def schema() -> bytes:
    """The JSON Schema of runbook.yaml, for editors."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _SCHEMA_ID, "title": FILE_NAME}
    document |= msgspec.json.schema(RunbookFile)
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def merge(file: Declaration, options: Declaration) -> Declaration:
    """Both together: where both speak of one thing the options win, lists are joined without repeats."""
    named = {x.path for x in options.inputs}
    patterns = {x.pattern for x in options.tolerances}

    def joined(key: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*getattr(file, key), *getattr(options, key))))

    def overruling(key: str, opposite: str) -> tuple[str, ...]:
        return tuple(name for name in joined(key) if name not in getattr(options, opposite))

    return Declaration(
        command=options.command or file.command,
        stages=options.stages or file.stages,
        name=options.name or file.name,
        experiment=options.experiment or file.experiment,
        image=options.image or file.image,
        python=options.python or file.python,
        outputs=joined("outputs"),
        metrics=joined("metrics"),
        env=joined("env"),
        code=joined("code"),
        inputs=(*(x for x in file.inputs if x.path not in named), *options.inputs),
        patterns=file.patterns | options.patterns,
        keep_metrics=overruling("keep_metrics", "drop_metrics"),
        drop_metrics=overruling("drop_metrics", "keep_metrics"),
        tolerances=(*options.tolerances, *(x for x in file.tolerances if x.pattern not in patterns)),
        seeds=file.seeds | options.seeds,
        embed_limit=file.embed_limit if options.embed_limit is None else options.embed_limit,
        redact=file.redact if options.redact is None else options.redact,
    )


def parse_input(text: str) -> DeclaredInput:
    """A path, or `PATH=URL` with where it can be had from."""
    match = re.fullmatch(r"(.+?)=([a-z][a-z0-9+.-]*://\S+)", text)
    return DeclaredInput(path=match[1], source=match[2]) if match else DeclaredInput(path=text)


def parse_size(text: str) -> int:
    """Bytes of `64MiB`, `1.5 GB`, `0` or `4096`. Raises UsageError."""
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGT]?i?B?)\s*", text, re.IGNORECASE)
    units = {unit.lower(): factor for unit, factor in _UNITS.items()}
    units |= {letter: 1024**power for power, letter in enumerate("kmgt", 1)}
    if match is None or match[2].lower() not in units:
        raise UsageError("not a size", text, hint="a number and a unit: 64MiB, 1.5GB, 4096", id="size")
    return (
        int(float(match[1]) * units[match[2].lower()])
        if "." in match[1]
        else int(match[1]) * units[match[2].lower()]
    )


def parse_metric(text: str) -> tuple[str, str]:
    """Name and regular expression of `--metric NAME=REGEX`; of `--metric NAME` an empty one. Raises UsageError."""
    name, equals, pattern = text.partition("=")
    if not name.strip() or (equals and not pattern):
        raise UsageError(
            "not a metric pattern", text, hint="--metric 'accuracy=accuracy: ([0-9.]+)'", id="metric-pattern"
        )
    return name.strip(), pattern


def parse_command(text: str) -> tuple[str, ...]:
    """The words of a command line, split as a shell would; it is never run by one. Raises UsageError."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"not a command ({error})", text, hint="close the quote", id="command-quotes") from None
    if not words:
        raise UsageError("an empty command", text, hint="python train.py", id="command-empty")
    return words


def _words(command: str | tuple[str, ...]) -> tuple[str, ...]:
    return parse_command(command) if isinstance(command, str) else command


def _stages(file: RunbookFile) -> tuple[DeclaredStage, ...]:
    names = [one.name for one in file.stages]
    if file.stages and file.command:
        raise UsageError("command and stages", hint="say one of them", id="stages")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError("two stages of one name", twice, hint="give each stage its own name", id="stages")
    return tuple(
        DeclaredStage(
            name=one.name,
            command=_words(one.command),
            inputs=one.inputs,
            outputs=one.outputs,
            metrics=one.metrics,
        )
        for one in file.stages
    )


def _declaration(file: RunbookFile) -> Declaration:
    inputs = [
        DeclaredInput(path=x)
        if isinstance(x, str)
        else DeclaredInput(
            **{key: value for key, value in msgspec.structs.asdict(x).items() if value is not UNSET}
        )
        for x in file.inputs
    ]
    limit = file.embed_limit
    return Declaration(
        command=_words(file.command),
        stages=_stages(file),
        name=file.name,
        experiment=file.experiment,
        inputs=tuple(inputs),
        outputs=file.outputs,
        metrics=file.metrics,
        patterns=file.patterns,
        keep_metrics=file.keep_metrics,
        drop_metrics=file.drop_metrics,
        tolerances=tuple(of_entry(p, entry) for p, entry in file.tolerances.items()),
        seeds={name: str(value) for name, value in file.seeds.items()},
        env=file.env,
        code=file.code,
        image=file.image,
        python=file.python,
        embed_limit=None if limit == "" else parse_size(str(limit)),
        redact=None if file.redact is UNSET else file.redact,
    )


def _explain(message: str, tree: Any, node: yaml.Node | None, where: str) -> UsageError:
    """The message of msgspec with the line of the YAML node and, for an unknown key, the nearest known one."""
    what, _, at = message.partition(" - at `$")
    path = _path(at.rstrip("`"), tree)
    unknown = re.search(r"unknown field `(.*)`", what)
    if unknown is None:
        here = ".".join(str(x) for x in path) or "the document"
        hint = "docs/runbook-yaml.md shows every key with an example"
        return _wrong(where, _line(node, path), f"{here}: {what[:1].lower()}{what[1:]}", hint)
    key = unknown[1]
    structs: dict[str | int, type[msgspec.Struct]] = {"tolerances": ToleranceEntry, "stages": StageEntry}
    struct = RunbookFile if not path else structs.get(path[0], InputEntry)
    if struct is ToleranceEntry and path[-1] == "curve":
        struct = CurveEntry
    import difflib

    near = difflib.get_close_matches(key, struct.__struct_fields__, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else "known keys: " + ", ".join(struct.__struct_fields__)
    return _wrong(where, _line(node, (*path, key)), f"unknown key {key}", hint)


def _path(at: str, tree: Any) -> tuple[str | int, ...]:
    """The steps of msgspec's `.inputs[0].path`; it writes `[...]` for a mapping's value, which is searched."""
    path: list[str | int] = []
    for step in re.findall(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]", at):
        if step[0]:
            path.append(step[0])
        elif step[1] != "...":
            path.append(int(step[1]))
        else:
            path.append(_bad_key(str(path[0]), tree))
    return tuple(path)


def _bad_key(section: str, tree: Mapping[str, Any]) -> str:
    for key, value in tree[section].items():
        try:
            msgspec.convert({section: {key: value}}, RunbookFile)
        except msgspec.ValidationError:
            return str(key)
    return ""


def _line(node: yaml.Node | None, path: tuple[str | int, ...]) -> int:
    """The 1-based line of the deepest node on the path that exists."""
    import yaml

    line = node.start_mark.line + 1 if node else 0
    for step in path:
        if isinstance(node, yaml.MappingNode):
            pairs = [(k, v) for k, v in node.value if k.value == step]
            if not pairs:
                break
            line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _wrong(where: str, line: int, what: str, hint: str) -> UsageError:
    return UsageError(f"{where}, line {line}" if line else where, what, hint=hint, id="config-invalid")
