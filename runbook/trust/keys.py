"""Keys that sign: PEM files of Ed25519 and ECDSA, and whatever ssh-keygen can use; and the public halves of both.

A key is known by its OpenSSH fingerprint, `SHA256:…`, which `ssh-keygen -lf` prints too.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_public_key,
)

from runbook.errors import SignatureRefused, UsageError
from runbook.trust import sshsig

_CAP: Final = 1 << 20
_HASH: Final[dict[int, Callable[[], hashes.HashAlgorithm]]] = {
    256: hashes.SHA256,
    384: hashes.SHA384,
    521: hashes.SHA512,
}
_MAKE: Final = "ssh-keygen -t ed25519 -f mykey, or: openssl genpkey -algorithm ed25519 -out mykey.pem"


@dataclass(frozen=True)
class Signer:
    """A key that can sign now."""

    keyid: str
    """OpenSSH fingerprint of its public half."""
    sign: Callable[[bytes], bytes]


def load(path: Path, passphrase: Callable[[], bytes]) -> Signer:
    """The signer of a key file; `passphrase` is asked for a PEM key that is encrypted.

    An OpenSSH private key, or a public one whose private half an agent holds, signs through ssh-keygen.
    Raises UsageError for a file that is no such key.
    """
    text = _read(path)
    if b"-----BEGIN OPENSSH PRIVATE KEY-----" in text or _one_line(text):
        public = path if _one_line(text) else path.with_name(path.name + ".pub")
        if not public.is_file():
            hint = f"ssh-keygen -y -f {path} > {public}"
            raise UsageError("the public half of the SSH key is not beside it", public, hint=hint, id="no-key")
        keyid = fingerprint(public_blob(public))
        return Signer(keyid, lambda data: sshsig.sign(data, path))
    try:
        key = load_pem_private_key(text, None)
    except TypeError:
        try:
            key = load_pem_private_key(text, passphrase())
        except ValueError:
            raise UsageError("the passphrase is not that of the key", path, id="wrong-passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("not a private key", path, hint=_MAKE, id="bad-key") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Signer(fingerprint(_blob(key.public_key())), key.sign)
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size in _HASH:
        hashed, private = _HASH[key.key_size](), key
        return Signer(fingerprint(_blob(key.public_key())), lambda data: private.sign(data, ec.ECDSA(hashed)))
    raise UsageError("a key of a kind that does not sign here", path, hint=_MAKE, id="bad-key")


def check(signature: bytes, data: bytes, blob: bytes) -> None:
    """Raise SignatureRefused unless the key of this SSH blob made this signature over `data`."""
    if sshsig.armoured(signature):
        sshsig.check(signature, data, blob)
        return
    key = load_ssh_public_key(_line(blob))
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, ec.EllipticCurvePublicKey) and key.key_size in _HASH:
            key.verify(signature, data, ec.ECDSA(_HASH[key.key_size]()))
        else:
            raise SignatureRefused("a bare signature by a key of another kind", id="bad-signature")
    except (InvalidSignature, ValueError):
        raise SignatureRefused("the signature does not hold", id="bad-signature") from None


def public_blob(path: Path) -> bytes:
    """The SSH blob of a public key file, PEM or one OpenSSH line. Raises UsageError."""
    text = _read(path)
    try:
        key = load_ssh_public_key(text) if _one_line(text) else load_pem_public_key(text)
        return _blob(key)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            "not a public key", path, hint="KEY.pub, or PEM: BEGIN PUBLIC KEY", id="bad-key"
        ) from None


def parse_blob(kind: str, encoded: str) -> bytes:
    """The blob of the two words of an OpenSSH public key. Raises ValueError."""
    try:
        return _blob(load_ssh_public_key(f"{kind} {encoded}".encode()))
    except UnsupportedAlgorithm as error:
        raise ValueError(f"a key of a kind that is not read here: {kind}") from error


def fingerprint(blob: bytes) -> str:
    """`SHA256:…`, as OpenSSH prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def line(blob: bytes) -> str:
    """The key as one OpenSSH line, for an allowed_signers file."""
    return _line(blob).decode()


def _blob(key: object) -> bytes:
    if not hasattr(key, "public_bytes"):
        raise ValueError("no public key")
    text: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def _line(blob: bytes) -> bytes:
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] + b" " + base64.b64encode(blob)


def _one_line(text: bytes) -> bool:
    return text.startswith((b"ssh-", b"ecdsa-", b"sk-"))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_CAP)
    except OSError as error:
        raise UsageError(f"the key cannot be read ({error.strerror})", path, hint=_MAKE, id="no-key") from None
