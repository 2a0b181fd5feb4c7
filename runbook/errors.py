"""One tree of errors: each carries a message, a hint, a stable id and the exit code of the process.

The only `except` that turns one into text is in `runbook.cli.main`.
"""

from __future__ import annotations

from typing import ClassVar


class RunbookError(Exception):
    """Root of everything that runbook reports to a person.

    what: what went wrong, in words, without the value.
    value: the offending value, path or name.
    hint: what to do about it.
    id: a stable, kebab-case name of this very defect, for tests and machines.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, value: object = "", *, hint: str = "", id: str = "") -> None:
        super().__init__(f"{what}: {value}" if value != "" else what)
        self.what = what
        self.value = str(value)
        self.hint = hint
        self.id = id or _kebab(type(self).__name__)


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything is put away as after Ctrl-C, and the process ends with 143."""


class UsageError(RunbookError):
    """The command line, runbook.yaml or a policy is wrong."""

    exit_code = 2


class JobFailed(RunbookError):
    """The job ran on replay and failed; its own code is in the replay's record."""

    exit_code = 3


class EnvironmentNotRebuilt(RunbookError):
    """The environment could not be locked, fetched or built."""

    exit_code = 4


class BundleRejected(RunbookError):
    """The bundle is corrupt, tampered with or hostile."""

    exit_code = 5


class NeedMissing(RunbookError):
    """Something the machine needs is missing: an engine, a tool, data."""

    exit_code = 6


class SignatureRefused(RunbookError):
    """A bundle is not signed as was asked, or a signature does not hold."""

    exit_code = 1


class NotComparable(RunbookError):
    """The two sides cannot be compared, or the comparison is inconclusive."""

    exit_code = 7


class SecretFound(RunbookError):
    """A value that looks like a secret would be sealed into the bundle."""

    exit_code = 2


class Interrupted(RunbookError):
    """The user pressed Ctrl-C; nothing half-written was left behind."""

    exit_code = 130


def _kebab(name: str) -> str:
    return "".join(("-" if i and c.isupper() else "") + c.lower() for i, c in enumerate(name))
