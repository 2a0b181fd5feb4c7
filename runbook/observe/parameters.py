"""Parameters as the command line gives them: `--lr 0.1`, `--lr=0.1`, `lr=0.1`, and plain numbers in order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runbook.observe.names import looks_secret
from runbook.observe.shell import commands, script

_NUMBER = re.compile(r"[-+]?(\d+(_\d+)*\.?\d*|\.\d+)([eE][-+]?\d+)?")
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_.-]*)(=(.*))?", re.DOTALL)
_ASSIGNMENT = re.compile(r"\+{0,2}([A-Za-z_][A-Za-z0-9_.@/-]*)=(.*)", re.DOTALL)
_SCRIPT = re.compile(r".*\.(py|ipynb|pyz)")


class Given(NamedTuple):
    """One parameter: how it was written, its name and its value as text."""

    written: str
    name: str
    value: str


def from_argv(argv: Sequence[str]) -> dict[str, str]:
    """Parameters by name; one that is given several times has its values joined by commas.

    A switch without a value is `true`. Positional words that are numbers are `arg1`, `arg2` … by their position.
    Names that look secret are left out.
    """
    found: dict[str, str] = {}
    for one in given(argv):
        found[one.name] = f"{found[one.name]},{one.value}" if one.name in found else one.value
    return found


def given(argv: Sequence[str]) -> Iterator[Given]:
    """The parameters of the job's own program, in their order; of a shell line, those of its Python commands."""
    text = script(argv)
    if text is None:
        yield from _given(argv)
        return
    for words in commands(text):
        if "-m" in words[:-1] or any(_SCRIPT.fullmatch(word) for word in words):
            yield from _given(words)


def _given(argv: Sequence[str]) -> Iterator[Given]:
    words = _own_words(argv)
    position = 0
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        option = None if _NUMBER.fullmatch(word) else _OPTION.fullmatch(word)
        assignment = _ASSIGNMENT.fullmatch(word)
        if option and option[2]:
            yield from _keep(word.partition("=")[0], option[1], option[3])
        elif option:
            values = _values(words[at:])
            at += len(values)
            yield from _keep(word, option[1], " ".join(values) if values else "true")
        elif assignment:
            yield from _keep(f"{assignment[1]}=", assignment[1], assignment[2])
        elif word != "--":
            position += 1
            if _NUMBER.fullmatch(word):
                yield Given(f"argument {position}", f"arg{position}", word)


def _keep(written: str, name: str, value: str) -> Iterator[Given]:
    if not looks_secret(name):
        yield Given(written, name, value)


def _values(rest: Sequence[str]) -> list[str]:
    """The words that belong to an option: the next one, and further numbers after a number."""
    if not rest or (rest[0].startswith("-") and not _NUMBER.fullmatch(rest[0])):
        return []
    values = [rest[0]]
    if _NUMBER.fullmatch(rest[0]):
        for word in rest[1:]:
            if not _NUMBER.fullmatch(word):
                break
            values.append(word)
    return values


def _own_words(argv: Sequence[str]) -> Sequence[str]:
    """What follows the script or module: the words before it belong to the interpreter or a launcher."""
    for at, word in enumerate(argv):
        if _SCRIPT.fullmatch(word):
            return argv[at + 1 :]
    if "-m" in argv[:-1]:
        return argv[list(argv).index("-m") + 2 :]
    return argv[1:]
