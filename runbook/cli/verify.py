"""`verify`: is the bundle intact? Executes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbook.errors import UsageError

if TYPE_CHECKING:
    from runbook.bundle.verify import Verification
    from runbook.flow.attestations import Checked


@click.command(short_help="Check that a bundle is intact; executes nothing.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--quick", is_flag=True, help="Structure, sizes and the record only; does not read the payload.")
@click.option(
    "--signed-by", "wanted", multiple=True, metavar="IDENTITY", help="Fail (1) unless this one signed it."
)
@click.option("--threshold", type=click.IntRange(1), help="So many of those named are enough.  [default: all]")
@click.option(
    "--signers", type=click.Path(path_type=Path), metavar="FILE", help="Whom you trust: OpenSSH's allowed_signers."
)
@click.option(
    "--revoked", type=click.Path(path_type=Path), metavar="FILE", help="Keys that count no more, one a line."
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def command(
    bundle: Path,
    quick: bool,
    wanted: tuple[str, ...],
    threshold: int | None,
    signers: Path | None,
    revoked: Path | None,
    as_json: bool,
) -> None:
    """Check every byte of BUNDLE, a .runbook folder or .runbook.zip, against its manifests and its record.

    It is read as hostile: nothing in it is executed, and links, unlisted files or odd names are refused.

    \b
      runbook verify train.runbook
      runbook verify --quick train.runbook.zip     structure and sizes, for a bundle of many gigabytes
      runbook verify --json train.runbook | jq -r .id
      runbook verify --signers allowed_signers --signed-by alice@example.org train.runbook

    No signature counts by itself: --signers lists whose keys you trust, each with the time in which it is valid.

    With --json a refused bundle is an answer too: its `defect` is a stable id.

    Exit codes: 0 intact, 1 not signed as asked, 2 no such bundle, 5 corrupt, tampered with or hostile.
    """
    from runbook.cli.console import TerminalProgress, out, show_json
    from runbook.errors import BundleRejected
    from runbook.flow.attestations import Trust, require, verify_signed
    from runbook.model.text import printable

    if (wanted or revoked or threshold) and signers is None:
        hint = "--signers FILE lists whom you trust: IDENTITY KEYTYPE KEY, a line each"
        raise UsageError("whose keys are trusted is not said", " ".join(wanted), hint=hint, id="no-signers")
    if threshold is not None and threshold > len(wanted):
        raise UsageError(
            "more signatures than identities", threshold, hint="name them: --signed-by", id="threshold"
        )
    trust = Trust.read(signers, revoked) if signers else None
    try:
        found, signed = verify_signed(bundle, trust, quick, TerminalProgress())
    except BundleRejected as error:
        if as_json:
            refused = {"intact": False, "defect": error.id, "what": error.what, "value": printable(error.value)}
            show_json(refused)
        raise
    if as_json:
        show_json(_answer(found, signed, trust is not None))
    else:
        out().print("\n".join(_lines(found, signed, trust is not None)), markup=False)
    if wanted:
        require(signed, wanted, threshold or len(wanted))


def _answer(found: Verification, signed: Sequence[Checked], looked: bool) -> dict[str, object]:
    from dataclasses import asdict

    signatures = [
        {
            "attestation": one.attestation,
            "predicate": one.predicate,
            "keyid": one.keyid,
            "identities": one.identities,
            "good": not one.objection,
            "objection": one.objection,
            "id": one.id,
        }
        for one in signed
    ]
    more = {"signatures": signatures} if looked else {}
    return {"intact": True, **asdict(found), **more, "says_not": _says_not(looked)}


def _says_not(looked: bool) -> tuple[str, ...]:
    from runbook.bundle.verify import SAYS_NOT, UNSIGNED

    signed = "that what was signed is true: a signature says who vouches for it, not that it happened"
    return tuple(signed if looked and text == UNSIGNED else text for text in SAYS_NOT)


def _lines(found: Verification, signed: Sequence[Checked], looked: bool) -> Iterator[str]:
    from runbook.model.text import printable

    yield f"intact: {printable(found.name)} (run {printable(found.run)})"
    yield f"bundle sha256:{found.id}"
    yield f"{found.files} files, {found.bytes:,} bytes, {found.attestations} attestations"
    if found.packed_from:
        yield f"packed from sha256:{found.packed_from}"
    if not found.lacks:
        yield "self-contained"
    yield from (f"not carried: {printable(text)}" for text in found.lacks)
    yield ""
    yield from (f"checked  {text}" for text in found.checked)
    if found.quick:
        yield "skipped  content: --quick does not read it"
    for one in signed:
        who = ", ".join(map(printable, one.identities)) or "nobody that you trust"
        what = printable(one.objection) if one.objection else f"signed by {who} with {one.keyid}"
        yield f"{'warning ' if one.objection else 'checked '} {printable(one.attestation)}: {what}"
    if looked and not signed:
        yield "warning  nobody has signed it"
    yield from (f"warning  {printable(text)}" for text in found.warnings)
    yield ""
    yield "This does not say:"
    yield from (f"  - {text}" for text in _says_not(looked))
