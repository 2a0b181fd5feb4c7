"""`runbook pack`: the same run in a bundle that carries more, or less."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbook.cli.capture import tell_carried
from runbook.cli.console import TerminalProgress, err
from runbook.cli.options import data_places
from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.model.carrying import Carry


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--self-contained", "carry", flag_value="all", help="Bring all wheels, the base and all inputs into it."
)
@click.option("--thin", "carry", flag_value="none", help="Leave wheels, base and inputs out of it.")
@click.option("-o", "target", type=click.Path(path_type=Path), metavar="PATH", help="The bundle to write.")
@click.option("--zip", "archive", is_flag=True, help="One file NAME.runbook.zip instead of a folder.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@click.option(
    "--data", multiple=True, metavar="NAME=PATH", help="Where a referenced input is to be had: a path or URL."
)
@click.option("--offline", is_flag=True, help="Ask no package index; use the bundle and the cache.")
@click.option("--json", "as_json", is_flag=True, help="Print ids, path and sizes as JSON.")
def command(
    bundle: Path,
    carry: Carry | None,
    target: Path | None,
    archive: bool,
    force: bool,
    data: tuple[str, ...],
    offline: bool,
    as_json: bool,
) -> None:
    """Write the run of BUNDLE into a new bundle that carries everything, or next to nothing. Executes nothing.

    \b
      runbook pack train.runbook --self-contained -o train-full.runbook.zip
      runbook pack train.runbook --self-contained --data corpus=/data/corpus
      runbook pack train.runbook --thin

    What is brought is checked against the digests in BUNDLE. The new bundle names BUNDLE by its id; the run,
    its metrics and the environment's id stay the same. BUNDLE itself is left as it is, and its attestations
    stay with it: they vouch for its bytes, not for the new bundle's.

    Exit codes: 0 done, 4 a wheel cannot be had, 5 BUNDLE is corrupt or hostile, 6 an input or the base cannot
    be had here, 7 an input has another content.
    """
    from runbook.flow.pack import Choices, pack

    if carry is None:
        raise UsageError("neither --self-contained nor --thin", hint="say which", id="pack-what")
    choices = Choices(
        carry=carry,
        target=target.absolute() if target else None,
        archive=archive or bool(target and target.name.endswith(".zip")),
        force=force,
        offline=offline,
        data=data_places(data),
    )
    packed = pack(bundle, choices, TerminalProgress())
    err().print(f"packed {packed.path}", markup=False, style="bold")
    err().print(f"  bundle id    {packed.id}", markup=False)
    err().print(f"  packed from  {packed.packed_from}", markup=False)
    tell_carried(packed.sizes, packed.lacks)
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode(packed.summary()).decode())
