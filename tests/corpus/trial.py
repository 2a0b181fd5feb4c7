"""One bundle of the corpus, and what the real command line does with it."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from runbook.cli import console
from runbook.cli.main import run
from tests.corpus.good import GOOD
from tests.corpus.records import RECORDS
from tests.corpus.tree import TREE
from tests.corpus.zips import ZIPS
from tests.factories import make_bundle
from tests.report.reports import Loads

_ACTING = {"\x1b", "\x9b", "\x07", "\u202e", "\u2028", "\u2029", "\x85"}
"""Characters that steer a terminal or turn a text."""


@dataclass(frozen=True)
class Case:
    """A bundle and what it must come to: 0, or 5 with the id of its one defect."""

    name: str
    make: Callable[[Path], Path]
    exit: int
    id: str = ""


def _changed(change: Callable[[Path], object], form: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        bundle = make_bundle(folder, form=form)  # type: ignore[arg-type]
        change(bundle)
        return bundle

    return make


CASES: dict[str, Case] = {
    case.name: case
    for case in [
        *(Case(f"good: {name}", make, 0) for name, make in GOOD.items()),
        *(Case(f"folder: {n}", _changed(change, "directory"), 5, id) for n, (change, id) in TREE.items()),
        *(Case(f"record: {n}", _changed(change, "directory"), 5, id) for n, (change, id) in RECORDS.items()),
        *(Case(f"zip: {n}", _changed(change, "zip"), 5, id) for n, (change, id) in ZIPS.items()),
    ]
}


@dataclass(frozen=True)
class Outcome:
    """What one bundle came to."""

    exit: int
    id: str
    escapes: tuple[str, ...]
    """What it did that nothing in a bundle may do, in words."""


def tried(case: Case, folder: Path) -> Outcome:
    """Make the bundle in a folder of its own and give it to every verb that reads one."""
    place, cwd = folder / "bundles", folder / "work"
    for one in (place, cwd):
        one.mkdir()
    (folder / "victim").write_text("untouched")
    bundle = case.make(place)
    escapes: list[str] = []
    with _standing_in(cwd):
        before = _listing(folder)
        code, out, _ = call("verify", "--json", str(bundle), escapes=escapes)
        told = json.loads(out) if out else {}
        more = [["pack", "--thin", "--offline", str(bundle), "-o", "packed.runbook"]] if case.exit else []
        for verb in [*_verbs(str(bundle)), *more]:
            name = " ".join(verb[:2]) if verb[1] == "--plan" else verb[0]
            did, out, err = call(*verb, escapes=escapes)
            unread = case.id == "digest-mismatch" and ("--quick" in verb or "--plan" in verb)
            if verb[0] in ("verify", "replay", "pack") and case.exit == 5 and did != 5 and not unread:
                escapes.append(f"{name} ended with {did}")
            if "unexpected" in err or did not in (0, 4, 5, 6, 7):
                escapes.append(f"{name} ended with {did}: {err.strip()[:200]}")
            if name == "report" and (loaded := _loaded(out, verb[3])):
                escapes.append(f"the {verb[3]} report runs or loads {loaded}")
        if (after := _listing(folder)) != before:
            escapes.append(f"changed: {sorted(set(after) ^ set(before)) or 'the content of a file'}")
    return Outcome(code, told.get("defect", ""), tuple(escapes))


def _loaded(document: str, form: str) -> list[str]:
    """What a browser would run or fetch for a page, or for what becomes of Markdown with HTML allowed."""
    watch = Loads()
    watch.feed(document if form == "html" else MarkdownIt("commonmark", {"html": True}).render(document))
    return watch.found


def _verbs(bundle: str) -> list[list[str]]:
    return [
        ["verify", bundle],
        ["verify", "--quick", bundle],
        ["show", bundle],
        ["report", bundle, "--format", "html", "-o", "-"],
        ["report", bundle, "--format", "markdown", "-o", "-"],
        ["diff", bundle, bundle],
        ["replay", "--plan", "--offline", "--engine", "local", bundle],
    ]


def call(*argv: str, escapes: list[str]) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one command line; what it shows that acts on a terminal is an escape."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8", newline=""), io.StringIO()
    for cached in (console.out, console.err):
        cached.cache_clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(argv))
    out.flush()
    shown = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    for cached in (console.out, console.err):
        cached.cache_clear()
    if acting := _ACTING & set(shown + err.getvalue()):
        escapes.append(f"{argv[0]} shows {sorted(map(ascii, acting))}")
    if "Traceback" in err.getvalue():
        escapes.append(f"{argv[0]} shows a traceback")
    return code, shown, err.getvalue()


@contextlib.contextmanager
def _standing_in(cwd: Path) -> Iterator[None]:
    """In this folder, with a home below it, so that whatever is written is seen."""
    before, env = Path.cwd(), dict(os.environ)
    # Without colours of our own, whatever steers the terminal is the bundle's.
    os.environ |= {"HOME": str(cwd), "XDG_CACHE_HOME": str(cwd / "cache"), "NO_COLOR": "1"}
    os.environ.pop("FORCE_COLOR", None)
    os.chdir(cwd)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(env)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Name → size and time of every file, without following links; in bytes where a name is no text.

    Caches of tools are not of interest: a plan may ask uv what it would do.
    """
    found: dict[str, tuple[int, int]] = {}
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".cache"]
        for name in (*folders, *names):
            path = os.path.join(above, name)
            status = os.lstat(path)
            found[ascii(path)] = (status.st_size, 0 if name in folders else status.st_mtime_ns)
    return found
