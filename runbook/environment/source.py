"""A wheel built from the source tree of an editable install.

The tree is copied first, so that no build leaves anything in it, and without what git ignores. The version is
given to the tools that would ask git for it, because the copy has no history.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from runbook.environment.tags import best_wheel
from runbook.model.environment import Interpreter

SOURCE_DATE_EPOCH = "315532800"
"""1980-01-01: the earliest time that a zip can hold."""

_SKIPPED = frozenset(
    (
        ".git",
        ".hg",
        ".venv",
        "venv",
        "__pycache__",
        "node_modules",
        ".runbook",
        ".tox",
        ".nox",
        ".mypy_cache",
        "build",
    )
)
_TIME_S = 600


def build_wheel(
    source: Path, version: str, interpreter: Interpreter, target: Path, *, variables: Mapping[str, str]
) -> Path:
    """Build the project at `source` with the job's interpreter into the folder `target`; the wheel's path.

    variables: indexes and certificates for uv. Tries an isolated build, then one with what the job's environment
    has. Raises ValueError with the last words of the build when both fail.
    """
    if not (source / "pyproject.toml").is_file() and not (source / "setup.py").is_file():
        raise ValueError(f"its source {source} has neither pyproject.toml nor setup.py")
    with tempfile.TemporaryDirectory(prefix="runbook-build-") as scratch:
        tree, out = Path(scratch) / "source", Path(scratch) / "wheels"
        _copy(source, tree)
        env = {
            **os.environ,
            **variables,
            "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
            "PYTHONHASHSEED": "0",
            "SETUPTOOLS_SCM_PRETEND_VERSION": version,
            "PBR_VERSION": version,
            "PDM_BUILD_SCM_VERSION": version,
        }
        env.pop("VIRTUAL_ENV", None)
        command = [_uv(), "build", "--wheel", "--no-config", "--python", interpreter.executable]
        command += ["--out-dir", str(out), str(tree)]
        said = ""
        for extra in ([], ["--no-build-isolation"]):
            try:
                done = subprocess.run(
                    [*command, *extra], capture_output=True, check=False, text=True, env=env, timeout=_TIME_S
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                said = said or str(error)
                continue
            made = best_wheel([p.name for p in out.glob("*.whl")] if out.is_dir() else [], interpreter)
            if done.returncode == 0 and made:
                return Path(shutil.copyfile(out / made, target / made))
            said = said or " ".join(done.stderr.split()[-60:])
        raise ValueError(
            f"its source {source} cannot be built: {said or 'no wheel for this interpreter came out'}"
        )


def _uv() -> str:
    from uv import find_uv_bin

    return os.fsdecode(find_uv_bin())


def _copy(source: Path, target: Path) -> None:
    command = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        listed = b""
    if not listed:
        shutil.copytree(source, target, symlinks=True, ignore=lambda _f, names: _SKIPPED.intersection(names))
        return
    for name in sorted(set(os.fsdecode(listed).split("\0")) - {""}):
        path = source / name
        if path.is_file() or path.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name, follow_symlinks=False)
