"""Runs a job once: its own process group, its output passed on and logged, its end and its cost as values.

Standard input is inherited. Ctrl-C, SIGTERM and SIGHUP are handed to the job; a job that reads the terminal
gets it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from runbook.errors import UsageError
from runbook.launch.streams import Log, Pump
from runbook.model.execution import Execution
from runbook.model.fact import observed
from runbook.model.job import Outcome, Status
from runbook.model.record import Finding

if TYPE_CHECKING:
    import resource

    from runbook.launch.resources import Sampler

LOG_CAP = 64 * 1024 * 1024
"""Bytes that each log keeps."""
KILL_AFTER_S = 5.0
"""Seconds between SIGTERM and SIGKILL when the time is up."""
LINGER_S = 2.0
"""Seconds that the pipes are still read after the job's end, when a process it left behind holds them open."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FIRST_SAMPLE_S, _SAMPLE_S = 0.02, 1.0
_ASK_S = 0.25


def launch(
    argv: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    *,
    stdout: Path,
    stderr: Path,
    stdin: int | None = None,
    timeout: float | None = None,
    enough: Callable[[], str] = str,
    tee: bool = True,
    sample_gpu: bool = True,
    log_cap: int = LOG_CAP,
    starter: Sequence[str] = (),
) -> Execution:
    """Run the job to its end; `stdout` and `stderr` are the log files to write. A failing job is no error.

    The exit code is the job's own, 128+n when signal n ended it, as in a shell.
    stdin: a descriptor; None: this process's own.
    timeout: seconds; then SIGTERM and, KILL_AFTER_S later, SIGKILL to the job's process group.
    enough: asked four times a second whether the job may end; a sentence, the reason, ends it by SIGINT and then
    SIGKILL.
    tee: copy the output, byte for byte, to this process's own stdout and stderr.
    starter: a command to put in front, which becomes the job itself, such as `native.starter(folder)`.
    Raises UsageError when the job cannot be started at all: nothing ran, so there is nothing to record.
    """
    logs = (Log(stdout, log_cap), Log(stderr, log_cap))
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        for log in logs:
            stack.callback(log.close)
        signals = stack.enter_context(_Signals())
        started, begun = _now(), time.monotonic()
        process = _start(argv, cwd, env, starter, stdin)
        stack.callback(_abandon, process)
        assert process.stdout is not None and process.stderr is not None
        pumps = [
            Pump(os.dup(pipe.fileno()), sink if tee else None, log)
            for pipe, sink, log in zip((process.stdout, process.stderr), (1, 2), logs, strict=True)
        ]
        for pump in pumps:
            stack.callback(pump.end)
        process.stdout.close()
        process.stderr.close()
        signals.attach(process.pid)
        from runbook.launch.resources import Sampler  # It looks for GPUs: the job does not wait for that.

        sampler = Sampler(process.pid, gpu=sample_gpu)
        watch = _Watch(process.pid, pumps, signals, sampler, timeout, enough)
        stack.callback(watch.close)
        status, usage = watch.run()
        process.returncode = status  # It has been reaped; subprocess must not wait for it again.
    return Execution(
        outcome=_outcome(status, watch, signals, started, begun),
        resources=sampler.resources(usage),
        stdout=stdout,
        stderr=stderr,
        findings=tuple(_findings(logs, watch.left_behind)),
    )


class _Watch:
    """The one loop: moves output, samples, minds the clock, until the job has ended and its output is drained."""

    def __init__(
        self,
        pid: int,
        pumps: list[Pump],
        signals: _Signals,
        sampler: Sampler,
        timeout: float | None,
        enough: Callable[[], str],
    ) -> None:
        self._pid = pid
        self._pumps = pumps
        self._signals = signals
        self._sampler = sampler
        self.timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._kill_at: float | None = None
        self._enough = enough
        self._ask_at = 0.0
        self.stopped = ""
        """Why it was ended although it broke no limit; empty when it was not."""
        # Linux wakes us when the job ends; elsewhere it is looked at every 0.1 s.
        self._alive = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        self.timed_out = False
        self.ended = ""
        """When the job ended, UTC."""
        self.ended_at = 0.0
        """The same on the monotonic clock, seconds."""
        self.left_behind = False
        """Whether a process of the job outlived it and held its output open."""

    def run(self) -> tuple[int, resource.struct_rusage]:
        """Wait status of the job, and the kernel's account of it."""
        pause, next_sample = _FIRST_SAMPLE_S, 0.0
        result: tuple[int, resource.struct_rusage] | None = None
        while result is None or any(pump.busy for pump in self._pumps):
            now = time.monotonic()
            if result is None:
                if now >= next_sample:
                    self._sampler.sample()
                    next_sample, pause = time.monotonic() + pause, min(pause * 1.5, _SAMPLE_S)
                self._mind_the_clock(now)
                result = self._reap()
            elif now - self.ended_at > LINGER_S:
                self.left_behind = self.left_behind or any(pump.open for pump in self._pumps)
                for pump in self._pumps:
                    if pump.open:
                        pump.finish_with_what_is_there()
            self._move(min(pause, 0.1))
        return result

    def close(self) -> None:
        """Stop watching for the job's end."""
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None

    def _move(self, patience: float) -> None:
        poll = select.poll()
        waiting = [pump for pump in self._pumps if pump.busy]
        for pump in waiting:
            poll.register(*pump.interest())
        if self._alive is not None:
            poll.register(self._alive, select.POLLIN)
        if poll.poll(patience * 1000):
            for pump in waiting:
                pump.step()

    def _mind_the_clock(self, now: float) -> None:
        if self._deadline is not None and not self.timed_out and now >= self._deadline:
            self.timed_out, self._kill_at = True, now + KILL_AFTER_S
            _signal_group(self._pid, signal.SIGTERM)
            _signal_group(self._pid, signal.SIGCONT)
        elif self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            _signal_group(self._pid, signal.SIGKILL)
        elif not (self.timed_out or self.stopped) and now >= self._ask_at:
            self.stopped = self._enough()
            self._ask_at = time.monotonic() + _ASK_S
            if self.stopped:
                self._kill_at = now + KILL_AFTER_S
                _signal_group(self._pid, signal.SIGINT)

    def _reap(self) -> tuple[int, resource.struct_rusage] | None:
        seen = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return None
        if seen.si_code == os.CLD_STOPPED:
            os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
            self._signals.job_stopped(seen.si_status)
            return None
        self.ended, self.ended_at = _now(), time.monotonic()
        self._sampler.seal()
        if self.timed_out or self.stopped:
            # Whoever ignored the signal in the group goes now, while the group's number cannot be another's.
            _signal_group(self._pid, signal.SIGKILL)
        _, status, usage = os.wait4(self._pid, 0)
        self._signals.detach()
        self.close()
        return status, usage


class _Signals:
    """Hands our signals to the job's process group while it runs, and the terminal where the job asks for it.

    The job stays in the background of our terminal, so that Ctrl-C reaches us and is recorded; when it reads the
    terminal the kernel stops it with SIGTTIN, and only then is it made the foreground.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self._pid: int | None = None
        self._before: dict[int, object] = {}
        self._terminal_given = False

    def __enter__(self) -> _Signals:
        for number in (*_FORWARDED, signal.SIGTSTP):
            # An ignored signal (nohup) stays ignored, for us and for the job.
            with contextlib.suppress(ValueError):  # Not the main thread: whoever owns it decides.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def attach(self, pid: int) -> None:
        """From now on signals go to this process group; those that came before are handed over."""
        self._pid = pid
        for number in self.received:
            _signal_group(pid, number)

    def detach(self) -> None:
        """The job is gone: take the terminal back."""
        self._pid = None
        self._take_terminal()

    def job_stopped(self, number: int) -> None:
        """The job was stopped: give it the terminal that it asks for, or stop with it (Ctrl-Z)."""
        if self._pid is None:
            return
        if number in (signal.SIGTTIN, signal.SIGTTOU) and not self._terminal_given:
            if not _foreground(os.getpgrp()):
                os.kill(os.getpid(), signal.SIGSTOP)  # Until the shell's `fg`, as any job in the background.
            if _set_foreground(self._pid):
                self._terminal_given = True
                _signal_group(self._pid, signal.SIGCONT)
        elif number == signal.SIGTSTP and self._terminal_given:
            self._take_terminal()
            os.kill(os.getpid(), signal.SIGSTOP)
            _signal_group(self._pid, signal.SIGCONT)

    def _take_terminal(self) -> None:
        if self._terminal_given:
            self._terminal_given = False
            _set_foreground(os.getpgrp())

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGTSTP:
            if self._pid is not None:
                _signal_group(self._pid, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            if self._pid is not None:
                _signal_group(self._pid, signal.SIGCONT)
            return
        self.received.append(number)
        if self._pid is not None:
            # The third Ctrl-C does not ask any more.
            last = number == signal.SIGINT and self.received.count(signal.SIGINT) >= 3
            _signal_group(self._pid, signal.SIGKILL if last else number)


def _start(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str], starter: Sequence[str], stdin: int | None
) -> subprocess.Popen[bytes]:
    """Start it, or say in the user's words why it cannot be started."""
    if not argv:
        raise UsageError("no command to run", hint="runbook run -- python train.py", id="no-command")
    if not cwd.is_dir():
        raise UsageError("the working folder does not exist", cwd, hint="start runbook in the project's folder")
    try:
        if starter:
            _find(argv[0], cwd, env)
        return subprocess.Popen(
            [*starter, *argv],
            cwd=cwd,
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
    except FileNotFoundError:
        hint = "check the name and PATH; a script in this folder is started as ./NAME or through its interpreter"
        raise UsageError("command not found", argv[0], hint=hint, id="command-not-found") from None
    except PermissionError:
        raise UsageError(
            "command is not executable", argv[0], hint=f"chmod +x {argv[0]}", id="command-not-executable"
        ) from None
    except (OSError, ValueError) as error:
        hint = "put its interpreter in front, such as: python train.py"
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"command cannot be started ({reason})", argv[0], hint=hint, id="command-not-startable"
        ) from None


def _find(program: str, cwd: Path, env: Mapping[str, str]) -> None:
    """Fail as its start would fail: behind a starter nobody could tell that from a job that fails."""
    path = os.pathsep.join(str(cwd / folder) for folder in os.get_exec_path(env))
    if shutil.which(str(cwd / program) if os.sep in program else program, path=path):
        return
    there = os.sep in program and (cwd / program).exists()
    raise PermissionError(errno.EACCES, "") if there else FileNotFoundError(errno.ENOENT, "")


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """Leave no job behind when runbook itself fails."""
    if process.returncode is None:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _outcome(status: int, watch: _Watch, signals: _Signals, started: str, begun: float) -> Outcome:
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = 128 + ended_by if ended_by else os.WEXITSTATUS(status)
    state: Status
    if watch.timed_out:
        state = "timeout"
    elif watch.stopped:
        state = "stopped"
    elif signals.received or ended_by == signal.SIGINT:
        state = "interrupted"
    elif ended_by:
        state = "killed"
    else:
        state = "failed" if code else "completed"
    return Outcome(
        status=state,
        exit_code=observed(code),
        signal=_signal_name(ended_by) if ended_by else "",
        reason=f"its time was up after {watch.timeout:g} s" if watch.timed_out else watch.stopped,
        started=observed(started),
        ended=observed(watch.ended),
        duration_s=observed(round(watch.ended_at - begun, 3)),
    )


def _findings(logs: tuple[Log, Log], left_behind: bool) -> Iterator[Finding]:
    for name, log in zip(("stdout", "stderr"), logs, strict=True):
        if log.cut:
            text = f"the log of {name} is cut: {log.cut} of {log.written} bytes, from its middle, were not kept"
            yield Finding(id="log-cut", level="warning", text=text)
    if left_behind:
        text = "a process that the job started outlived it; what it printed later is not in the log"
        yield Finding(id="process-left-behind", level="warning", text=text)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _foreground(group: int) -> bool:
    try:
        return os.tcgetpgrp(0) == group
    except OSError:
        return False


def _set_foreground(group: int) -> bool:
    """Make it the terminal's foreground; SIGTTOU would stop us when we are not that ourselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(0, group)
    except OSError:
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
