"""The steps of a job: as declared, or as its processes show them, each with what it read and wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from runbook.config import Declaration, DeclaredInput, DeclaredStage
from runbook.model.files import SeenFile
from runbook.model.job import Outcome
from runbook.model.record import Finding, Record
from runbook.model.watch import Process, Stage, Watched
from runbook.observe.shell import BEGUN, SHELLS, STAGE_VARIABLE, staged

_LAUNCHERS = SHELLS | {
    "make",
    "gmake",
    "ninja",
    "just",
    "task",
    "dvc",
    "snakemake",
    "env",
    "nice",
    "time",
    "timeout",
}
"""Programs whose children are steps; what they read themselves is their script."""
_STEPS, _DEPTH = 500, 50
"""Steps that a record holds, and launchers that start launchers."""
_PROCESSES, _PATHS = 64, 200
"""What a step names at most: processes, and files before they are told by folder."""
_SOURCE = (".py", ".ipynb", ".sh", ".r", ".R", ".jl", ".c", ".cpp", ".cu", ".rs", ".go")
_BEGUN_CAP = 1 << 20
Status = Literal["completed", "failed", "not run", ""]


@dataclass(frozen=True)
class Progressed:
    """The declared stages, and how far they came."""

    declared: tuple[DeclaredStage, ...] = ()
    begun: frozenset[str] = frozenset()
    failed: bool = False

    def makes(self, path: str) -> bool:
        """Whether a stage is declared to write this: then it is no input of the job, whoever read it."""
        return any(
            path == made or path.startswith(f"{made}/")
            for one in self.declared
            for made in (*one.outputs, *one.metrics)
        )


def command(declaration: Declaration) -> tuple[str, ...]:
    """The argv that was declared: of stages, the shell line that runs them; empty when nothing was."""
    if declaration.stages:
        return staged([(one.name, one.command) for one in declaration.stages])
    return declaration.command


def folder(declaration: Declaration, root: Path, cwd: Path) -> Path:
    """Where the declared job runs: stages where they were declared, a command in the working folder."""
    return root / declaration.stages[0].folder if declaration.stages else cwd


def widened(declaration: Declaration) -> Declaration:
    """The declaration with what its stages read from outside, write, and measure."""
    made: list[str] = []
    inputs: dict[str, DeclaredInput] = {one.path: one for one in declaration.inputs}
    outputs = dict.fromkeys(declaration.outputs)
    metrics = dict.fromkeys(declaration.metrics)
    for stage in declaration.stages:
        for path in stage.inputs:
            if not path.endswith(_SOURCE) and not any(_touch(path, one) for one in made):
                inputs.setdefault(path, DeclaredInput(path=path))
        made += [*stage.outputs, *stage.metrics]
        outputs |= dict.fromkeys(stage.outputs)
        metrics |= dict.fromkeys(stage.metrics)
    return msgspec.structs.replace(
        declaration, inputs=tuple(inputs.values()), outputs=tuple(outputs), metrics=tuple(metrics)
    )


def progressed(declared: Sequence[DeclaredStage], watch: Path, outcome: Outcome | None) -> Progressed:
    """How far the declared stages came, by what the shell line left in the watch folder."""
    try:
        with (watch / BEGUN).open("rb") as stream:
            lines = stream.read(_BEGUN_CAP).decode(errors="replace").split("\n")
    except OSError:
        lines = []
    names = {one.name for one in declared}
    failed = outcome is not None and outcome.status != "completed"
    return Progressed(tuple(declared), frozenset(names.intersection(lines)), failed)


def again(original: Record) -> tuple[DeclaredStage, ...]:
    """The declared stages of a record, as a replay's record declares them."""
    return tuple(
        DeclaredStage(name=one.name, command=one.argv, inputs=one.inputs, outputs=one.outputs)
        for one in original.stages
        if one.declared
    )


def files_again(watched: Watched, original: Record, roots: Sequence[str]) -> list[SeenFile]:
    """What a replay's processes touched, each file taken for what the original's record takes it for.

    roots: where the project may have lain in the replay; paths below one of them become relative. What the
    original did not touch is an output when it was written, and else noise.
    """
    kinds = {one.path: one.kind for one in original.files}
    found = []
    for use in watched.files:
        root = next((one for one in roots if use.path.startswith(f"{one}/")), "")
        path = use.path[len(root) + 1 :] if root else use.path
        folder = path.rpartition("/")[0] or "."
        kind = kinds.get(path) or kinds.get(folder) or ("output" if use.written and root else "noise")
        found.append(
            SeenFile(path=path, kind=kind, why="as in the original", readers=use.readers, writers=use.writers)
        )
    return found


def findings(how: Progressed) -> list[Finding]:
    """Which stage failed, and which were not run for it."""
    begun = [one.name for one in how.declared if one.name in how.begun]
    if not how.failed or not begun:
        return []
    rest = [one.name for one in how.declared if one.name not in how.begun]
    text = f"the stage {begun[-1]} did not end well" + (f"; not run: {', '.join(rest)}" if rest else "")
    return [Finding(id="stage-failed", level="warning", text=text)]


def recorded(watched: Watched | None, files: Iterable[SeenFile], how: Progressed) -> tuple[Stage, ...]:
    """The steps for the record: the declared ones, else those that were seen; none when the job had one."""
    processes = watched.processes if watched else ()
    tree = _Tree.of(processes)
    if how.declared:
        steps = [_Step(one.name, one.command, declared=one) for one in how.declared]
        _match(tree, steps)
    else:
        steps = [_Step(_name(told), told.argv, told=told, processes=numbers) for numbers, told in tree.steps()]
    owner = {number: at for at, step in enumerate(steps) for number in step.processes}
    for one in files:
        if one.kind in ("input", "output"):
            writers = {owner[number] for number in one.writers if number in owner}
            for at in writers:
                steps[at].wrote.add(one.path)
            for at in {owner[number] for number in one.readers if number in owner} - writers:
                steps[at].read.add(one.path)
    if not how.declared:
        steps = [one for one in steps if one.read or one.wrote or (one.told and one.told.python)][:_STEPS]
        if len(steps) < 2:
            return ()
    return _stages(steps, how)


@dataclass
class _Step:
    """A step in the making."""

    name: str
    argv: tuple[str, ...]
    declared: DeclaredStage | None = None
    told: Process | None = None
    processes: tuple[int, ...] = ()
    read: set[str] = field(default_factory=set)
    wrote: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Tree:
    """The processes of a job by their parents."""

    processes: Mapping[int, Process]
    children: Mapping[int | None, Sequence[Process]]

    @classmethod
    def of(cls, processes: Sequence[Process]) -> _Tree:
        numbers = {one.number for one in processes}
        children: dict[int | None, list[Process]] = {}
        for one in processes:
            children.setdefault(one.parent if one.parent in numbers else None, []).append(one)
        return cls({one.number: one for one in processes}, children)

    def steps(self) -> list[tuple[tuple[int, ...], Process]]:
        """The processes of each step, and the one to name it after, in order of their start.

        What a launcher of several steps did itself, such as opening where the output of one goes, is a step too.
        """
        return [step for root in self.children.get(None, ()) for step in self._expand(root, 0)]

    def _below(self, number: int) -> tuple[int, ...]:
        """The process and all that it started."""
        found = [number]
        for one in found:
            found += [child.number for child in self.children.get(one, ())]
        return tuple(found)

    def _expand(self, process: Process, depth: int) -> list[tuple[tuple[int, ...], Process]]:
        subshell = process.start == "fork" and not process.argv
        children = self.children.get(process.number, ())
        if depth >= _DEPTH or not children or not (subshell or _launches(process)):
            return [(self._below(process.number), process)]
        steps = [step for child in children for step in self._expand(child, depth + 1)]
        if len(steps) == 1:
            return [((process.number, *steps[0][0]), steps[0][1])]
        return [((process.number,), process), *steps]


def _launches(process: Process) -> bool:
    words = [process.executable, *process.argv[: 2 if process.python else 1]]
    return any(PurePosixPath(word).name in _LAUNCHERS for word in words)


def _match(tree: _Tree, steps: list[_Step]) -> None:
    """Give each declared stage its processes: by the variable that they carry, else by their command."""
    by_name = {step.name: step for step in steps}
    waiting = list(steps)
    for numbers, _ in tree.steps():
        named = (tree.processes[number].variables.get(STAGE_VARIABLE, "") for number in numbers)
        step = next((by_name[name] for name in named if name in by_name), None)
        if step is None:
            commands = {tree.processes[number].argv for number in numbers}
            step = next((one for one in waiting if one.argv in commands), None)
        if step is not None:
            step.processes += numbers
            waiting = waiting[waiting.index(step) :] if step in waiting else waiting


def _stages(steps: list[_Step], how: Progressed) -> tuple[Stage, ...]:
    result: list[Stage] = []
    for step in steps:
        said = step.declared
        outputs = _joined((*said.outputs, *said.metrics) if said else (), step.wrote)
        inputs = _joined(said.inputs if said else (), step.read)
        result.append(
            Stage(
                name=_unique(step.name, [one.name for one in result]),
                argv=step.argv,
                processes=step.processes[:_PROCESSES],
                inputs=inputs,
                outputs=outputs,
                after=tuple(one.name for one in result if any(_touch(i, o) for i in inputs for o in one.outputs)),
                declared=said is not None,
                status=_status(step.name, how) if said else "",
            )
        )
    return tuple(result)


def _status(name: str, how: Progressed) -> Status:
    if not how.begun:
        return ""
    if name not in how.begun:
        return "not run"
    last = [one.name for one in how.declared if one.name in how.begun][-1]
    return "failed" if how.failed and name == last else "completed"


def _joined(said: Collection[str], seen: Collection[str]) -> tuple[str, ...]:
    """Declared paths, and those that were seen and lie under none of them; too many are told by folder."""
    more = [path for path in seen if not any(path == one or path.startswith(f"{one}/") for one in said)]
    if len(more) > _PATHS:
        more = sorted({path.rpartition("/")[0] or "." for path in more})[:_PATHS]
    return tuple(sorted({*said, *more}))


def _touch(one: str, other: str) -> bool:
    """Whether two paths are the same, or one lies in the other."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _name(process: Process) -> str:
    words = process.argv[1:] if process.python else process.argv
    plain = [word for word in words if not word.startswith("-")]
    return PurePosixPath(plain[0]).name if plain else PurePosixPath(process.executable or "python").name


def _unique(name: str, taken: Collection[str]) -> str:
    number, fresh = 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name}#{number}"
    return fresh
