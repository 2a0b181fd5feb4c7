"""Tries, where it runs in a sandbox, to get out of it or to use it up; elsewhere it tries nothing.

argv: a file of the host that is no input, an input, and the number of a process of the host. Every attempt is made
in a process of its own and prints one line: `NAME: refused (EPERM)`, `NAME: bounded (…)`, or `NAME: ESCAPED (…)`.
"""

import ctypes
import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SECRET, INPUT, OUTSIDER = sys.argv[1], sys.argv[2], int(sys.argv[3])
LIBC = ctypes.CDLL(None, use_errno=True)
ATTEMPTS = {}
_PATIENCE_S = 60


class Bounded(Exception):
    """It went on until a bound."""


def attempt(function):
    """An attempt returns what it got, raises OSError where it was refused, or Bounded."""
    ATTEMPTS[function.__name__] = function
    return function


def call(number, *arguments):
    """A raw system call of x86-64; raises OSError."""
    result = LIBC.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def numbered(name, number, *arguments):
    """An attempt that is one system call."""
    ATTEMPTS[name] = lambda: call(number, *arguments)


def opened(name, path, how="rb"):
    """An attempt that is to open a file."""

    def opening():
        with open(path, how) as file:
            return f"opened {path}" if how[-1] != "b" or how[0] != "r" else file.read(16) or "empty"

    ATTEMPTS[name] = opening


# The network.


@attempt
def connect_out():
    return socket.create_connection(("192.0.2.1", 80), 5)


@attempt
def connect_to_the_cloud():
    return socket.create_connection(("169.254.169.254", 80), 5)


@attempt
def connect_to_the_host():
    return socket.create_connection(("172.17.0.1", 22), 5)


@attempt
def look_up_a_name():
    try:
        return socket.getaddrinfo("example.org", 443)
    except socket.gaierror as error:
        raise OSError(errno.ENETUNREACH, str(error)) from None


@attempt
def send_a_datagram():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))


@attempt
def connect_over_ipv6():
    return socket.create_connection(("2001:db8::1", 80), 5)


@attempt
def raw_socket():
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@attempt
def packet_socket():
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


@attempt
def engine_socket():
    for path in ("/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock"):
        try:
            socket.socket(socket.AF_UNIX).connect(path)
        except OSError as error:
            refused = error
        else:
            return path
    raise refused


@attempt
def abstract_socket_of_the_host():
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    if found := [name for name in names if name.startswith("@")]:
        return found
    raise OSError(errno.ENOENT, "none in sight")


# Files of the host, and files that are not its own.
opened("read_the_hosts_file", SECRET)
opened("read_the_hosts_file_through_init", f"/proc/1/root{SECRET}")
opened("read_a_password_file", "/etc/shadow")
opened("read_kernel_memory", "/proc/kcore")
opened("read_physical_memory", "/dev/mem")
opened("read_the_kernels_log", "/dev/kmsg")
opened("write_the_user_list", "/etc/passwd", "ab")
opened("write_a_program", "/usr/bin/env", "ab")
opened("write_the_environment", "/opt/runbook/env/pyvenv.cfg", "ab")
opened("write_what_starts_the_job", "/run/runbook/enter.py", "ab")
opened("write_an_input", INPUT, "ab")
opened("write_a_kernel_setting", "/proc/sys/kernel/core_pattern", "wb")
opened("write_a_request_to_the_kernel", "/proc/sysrq-trigger", "wb")
opened("write_a_helper_of_the_kernel", "/sys/kernel/uevent_helper", "wb")


@attempt
def raise_its_own_limit():
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        for folder in (f"/sys/fs/cgroup/{kinds}{path}", f"/sys/fs/cgroup/{kinds}", f"/sys/fs/cgroup{path}"):
            for name in ("pids.max", "memory.limit_in_bytes", "memory.max", "release_agent"):
                try:
                    Path(folder, name).write_text("max")
                except OSError as error:
                    refused = error
                else:
                    return f"{folder}/{name}"
    raise refused


@attempt
def rename_an_input():
    return os.rename(INPUT, f"{INPUT}.moved")


@attempt
def open_a_file_by_its_handle():
    handle = ctypes.create_string_buffer(b"\x08\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0")
    return call(304, os.open("/", os.O_RDONLY), handle, os.O_RDONLY)


@attempt
def other_processes_in_sight():
    if os.path.exists(f"/proc/{OUTSIDER}/cmdline") and b"pytest" in Path(f"/proc/{OUTSIDER}/cmdline").read_bytes():
        return OUTSIDER
    raise OSError(errno.ESRCH, "not in sight")


@attempt
def signal_an_outsider():
    return os.kill(OUTSIDER, 0)


numbered("trace_an_outsider", 101, 16, OUTSIDER, 0, 0)


@attempt
def read_the_memory_of_an_outsider():
    room = ctypes.create_string_buffer(8)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(room), 8)
    return call(310, OUTSIDER, here, 1, here, 1, 0)


# Mounts, devices, namespaces.
PATH = os.fsencode(INPUT)
numbered("mount_a_file_system", 165, b"none", b"/tmp", b"tmpfs", 0, 0)
numbered("make_an_input_writable", 165, b"none", PATH, 0, 4096 | 32, 0)
numbered("unmount_an_input", 166, PATH, 2)
numbered("mount_without_a_path", 428, -100, b"/", 1)
numbered("change_the_root", 161, b"/tmp")
numbered("pivot_the_root", 155, b"/tmp", b"/tmp")
numbered("new_user_namespace", 272, 0x10000000)
numbered("new_mount_namespace", 272, 0x00020000)
numbered("join_a_namespace", 308, 0, 0x40000000)


@attempt
def make_a_device():
    return os.mknod("disk", 0o60666, os.makedev(254, 0))


# Privileges.


@attempt
def become_root():
    return os.setresuid(0, 0, 0)


@attempt
def join_a_group():
    return os.setgroups([0])


@attempt
def give_a_file_to_root():
    Path("tool").touch()
    return os.chown("tool", 0, 0)


@attempt
def take_capabilities():
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
    return call(126, header, data)


@attempt
def have_capabilities():
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    if any(int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")):
        return status["CapBnd"]
    raise OSError(errno.EPERM, "none")


numbered("allow_new_privileges", 157, 38, 0, 0, 0, 0)
numbered("leave_the_filter_of_system_calls", 157, 22, 0, 0, 0, 0)


# The kernel.
numbered("add_a_key", 248, b"user", b"runbook", b"x", 1, -2)
numbered("load_a_module", 175, 0, 0, b"")
numbered("load_a_kernel", 246, 0, 0, 0, 0)
numbered("load_a_program_into_the_kernel", 321, 0, 0, 0)
numbered("watch_the_processor", 298, 0, 0, -1, -1, 0)
numbered("handle_page_faults", 323, 0)
numbered("restart_the_machine", 169, 0xFEE1DEAD, 672274793, 0, 0)
numbered("set_the_clock", 227, 0, ctypes.byref((ctypes.c_long * 2)(1, 0)))
numbered("set_the_hosts_name", 170, b"x", 1)
numbered("touch_ports", 172, 3)
numbered("swap", 167, b"/dev/null", 0)
numbered("set_up_accounting", 163, b"/tmp/x")


@attempt
def read_the_keys():
    if keys := Path("/proc/keys").read_bytes():
        return keys
    raise OSError(errno.ENOENT, "none in sight")


# Using it up.


@attempt
def fill_the_memory():
    child = os.fork()
    if not child:
        kept = []
        while True:
            kept.append(mmap.mmap(-1, 16 << 20))
            kept[-1].write(b"x" * (16 << 20))
    raise Bounded(signal.Signals(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) * -1).name)


@attempt
def fill_the_folder_in_memory():
    child = os.fork()
    if not child:
        with open("/tmp/full", "wb") as file:
            try:
                while True:
                    file.write(b"x" * (16 << 20))
            except OSError:
                os._exit(0)
    os.waitpid(child, 0)
    size = os.path.getsize("/tmp/full")
    os.unlink("/tmp/full")
    raise Bounded(f"{size >> 20} MiB")


@attempt
def one_endless_file():
    with open("endless", "wb") as file:
        file.truncate(1 << 40)
    return "1 TiB"


@attempt
def leave_a_process_behind():
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.closerange(0, 64)
            while True:
                with open("heartbeat", "w") as file:
                    file.write(str(time.time()))
                time.sleep(0.05)
        os._exit(0)
    raise Bounded("until the sandbox ends")


@attempt
def fork_without_end():
    command = ["sh", "-c", "while sleep 60 & do :; done"]
    bomb = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    said = bomb.stderr.readline()
    time.sleep(2)  # So that whoever counts can see it.
    os.killpg(bomb.pid, signal.SIGKILL)
    if b"fork" in said:
        raise Bounded("processes")
    return said


def outcome(function):
    """How an attempt ends, as one line."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = f"ESCAPED ({function()!r:.80})"
        except OSError as error:
            said = f"refused ({errno.errorcode.get(error.errno, error)})"
        except Bounded as error:
            said = f"bounded ({error})"
        except BaseException as error:
            said = f"broken ({error!r})"
        os.write(send, said.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read(200).decode()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or f"bounded ({signal.Signals(-code).name})"


if len(sys.argv) > 4:  # How far it may go on the disk: ends the job.
    print("tried: 1\nescapes: 0", flush=True)
    if os.path.exists("/opt/runbook"):
        for number in range(3):
            with open(f"sparse-{number}", "wb") as file:
                file.truncate(15 << 30)
        time.sleep(_PATIENCE_S)
    raise SystemExit

Path(INPUT).read_text()
escapes = 0
for name, function in ATTEMPTS.items():
    said = outcome(function) if os.path.exists("/opt/runbook") else "not tried"
    escapes += said.startswith(("ESCAPED", "broken"))
    print(f"{name}: {said}", flush=True)
print(f"tried: {len(ATTEMPTS)}\nescapes: {escapes}")
