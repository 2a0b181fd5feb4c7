"""Two commands laid over each other, so that each place where they differ can be swapped alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Span:
    """Words of A's command and what stands in their place in B's; either may be none."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    same: bool
    option: str = ""
    """What the words belong to: `--lr`, or `argument 2`."""


def spans(a: Sequence[str], b: Sequence[str]) -> list[Span]:
    """The whole of both commands in order. A program of the same name elsewhere is the same program."""
    return list(_spans(a, b))


def _spans(a: Sequence[str], b: Sequence[str]) -> Iterator[Span]:
    left, right = [_program(a), *a[1:]], [_program(b), *b[1:]]
    for kind, a0, a1, b0, b1 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            yield Span(tuple(a[a0:a1]), tuple(b[b0:b1]), True)
        elif a1 - a0 == b1 - b0:
            for at, to in zip(range(a0, a1), range(b0, b1), strict=True):
                yield Span((a[at],), (b[to],), False, _option(a, at))
        else:
            words, at = (a, a0) if a1 > a0 else (b, b0)
            yield Span(tuple(a[a0:a1]), tuple(b[b0:b1]), False, _option(words, at))


def _program(argv: Sequence[str]) -> str:
    return PurePosixPath(argv[0]).name


def _option(words: Sequence[str], at: int) -> str:
    """The option that this word is or belongs to."""
    word = words[at]
    if word.startswith("-") or "=" in word:
        return word.partition("=")[0]
    return words[at - 1] if at and words[at - 1].startswith("-") else f"argument {at}"
