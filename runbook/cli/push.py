"""`runbook push`: a bundle to a registry, an object store or a folder."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Store a bundle in a registry, an object store or a folder.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("remote")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(bundle: Path, remote: str, as_json: bool) -> None:
    """Verify BUNDLE and store it at REMOTE. What the remote has already, such as a wheel or a dataset that another
    bundle holds, is not sent again; the same command after an interruption sends the rest.

    \b
      runbook push train.runbook oci://ghcr.io/ada/train:v1     a registry, with the login of docker login
      runbook push train.runbook s3://bucket/runs/train         needs: pip install 'runbook[s3]'
      runbook push train.runbook file:///mnt/share/runs/train   a folder

    Exit codes: 0 stored, 2 no such bundle or remote, 5 the bundle is corrupt or hostile, 6 the remote cannot be
    used here.
    """
    from runbook.cli.console import TerminalProgress, show_moved
    from runbook.flow.transfer import push

    show_moved(push(bundle, remote, TerminalProgress()), as_json)
