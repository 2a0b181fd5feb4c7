"""A real process that runs an endless job through an engine, to be interrupted or killed."""

import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_JOB = "import time, pathlib; pathlib.Path('job-runs').touch(); time.sleep(600)"
_DRIVER = """
import os, pickle, sys, threading, time
from pathlib import Path
from runbook.progress import SILENT
from runbook.registry import members
name, built, sandbox, started = pickle.loads(sys.stdin.buffer.read())
def tell():
    while not (sandbox.work / "job-runs").exists():
        time.sleep(0.05)
    started.with_suffix(".new").write_text(str(os.getpid()))
    started.with_suffix(".new").rename(started)
threading.Thread(target=tell, daemon=True).start()
try:
    end = members("engine")[name].run(built, sandbox, SILENT)
    sys.exit(130 if end.outcome.status == "interrupted" else 0)
except KeyboardInterrupt:
    sys.exit(130)
"""


@contextmanager
def start_driver(runner: Any, _plan: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start it; it writes its process id to `work/started` once the job runs."""
    sandbox = runner.sandbox("python", "-c", _JOB)
    message = pickle.dumps((runner.engine.name, runner.built, sandbox, runner.work / "started"))
    process = subprocess.Popen([sys.executable, "-c", _DRIVER], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(message)
    process.stdin.close()
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(path: Path, patience_s: float = 60) -> str:
    """The text of a file that appears soon."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if path.exists():
            return path.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")
