"""The command group, and the one `except` that turns an error into text and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from runbook import __version__
from runbook.errors import NeedMissing, RunbookError, Terminated, UsageError

VERBS: dict[str, str] = {
    "run": "Run a job under observation and record it.",
    "init": "Write a runbook.yaml from what was seen.",
    "capture": "Freeze a recorded or declared run into a bundle.",
    "pack": "Carry all that a replay needs, or next to nothing.",
    "sign": "Put your signature under a bundle.",
    "verify": "Check that a bundle is intact; executes nothing.",
    "replay": "Rebuild, rerun and compare a bundle in a sandbox.",
    "calibrate": "Learn how far a bundle's metrics spread by themselves.",
    "diff": "Compare two bundles or runs.",
    "explain": "Why two runs differ, by what their records show.",
    "bisect": "Find by replays which difference moves a metric.",
    "push": "Store a bundle in a registry, an object store or a folder.",
    "pull": "Fetch a bundle from one of them, and verify it.",
    "show": "Print a record.",
    "report": "Write the run book as HTML, Markdown or JSON.",
    "doctor": "What this machine can capture and replay.",
    "completion": "Print the shell's completion script.",
}
"""Verb → its one line, in the order of a newcomer's day. `runbook.cli.<verb>` holds `command`."""


class _Verbs(click.Group):
    """Verbs are imported when they are used, so that start-up stays short."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"runbook.cli.{name}").command
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="runbook %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Freeze a training run into a bundle; replay it anywhere; say whether it was reproduced, and why not.

    \b
      runbook run --capture -- python train.py     run it and freeze it
      runbook verify train.runbook                 is the bundle intact?
      runbook replay train.runbook                 does it give the same result here?
      runbook diff a.runbook b.runbook             what differs, and does it matter?
      runbook explain a.runbook b.runbook          what moved the result?

    Exit codes: 0 done/reproduced, 1 different, 2 usage, 3 the job failed on replay, 4 the environment could
    not be rebuilt, 5 the bundle is corrupt or hostile, 6 something is missing here, 7 not comparable,
    130 interrupted, 143 terminated.
    """


def run(argv: Sequence[str]) -> int:
    """Run one command line and return the exit code. The only place that prints an error."""
    split = argv.index("--") if "--" in argv else len(argv)
    debug = "--debug" in argv[:split]
    arguments = [a for i, a in enumerate(argv) if not (a == "--debug" and i < split)]
    try:
        result = cli.main(arguments, prog_name="runbook", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except RunbookError as error:
        if debug:
            raise
        return _fail(str(error), error.hint, error.exit_code)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        if debug:
            raise
        usage = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "runbook"
        return _fail(error.format_message(), f"{usage} --help", 2)
    except (KeyboardInterrupt, click.Abort) as end:
        # click puts its Abort over what came.
        if isinstance(end, Terminated) or isinstance(end.__cause__, Terminated):
            return _fail("terminated", "", 143)
        return _fail("interrupted", "", 130)
    except BrokenPipeError:
        # Whoever read our output has gone: nothing is wrong here.
        sys.stderr.close()
        return 0
    except Exception as error:
        if debug:
            raise
        code = NeedMissing.exit_code if isinstance(error, OSError) else UsageError.exit_code
        return _fail(f"unexpected {type(error).__name__}: {error}", "the same with --debug shows where", code)


def _fail(message: str, hint: str, code: int) -> int:
    from runbook.model.text import printable

    text = f"error: {printable(message)}\n" + (f"\nhint: {printable(hint)}\n" if hint else "")
    sys.stderr.write(text)
    return code
