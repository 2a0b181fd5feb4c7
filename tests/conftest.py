"""What every test may use: the real command line, and Docker, or a loud word where there is none."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

SUPPORT = Path(__file__).parent / "support"
sys.path.insert(0, str(SUPPORT))

_NEEDS = {"docker": "a Docker engine", "podman": "a Podman engine", "strace": "strace and leave to trace"}


def pytest_configure() -> None:
    """Hear Ctrl-C and a closed terminal, and let the commands under test hear them, however the suite was started.

    A shell starts what it puts in the background with SIGINT ignored, nohup with SIGHUP: both are inherited.
    """
    with contextlib.suppress(ValueError):  # Not the main thread: whoever owns it decides.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs Docker or strace where there is none, unless the caller wants that to fail."""
    for marker, need in _NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not marked or (reason := _MISSING[marker]()) is None:
            continue
        if os.environ.get(f"RUNBOOK_REQUIRE_{marker.upper()}") == "1":
            continue  # They run, and each fails by itself.
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=f"needs {need}: {reason}"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One loud line that names what could not run."""
    # Read from the reports: with xdist the tests are collected and marked in other processes.
    for need in _NEEDS.values():
        skipped = [r for r in terminalreporter.stats.get("skipped", []) if f"needs {need}: " in str(r.longrepr)]
        if skipped:
            files = sorted({report.nodeid.partition("::")[0] for report in skipped})
            terminalreporter.section(f"NOT RUN: no {need.removeprefix('a ')}", red=True, bold=True)
            terminalreporter.line(f"{len(skipped)} tests that need {need} did not run: {', '.join(files)}")


def _engine_missing(name: str) -> str | None:
    from runbook.registry import members

    return members("engine")[name].available() or None


def _strace_missing() -> str | None:
    from runbook.launch import native

    obstacle = native.missing()
    return None if obstacle is None else str(obstacle)


_MISSING = {
    "docker": partial(_engine_missing, "docker"),
    "podman": partial(_engine_missing, "podman"),
    "strace": _strace_missing,
}


@pytest.fixture(scope="session")
def docker_client() -> Iterator[Any]:
    """docker-py's low-level client of the engine that the docker engine of runbook uses."""
    from runbook.engine.daemon import Absent
    from runbook.registry import members

    found = members("engine")["docker"].find()
    if isinstance(found, Absent):
        pytest.fail(f"RUNBOOK_REQUIRE_DOCKER=1, and there is no engine: {found.reason}")
    yield found.api
    found.api.close()


@pytest.fixture
def runbook_env(tmp_path: Path) -> dict[str, str]:
    """The caller's environment with a HOME and caches of the test's own."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RUNBOOK_", "XDG_"))}
    kept |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), "NO_COLOR": "1", "COLUMNS": "100"}
    return kept


@pytest.fixture
def runbook_cli(tmp_path: Path, runbook_env: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real executable: `runbook_cli("verify", path, cwd=…)` → returncode, stdout, stderr."""

    def call(
        *arguments: str | Path, cwd: Path = tmp_path, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runbook", *map(str, arguments)],
            cwd=cwd,
            env=runbook_env | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call
