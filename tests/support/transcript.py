"""Transcripts in documents, held to what the commands print.

In a ```console block a line that begins with `$ ` is a command, the lines beneath it are what it prints, on stdout
and stderr together. `…` stands for any text within a line, a line of `…` alone for any number of lines, and blanks
for as many blanks as there are, because tables are as wide as their numbers.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
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


def pattern(expected: tuple[str, ...]) -> re.Pattern[str]:
    """What the printed text must match, whole, trailing blanks aside."""
    parts = []
    for line in expected:
        if line.strip() == "…":
            parts.append(r"(?:[^\n]*\n)*?")
        else:
            words = (re.sub(r"(\\ )+", r" +", re.escape(piece)) for piece in line.split("…"))
            parts.append(r"[^\n]*?".join(words) + r" *\n")
    return re.compile("".join(parts) + r"\n*")


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
        assert pattern(step.expected).fullmatch(printed), f"$ {step.command}\n{printed}"
    return printed
