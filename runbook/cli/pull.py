"""`runbook pull`: a bundle from a registry, an object store, a folder or a web server."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Fetch a bundle from a remote, and verify it.")
@click.argument("remote")
@click.option(
    "-o",
    "target",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where it goes [its own name, here]; a zip file where it ends in .zip.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(remote: str, target: Path | None, as_json: bool) -> None:
    """Fetch the bundle at REMOTE. It is read as hostile and appears only when it is whole, verified, and the one
    that the remote says it is; its id is the same as where it was pushed. The same command after an interruption
    goes on.

    \b
      runbook pull oci://ghcr.io/ada/train:v1
      runbook pull oci://ghcr.io/ada/train@sha256:…             these very bytes, whatever the tag says today
      runbook pull s3://bucket/runs/train -o train.runbook.zip
      runbook pull https://runs.example.org/train               what a web server publishes of a folder

    Exit codes: 0 fetched and intact, 2 no such remote, or PATH is taken, 5 what the remote holds is corrupt or
    hostile, 6 the remote cannot be used here.
    """
    from runbook.cli.console import TerminalProgress, show_moved
    from runbook.flow.transfer import pull

    show_moved(pull(remote, target.absolute() if target else None, TerminalProgress()), as_json)
