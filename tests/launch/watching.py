"""Runs a job plain and watched, in one place, and holds the two against each other."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook.launch.watch import prepare, read_watch
from runbook.model.watch import FileUse, Watched


@dataclass
class Seen:
    """What was watched, and what the job itself showed."""

    watched: Watched
    folder: Path
    code: int
    stdout: bytes
    stderr: bytes

    def file(self, path: object) -> FileUse | None:
        """The use of one path."""
        return next((use for use in self.watched.files if use.path == str(path)), None)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The caller's, without what would enter the job besides the hook."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "RUNBOOK_"))}
    return kept | dict(more or {})


def watch(
    argv: Sequence[object],
    cwd: Path,
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    folder: Path | None = None,
    compare: bool = True,
    before: Callable[[], None] = lambda: None,
) -> Seen:
    """Run it plain, then watched; the exit code and every byte of the output are the same."""
    folder = folder or Path(tempfile.mkdtemp(prefix="watch-", dir=cwd.parent))
    command = [str(one) for one in argv]
    plain = environment(env)

    def run(variables: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, cwd=cwd, env=variables, input=stdin, capture_output=True, timeout=120, check=False
        )

    before()
    expected = run(plain) if compare else None
    before()
    watched = prepare(folder, plain)
    got = run(watched)
    if expected is not None:
        assert (got.returncode, got.stdout, got.stderr) == (expected.returncode, expected.stdout, expected.stderr)
    return Seen(read_watch(folder), folder, got.returncode, got.stdout, got.stderr)


def script(folder: Path, text: str, name: str = "job.py") -> Path:
    """A job."""
    path = folder / name
    path.write_text(text)
    return path


PYTHON = sys.executable
