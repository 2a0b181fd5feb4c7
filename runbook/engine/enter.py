"""Runs inside the container as the job's user: restores what a bag cannot hold, then becomes the job.

Standard library only, Python 3.8 or later, no import from runbook: it is mounted into foreign environments.
It reads /run/runbook/spec.json and ends in `exec`, so that process id, exit code and signals are the job's own.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import json
import os
import re
import stat
import sys

SPEC = "/run/runbook/spec.json"
NOT_FOUND = 127
"""Exit code for a command that the environment does not have, as in a shell."""
_SHELLS = ("sh", "bash", "dash", "zsh", "ksh", "ash")
_COMMAND = re.compile(r"-[a-z]*c[a-z]*")
_PROGRAM = re.compile(r"""(^|[\s;&|('"])[^\s;&|()'"`$<>=]*/bin/([A-Za-z0-9_.-]+)""")
_PYTHON = re.compile(r"(python|pypy)([0-9]+(\.[0-9]+)?)?")


def restore(root, shape):
    """Make the links, modes and empty directories of a tree."""
    for path in shape["empty_directories"]:
        os.makedirs(os.path.join(root, path), exist_ok=True)
    for path in shape["executables"]:
        full = os.path.join(root, path)
        if os.path.isfile(full) and not os.path.islink(full):
            mode = stat.S_IMODE(os.stat(full).st_mode)
            os.chmod(full, mode | 0o111)
    for link in shape["links"]:
        full = os.path.join(root, link["path"])
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if os.path.islink(full):
            os.unlink(full)
        os.symlink(link["target"], full)


def farm(source, target, shape):
    """Show a read-only tree at `target` with its links: a tree of links to its files, and the links themselves."""
    runnable = set(shape["executables"])
    for folder, _, names in os.walk(source):
        here = os.path.relpath(folder, source)
        os.makedirs(os.path.join(target, here), exist_ok=True)
        for name in names:
            path = os.path.normpath(os.path.join(here, name))
            if path in runnable:
                with open(os.path.join(folder, name), "rb") as data:
                    content = data.read()
                with open(os.path.join(target, path), "wb") as copy:
                    copy.write(content)
            else:
                os.symlink(os.path.join(folder, name), os.path.join(target, path))
    restore(target, shape)


def resolve(command, bin_folder, search):
    """The file to run for argv[0]: the environment's Python and scripts stand in for the original's."""
    name = os.path.basename(command)
    script = os.path.join(bin_folder, name)
    if _PYTHON.fullmatch(name):
        return script if os.path.exists(script) else os.path.join(bin_folder, "python")
    if "/" in command:
        if os.path.exists(command):
            return command
        return script if os.path.isabs(command) and os.path.exists(script) else None
    for folder in search.split(":"):
        full = os.path.join(folder, command)
        if os.path.isfile(full) and os.access(full, os.X_OK):
            return full
    return None


def translated(argv, bin_folder):
    """Of `sh -c TEXT`: programs of an environment that TEXT names by their path are the rebuilt environment's."""
    if os.path.basename(argv[0]) not in _SHELLS:
        return list(argv)

    def moved(match):
        name, here = match[2], os.path.exists(os.path.join(bin_folder, match[2]))
        if _PYTHON.fullmatch(name):
            return match[1] + (name if here else "python")
        return match[1] + name if here and not os.path.exists(match[0][len(match[1]) :]) else match[0]

    for at, word in enumerate(argv[1:-1], 1):
        if _COMMAND.fullmatch(word):
            return [*argv[: at + 1], _PROGRAM.sub(moved, argv[at + 1]), *argv[at + 2 :]]
    return list(argv)


def shebang(path, bin_folder):
    """The command that the first line of a script asks for, with the environment's Python; None for none."""
    with open(path, "rb") as file:
        line = file.readline(512)
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode("utf-8", "replace").split()
    if words and os.path.basename(words[0]) == "env":
        words = [w for w in words[1:] if not w.startswith("-")]
    if words and _PYTHON.fullmatch(os.path.basename(words[0])):
        return [os.path.join(bin_folder, "python")] + words[1:]
    return None


def feed(path, offset):
    """Make the file standard input, read up to `offset`."""
    file = os.open(path, os.O_RDONLY)
    os.lseek(file, offset, os.SEEK_SET)
    if file:
        os.dup2(file, 0)
        os.close(file)


def stop(message):
    """Say why the job cannot start, and end as a shell would."""
    sys.stderr.write("runbook: " + message + "\n")
    sys.stderr.flush()
    os._exit(NOT_FOUND)


def main():
    """Restore, resolve, exec."""
    with open(SPEC, encoding="utf-8") as file:
        spec = json.load(file)
    os.umask(0o022)
    for tree in spec["farms"]:
        farm(tree["source"], tree["target"], tree["shape"])
    restore(spec["root"], spec["shape"])
    for path, target in spec["links"]:
        if not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.symlink(target, path)
    cwd = os.path.join(spec["root"], spec["cwd"])
    os.makedirs(cwd, exist_ok=True)
    os.chdir(cwd)
    os.environ["PWD"] = os.getcwd()
    if "stdin" in spec:
        try:
            feed(spec["stdin"]["path"], spec["stdin"]["offset"])
        except OSError as error:
            stop(
                "its standard input cannot be opened (%s): %s"
                % (error.strerror, ascii(spec["stdin"]["path"])[1:-1])
            )
    argv = translated(spec["argv"], spec["bin"])
    path = resolve(argv[0], spec["bin"], os.environ.get("PATH", ""))
    if path is None:
        stop("command not found in the rebuilt environment: " + ascii(argv[0])[1:-1])
    try:
        through = shebang(path, spec["bin"])
        if through:
            os.execv(through[0], through + [path] + argv[1:])
        os.execv(path, [path] + argv[1:])
    except OSError as error:
        stop("the command cannot be started (%s): %s" % (error.strerror, ascii(argv[0])[1:-1]))


if __name__ == "__main__":
    main()
