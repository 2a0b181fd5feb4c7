"""Shell lines: the simple commands in them, and the line that runs declared stages one after another."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

SHELLS = frozenset(("sh", "bash", "dash", "zsh", "ksh", "ash", "busybox"))
STAGE_VARIABLE = "RUNBOOK_STAGE"
"""Holds the name of the declared stage that a process belongs to."""
BEGUN = "stages"
"""File in the watch folder with the names of the declared stages that were begun, one a line."""
_PREAMBLE = (
    f'stage() {{ export {STAGE_VARIABLE}="$1"; shift; '
    f'[ -z "${{RUNBOOK_WATCH-}}" ] || echo "${STAGE_VARIABLE}" >>"$RUNBOOK_WATCH/{BEGUN}"; "$@"; }}\n'
)
_OURS = re.compile(r"^stage \S+ ", re.MULTILINE)


def staged(stages: Sequence[tuple[str, Sequence[str]]]) -> tuple[str, ...]:
    """The command that runs stages (name, argv) in order, and ends with the exit code of the first that fails.

    Plain `sh`, so that any engine, and a person without runbook, runs it as it stands.
    """
    lines = [f"stage {name} {shlex.join(argv)}" for name, argv in stages]
    return ("sh", "-c", _PREAMBLE + " &&\n".join(lines))


def script(argv: Sequence[str]) -> str | None:
    """The text of `sh -c TEXT`, of our own only the stages' commands; None for any other command."""
    if argv and Path(argv[0]).name in SHELLS:
        for at, word in enumerate(argv[1:-1], 1):
            if re.fullmatch(r"-[a-z]*c[a-z]*", word):
                text = argv[at + 1]
                ours = text.startswith(_PREAMBLE)
                return _OURS.sub("", text.removeprefix(_PREAMBLE)) if ours else text
            if not word.startswith(("-", "+")):
                break
    return None


def commands(text: str) -> list[list[str]]:
    """The simple commands of a shell text, roughly: a shell's whole grammar is not needed to find a program."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.commenters = "#"
        try:
            words = list(lexer)
        except ValueError:
            words = line.split()
        command: list[str] = []
        for word in [*words, ";"]:
            if set(word) <= set(";&|()"):
                found += [command] if command else []
                command = []
            elif command or word not in ("do", "then", "else", "if", "while", "{", "!"):
                command.append(word)
    return found
