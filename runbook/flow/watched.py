"""From what was seen of a job to facts: sorted files, inputs, outputs, steps, seeds, findings."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runbook.catalog.objects import ObjectStore
from runbook.config import DeclaredInput
from runbook.flow import downloads
from runbook.flow.artifacts import Seen, look_at_input, place
from runbook.flow.codebase import Codebase
from runbook.launch.combine import LIMIT
from runbook.model.fact import Fact, inferred, missing, observed
from runbook.model.files import ReadOrder, SeenFile
from runbook.model.hubs import Cache
from runbook.model.manifest import Entry
from runbook.model.record import Finding, Seed
from runbook.model.watch import FileUse, Watched
from runbook.observe.changes import changed_since
from runbook.observe.files import Surrounding, sort_files
from runbook.observe.inputs import datasets
from runbook.observe.orders import read_orders
from runbook.observe.probing import Probe
from runbook.observe.requirements import requirements, undeclared, unmet
from runbook.progress import Progress

FILES_CAP = 2000
"""Paths that a record lists; beyond, they are counted by folder."""
INPUTS_CAP = 500
SEEDS_CAP = 200
_OF_A_LINE = 20
"""Seeds that a record names of one line: one that seeds in a loop leaves room for the others."""
_KEPT_IN_RECORD = 64
"""Processes, connections and programs that a record names; the rest is counted."""
_CALLS = 1000
"""Seeding calls, uses of generators and switches that a record holds."""
_WITHIN = {
    "tensorflow.random.set_random_seed": "tensorflow.random.set_seed",
    "random.Random.seed": "tensorflow.random.set_seed",
    "torch.cuda.manual_seed": "torch.manual_seed",
    "torch.cuda.manual_seed_all": "torch.manual_seed",
}
"""Calls that a library makes to do what another call asked for."""


@dataclass(frozen=True)
class Scene:
    """Where the job ran, and what was known before it did."""

    root: Path
    cwd: Path
    env: dict[str, str]
    code: Codebase
    began_ns: int
    """Unix time when the job was started."""
    watch: Path
    """The watch folder."""
    objects: ObjectStore
    stdin: str = ""
    """Absolute path of the file that the job read as its standard input."""
    crowded: bool = False
    """Whether another run of the project went on at the same time."""


@dataclass(frozen=True)
class Sorted:
    """The files of a job by what they are."""

    files: tuple[SeenFile, ...]
    inputs: tuple[tuple[str, bool], ...]
    """Absolute path and whether it is a folder."""
    written: tuple[Path, ...]
    """Files that the job wrote and that are still there."""
    uses: dict[str, FileUse]
    findings: tuple[Finding, ...] = ()
    orders: tuple[ReadOrder, ...] = ()
    caches: tuple[Cache, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of the variables that told where inputs are."""


def sort(watched: Watched, scene: Scene, probe: Probe | None) -> Sorted:
    """Sort every path that the job touched."""
    watched, findings = _with_changes(watched, scene)
    present: set[str] = set()
    uses: dict[str, FileUse] = {}
    odd: list[str] = []
    for use in watched.files:
        try:
            mode = os.stat(use.path).st_mode  # noqa: PTH116 - a hundred thousand of them
        except (OSError, ValueError):
            mode = 0
        if stat.S_ISDIR(mode):
            continue
        if (
            not use.path.isprintable()
        ):  # A name that no manifest holds: control characters, or bytes without meaning.
            odd.append(use.path.encode("utf-8", "backslashreplace").decode())
            continue
        uses[use.path] = use
        if stat.S_ISREG(mode):
            present.add(use.path)
    here = _surrounding(scene, probe, frozenset(present))
    seen = sort_files(uses.values(), here)
    root = str(scene.root)
    absolute = {one.path: _absolute(one.path, root) for one in seen}
    inputs = [absolute[one.path] for one in seen if one.kind == "input"]
    foreign = [absolute[one.path] for one in seen if one.kind in ("code", "output")]
    foreign += [f"{root}/{entry.path}" for entry in scene.code.entries]
    never = ["/", root, str(scene.cwd), here.home or "/", "/tmp", "/mnt", "/data", "/srv", "/opt"]  # noqa: S108
    gathered = downloads.gather(inputs, root, here.home, scene.env)
    made = [absolute[one.path] for one in seen if one.written and one.kind in ("output", "input")]
    written = [Path(path) for path in made if not downloads.fetched(uses[path], gathered.caches)]
    found = datasets(gathered.single, foreign, never) + [(unit, True) for unit in gathered.units]
    found += [(one.path, True) for one in watched.folders if one.read and not one.written]
    found = _with_stdin(found, scene.stdin)
    if odd:
        text = f"the job used files with names that no bundle can hold: {', '.join(map(repr, odd[:3]))}"
        findings.append(Finding(id="name-not-storable", level="warning", text=text))
    secret = [one.path for one in seen if one.why.startswith("credentials") and absolute[one.path] in present]
    if secret:
        text = f"the job read credentials ({', '.join(secret[:3])}): never kept, so a replay is without them"
        findings.append(Finding(id="credentials-read", level="warning", text=text))
    if len(found) > INPUTS_CAP:
        text = f"the job read {len(found)} inputs; the record holds {INPUTS_CAP}: --input FOLDER names more"
        findings.append(Finding(id="too-many-inputs", level="warning", text=text))
    many = [one for one in watched.folders if one.written]
    if many:
        some = ", ".join(f"{one.written} in {one.path}" for one in many[:3])
        text = f"the job wrote more files than are listed: {some}"
        findings.append(Finding(id="outputs-not-listed", level="note", text=text))
    findings += downloads.findings(watched.connections, uses.values())
    return Sorted(
        files=tuple(seen),
        inputs=tuple(found[:INPUTS_CAP]),
        written=tuple(written),
        uses=uses,
        findings=tuple(findings),
        orders=read_orders((one, uses[absolute[one.path]]) for one in seen if one.kind != "package"),
        caches=gathered.caches,
        variables=gathered.variables,
    )


def only_stdin(scene: Scene) -> Sorted:
    """What is known of the files of a job that nobody watched."""
    return Sorted((), tuple(_with_stdin([], scene.stdin)), (), {})


def _with_stdin(found: list[tuple[str, bool]], path: str) -> list[tuple[str, bool]]:
    """The inputs and, unless it is one or lies in one, the file that was standard input."""
    if not path or any(path == one or path.startswith(f"{one}/") for one, _ in found):
        return found
    return sorted([*found, (path, False)])


def _with_changes(watched: Watched, scene: Scene) -> tuple[Watched, list[Finding]]:
    """What was seen, and files of the project that changed meanwhile without being seen: written by native code.

    While another run goes on in the same project nobody knows whose they are.
    """
    if scene.crowded:
        text = "another run went on in this project: what native code wrote meanwhile is nobody's"
        return watched, [Finding(id="not-seen", level="note", text=text)]
    paths, lost = changed_since(scene.root, scene.began_ns)
    known = {one.path for one in watched.files if one.written}
    crowded = {one.path for one in watched.folders if one.written}
    new = [path for path in paths if path not in known and path.rpartition("/")[0] not in crowded]
    uses = {one.path: one for one in watched.files}
    for path in new:
        before = uses.get(path)
        uses[path] = (
            FileUse(path=path, written=True, first="written", seen_by=())
            if before is None
            else msgspec.structs.replace(before, written=True)
        )
    return msgspec.structs.replace(watched, files=tuple(uses[path] for path in sorted(uses))), (
        [Finding(id="not-seen", level="note", text=lost)] if lost else []
    )


def inputs(found: Sorted, scene: Scene, named: Sequence[Seen], progress: Progress) -> list[Seen]:
    """The inputs that were seen and not declared, hashed in the state in which the job read them."""
    covered = [one.path.resolve() for one in named]
    names = {one.value.name for one in named}
    kinds = {_absolute(one.path, str(scene.root)): one for one in found.files if one.kind == "input"}
    before = {f"{scene.root}/{entry.path}": entry for entry in scene.code.entries}
    result = []
    for path, folder in found.inputs:
        full = Path(path)
        if any(full.resolve().is_relative_to(one) for one in covered):
            continue
        use, seen = found.uses.get(path), kinds.get(path)
        content, changed = full, _changed_since(full, scene.began_ns)
        url = downloads.source(path, found.uses) if folder else seen.source if seen is not None else ""
        if url or (use is not None and use.made):
            changed = missing("it was downloaded while the job ran")
        if not folder and changed.value:
            content = _as_read(full, use, scene, before)
        one = DeclaredInput(path=place(full, scene.root))
        try:
            value = look_at_input(scene.root, one, names, progress, content=content, seen=True)
        except OSError:
            continue  # Gone in this very moment: the files say that it was there.
        source: Fact[str] = value.value.source
        if url:
            source = observed(url)
        brought = seen is not None and seen.why.startswith("data that the package")
        record = msgspec.structs.replace(
            value.value,
            source=source,
            version=downloads.version(full) if folder else value.value.version,
            changed=changed,
            stored="package" if brought else "reference",
        )
        if changed.value and not folder:  # The next change would be lost: it is kept as it was read.
            scene.objects.keep(content.parent, [value.entries[0]._replace(path=content.name)])
        result.append(Seen(record, content, value.entries))
    return result


def _as_read(path: Path, use: FileUse | None, scene: Scene, before: dict[str, Entry]) -> Path:
    """Where the bytes lie that the job read, of a file that changed since it was started."""
    if use is not None and use.kept and (scene.watch / use.kept).is_file():
        return scene.watch / use.kept
    earlier = before.get(str(path))
    if earlier is not None and scene.objects.at(earlier.sha256).is_file():
        return scene.objects.at(earlier.sha256)
    return path


def _changed_since(path: Path, began_ns: int) -> Fact[bool]:
    try:
        told = path.stat()
    except OSError:
        return observed(True)
    return observed(max(told.st_mtime_ns, told.st_ctime_ns) > began_ns)


def without_products(code: Codebase, found: Sorted) -> tuple[Entry, ...]:
    """The code's files without those that the job writes and git does not track: they are an earlier run's."""
    made = {one.path for one in found.files if one.kind == "output" and one.first == "written"}
    git = code.value.git.value
    loose = made if git is None else made.intersection(git.untracked)
    return tuple(entry for entry in code.entries if entry.path not in loose)


def seeds(watched: Watched) -> list[Seed]:
    """Every seeding call of the job's processes, once, by rank; what a library chose by itself is no seed."""
    ranks = {one.number: one.variables.get("RANK", "") for one in watched.processes}
    made = {(call.function, call.value, call.where, call.process) for call in watched.seeds}
    lines: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, str, str], Seed] = {}
    # Processes run at once: the order of their calls would differ from run to run.
    for call in sorted(watched.seeds, key=lambda call: ranks.get(call.process, "").zfill(6)):
        # scikit-learn hands its parts seeds drawn from the one that it was given.
        drawn = call.function.startswith("sklearn") and call.value.startswith("np.")
        also = (_WITHIN.get(call.function, ""), call.value, call.where, call.process) in made
        if call.value in ("", "None") or drawn or also:
            continue
        rank = ranks.get(call.process, "")
        where = f"{call.where}, rank {rank}" if rank else call.where
        key = call.function, call.value, where
        lines[call.function, where] += key not in found
        if lines[call.function, where] <= _OF_A_LINE:
            found[key] = Seed(name=call.function, value=call.value, evidence="observed", where=where)
    return list(found.values())[:SEEDS_CAP]


def findings(watched: Watched, probe: Probe | None, scene: Scene) -> list[Finding]:
    """What a person should know: random numbers without a seed, packages that nobody declared, the network."""
    unseeded = {use.library for use in watched.uses if not use.seeded and not use.by_library}
    apart = {use.library for use in watched.uses if use.by_library} - unseeded
    what = "gave random numbers, and was never seeded"
    said = [Finding(id="used-unseeded", level="warning", text=f"{library} {what}") for library in sorted(unseeded)]
    what += "; only libraries import it, such as for the name of a run"
    said += [Finding(id="used-unseeded", level="note", text=f"{library} {what}") for library in sorted(apart)]
    if probe is not None:
        from runbook.observe.packages import read_packages

        packages, wanted = read_packages(probe), requirements(scene.root, scene.cwd)
        said += [Finding(id="requirement-unmet", level="warning", text=text) for text in unmet(wanted, packages)]
        missing = undeclared(watched.imports, packages, wanted.names)
        if missing and wanted.files:
            text = f"imported, and not in {', '.join(wanted.files[:3])}: {', '.join(missing)}"
            said.append(Finding(id="package-undeclared", level="warning", text=text))
        elif missing:
            text = f"the project declares no packages; the job imports {', '.join(missing)}"
            said.append(Finding(id="package-undeclared", level="note", text=text))
    hosts = sorted({one.host for one in watched.connections if one.host and not downloads.loopback(one.host)})
    if hosts:
        text = f"the job reached for the network: {', '.join(hosts[:5])}" + (" …" if len(hosts) > 5 else "")
        said.append(Finding(id="network-used", level="note", text=text))
    said += [Finding(id="not-seen", level="note", text=text) for text in watched.lost if text != LIMIT]
    return said


def in_record(
    watched: Watched, files: Sequence[SeenFile], probe: Probe | None
) -> tuple[Watched, tuple[SeenFile, ...]]:
    """What of it a record holds: no list that grows without bound."""
    ranks = {one.number: one.variables.get("RANK", "") for one in watched.processes}
    # A worker process of each epoch tells the same.
    seeds = {(s.function, s.value, s.where, ranks.get(s.process)): s for s in watched.seeds[::-1]}
    uses = {(u.library, u.seeded, u.by_library, u.where, ranks.get(u.process)): u for u in watched.uses[::-1]}
    switches = {(s.name, s.value, ranks.get(s.process)): s for s in watched.switches[::-1]}
    third = {top.partition(".")[0] for one in probe.distributions for top in one.imports} if probe else set()
    connections = tuple({(c.host, c.port, c.url): c for c in watched.connections}.values())
    programs = tuple({(s.argv, s.executable): s for s in watched.subprocesses}.values())
    cut = msgspec.structs.replace(
        watched,
        files=(),
        folders=watched.folders[:_KEPT_IN_RECORD],
        processes=watched.processes[:_KEPT_IN_RECORD],
        seeds=tuple(seeds.values())[::-1][:_CALLS],
        uses=tuple(uses.values())[::-1][:_CALLS],
        switches=tuple(switches.values())[::-1][:_CALLS],
        imports=tuple(name for name in watched.imports if name in third),
        connections=connections[:_KEPT_IN_RECORD],
        subprocesses=programs[:_KEPT_IN_RECORD],
    )
    return cut, _folded(files)


def _folded(files: Sequence[SeenFile]) -> tuple[SeenFile, ...]:
    """At most so many lines: where there are more, those of one folder and kind together."""
    if len(files) <= FILES_CAP:
        return tuple(files)
    groups: dict[tuple[str, str, str], list[SeenFile]] = {}
    for one in files:
        groups.setdefault((one.kind, one.path.rpartition("/")[0], one.why), []).append(one)
    folded = []
    for (kind, folder, why), members in groups.items():
        if len(members) == 1:
            folded.append(members[0])
            continue
        folded.append(
            SeenFile(
                path=folder or ".",
                kind=kind,  # type: ignore[arg-type]
                why=why,
                files=sum(one.files for one in members),
                read=any(one.read for one in members),
                written=any(one.written for one in members),
                first=members[0].first,
            )
        )
    return tuple(folded[:FILES_CAP])


def interpreter(watched: Watched, found: Fact[str]) -> Fact[str]:
    """The Python of the first process that was seen, where the command line does not name it by itself."""
    executable = next((one.executable for one in watched.processes if one.python and one.executable), "")
    if found.evidence == "observed" or not executable:
        return found
    return observed(executable) if found.value in (None, executable) else inferred(found.value or "", found.reason)


def _surrounding(scene: Scene, probe: Probe | None, present: frozenset[str]) -> Surrounding:
    owners: dict[str, str] = {}
    told = probe.interpreter if probe else None
    for one in probe.distributions if probe else ():
        for top in one.imports:
            owners.setdefault(top.partition(".")[0].partition("/")[0], one.name)
    sites = probe.sites if probe else ()
    prefixes = (told.stdlib, told.prefix, told.base_prefix) if told else ()
    return Surrounding(
        root=str(scene.root),
        code=frozenset(entry.path for entry in scene.code.entries),
        sizes={entry.path: entry.size for entry in scene.code.entries},
        sites=_and_real(sites),
        owners=owners,
        interpreter=_and_real(prefixes),
        home=scene.env.get("HOME", "").rstrip("/"),
        variables=scene.env,
        present=present,
    )


def _and_real(folders: Sequence[str]) -> tuple[str, ...]:
    """The folders as they are called, and as they are called where every link on the way is followed."""
    return tuple(dict.fromkeys((*folders, *(os.path.realpath(one) for one in folders))))


def _absolute(path: str, root: str) -> str:
    return path if path.startswith("/") else f"{root}/{path}"
