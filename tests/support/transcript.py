"""Transcripts in documents, held to what the commands print.

In a ```console block a line that begins with `$ ` is a command, the lines beneath it are what it prints, on stdout
and stderr together. `…` stands for any text within a line, a line of `…` alone for any number of lines, and blanks
for as many blanks as there are, because tables are as wide as their numbers.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Step(NamedTuple):
    """A command and the lines expected of it."""

    command: str
    expected: tuple[str, ...]


def steps(document: str, name: str) -> Iterator[Step]:
    """The steps of the block that follows the comment `<!-- transcript: NAME -->`."""
    found = re.search(rf"<!-- transcript: {re.escape(name)} -->\n```console\n(.*?)```", document, re.DOTALL)
    assert found, f"no transcript {name}"
    for part in re.split(r"^\$ ", found[1], flags=re.MULTILINE)[1:]:
        command, *lines = part.rstrip("\n").split("\n")
        yield Step(command, tuple(line.rstrip() for line in lines))


def matches(expected: tuple[str, ...], printed: str) -> bool:
    """Whether the printed text is what is expected, whole, trailing blanks and blank lines aside."""
    lines = printed.rstrip("\n").split("\n")

    @cache
    def rest(i: int, j: int) -> bool:
        if i == len(expected):
            return j == len(lines)
        if expected[i].strip() == "…":
            return rest(i + 1, j) or (j < len(lines) and rest(i, j + 1))
        return j < len(lines) and _line(expected[i]).fullmatch(lines[j]) is not None and rest(i + 1, j + 1)

    return rest(0, 0)


def _line(expected: str) -> re.Pattern[str]:
    words = (re.sub(r"(\\ )+", r" +", re.escape(piece)) for piece in expected.split("…"))
    return re.compile(r".*?".join(words) + " *")


def play(step: Step, cwd: Path, env: Mapping[str, str]) -> str:
    """Run the command in a shell; what it printed. AssertionError where it fails or parts from the document."""
    done = subprocess.run(
        step.command,
        shell=True,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    printed = "".join(line.rstrip() + "\n" for line in done.stdout.split("\n")).rstrip("\n") + "\n"
    assert done.returncode == 0, printed
    if step.expected:
        assert matches(step.expected, printed), f"$ {step.command}\n{printed}"
    return printed
