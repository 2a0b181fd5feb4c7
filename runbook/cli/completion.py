"""`runbook completion`: the shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
      runbook completion bash >> ~/.bashrc
      runbook completion zsh >> ~/.zshrc
      runbook completion fish > ~/.config/fish/completions/runbook.fish
    """
    from runbook.cli.main import cli

    kind = get_completion_class(shell)
    assert kind is not None  # click ships these three
    click.echo(kind(cli, {}, "runbook", "_RUNBOOK_COMPLETE").source())
