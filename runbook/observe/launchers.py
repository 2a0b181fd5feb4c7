"""Programs that choose an environment and run a command in it: uv, poetry, conda, pipx. Best effort."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class Unknown(Exception):
    """The interpreter cannot be told; the text is the reason."""


@dataclass(frozen=True)
class Launch:
    """What a launcher runs: a Python, or the rest of the command as it stands."""

    python: Path | None
    why: str = ""
    rest: tuple[str, ...] = ()


Launcher = Callable[[Sequence[str], Path, Mapping[str, str]], Launch | None]
"""(argv, cwd, env) → what runs; None when this use of the program launches nothing."""

_UV_WITH_VALUE = frozenset(
    (
        *("--python", "-p", "--extra", "--group", "--only-group", "--env-file", "--package"),
        *("--directory", "--project", "--index", "--index-url", "--cache-dir"),
    )
)


def _uv(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Launch | None:
    if "run" not in argv[1:]:
        return None
    start, active = cwd, False
    words = list(argv[list(argv).index("run") + 1 :])
    while words and words[0].startswith("-") and words[0] != "--":
        flag = words.pop(0)
        active = active or flag in ("--active", "--no-project")
        if flag.startswith("--with") or flag in ("--isolated", "--script", "-s"):
            raise Unknown(
                f"`uv run {flag}` makes a throw-away environment; name its Python in the command instead"
            )
        if flag in _UV_WITH_VALUE and words:
            value = words.pop(0)
            start = cwd / value if flag in ("--directory", "--project") else start
    named = env.get("UV_PROJECT_ENVIRONMENT", "")
    candidates = [start / named] if named else [p / ".venv" for p in (start, *start.parents)]
    if active and env.get("VIRTUAL_ENV"):
        candidates.insert(0, Path(env["VIRTUAL_ENV"]))
    return Launch(_first_python(candidates, "uv run"), "uv run uses the project's environment")


def _poetry(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Launch | None:
    if "run" not in argv[1:]:
        return None
    try:
        done = subprocess.run(
            (argv[0], "env", "info", "--executable"),
            cwd=cwd,
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        told = ""
    if told.startswith("/"):
        return Launch(Path(told), "poetry names this Python")
    return Launch(_first_python([p / ".venv" for p in (cwd, *cwd.parents)], "poetry run"), "the project's .venv")


def _conda(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Launch | None:
    if "run" not in argv[1:]:
        return None
    words = list(argv[list(argv).index("run") + 1 :])
    prefix, name = "", ""
    for flag, value in zip(words, [*words[1:], ""], strict=True):
        if not flag.startswith("-") and (prefix or name):
            break
        name = (
            value if flag in ("-n", "--name") else flag.partition("=")[2] if flag.startswith("--name=") else name
        )
        prefix = value if flag in ("-p", "--prefix") else prefix
    program = Path(env.get("CONDA_EXE") or env.get("MAMBA_EXE") or argv[0])
    root = Path(env.get("MAMBA_ROOT_PREFIX") or (program.parent.parent if program.is_absolute() else "/opt/conda"))
    folders = [Path(p) for p in env.get("CONDA_ENVS_PATH", "").split(os.pathsep) if p]
    folders += [root / "envs", Path(env.get("HOME", "/")) / ".conda" / "envs"]
    candidates = [cwd / prefix] if prefix else [f / name for f in folders] if name not in ("", "base") else [root]
    return Launch(_first_python(candidates, "conda run"), "conda run uses this environment")


def _pipx(argv: Sequence[str], _cwd: Path, env: Mapping[str, str]) -> Launch | None:
    words = [w for w in argv[2:] if not w.startswith("-")]
    if argv[1:2] != ["run"] or not words:
        return None
    home = Path(env.get("PIPX_HOME") or Path(env.get("HOME", "/")) / ".local" / "share" / "pipx")
    return Launch(_first_python([home / "venvs" / words[0]], "pipx run"), "pipx uses its own environment")


def _first_python(prefixes: Sequence[Path], what: str) -> Path:
    for prefix in prefixes:
        if (prefix / "bin" / "python").exists():
            return prefix / "bin" / "python"
    raise Unknown(f"the environment that `{what}` uses is not found; name its Python in the command instead")


LAUNCHERS: Mapping[str, Launcher] = {
    "uv": _uv,
    "poetry": _poetry,
    "conda": _conda,
    "mamba": _conda,
    "micromamba": _conda,
    "pipx": _pipx,
}
"""Program → how to tell which Python it runs."""
