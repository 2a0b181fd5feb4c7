"""Which Python the job runs on, from its command line: the job's own, never the one that runbook runs on."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from shutil import which

from runbook.model.fact import Fact, inferred, missing, observed
from runbook.observe.launchers import LAUNCHERS, Unknown
from runbook.observe.shell import SHELLS, commands, script

_PYTHON = re.compile(r"(python|pypy)(\d+(\.\d+)*)?t?d?(\.exe)?")
_PREFIXES = frozenset(
    (
        *("nice", "nohup", "time", "stdbuf", "taskset", "numactl", "ionice"),
        *("timeout", "setsid", "chrt", "unbuffer", "exec", "command"),
    )
)
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_LONG_SHEBANG = re.compile(r"'''exec' (\"[^\"\n]+\"|\S+) \"\$0\" \"\$@\"")
"""What pip writes where the interpreter's path is too long for a shebang or has a space in it."""
_ENV_WITH_VALUE = frozenset(("-u", "--unset", "-C", "--chdir"))
_DEPTH = 8
_SCRIPT_CAP = 256 << 10


@dataclass(frozen=True)
class _Search:
    """One step of following a command to its interpreter."""

    cwd: Path
    env: Mapping[str, str]
    depth: int = 0
    guess: str = ""
    """Why the answer is a conclusion and not an observation; empty while it is plain."""

    def deeper(self, guess: str = "") -> _Search:
        if self.depth >= _DEPTH:
            raise Unknown("the command leads from program to program without reaching a Python")
        return replace(self, depth=self.depth + 1, guess=self.guess or guess)

    def find(self, program: str) -> Path | None:
        """The file that the system would run, links not resolved."""
        if "/" in program:
            path = Path(os.path.normpath(self.cwd / program))
            return path if path.is_file() else None
        for folder in self.env.get("PATH", os.defpath).split(os.pathsep):
            found = which(program, path=str(self.cwd / folder))
            if found:
                return Path(found)
        return None


def find_interpreter(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Fact[str]:
    """The absolute path of the Python that runs the job.

    Observed where the command names it, by itself or by a shebang; inferred, with the reason, where a shell, make
    or a launcher stands between. The `bin/python` of a virtual environment is kept as it is: resolving that link
    would lose the environment. The interpreter is asked for its own path, so that shims do not count.
    """
    try:
        return _follow(list(argv), _Search(cwd, env))
    except Unknown as unknown:
        return missing(str(unknown))


def _follow(argv: list[str], search: _Search) -> Fact[str]:
    if not argv:
        raise Unknown("there is no command")
    name = Path(argv[0]).name
    if name == "env":
        return _follow_env(argv[1:], search)
    if name in _PREFIXES:
        return _follow_prefix(name, argv[1:], search)
    if name in LAUNCHERS:
        launch = LAUNCHERS[name](argv, search.cwd, search.env)
        if launch is not None:
            return (
                _settle(launch.python, search.deeper(launch.why))
                if launch.python
                else _follow(list(launch.rest), search.deeper())
            )
    path = search.find(argv[0])
    if path is None:
        raise Unknown(f"{argv[0]} is not found")
    if _PYTHON.fullmatch(name):
        return _settle(path, search)
    if name in SHELLS:
        return _follow_shell(argv, search)
    if name in ("make", "gmake"):
        return _follow_text(_makefile(argv, search), "make", search)
    return _follow_file(path, search)


def _follow_env(words: list[str], search: _Search) -> Fact[str]:
    """`env [-i] [-u NAME] [-S TEXT] [NAME=VALUE…] COMMAND…`."""
    variables = dict(search.env)
    cwd = search.cwd
    while words:
        word = words.pop(0)
        assignment = _ASSIGNMENT.fullmatch(word)
        if word in ("-i", "-", "--ignore-environment"):
            variables.clear()
        elif word in _ENV_WITH_VALUE and words:
            value = words.pop(0)
            if word in ("-u", "--unset"):
                variables.pop(value, None)
            else:
                cwd = cwd / value
        elif word in ("-S", "--split-string") and words:
            words = _split(words[0]) + words[1:]
        elif word.startswith("-S"):
            words = _split(word[2:].strip()) + words
        elif assignment:
            variables[assignment[1]] = assignment[2]
        elif not word.startswith("-"):
            return _follow([word, *words], replace(search.deeper(), env=variables, cwd=cwd))
    raise Unknown("env runs no command")


def _follow_prefix(name: str, words: list[str], search: _Search) -> Fact[str]:
    """`nice -n 5 COMMAND…`, `timeout 60 COMMAND…`: the first word that is a program."""
    for at, word in enumerate(words):
        if not word.startswith("-") and not re.fullmatch(r"[\d.,x-]+[smhd]?", word) and search.find(word):
            return _follow(words[at:], search.deeper())
    raise Unknown(f"{name} runs no program that is found")


def _follow_shell(argv: list[str], search: _Search) -> Fact[str]:
    """`sh -c TEXT` or `bash SCRIPT`."""
    name = Path(argv[0]).name
    text = script(argv)
    if text is not None:
        return _follow_text(text, f"{name} -c", search)
    for word in argv[1:]:
        if not word.startswith(("-", "+")) and (path := _script(word, search)):
            return _follow_text(_head(path).decode(errors="replace"), f"the script {word}", search)
    raise Unknown(f"{name} reads its commands from standard input")


def _script(word: str, search: _Search) -> Path | None:
    path = search.cwd / word
    return path if path.is_file() else search.find(word)


def _makefile(argv: list[str], search: _Search) -> str:
    folder, names = search.cwd, ["GNUmakefile", "makefile", "Makefile"]
    for flag, value in pairwise(argv):
        if flag == "-C":
            folder = folder / value
        elif flag in ("-f", "--file"):
            names = [value]
    texts = [_head(folder / n).decode(errors="replace") for n in names if (folder / n).is_file()]
    return "\n".join(line.lstrip("\t @-+") for line in "".join(texts[:1]).splitlines() if line.startswith("\t"))


def _follow_text(text: str, what: str, search: _Search) -> Fact[str]:
    """The first command of a shell text that leads to a Python; else the Python that PATH offers."""
    deeper = search.deeper(f"from the text of {what}")
    for words in commands(text):
        activated = _activation(words, deeper)
        if activated:
            deeper = replace(
                deeper, env={**deeper.env, "PATH": f"{activated}:{deeper.env.get('PATH', os.defpath)}"}
            )
            continue
        assigned = {m[1]: m[2] for w in words if (m := _ASSIGNMENT.fullmatch(w))}
        rest = [w for w in words if not _ASSIGNMENT.fullmatch(w)] if assigned else words
        try:
            return _follow(rest, replace(deeper, env={**deeper.env, **assigned}))
        except Unknown:
            continue
    python = deeper.find("python") or deeper.find("python3")
    if python is None:
        raise Unknown(f"no Python in {what}, and none on PATH")
    return _settle(python, replace(deeper, guess=f"{what} names no Python; this is the first on PATH"))


def _activation(words: list[str], search: _Search) -> str:
    """The bin folder that `source X/bin/activate` puts on PATH; empty for other commands."""
    if len(words) > 1 and words[0] in (".", "source") and words[1].endswith("/activate"):
        folder = (search.cwd / os.path.expanduser(words[1])).parent  # noqa: PTH111 -- an unknown user is no error
        return str(folder) if folder.is_dir() else ""
    return ""


def _follow_file(path: Path, search: _Search) -> Fact[str]:
    """A program that is not called python: its shebang tells."""
    head = _head(path)
    first, _, rest = head.partition(b"\n")
    if not first.startswith(b"#!"):
        raise Unknown(f"{path.name} is a program without a Python that its first line would name")
    if "/shims/" in str(path) and b"pyenv" in head:
        return _follow([str(_behind_shim(path, search))], search.deeper())
    words = _split(os.fsdecode(first[2:]).strip())
    if not words:
        raise Unknown(f"{path.name} has an empty first line")
    long = _LONG_SHEBANG.match(os.fsdecode(rest))
    if long:
        return _settle(Path(long[1].strip('"')), search)
    if Path(words[0]).name == "env":
        return _follow(words, search.deeper())
    if Path(words[0]).name in SHELLS:
        return _follow_text(os.fsdecode(rest), f"the script {path.name}", search)
    if _PYTHON.fullmatch(Path(words[0]).name):
        return _settle(Path(words[0]), search)
    return _follow(words, search.deeper())


def _behind_shim(path: Path, search: _Search) -> Path:
    """What a pyenv shim runs, by pyenv's own word."""
    pyenv = search.find("pyenv") or path.parent.parent / "bin" / "pyenv"
    answer = _ask([str(pyenv), "which", path.name], search)
    found = Path(answer)
    if not answer or not found.is_file() or found == path:
        raise Unknown(f"pyenv does not say what its shim {path.name} runs")
    return found


def _settle(python: Path, search: _Search) -> Fact[str]:
    """Ask the interpreter for its own path: shims and wrappers disappear, a virtual environment stays."""
    path = Path(os.path.normpath(search.cwd / python))
    answer = _ask([str(path), "-I", "-S", "-c", "import sys; print(sys.executable)"], search)
    if not answer.startswith("/"):
        raise Unknown(f"{path} does not run as a Python")
    return inferred(answer, search.guess) if search.guess else observed(answer)


def _ask(argv: list[str], search: _Search) -> str:
    """The last line that a program prints; empty when it fails."""
    try:
        done = subprocess.run(
            argv, cwd=search.cwd, env=dict(search.env), capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    lines = os.fsdecode(done.stdout).splitlines()
    return lines[-1] if lines and done.returncode == 0 else ""


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_SCRIPT_CAP)
    except OSError as error:
        raise Unknown(f"{path} cannot be read: {error.strerror}") from None


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
