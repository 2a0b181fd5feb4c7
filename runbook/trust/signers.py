"""Who is trusted: an OpenSSH `allowed_signers` file, and a list of revoked keys. ssh-keygen reads both.

    alice@example.org valid-before="20270101Z" ssh-ed25519 AAAA…
    bob@example.org,ci@example.org namespaces="runbook" ecdsa-sha2-nistp256 AAAA…

Format: ssh-keygen(1), ALLOWED SIGNERS. Certificate authorities are refused rather than passed over.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from runbook.errors import UsageError
from runbook.trust import keys
from runbook.trust.sshsig import NAMESPACE

_CAP: Final = 4 << 20
_WORD: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')
_OPTION: Final = re.compile(r'([a-z-]+)(?:="([^"]*)")?(?:,|$)')
_FORMATS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


@dataclass(frozen=True)
class Allowed:
    """One line: these identities may sign with this key, in this time."""

    principals: tuple[str, ...]
    """Identities, or patterns of them with `*`, `?` and a leading `!`."""
    key: bytes
    """SSH blob."""
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    for_runbook: bool = True
    """Whether its namespaces have runbook among them; a line that names none allows all."""

    def names(self, identity: str) -> bool:
        """Whether the identity is one of them."""
        held = False
        for pattern in self.principals:
            if fnmatch.fnmatchcase(identity, pattern.removeprefix("!").replace("[", "[[]")):
                if pattern.startswith("!"):
                    return False
                held = True
        return held

    def objection(self, now: datetime) -> str:
        """Why a signature by this key does not count now; empty when it counts."""
        if not self.for_runbook:
            return "the key is not allowed to sign for runbook"
        if self.valid_after is not None and now < self.valid_after:
            return f"the key is not valid before {self.valid_after:%Y-%m-%d %H:%M} UTC"
        if self.valid_before is not None and now >= self.valid_before:
            return f"the key has expired: it was valid until {self.valid_before:%Y-%m-%d %H:%M} UTC"
        return ""


def read_allowed(path: Path) -> tuple[Allowed, ...]:
    """The lines of an allowed_signers file. Raises UsageError for one that cannot be understood."""
    return tuple(_allowed(text, path, number) for number, text in _lines(path))


def read_revoked(path: Path) -> frozenset[str]:
    """Fingerprints of a list of revoked keys: a public key, or a `SHA256:…`, a line. Raises UsageError."""
    found = set()
    for number, text in _lines(path):
        words = text.removeprefix("hash:").split()
        try:
            if words[0].startswith("SHA256:"):
                found.add(words[0].rstrip("="))
            else:
                found.add(keys.fingerprint(keys.parse_blob(words[0], words[1])))
        except (ValueError, IndexError) as error:
            raise _bad(path, number, str(error)) from None
    return frozenset(found)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    hint = "see ssh-keygen(1), ALLOWED SIGNERS"
    try:
        with path.open("rb") as file:
            data = file.read(_CAP + 1)
    except OSError as error:
        raise UsageError(f"the file cannot be read ({error.strerror})", path, hint=hint, id="no-signers") from None
    if len(data) > _CAP or data.startswith(b"SSHKRL"):
        raise UsageError("not a list of keys as text", path, hint="a key a line", id="bad-signers")
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        if (text := line.strip()) and not text.startswith("#"):
            yield number, text


def _allowed(text: str, path: Path, number: int) -> Allowed:
    words = _WORD.findall(text)
    principals = tuple(words[0].replace('"', "").split(","))
    options: dict[str, str] = {}
    rest = words[1:]
    if rest and not _is_kind(rest[0]):
        options = _options(rest[0], path, number)
        rest = rest[1:]
    if len(rest) < 2:
        raise _bad(path, number, "a line is: IDENTITIES [OPTIONS] KEYTYPE KEY")
    if "cert-authority" in options:
        raise _bad(path, number, "certificate authorities are not read")
    try:
        blob = keys.parse_blob(rest[0], rest[1])
        after, before = (_time(options.get(name)) for name in ("valid-after", "valid-before"))
    except ValueError as error:
        raise _bad(path, number, str(error)) from None
    spaces = options.get("namespaces")
    allowed = spaces is None or any(fnmatch.fnmatchcase(NAMESPACE, one) for one in spaces.split(","))
    return Allowed(principals, blob, after, before, allowed)


def _options(text: str, path: Path, number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _OPTION.match(text, at)
        if match is None or match[1] not in ("cert-authority", "namespaces", "valid-after", "valid-before"):
            raise _bad(path, number, f"an option that is not known: {text[at:]}")
        found[match[1]] = match[2] or ""
        at = match.end()
    return found


def _is_kind(word: str) -> bool:
    return word.startswith(("ssh-", "ecdsa-", "sk-", "rsa-"))


def _time(text: str | None) -> datetime | None:
    """A time of an allowed_signers file; without a Z it is in the zone of this machine, as for ssh-keygen."""
    if text is None:
        return None
    digits = text.removesuffix("Z")
    if not digits.isdecimal() or len(digits) not in _FORMATS:
        raise ValueError(f"not a time (YYYYMMDD[HHMM[SS]][Z]): {text}")
    moment = datetime.strptime(digits, _FORMATS[len(digits)])
    return moment.replace(tzinfo=UTC) if text.endswith("Z") else moment.astimezone(UTC)


def _bad(path: Path, number: int, why: str) -> UsageError:
    hint = "see ssh-keygen(1), ALLOWED SIGNERS"
    return UsageError(f"a line that cannot be understood ({why})", f"{path}:{number}", hint=hint, id="bad-signers")
