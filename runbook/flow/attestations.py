"""Sign a bundle; say who signed one. What is added lies beside the payload, and the bundle's id stays the same.

sign: verify → describe (SLSA provenance) → sign → attach. check: read every attestation → hold it against the
bundle → hold its signatures against the keys that the reader trusts.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runbook.bundle import layout, strict
from runbook.bundle.read import Bundle, open_bundle
from runbook.bundle.verify import Verification, verify_opened
from runbook.bundle.write import BundleWriter
from runbook.digest.atomic import explaining, rename_new, sync_folder
from runbook.errors import BundleRejected, SignatureRefused, UsageError
from runbook.export.interface import Payload
from runbook.progress import SILENT, Progress
from runbook.registry import members
from runbook.trust import dsse, keys, statement
from runbook.trust.signers import Allowed, read_allowed, read_revoked


@dataclass(frozen=True)
class Signed:
    """A signature that was added."""

    bundle_id: str
    attestation: str
    """Its name in the bundle."""
    keyid: str


@dataclass(frozen=True)
class Checked:
    """One signature of one attestation."""

    attestation: str
    predicate: str
    """Type of what is signed; empty where it could not be read."""
    keyid: str
    """Fingerprint of the key that made it, or what the envelope claims where no trusted key did."""
    identities: tuple[str, ...] = ()
    """Whose trusted key made it, as the list of signers writes them."""
    trusted: tuple[Allowed, ...] = ()
    objection: str = ""
    """Why it does not count; empty when it does."""
    id: str = ""
    """The objection's stable id."""


@dataclass(frozen=True)
class Trust:
    """Whose signatures count for this reader."""

    allowed: tuple[Allowed, ...]
    revoked: frozenset[str] = frozenset()
    """Fingerprints."""

    @staticmethod
    def read(signers: Path, revoked: Path | None = None) -> Trust:
        """From an allowed_signers file and a list of revoked keys. Raises UsageError."""
        return Trust(read_allowed(signers), read_revoked(revoked) if revoked else frozenset())


def verify_signed(
    path: Path, trust: Trust | None, quick: bool = False, progress: Progress = SILENT
) -> tuple[Verification, list[Checked]]:
    """Is it intact, and who signed it. No signature is looked at without somebody to trust. Raises as `verify`."""
    with open_bundle(path) as bundle:
        found = verify_opened(bundle, quick, progress)
        if trust is None:
            return found, []
        return found, check(bundle, trust.allowed, trust.revoked, datetime.now(UTC))


def sign(path: Path, key: Path, passphrase: Callable[[], bytes], progress: Progress = SILENT) -> Signed:
    """Verify a bundle, sign its provenance with a key, and put the signature into it.

    Raises BundleRejected, UsageError for a key that cannot sign, NeedMissing without ssh-keygen for an SSH key.
    """
    signer = keys.load(key, passphrase)
    with open_bundle(path) as bundle:
        verify_opened(bundle, progress=progress)
        files = bundle.below(layout.DATA)
        body = members("export")["slsa"].export(Payload(bundle.record, files, bundle.id))
        data = dsse.seal(dsse.IN_TOTO, body, ((signer.keyid, signer.sign(dsse.encoding(dsse.IN_TOTO, body))),))
        name = _name(bundle, "provenance", signer.keyid, data)
        if name not in bundle.attestations:
            attach(bundle, name, data)
        return Signed(bundle.id, name, signer.keyid)


def _name(bundle: Bundle, kind: str, keyid: str, data: bytes) -> str:
    """A name for it: what it says and who signed; the name of the same one where it is there already."""
    short = "".join(c for c in keyid.removeprefix("SHA256:") if c.isalnum())[:12]
    for number in range(1, 1000):
        name = f"attestations/{kind}-{short}{f'-{number}' if number > 1 else ''}.dsse.json"
        if name not in bundle.attestations or bundle.read_attestation(name) == data:
            return name
    raise UsageError("this key has signed the bundle a thousand times", keyid, id="target-exists")


def attach(bundle: Bundle, name: str, data: bytes) -> None:
    """Add an attestation to a bundle; nothing else of it changes. A reader sees it whole or not at all."""
    target = bundle.path
    if target.is_dir():
        with explaining("the signature", target):
            folder = target / "attestations"
            folder.mkdir(exist_ok=True)
            descriptor, part = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fchmod(file.fileno(), 0o644)
                    os.fsync(file.fileno())
                rename_new(Path(part), target / name)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    Path(part).unlink()
                raise
            sync_folder(folder)
            sync_folder(target)
        return
    with BundleWriter(target, form="zip", replace=True) as writer:
        for one in bundle.names:
            with bundle.open(one) as source:
                writer.add_stream(one, source, sha256=bundle.digest(one))
        for one in bundle.attestations:
            writer.add_attestation(one, bundle.read_attestation(one))
        writer.add_attestation(name, data)
        if writer.finish() != bundle.id:
            raise BundleRejected("the bundle changed while it was signed", target, id="digest-mismatch")


def check(bundle: Bundle, allowed: Sequence[Allowed], revoked: frozenset[str], now: datetime) -> list[Checked]:
    """Every signature of every attestation, held against the bundle and the trusted keys. Trusts no keyid."""
    digests = {name: bundle.digest(name) for name in bundle.names}
    found = []
    for name in bundle.attestations:
        predicate = ""
        try:
            envelope = dsse.parse(strict.loads(bundle.read_attestation(name), name))
            if envelope.payloadType != dsse.IN_TOTO:
                raise SignatureRefused(
                    "signs what is no in-toto Statement", envelope.payloadType, id="bad-envelope"
                )
            predicate = statement.check(strict.loads(envelope.body, name), bundle.id, digests)
            if not envelope.signatures:
                raise SignatureRefused("an envelope without a signature", id="bad-envelope")
        except (SignatureRefused, BundleRejected) as error:
            found.append(Checked(name, predicate, "", objection=str(error), id=error.id))
            continue
        found += [
            _check(name, predicate, one, envelope.signed, allowed, revoked, now) for one in envelope.signatures
        ]
    return found


def _check(
    name: str,
    predicate: str,
    one: dsse.Signature,
    signed: bytes,
    allowed: Sequence[Allowed],
    revoked: frozenset[str],
    now: datetime,
) -> Checked:
    try:
        signature = dsse.decode(one.sig, "signature")
    except SignatureRefused as error:
        return Checked(name, predicate, one.keyid, objection=str(error), id=error.id)
    refused = SignatureRefused("no key in the list of signers made it", id="unknown-key")
    makers = []
    for line in allowed:
        try:
            keys.check(signature, signed, line.key)
        except SignatureRefused as error:
            if error.id == "other-namespace":
                refused = error
            continue
        makers.append(line)
    if not makers:
        return Checked(name, predicate, one.keyid, objection=str(refused), id=refused.id)
    keyid = keys.fingerprint(makers[0].key)
    identities = tuple(dict.fromkeys(p for line in makers for p in line.principals))
    if keyid in revoked:
        return Checked(name, predicate, keyid, identities, objection="the key is revoked", id="revoked-key")
    good = tuple(line for line in makers if not line.objection(now))
    if not good:
        return Checked(name, predicate, keyid, identities, objection=makers[0].objection(now), id="key-not-valid")
    return Checked(name, predicate, keyid, tuple(dict.fromkeys(p for line in good for p in line.principals)), good)


def require(found: Sequence[Checked], wanted: Sequence[str], threshold: int) -> tuple[str, ...]:
    """Those of the wanted identities that signed. Raises SignatureRefused when they are fewer than `threshold`.

    Identities that share a key count once: a threshold asks for that many keys.
    """
    good = [one for one in found if not one.objection]
    held = {who: {o.keyid for o in good if any(line.names(who) for line in o.trusted)} for who in wanted}
    signers = tuple(who for who in wanted if held[who])
    distinct = _matching(list(held.values()))
    if distinct >= threshold:
        return signers
    lacking = ", ".join(who for who in wanted if not held[who]) or "identities that share one key count once"
    reasons = "; ".join(dict.fromkeys(f"{one.attestation}: {one.objection}" for one in found if one.objection))
    hint = reasons or (
        "it has no attestation" if not found else "compare the identities with `runbook verify --signers`"
    )
    first = next((one.id for one in found if one.objection), "not-signed")
    what = f"not signed as asked ({distinct} of {threshold})"
    raise SignatureRefused(what, lacking, hint=hint, id=first)


def _matching(options: list[set[str]]) -> int:
    """How many identities can be given a key of their own (a maximum matching, by augmenting paths)."""
    owner: dict[str, int] = {}

    def place(who: int, tried: set[str]) -> bool:
        for key in options[who] - tried:
            tried.add(key)
            if key not in owner or place(owner[key], tried):
                owner[key] = who
                return True
        return False

    return sum(place(who, set()) for who in range(len(options)))
