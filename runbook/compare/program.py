"""Two versions of a source file: whether they are the same program, and which lines are not the same.

Nothing is executed: Python is parsed, anything else is compared line by line.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import PurePosixPath

_SHOWN, _WIDTH, _BEFORE = 6, 60, 20
"""Changed lines that are named, characters of each, and of those before the first that is another."""
_PARSED_CAP, _ALIGNED = 1 << 20, 250_000
"""Bytes of a source file that is parsed; of the lines between what both versions begin and end with, those of one
times those of the other, beyond which they are only sorted by whose they are: aligning takes their product."""
_CLOCKS = frozenset(
    (
        *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.strftime", "time.ctime"),
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
        *("os.urandom", "uuid.uuid1", "uuid.uuid4", "os.getpid", "random.SystemRandom"),
        *("secrets.token_bytes", "secrets.token_hex", "secrets.randbelow", "secrets.randbits", "secrets.choice"),
    )
)
"""Calls that give something else in every run: the time, the process, the kernel's own random numbers."""


def parsed(path: str, content: bytes | None) -> ast.Module | None:
    """The program of a Python file; None where it is none, or cannot be parsed."""
    if content is None or len(content) > _PARSED_CAP or PurePosixPath(path).suffix not in (".py", ".pyi"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of odd escapes in somebody's text.
            return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def same_program(path: str, a: bytes, b: bytes) -> bool:
    """Whether two Python files differ in comments, layout and docstrings only.

    A file that speaks of `__doc__` may use its docstrings, so they count there.
    """
    left, right = parsed(path, a), parsed(path, b)
    if left is None or right is None:
        return False
    if b"__doc__" not in a and b"__doc__" not in b:
        for tree in (left, right):
            _drop_docstrings(tree)
    try:
        return ast.dump(left) == ast.dump(right)
    except (RecursionError, MemoryError, ValueError):  # Too deep, or a number of too many digits.
        return False


def _drop_docstrings(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                first.value.value = ""


def changed_lines(path: str, a: bytes | None, b: bytes | None) -> tuple[str, ...]:
    """Which lines of a text file are others, `train.py:12: DEPTH = 3 → DEPTH = 4`, the first few.

    a, b: None for a side that lacks the file. Lines that are only comments are left out where others changed.
    """
    if b"\0" in (a or b"") or b"\0" in (b or b""):
        return ()
    left, right = ((one or b"").decode(errors="replace").splitlines() for one in (a, b))
    found = list(_changes(path, left, right))
    telling = [text for text, tells in found if tells] or [text for text, _ in found]
    more = [f"and {len(telling) - _SHOWN:,} more changed lines"] if len(telling) > _SHOWN else []
    return (*telling[:_SHOWN], *more)


def _changes(path: str, a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Every changed line with its number in the file that has it, and whether it is more than a comment."""
    for i, i_end, j, j_end in _regions(a, b):
        if i_end - i == j_end - j:
            for n in range(i_end - i):
                old, new = a[i + n].strip(), b[j + n].strip()
                yield f"{path}:{j + n + 1}: {_pair(old, new)}", _tells(old) or _tells(new)
            continue
        for n in range(i, i_end):
            yield f"{path}:{n + 1}: {_short(a[n].strip())} (only in A)", _tells(a[n].strip())
        for n in range(j, j_end):
            yield f"{path}:{n + 1}: {_short(b[n].strip())} (only in B)", _tells(b[n].strip())


def _regions(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """Which lines of each stand for which of the other, from and to, where they are not the same."""
    head = _common(a, b)
    tail = _common(a[head:][::-1], b[head:][::-1])
    left, right = a[head : len(a) - tail], b[head : len(b) - tail]
    if len(left) * len(right) <= _ALIGNED:
        for kind, i, i_end, j, j_end in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
            if kind != "equal":
                yield head + i, head + i_end, head + j, head + j_end
        return
    known = (set(left), set(right))
    yield from ((head + n, head + n + 1, 0, 0) for n, line in enumerate(left) if line not in known[1])
    yield from ((0, 0, head + n, head + n + 1) for n, line in enumerate(right) if line not in known[0])


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """How many lines, or characters, both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _tells(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def _pair(old: str, new: str) -> str:
    """Both lines; of long ones, from shortly before the first character that is another."""
    if max(len(old), len(new)) > _WIDTH:
        same = _common(old, new)
        if same > _BEFORE:
            old, new = (f"…{line[same - _BEFORE :]}" for line in (old, new))
    return f"{_short(old)} → {_short(new)}"


def _short(line: str) -> str:
    return (line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…") or "(an empty line)"


def naming(trees: Mapping[str, ast.Module], name: str) -> tuple[str, ...]:
    """Where programs hold this text as a constant, `train.py:14`: a variable's name where it is looked up."""
    return tuple(
        f"{path}:{node.lineno}"
        for path, tree in sorted(trees.items())
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value == name
    )


def clocks(trees: Mapping[str, ast.Module]) -> tuple[str, ...]:
    """Where programs ask for the time or for random numbers that no seed decides, `train.py:48: time.time()`."""
    return tuple(dict.fromkeys(_calls(trees.items())))


def _calls(trees: Iterable[tuple[str, ast.Module]]) -> Iterator[str]:
    for path, tree in sorted(trees):
        imported = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        for node in ast.walk(tree):
            called = _dotted(node.func) if isinstance(node, ast.Call) else ""
            head, dot, rest = called.partition(".")
            full = ".".join((imported.get(head, head) + dot + rest).split(".")[-2:])
            if full in _CLOCKS and isinstance(node, ast.Call):
                yield f"{path}:{node.lineno}: {called}()"


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; empty for any other."""
    names: list[str] = []
    while isinstance(node, ast.Attribute) and len(names) < 8:
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""
