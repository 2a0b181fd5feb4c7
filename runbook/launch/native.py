"""Watching a job from outside: strace sees the files that code other than Python opens.

strace stands beside the job, not above it (`-DDD`): the job stays our child, in its own process group, so that its
exit code, its signals and its time limit are what they are without it. See docs/watching-native.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import msgspec

from runbook.errors import NeedMissing
from runbook.launch.strace import OPTIONS, events
from runbook.launch.traced import Reader
from runbook.launch.watched import Fold
from runbook.model.watch import Watched

LOG = "native.strace"
"""strace's text, in the watch folder."""
_CALLS = (
    "?open,?openat,?openat2,?creat,?open_by_handle_at,?execve,?execveat,?rename,?renameat,?renameat2,?unlink,"
    "?unlinkat,?link,?linkat,?truncate,?truncate64,?connect,?chdir,?fchdir,?clone,?clone3,?fork,?vfork,?ptrace,"
    "?io_uring_setup,?chroot,?pivot_root"
)
"""With `?`: not every machine has all of them."""
_NEEDED = (5, 7)
_TRIAL_S, _SETTLE_S = 20.0, 5.0


def starter(folder: Path) -> list[str]:
    """What to put in front of a job's command, so that strace logs it into the watch folder.

    Raises NeedMissing when strace cannot trace here.
    """
    obstacle = missing()
    if obstacle is not None:
        raise obstacle
    folder.mkdir(parents=True, exist_ok=True)
    return _command(folder.absolute() / LOG)


def missing() -> NeedMissing | None:
    """What keeps strace from tracing here, found by tracing `true`; None when it can."""
    install = "install it, such as: sudo apt-get install strace; or run without --trace native"
    if not shutil.which("strace"):
        return NeedMissing(
            "--trace native needs strace, which is not installed", hint=install, id="strace-missing"
        )
    told = subprocess.run(["strace", "--version"], check=False, capture_output=True, text=True, errors="replace")
    version = re.search(r"version (\d+)\.(\d+)", told.stdout)
    if version and (int(version[1]), int(version[2])) < _NEEDED:
        wanted = ".".join(map(str, _NEEDED))
        return NeedMissing(f"strace is older than {wanted}", version[0], hint=install, id="strace-too-old")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / LOG
        try:
            trial = subprocess.run(
                [*_command(log), "true"],
                check=False,
                capture_output=True,
                timeout=_TRIAL_S,
                stdin=subprocess.DEVNULL,
            )
            complaint = (trial.stdout + trial.stderr).decode(errors="replace").strip()
        except subprocess.TimeoutExpired:
            complaint = f"no answer within {_TRIAL_S:g} s"
        else:
            if trial.returncode == 0 and not complaint and _settle(log):
                return None
    why = complaint.splitlines()[0] if complaint else "it left no log"
    return NeedMissing("strace cannot trace here", why, hint=_permission(), id="strace-forbidden")


def read_native(folder: Path, cwd: Path | None = None) -> Watched:
    """What strace's log in a watch folder tells, in the terms of the hook; `processes` are of any program.

    cwd: where the job was started; needed only with strace before 5.15, which does not tell it.
    A log that was cut, or that is not there, is said in `lost`.
    """
    log = folder / LOG
    whole = _settle(log)
    fold = Fold()
    reader = Reader(fold, os.fsencode(folder.resolve()), os.fsencode(cwd.absolute()) if cwd else b"")
    try:
        with log.open("rb") as file:
            for event in events(file):
                reader.take(event)
    except FileNotFoundError:
        return Watched(tracers=("native",), lost=("strace left no log: nothing was seen from outside Python",))
    if not whole:
        fold.lose("strace ended before the job did: what came later was not seen from outside Python")
    return msgspec.structs.replace(fold.result(), tracers=("native",))


def _command(log: Path) -> list[str]:
    return ["strace", "-DDD", "--seccomp-bpf", *OPTIONS, "-e", f"trace={_CALLS}", "-o", str(log), "--"]


def _permission() -> str:
    try:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip()
    except OSError:
        scope = ""
    if scope in ("2", "3"):
        return (
            f"kernel.yama.ptrace_scope is {scope}: sudo sysctl kernel.yama.ptrace_scope=1 (after a restart, if 3)"
        )
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return "start this container with: docker run --cap-add=SYS_PTRACE …; or run without --trace native"
    return "allow ptrace and seccomp filters for this user, or run without --trace native"


def _settle(log: Path) -> bool:
    """Wait until strace has written the end of the job's first process; False when it did not."""
    deadline = time.monotonic() + _SETTLE_S
    size, grown = -1, time.monotonic()
    while True:
        try:
            with log.open("rb") as file:
                first = file.read(32).split(b" ", 1)[0]
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - (1 << 18)))
                tail = file.read()
        except OSError:
            first, end, tail = b"", 0, b""
        if first and re.search(rb"^" + re.escape(first) + rb" +\+\+\+ (?:exited|killed).*\n", tail, re.MULTILINE):
            return True
        now = time.monotonic()
        if end != size:
            size, grown = end, now
        if now > deadline or now - grown > 1:
            return False
        time.sleep(0.01)
