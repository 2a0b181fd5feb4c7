"""`verify`: is the bundle intact? Executes nothing."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Check that a bundle is intact; executes nothing.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Structure, sizes and the record only; does not read the payload.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(bundle: Path, quick: bool, as_json: bool) -> None:
    """Check every byte of BUNDLE, a .runbook folder or .runbook.zip, against its manifests and its record.

    It is read as hostile: nothing in it is executed, and links, unlisted files or odd names are refused.

    \b
      runbook verify train.runbook
      runbook verify --quick train.runbook.zip     structure and sizes, for a bundle of many gigabytes
      runbook verify --json train.runbook | jq -r .id

    With --json a refused bundle is an answer too: its `defect` is a stable id.

    Exit codes: 0 intact, 2 no such bundle, 5 corrupt, tampered with or hostile.
    """
    from dataclasses import asdict

    from runbook.bundle.verify import SAYS_NOT, verify
    from runbook.cli.console import TerminalProgress, out, show_json
    from runbook.errors import BundleRejected
    from runbook.model.text import printable

    try:
        found = verify(bundle, quick, TerminalProgress())
    except BundleRejected as error:
        if as_json:
            refused = {"intact": False, "defect": error.id, "what": error.what, "value": printable(error.value)}
            show_json(refused)
        raise
    if as_json:
        answer = {"intact": True, **asdict(found), "says_not": SAYS_NOT}
        show_json(answer)
        return
    lines = [
        f"intact: {printable(found.name)} (run {printable(found.run)})",
        f"bundle sha256:{found.id}",
        f"{found.files} files, {found.bytes:,} bytes, {found.attestations} attestations",
        *([f"packed from sha256:{found.packed_from}"] if found.packed_from else []),
        *(["self-contained"] if not found.lacks else []),
        *(f"not carried: {printable(text)}" for text in found.lacks),
        "",
        *(f"checked  {text}" for text in found.checked),
        *(["skipped  content: --quick does not read it"] if quick else []),
        *(f"warning  {printable(text)}" for text in found.warnings),
        "",
        "This does not say:",
        *(f"  - {text}" for text in SAYS_NOT),
    ]
    out().print("\n".join(lines), markup=False)
