"""Signatures: made and checked through the real command line, and held against tools that are not ours."""

from __future__ import annotations

import base64
import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from runbook.bundle import layout
from runbook.trust import dsse, keys, sshsig
from runbook.trust.signers import read_allowed, read_revoked
from tests.factories import make_bundle, make_record

Cli = Callable[..., subprocess.CompletedProcess[str]]
Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
WHO = "alice@example.org"


def pem(key: Key, path: Path, passphrase: bytes = b"") -> Path:
    hidden = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    return path


def line(key: Key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


class Signed:
    """A bundle, two keys, and whom a reader trusts."""

    def __init__(self, folder: Path, cli: Cli) -> None:
        self.folder, self.cli = folder, cli
        self.bundle = make_bundle(folder)
        self.alice, self.bob = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
        self.alice_pem, self.bob_pem = pem(self.alice, folder / "alice.pem"), pem(self.bob, folder / "bob.pem")
        self.signers = folder / "allowed_signers"
        self.trust(f"{WHO} {line(self.alice)}", f"bob@example.org {line(self.bob)}")

    def trust(self, *lines: str) -> None:
        self.signers.write_text("".join(f"{one}\n" for one in lines))

    def sign(self, key: Path, bundle: Path | None = None) -> Path:
        """Sign; the attestation."""
        done = self.cli("sign", bundle or self.bundle, "--key", key, "--json", cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return (bundle or self.bundle) / str(json.loads(done.stdout)["attestation"])

    def verify(self, *arguments: str | Path, who: str = WHO) -> subprocess.CompletedProcess[str]:
        trust = ("--signers", self.signers, "--signed-by", who)
        return self.cli("verify", self.bundle, *trust, *arguments, cwd=self.folder)

    def forge(self, statement: dict[str, Any], key: Key, kind: str = dsse.IN_TOTO, name: str = "forged") -> None:
        """Sign any statement at all."""
        body = json.dumps(statement).encode()
        self.put(dsse.seal(kind, body, (("x", raw(key, dsse.encoding(kind, body))),)), name)

    def put(self, data: bytes, name: str = "forged") -> None:
        folder = self.bundle / "attestations"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.dsse.json").write_bytes(data)


def raw(key: Key, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    from cryptography.hazmat.primitives.hashes import SHA256

    return key.sign(data, ec.ECDSA(SHA256()))


@pytest.fixture
def signed(tmp_path: Path, runbook_cli: Cli) -> Signed:
    return Signed(tmp_path, runbook_cli)


def statement_of(attestation: Path) -> dict[str, Any]:
    envelope = json.loads(attestation.read_text())
    statement: dict[str, Any] = json.loads(base64.b64decode(envelope["payload"]))
    return statement


def test_dsse_vector() -> None:
    """The test vector of the DSSE specification."""
    assert dsse.encoding("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("form", ["directory", "zip"])
def test_a_signature_is_added_and_found(tmp_path: Path, runbook_cli: Cli, form: Any) -> None:
    signed = Signed(tmp_path, runbook_cli)
    signed.bundle = make_bundle(tmp_path, name="other", form=form)
    before = runbook_cli("verify", signed.bundle, "--json")
    for key in (signed.alice_pem, signed.bob_pem):
        done = runbook_cli("sign", signed.bundle, "--key", key)
        assert done.returncode == 0, done.stderr
    both = ("--signers", signed.signers, "--signed-by", WHO, "--signed-by", "bob@example.org", "--json")
    after = runbook_cli("verify", signed.bundle, *both)
    assert after.returncode == 0, after.stderr
    old, new = json.loads(before.stdout), json.loads(after.stdout)
    assert (old["id"], old["attestations"], new["attestations"]) == (new["id"], 0, 2)
    assert sorted(one["identities"] for one in new["signatures"]) == [[WHO], ["bob@example.org"]]
    assert all(one["good"] for one in new["signatures"])
    assert not list(tmp_path.glob(".*partial*")) and not list(tmp_path.glob("*.partial"))


def test_signing_twice_adds_nothing(signed: Signed) -> None:
    assert signed.sign(signed.alice_pem) == signed.sign(signed.alice_pem)
    assert len(list((signed.bundle / "attestations").iterdir())) == 1


def test_the_statement_names_what_decided_the_result(signed: Signed) -> None:
    statement = statement_of(signed.sign(signed.alice_pem))
    subjects = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    manifest = (signed.bundle / layout.MANIFEST).read_text()
    listed = {name: digest for digest, name in (row.split("  ") for row in manifest.splitlines())}
    assert subjects.pop(layout.MANIFEST) == layout.bundle_id(manifest.encode())
    assert subjects and all(listed[name] == digest for name, digest in subjects.items() if name in listed)
    build = statement["predicate"]["buildDefinition"]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert build["externalParameters"]["argv"] == list(make_record().job.argv)
    assert {one.get("name") for one in build["resolvedDependencies"]} >= {"code.manifest", "lock/requirements.txt"}
    assert "local-capture" in statement["predicate"]["runDetails"]["builder"]["id"]


def test_another_dsse_library_agrees(signed: Signed) -> None:
    """securesystemslib, the library of in-toto and TUF, checks what we sign, and we check what it signs."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import CryptoSigner, SSlibKey

    for key, path in ((signed.alice, signed.alice_pem), (signed.bob, signed.bob_pem)):
        value = json.loads(signed.sign(path).read_text())
        public = SSlibKey.from_crypto(key.public_key(), keyid=value["signatures"][0]["keyid"])
        envelope = Envelope.from_dict(copy.deepcopy(value))
        assert envelope.verify([public], 1)
        envelope.payload += b" "
        with pytest.raises(VerificationError):
            envelope.verify([public], 1)
    body = json.dumps(statement_of(signed.sign(signed.alice_pem))).encode()
    shutil.rmtree(signed.bundle / "attestations")
    theirs = Envelope(body, dsse.IN_TOTO, {})
    theirs.sign(CryptoSigner(signed.alice))
    signed.put(json.dumps(theirs.to_dict()).encode())
    assert signed.verify().returncode == 0


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_ssh_keys(signed: Signed, kind: str) -> None:
    """An SSH key signs through ssh-keygen; both check the same signature, each without the other."""
    key = signed.folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    public = " ".join((signed.folder / "id.pub").read_text().split()[:2])
    signed.trust(f'{WHO} namespaces="runbook" {public}')
    envelope = json.loads(signed.sign(key).read_text())
    assert signed.verify().returncode == 0
    body = base64.b64decode(envelope["payload"])
    (signed.folder / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        signed.signers,
        "-I",
        WHO,
        "-n",
        "runbook",
        "-s",
        signed.folder / "sig",
    ]
    said = subprocess.run(command, input=dsse.encoding(dsse.IN_TOTO, body), capture_output=True, check=False)
    assert said.returncode == 0, said.stderr
    assert subprocess.run(command, input=body, capture_output=True, check=False).returncode != 0


def test_an_agent_signs_for_a_public_key(signed: Signed) -> None:
    key = signed.folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    socket = signed.folder / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if socket.exists():
                break
            subprocess.run(["sleep", "0.05"], check=True)
        env = {"SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", key], check=True, env={"PATH": "/usr/bin:/bin", **env})
        key.unlink()
        done = signed.cli("sign", signed.bundle, "--key", signed.folder / "id.pub", env=env)
        assert done.returncode == 0, done.stderr
    finally:
        agent.terminate()
        agent.wait()
    signed.trust(f"{WHO} {(signed.folder / 'id.pub').read_text()}")
    assert signed.verify().returncode == 0


def test_a_key_with_a_passphrase(signed: Signed) -> None:
    key = pem(signed.alice, signed.folder / "locked.pem", b"hop")
    asked = signed.cli("sign", signed.bundle, "--key", key)
    assert asked.returncode == 2 and "RUNBOOK_KEY_PASSPHRASE" in asked.stderr
    wrong = signed.cli("sign", signed.bundle, "--key", key, env={"RUNBOOK_KEY_PASSPHRASE": "hip"})
    assert wrong.returncode == 2 and "passphrase" in wrong.stderr
    right = signed.cli("sign", signed.bundle, "--key", key, env={"RUNBOOK_KEY_PASSPHRASE": "hop"})
    assert right.returncode == 0 and "hop" not in right.stdout + right.stderr
    assert signed.verify().returncode == 0


def test_what_cannot_sign(signed: Signed) -> None:
    for name, text in {"none": None, "junk": b"junk", "public": line(signed.alice).encode()}.items():
        path = signed.folder / name
        if text is not None:
            path.write_bytes(text)
        done = signed.cli("sign", signed.bundle, "--key", path)
        assert done.returncode == 2 and "\nhint: " in done.stderr, (name, done.stderr)
    assert not (signed.bundle / "attestations").exists()


def _edit(signed: Signed, attestation: Path, **changes: Any) -> None:
    envelope = json.loads(attestation.read_text())
    attestation.write_text(json.dumps(envelope | changes))


def _statement(signed: Signed, **changes: Any) -> dict[str, Any]:
    attestation = signed.sign(signed.alice_pem)
    statement = statement_of(attestation)
    attestation.unlink()
    return statement | changes


def _swapped_subjects(s: Signed) -> None:
    statement = _statement(s)
    one, other = statement["subject"][:2]
    one["digest"], other["digest"] = other["digest"], one["digest"]
    s.forge(statement, s.alice)


def _swapped_files(s: Signed) -> None:
    statement = _statement(s)
    one, other = statement["subject"][1:3]
    one["digest"], other["digest"] = other["digest"], one["digest"]
    s.forge(statement, s.alice)


def _another_bundle(s: Signed) -> None:
    other = make_bundle(s.folder, name="other")
    shutil.copytree(s.sign(s.alice_pem, other).parent, s.bundle / "attestations")


def _no_manifest(s: Signed) -> None:
    statement = _statement(s)
    s.forge(statement | {"subject": statement["subject"][1:]}, s.alice)


def _subject_twice(s: Signed) -> None:
    statement = _statement(s)
    s.forge(statement | {"subject": [*statement["subject"], statement["subject"][0]]}, s.alice)


def _edited_payload(s: Signed) -> None:
    attestation = s.sign(s.alice_pem)
    statement = statement_of(attestation)
    statement["predicate"]["buildDefinition"]["externalParameters"]["argv"] = ["python", "better.py"]
    _edit(s, attestation, payload=base64.b64encode(json.dumps(statement).encode()).decode())


def _other_payload_type(s: Signed) -> None:
    _edit(s, s.sign(s.alice_pem), payloadType="application/json")


def _signed_as_other_type(s: Signed) -> None:
    s.forge(_statement(s), s.alice, kind="text/plain")


def _flipped_signature(s: Signed) -> None:
    attestation = s.sign(s.alice_pem)
    signature = json.loads(attestation.read_text())["signatures"][0]
    sig = bytearray(base64.b64decode(signature["sig"]))
    sig[7] ^= 1
    _edit(s, attestation, signatures=[signature | {"sig": base64.b64encode(sig).decode()}])


def _unknown_key_with_a_known_id(s: Signed) -> None:
    """The keyid of one who is trusted, the signature of another."""
    attestation = s.sign(s.alice_pem)
    stranger = ed25519.Ed25519PrivateKey.generate()
    envelope = json.loads(attestation.read_text())
    data = dsse.encoding(dsse.IN_TOTO, base64.b64decode(envelope["payload"]))
    envelope["signatures"][0]["sig"] = base64.b64encode(stranger.sign(data)).decode()
    attestation.write_text(json.dumps(envelope))


def _without_signature(s: Signed) -> None:
    _edit(s, s.sign(s.alice_pem), signatures=[])


def _bare_payload_signed(s: Signed) -> None:
    """Signed without DSSE's encoding, which binds the type."""
    attestation = s.sign(s.alice_pem)
    envelope = json.loads(attestation.read_text())
    sig = s.alice.sign(base64.b64decode(envelope["payload"]))
    _edit(s, attestation, signatures=[{"sig": base64.b64encode(sig).decode()}])


def _doubled_key(s: Signed) -> None:
    attestation = s.sign(s.alice_pem)
    attestation.write_text('{"payloadType": "x",' + attestation.read_text().lstrip()[1:])


def _doubled_key_inside(s: Signed) -> None:
    body = json.dumps(_statement(s))
    body = '{"_type": "x",' + body[1:]
    kind = dsse.IN_TOTO
    s.put(dsse.seal(kind, body.encode(), (("", s.alice.sign(dsse.encoding(kind, body.encode()))),)))


def _expired(s: Signed) -> None:
    s.sign(s.alice_pem)
    s.trust(f'{WHO} valid-before="20200101Z" {line(s.alice)}')


def _not_yet(s: Signed) -> None:
    s.sign(s.alice_pem)
    s.trust(f'{WHO} valid-after="29990101" {line(s.alice)}')


def _for_something_else(s: Signed) -> None:
    s.sign(s.alice_pem)
    s.trust(f'{WHO} namespaces="git,file" {line(s.alice)}')


def _excluded(s: Signed) -> None:
    s.sign(s.alice_pem)
    s.trust(f"*@example.org,!{WHO} {line(s.alice)}")


def _made_for_git(s: Signed) -> None:
    """An SSH signature of another namespace over the very same bytes."""
    key = s.folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    statement = _statement(s)
    body = json.dumps(statement).encode()
    (s.folder / "message").write_bytes(dsse.encoding(dsse.IN_TOTO, body))
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", key, s.folder / "message"], check=True)
    s.put(dsse.seal(dsse.IN_TOTO, body, (("", (s.folder / "message.sig").read_bytes()),)))
    s.trust(f"{WHO} {(s.folder / 'id.pub').read_text()}")


FORGERIES: dict[str, tuple[Callable[[Signed], None], str]] = {
    "nobody signed": (lambda s: None, "not signed as asked (0 of 1): alice@example.org"),
    "another signed": (lambda s: s.sign(s.bob_pem) and None, "not signed as asked"),
    "a manifest's digest swapped for a file's": (_swapped_subjects, "about another bundle"),
    "two files' digests swapped": (_swapped_files, "not the bundle's file of that name"),
    "another bundle's signature": (_another_bundle, "about another bundle"),
    "a statement that names no bundle": (_no_manifest, "does not name a bundle's manifest"),
    "a subject twice": (_subject_twice, "a subject twice"),
    "an edited payload": (_edited_payload, "no key in the list of signers made it"),
    "another payload type": (_other_payload_type, "no in-toto Statement"),
    "signed as another type": (_signed_as_other_type, "no in-toto Statement"),
    "a flipped bit in the signature": (_flipped_signature, "no key in the list of signers made it"),
    "a stranger under a known keyid": (_unknown_key_with_a_known_id, "no key in the list of signers made it"),
    "an envelope without a signature": (_without_signature, "an envelope without a signature"),
    "a signature over the bare payload": (_bare_payload_signed, "no key in the list of signers made it"),
    "an envelope with a key twice": (_doubled_key, "the same key twice"),
    "a statement with a key twice": (_doubled_key_inside, "the same key twice"),
    "an expired key": (_expired, "has expired"),
    "a key that is not valid yet": (_not_yet, "not valid before"),
    "a key for other things": (_for_something_else, "not allowed to sign for runbook"),
    "an identity that is excluded": (_excluded, "not signed as asked"),
    "an SSH signature made for git": (_made_for_git, "made for something else"),
    "a statement of another type": (
        lambda s: s.forge(_statement(s, _type="https://in-toto.io/Statement/v0.1"), s.alice),
        "no in-toto Statement 1",
    ),
    "a statement without a predicate": (
        lambda s: s.forge(_statement(s, predicate=None), s.alice),
        "has no predicate",
    ),
    "subjects that are none": (lambda s: s.forge(_statement(s, subject="all"), s.alice), "no proper subjects"),
    "no JSON": (lambda s: s.put(b"signed, honestly"), "not JSON"),
    "no envelope": (lambda s: s.put(b'{"signed": true}'), "not a DSSE envelope"),
    "no base64": (
        lambda s: s.put(b'{"payloadType": "application/vnd.in-toto+json", "payload": "%%", "signatures": []}'),
        "not base64",
    ),
    "JSON too deep": (lambda s: s.put(b"[" * 100_000 + b"]" * 100_000), "nested deeper"),
}
"""What somebody may try → a part of what is said. None of it may be taken for alice's signature."""


@pytest.mark.parametrize("what", FORGERIES)
def test_a_forgery_is_refused(signed: Signed, what: str) -> None:
    forge, says = FORGERIES[what]
    forge(signed)
    done = signed.verify()
    assert done.returncode == 1, done.stdout
    assert says in done.stderr and "\nhint: " in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_good_signature_beside_a_bad_one_counts(signed: Signed) -> None:
    signed.put(b"junk")
    signed.sign(signed.alice_pem)
    done = signed.verify()
    assert done.returncode == 0 and "not JSON" in done.stdout


def test_revoked_keys(signed: Signed) -> None:
    signed.sign(signed.alice_pem)
    revoked = signed.folder / "revoked"
    for text in (line(signed.alice), keys.fingerprint(keys.parse_blob(*line(signed.alice).split()))):
        revoked.write_text(f"# left the company\n{text}\n")
        done = signed.verify("--revoked", revoked)
        assert done.returncode == 1 and "revoked" in done.stderr
    revoked.write_text(f"{line(signed.bob)}\n")
    assert signed.verify("--revoked", revoked).returncode == 0


def test_a_threshold_counts_keys(signed: Signed) -> None:
    three = ("--signed-by", "bob@example.org", "--signed-by", "carol@example.org")
    signed.sign(signed.alice_pem)
    assert signed.verify(*three, "--threshold", "2").returncode == 1
    signed.sign(signed.bob_pem)
    assert signed.verify(*three, "--threshold", "2").returncode == 0
    assert signed.verify(*three).returncode == 1
    assert signed.verify("--threshold", "2").returncode == 2
    # One key under two names is one key.
    signed.trust(f"{WHO},carol@example.org {line(signed.alice)}")
    assert signed.verify("--signed-by", "carol@example.org", "--threshold", "2").returncode == 1


def test_trust_must_be_named(signed: Signed) -> None:
    done = signed.cli("verify", signed.bundle, "--signed-by", WHO)
    assert done.returncode == 2 and "--signers" in done.stderr
    for text in ("alice", "alice ssh-ed25519 AAAA", "a@b cert-authority " + line(signed.alice), 'a@b x="y" k k'):
        signed.trust(text)
        done = signed.verify()
        assert done.returncode == 2 and "allowed_signers:1" in done.stderr, done.stderr


def test_signers_files(tmp_path: Path) -> None:
    key = line(ed25519.Ed25519PrivateKey.generate())
    file = tmp_path / "signers"
    file.write_text(f'# us\n\n"a b@x",*@y valid-after="20250102",valid-before="202601020304Z" {key} a comment\n')
    (one,) = read_allowed(file)
    assert one.names("a b@x") and one.names("z@y") and not one.names("z@x")
    assert one.valid_before is not None and one.valid_before.isoformat() == "2026-01-02T03:04:00+00:00"
    file.write_text(f"{key}\n")
    assert len(read_revoked(file)) == 1


def test_a_torn_ssh_signature_is_refused(signed: Signed) -> None:
    key = signed.folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    blob = keys.public_blob(signed.folder / "id.pub")
    whole = base64.b64decode(b"".join(sshsig.sign(b"x", key).splitlines()[1:-1]))
    sshsig.check(_armour(whole), b"x", blob)
    for end in range(len(whole)):
        with pytest.raises(Exception, match=r"signature|SSHSIG") as caught:
            sshsig.check(_armour(whole[:end]), b"x", blob)
        assert caught.value.exit_code == 1  # type: ignore[attr-defined]
    with pytest.raises(Exception, match=r"more behind"):
        sshsig.check(_armour(whole + b"\0"), b"x", blob)


def _armour(data: bytes) -> bytes:
    return b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(data) + b"\n-----END SSH SIGNATURE-----\n"
