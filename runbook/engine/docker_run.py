"""Running a job in Docker: the sandbox, and what came of it as values."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.engine import container, docker_base, enter, gpu, owner, placement
from runbook.engine.assemble import TARGET
from runbook.engine.daemon import PODMAN, Daemon
from runbook.engine.docker_ready import PREFIX_LABEL, Tail
from runbook.engine.growth import Growth
from runbook.engine.interface import Built, Limits, Sandbox
from runbook.errors import EnvironmentNotRebuilt, NeedMissing
from runbook.launch.process import LOG_CAP
from runbook.launch.streams import Log
from runbook.launch.watch import prepare
from runbook.model.execution import Execution
from runbook.model.fact import Fact, inferred, missing, observed
from runbook.model.job import Outcome, Resources, Status
from runbook.model.record import Finding
from runbook.model.text import printable
from runbook.progress import Progress

if TYPE_CHECKING:
    from docker.types import Mount

BIN = f"{TARGET}/bin"
_NOBODY = 65534
_MEMORY_SHARE = 0.9
"""Share of the machine's memory that a job gets when no limit is asked for."""
_PROBE_CAP = 64 << 20


def run(daemon: Daemon, built: Built, sandbox: Sandbox, progress: Progress) -> Execution:
    """Run the job in a container that is gone afterwards. A job that fails is an Execution."""
    image = daemon.api.inspect_image(built.handle)
    known = docker_base.read_variables(image["Config"])
    if sandbox.gpus:
        gpu.check_engine(daemon.product)
        progress.say(gpu.WARNING)
        gpu.check(known)
    place = placement.place(sandbox, image["Config"]["Labels"][PREFIX_LABEL], BIN)
    user = _user(daemon)
    _check_readable(sandbox, user)
    with owner.scratch() as folder, _logs(sandbox) as (stdout, stderr), _mount_points(sandbox.work, place):
        environment = placement.variables(sandbox, place, known, BIN)
        lent = [sandbox.work]
        if sandbox.watch is not None:
            environment = prepare(sandbox.watch, environment, seen_as=placement.WATCH, vary=sandbox.vary)
            lent.append(sandbox.watch)
        for one in lent:
            _lend(one, daemon, user)
        folder.chmod(0o755)
        (folder / "spec.json").write_bytes(place.spec)
        shutil.copyfile(enter.__file__, folder / "enter.py")
        host = _limits(daemon, sandbox.limits) | {
            "network_mode": "none" if sandbox.network == "none" else "bridge",
            # Processes of one job find each other by their host's name, which nobody else resolves here.
            "extra_hosts": {placement.HOST: "127.0.0.1"} if sandbox.network == "none" else None,
            "mounts": [*_environment(built), *_binds(place, folder, sandbox.watch)],
            "tmpfs": _tmpfs(daemon, place, image, sandbox.limits, user),
            "device_requests": gpu.request() if sandbox.gpus else None,
        }
        growth = Growth(lent, sandbox.limits.output_bytes)
        with container.created(
            daemon,
            built.handle,
            host,
            entrypoint=[built.python, "-I", "-S", "-B", f"{placement.FOLDER}/enter.py"],
            user=user,
            environment=environment,
            working_dir="/",
            hostname=placement.HOST,
        ) as name:
            ended = container.run(
                daemon.api,
                name,
                stdout=_Echo(stdout) if sandbox.echo else stdout,
                stderr=_Echo(stderr) if sandbox.echo else stderr,
                cgroup=daemon.cgroup,
                time_s=sandbox.limits.time_s,
                broken=growth.broken,
                enough=sandbox.enough,
            )
    return Execution(
        outcome=_outcome(ended, sandbox.limits, unsaid=daemon.product == PODMAN),
        resources=_resources(ended.usage),
        stdout=sandbox.stdout,
        stderr=sandbox.stderr,
        substitutions=place.substitutions,
        findings=(*_reached(ended, sandbox.limits), *_findings(stdout, stderr)),
    )


@contextlib.contextmanager
def probing(
    daemon: Daemon, built: Built, script: bytes, given: Mapping[str, str]
) -> Iterator[Callable[[], bytes]]:
    """Run a standard-library script in the environment, sandboxed, with no working folder, while others work.

    It has a container of its own, of the very image that the job's is of: the job can tell it nothing.
    """
    from docker.types import Mount

    out, err = Tail(_PROBE_CAP), Tail()
    image = daemon.api.inspect_image(built.handle)
    user = _user(daemon)
    with owner.scratch() as folder:
        folder.chmod(0o755)
        (folder / "probe.py").write_bytes(script)
        host = _limits(daemon, Limits()) | {
            "network_mode": "none",
            "mounts": [*_environment(built), Mount(placement.FOLDER, str(folder), type="bind", read_only=True)],
            "tmpfs": _scratch_mounts(daemon, image, Limits(), user),
        }
        # As a file and not by -c: the text may be longer than one argument can be.
        command = [built.python, "-B", f"{placement.FOLDER}/probe.py"]
        variables = {**given, "HOME": "/tmp"}  # noqa: S108 - the container's own, in memory
        with container.created(
            daemon, built.handle, host, entrypoint=command, user=user, environment=variables, working_dir="/"
        ) as name:
            running: Future[container.Ended] = Future()

            def wait() -> None:
                try:
                    running.set_result(container.run(daemon.api, name, stdout=out, stderr=err, time_s=600))
                except BaseException as error:
                    running.set_exception(error)

            # Nothing waits for it at the end: it ends with the container, or with an engine that hangs.
            threading.Thread(target=wait, name="runbook-probe", daemon=True).start()

            def answer() -> bytes:
                ended = running.result()
                if ended.exit_code:
                    said = err.text().strip().rpartition("\n")[2] or f"exit code {ended.exit_code}"
                    raise EnvironmentNotRebuilt(
                        "the rebuilt environment's Python does not work", said, id="probe-failed"
                    )
                return out.data

            yield answer


def _user(daemon: Daemon) -> str:
    """Who the job is: never root of this machine."""
    if daemon.rootless:
        # This is the caller, without any capability; another id could not write the output.
        return "0:0"
    if os.getuid() == 0:
        return f"{_NOBODY}:{_NOBODY}"
    return f"{os.getuid()}:{os.getgid()}"


def _limits(daemon: Daemon, limits: Limits) -> dict[str, Any]:
    """Bounds and the rest that every container of a job has."""
    memory = limits.memory_bytes or int(daemon.memory_bytes * _MEMORY_SHARE)
    return {
        "read_only": True,
        "init": True,
        "ipc_mode": "private",
        "pids_limit": limits.pids,
        "mem_limit": memory,
        "memswap_limit": memory,
        "nano_cpus": int(min(limits.cpus, daemon.cpus) * 1e9) if limits.cpus else None,
        "shm_size": limits.shm_bytes,
        "ulimits": container.ulimits(fsize=limits.output_bytes, core=0),
    }


def _environment(built: Built) -> Iterator[Mount]:
    from docker.types import Mount

    if built.folder is not None:
        yield Mount(TARGET, str(built.folder.resolve()), type="bind", read_only=True)


def _binds(place: placement.Placement, folder: Path, watch: Path | None) -> Iterator[Mount]:
    from docker.types import Mount

    yield Mount(placement.FOLDER, str(folder), type="bind", read_only=True)
    if watch is not None:
        yield Mount(placement.WATCH, str(watch.resolve()), type="bind")
    for bind in place.binds:
        yield Mount(bind.target, str(Path(bind.source).resolve()), type="bind", read_only=bind.read_only)


def _tmpfs(
    daemon: Daemon, place: placement.Placement, image: Mapping[str, Any], limits: Limits, user: str
) -> dict[str, str]:
    """Folders in memory: /tmp, HOME, trees of links, and every VOLUME of the image, which would be unbounded."""
    mounts = _scratch_mounts(daemon, image, limits, user)
    for target in (place.home, *place.tmpfs):
        mounts[target] = _memory(daemon, limits, user, "0755")
    taken = {bind.target for bind in place.binds}
    return {target: options for target, options in mounts.items() if target not in taken}


def _scratch_mounts(daemon: Daemon, image: Mapping[str, Any], limits: Limits, user: str) -> dict[str, str]:
    options = _memory(daemon, limits, user, "1777")
    return dict.fromkeys(("/tmp", *(image["Config"].get("Volumes") or ())), options)  # noqa: S108


def _memory(daemon: Daemon, limits: Limits, user: str, mode: str) -> str:
    """Options of a folder in memory that the job's user may fill."""
    # What is compiled there is loaded from there, as on the original machine; the working folder is no different.
    options = f"rw,exec,nosuid,nodev,size={limits.tmp_bytes}"
    if daemon.product == PODMAN:
        # It knows no owner, and would fill the folder with what the image has there.
        return f"{options},mode=1777,notmpcopyup"
    uid, _, gid = user.partition(":")
    return f"{options},mode={mode},uid={uid},gid={gid}"


@contextlib.contextmanager
def _logs(sandbox: Sandbox) -> Iterator[tuple[Log, Log]]:
    """The two log files, closed whatever happens; cut in their middle like those of the original run."""
    with contextlib.ExitStack() as stack:
        logs = [Log(path, LOG_CAP) for path in (sandbox.stdout, sandbox.stderr)]
        for log in logs:
            stack.callback(log.close)
        yield logs[0], logs[1]


class _Echo:
    """Shows a stream on stderr while it is logged; the job's bytes reach the terminal only as printable text."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(self, data: bytes) -> None:
        """Log and show the next bytes."""
        self._log.write(data)
        sys.stderr.write(printable(self._decode(data).replace("\r\n", "\n").replace("\r", "\n")))
        sys.stderr.flush()


@contextlib.contextmanager
def _mount_points(work: Path, place: placement.Placement) -> Iterator[None]:
    """Make the places of mounts inside the working copy here, so that what stays of them is removed again."""
    made: list[Path] = []
    for target in sorted([*(bind.target for bind in place.binds if bind.read_only), *place.tmpfs]):
        inside = target.removeprefix(place.root + "/")
        if inside == target:
            continue
        path = work / inside
        missing_folders = [
            folder for folder in path.parents if folder.is_relative_to(work) and not folder.exists()
        ]
        for folder in reversed(missing_folders):
            folder.mkdir()
            made.append(folder)
        if not path.exists():
            source = next((Path(b.source) for b in place.binds if b.target == target), None)
            path.touch() if source is not None and source.is_file() else path.mkdir()
            made.append(path)
    try:
        yield
    finally:
        for path in reversed(made):
            # Not empty: the job wrote beside the mount, and that is output.
            with contextlib.suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path.lstat().st_size == 0:
                    path.unlink()


def _lend(work: Path, daemon: Daemon, user: str) -> None:
    """Let the job's user write in the working copy, which is ours and thrown away."""
    uid = int(user.partition(":")[0])
    ours = uid == os.getuid() or daemon.rootless
    if ours and not daemon.userns:
        return
    for folder, folders, names in os.walk(work):
        for path in (folder, *(f"{folder}/{name}" for name in (*folders, *names))):
            if not ours:
                os.chown(path, uid, uid, follow_symlinks=False)
            if daemon.userns and not os.path.islink(path):  # noqa: PTH114 - a Path for each of many files is slow
                # The engine maps ids to a range that it does not tell: whoever it is may write.
                os.chmod(path, os.stat(path).st_mode | (0o777 if os.path.isdir(path) else 0o666))  # noqa: PTH101, PTH112, PTH116


def _check_readable(sandbox: Sandbox, user: str) -> None:
    """Raise NeedMissing for an input that only its owner may read, when the job's user is somebody else."""
    uid = int(user.partition(":")[0])
    if uid == os.getuid():
        return
    for mount in sandbox.mounts:
        paths: Iterator[str] = (f"{folder}/{name}" for folder, _, names in os.walk(mount.source) for name in names)
        for path in (os.fspath(mount.source), *paths):
            try:
                status = os.stat(path)  # noqa: PTH116 - a Path for each of many files is slow
            except OSError:
                continue  # A dangling link: the job finds it as it is.
            needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else 0)
            if status.st_uid != uid and status.st_mode & needed != needed:
                raise NeedMissing(
                    "the sandbox's user may not read an input",
                    path,
                    hint=f"chmod -R o+rX {mount.source}",
                    id="input-not-readable",
                )


def _outcome(ended: container.Ended, limits: Limits, *, unsaid: bool) -> Outcome:
    """unsaid: the engine may keep to itself that memory ran out."""
    code = ended.exit_code
    # docker-init passes a signal on as 128 + its number, as a shell does.
    ended_by = _signal_name(code - 128) if 128 < code <= 192 else ""
    status: Status
    reason = ended.broke
    if ended.timed_out:
        status, reason = "timeout", f"the time limit of {limits.time_s:g} s was reached"
    elif ended.broke:
        status = "killed"
    elif ended.stopped:
        status, reason, ended_by = "stopped", ended.stopped, ""
    elif ended.out_of_memory and code:
        status, reason = "killed", "it needed more memory than the sandbox has"
    elif ended_by:
        status = "killed"
        if ended_by == "SIGKILL" and unsaid:
            reason = "it needed more memory than the sandbox has, or killed itself: the engine does not say which"
    else:
        status = "failed" if code else "completed"
    started, finished = _time(ended.started), _time(ended.finished)
    return Outcome(
        status=status,
        exit_code=observed(code),
        signal=ended_by,
        reason=reason,
        started=observed(_text(started)),
        ended=observed(_text(finished)),
        duration_s=observed(round((finished - started).total_seconds(), 3)),
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _time(text: str) -> datetime:
    # The engine writes nanoseconds and `Z`; datetime holds microseconds.
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6] or '0'}+00:00")


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _resources(usage: container.Usage) -> Resources:
    def sampled(value: Any, how: str = "a lower bound") -> Fact[Any]:
        if not usage.samples:
            return missing("the job ended before the engine could be asked")
        if value is None:
            return missing("the engine does not count it here")
        return inferred(value, f"sampled: {how}")

    return Resources(
        cpu_user_s=sampled(usage.cpu_user_ns / 1e9),
        cpu_system_s=sampled(usage.cpu_system_ns / 1e9),
        peak_rss_bytes=sampled(usage.peak_rss, "with the page cache" if usage.with_cache else "a lower bound"),
        read_bytes=sampled(usage.read_bytes),
        written_bytes=sampled(usage.written_bytes),
        peak_processes=sampled(usage.peak_processes or None),
        peak_gpu_memory_bytes=missing("the engine does not count it"),
    )


def _reached(ended: container.Ended, limits: Limits) -> Iterator[Finding]:
    """Bounds that the job came up against without being ended by them."""
    if ended.out_of_memory:
        text = "processes of the job were killed because it needed more memory than the sandbox has"
        yield Finding(id="memory-ran-out", level="warning", text=text)
    if ended.usage.peak_processes >= limits.pids:
        text = f"the job had all the {limits.pids} processes that the sandbox allows"
        yield Finding(id="processes-ran-out", level="warning", text=text)


def _findings(stdout: Log, stderr: Log) -> Iterator[Finding]:
    for name, log in (("stdout", stdout), ("stderr", stderr)):
        if log.cut:
            text = f"the log of {name} is cut: {log.cut} of {log.written} bytes, from its middle, were not kept"
            yield Finding(id="log-cut", level="warning", text=text)
