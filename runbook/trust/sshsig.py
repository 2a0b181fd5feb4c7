"""SSHSIG, the signatures of `ssh-keygen -Y sign`: read and checked here, made by ssh-keygen itself.

ssh-keygen reaches agents, hardware keys and passphrases; checking needs none of them, and no program on the
auditor's machine. Format: openssh-portable, PROTOCOL.sshsig and PROTOCOL.agent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from runbook.errors import NeedMissing, SignatureRefused, UsageError

NAMESPACE: Final = "runbook"
"""What these signatures are for: one made for git or for mail is none for a bundle."""
_MAGIC: Final = b"SSHSIG"
_HEAD: Final = b"-----BEGIN SSH SIGNATURE-----"
_TAIL: Final = b"-----END SSH SIGNATURE-----"
_HASHES: Final = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}
_RSA: Final[dict[bytes, Callable[[], hashes.HashAlgorithm]]] = {
    b"rsa-sha2-256": hashes.SHA256,
    b"rsa-sha2-512": hashes.SHA512,
}
_CURVES: Final[dict[bytes, Callable[[], hashes.HashAlgorithm]]] = {
    b"ecdsa-sha2-nistp256": hashes.SHA256,
    b"ecdsa-sha2-nistp384": hashes.SHA384,
    b"ecdsa-sha2-nistp521": hashes.SHA512,
}


def armoured(signature: bytes) -> bool:
    """Whether these bytes are an SSHSIG rather than a bare signature."""
    return signature.lstrip().startswith(_HEAD)


def sign(data: bytes, key: Path) -> bytes:
    """The armoured signature that ssh-keygen makes; `key` is a private key, or a public one whose agent signs.

    It may ask for a passphrase on the terminal. Raises NeedMissing without ssh-keygen, UsageError where it fails.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise NeedMissing("ssh-keygen is needed to sign with an SSH key", hint="apt-get install openssh-client")
    with tempfile.TemporaryDirectory(prefix="runbook-sign-") as folder:
        message = Path(folder) / "message"
        message.write_bytes(data)
        command = [program, "-Y", "sign", "-n", NAMESPACE, "-f", str(key), str(message)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        made = message.with_name("message.sig")
        if done.returncode or not made.is_file():
            why = (done.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"])[-1]
            hint = "for a key of an agent, name its public half: --key KEY.pub"
            raise UsageError(f"ssh-keygen cannot sign with this key ({why})", key, hint=hint, id="key-unusable")
        return made.read_bytes()


def check(signature: bytes, data: bytes, key: bytes) -> None:
    """Raise SignatureRefused unless this is a signature over `data`, for runbook, by the key of this SSH blob."""
    blob = _Reader(_dearmour(signature))
    if blob.take(len(_MAGIC)) != _MAGIC or blob.number() != 1:
        raise SignatureRefused("not an SSHSIG of version 1", id="bad-signature")
    public, namespace, reserved, algorithm, signed = (blob.text() for _ in range(5))
    blob.end()
    if public != key:
        raise SignatureRefused("signed by another key", id="bad-signature")
    if namespace != NAMESPACE.encode():
        what = "an SSH signature that was made for something else"
        raise SignatureRefused(what, namespace.decode(errors="replace"), id="other-namespace")
    if algorithm not in _HASHES:
        raise SignatureRefused("an SSH signature with a hash that is not in use", id="bad-signature")
    digest = _HASHES[algorithm](data).digest()
    message = _MAGIC + b"".join(_string(part) for part in (namespace, reserved, algorithm, digest))
    _check(_Reader(signed), message, load_ssh_public_key(_line(key)))


def _check(signature: _Reader, message: bytes, key: object) -> None:
    kind, value = signature.text(), signature.text()
    signature.end()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey) and kind == b"ssh-ed25519":
            key.verify(value, message)
        elif isinstance(key, ec.EllipticCurvePublicKey) and kind in _CURVES and kind == _curve(key):
            pair = _Reader(value)
            r, s = (int.from_bytes(pair.text(), "big", signed=True) for _ in range(2))
            pair.end()
            key.verify(encode_dss_signature(r, s), message, ec.ECDSA(_CURVES[kind]()))
        elif isinstance(key, rsa.RSAPublicKey) and kind in _RSA:
            key.verify(value, message, padding.PKCS1v15(), _RSA[kind]())
        else:
            raise SignatureRefused("a kind of SSH signature that is not read here", kind, id="bad-signature")
    except (InvalidSignature, ValueError):
        raise SignatureRefused("the signature does not hold", id="bad-signature") from None


def _curve(key: ec.EllipticCurvePublicKey) -> bytes:
    return b"ecdsa-sha2-nistp%d" % key.key_size


def _line(blob: bytes) -> bytes:
    """The one-line form of a public key's blob."""
    return _Reader(blob).text() + b" " + base64.b64encode(blob)


def _string(part: bytes) -> bytes:
    return struct.pack(">I", len(part)) + part


def _dearmour(text: bytes) -> bytes:
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _HEAD or lines[-1] != _TAIL:
        raise SignatureRefused("not an armoured SSH signature", id="bad-signature")
    try:
        return base64.b64decode(b"".join(lines[1:-1]), validate=True)
    except binascii.Error:
        raise SignatureRefused("not an armoured SSH signature", id="bad-signature") from None


class _Reader:
    """The fields of an SSH blob, in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, length: int) -> bytes:
        part = self._data[self._at : self._at + length]
        if len(part) != length:
            raise SignatureRefused("an SSH signature that ends too early", id="bad-signature")
        self._at += length
        return part

    def number(self) -> int:
        return int(struct.unpack(">I", self.take(4))[0])

    def text(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._at != len(self._data):
            raise SignatureRefused("an SSH signature with more behind it", id="bad-signature")
