"""`runbook sign`: put your name under a bundle."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Sign a bundle; its id stays the same.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The key to sign with."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(bundle: Path, key: Path, as_json: bool) -> None:
    """Verify BUNDLE and sign what it is: a DSSE envelope over an in-toto Statement with SLSA provenance.

    The signature is added as attestations/*.dsse.json, in no manifest: the bundle's id stays the same, and nobody
    else's signature is touched. A signature says who vouches for the bundle. It does not prove that the run
    happened as recorded.

    \b
      runbook sign train.runbook --key ~/.ssh/id_ed25519       an SSH key; may ask for its passphrase
      runbook sign train.runbook --key ~/.ssh/id_ed25519.pub   the same by the agent that holds it
      runbook sign train.runbook --key release.pem             Ed25519 or ECDSA, PEM

    A PEM key's passphrase is asked for on the terminal, or taken from RUNBOOK_KEY_PASSPHRASE.

    Exit codes: 0 signed, 2 the key cannot sign, 5 the bundle is corrupt or hostile, 6 ssh-keygen is missing.
    """
    from dataclasses import asdict

    from runbook.cli.console import TerminalProgress, err, show_json
    from runbook.flow.attestations import sign

    done = sign(bundle, key, _passphrase, TerminalProgress())
    if as_json:
        show_json(asdict(done))
        return
    text = f"signed {bundle} with {done.keyid}\nwritten to {done.attestation}"
    err().print(text, markup=False, highlight=False)


def _passphrase() -> bytes:
    """Never a prompt where nobody can answer."""
    import os
    import sys

    from runbook.errors import UsageError

    given = os.environ.get("RUNBOOK_KEY_PASSPHRASE")
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        raise UsageError("the key has a passphrase", hint="set RUNBOOK_KEY_PASSPHRASE", id="wrong-passphrase")
    asked: str = click.prompt("Passphrase of the key", hide_input=True, err=True)
    return asked.encode()
