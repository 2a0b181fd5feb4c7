"""DSSE: an envelope of signatures over a typed payload (secure-systems-lab/dsse, protocol 1.0). Pure.

What is signed is the pre-authentication encoding: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, so that
no payload of one type can be passed off as another.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from runbook.errors import SignatureRefused

IN_TOTO: Final = "application/vnd.in-toto+json"


class Signature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One signature; `keyid` is a hint for people and decides nothing."""

    sig: str
    """base64: what Ed25519 or ECDSA gives over the encoding, or an armoured SSHSIG of it."""
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A signed document. Fields that DSSE does not name are passed over, as it asks."""

    payload: str
    """base64."""
    payloadType: str  # noqa: N815
    signatures: tuple[Signature, ...]

    @property
    def body(self) -> bytes:
        """The payload's bytes. Raises SignatureRefused where it is no base64."""
        return decode(self.payload, "payload")

    @property
    def signed(self) -> bytes:
        """What the signatures are over."""
        return encoding(self.payloadType, self.body)


def encoding(kind: str, body: bytes) -> bytes:
    """The pre-authentication encoding of a payload of this type."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


def seal(kind: str, body: bytes, signatures: tuple[tuple[str, bytes], ...]) -> bytes:
    """The envelope as JSON; signatures: (keyid, signature) each."""
    envelope = Envelope(
        payload=base64.b64encode(body).decode(),
        payloadType=kind,
        signatures=tuple(Signature(keyid=key, sig=base64.b64encode(sig).decode()) for key, sig in signatures),
    )
    return msgspec.json.format(msgspec.json.encode(envelope), indent=2) + b"\n"


def parse(value: object) -> Envelope:
    """The envelope in a JSON value. Raises SignatureRefused."""
    try:
        return msgspec.convert(value, Envelope, strict=True)
    except msgspec.ValidationError as error:
        raise SignatureRefused("not a DSSE envelope", error, id="bad-envelope") from None


def decode(text: str, what: str) -> bytes:
    """Bytes of base64, of the standard or the URL-safe alphabet, as DSSE allows. Raises SignatureRefused."""
    try:
        return base64.b64decode(text.translate(_URL_SAFE), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureRefused("not base64", what, id="bad-envelope") from None


_URL_SAFE: Final = str.maketrans("-_", "+/")
