"""Names of environment variables and options whose values must never be kept."""

from __future__ import annotations

import re

_SECRET_WORD = re.compile(
    r"(?:TOKENS?|SECRETS?|KEYS?|APIKEYS?|PASS(?:WD|WORDS?|PHRASES?|CODES?)?|PW|PWD|CRED(?:S|ENTIALS?)?"
    r"|AUTH(?:ENTICATION|ORIZATION)?|COOKIES?|SIGNATURES?|SIG|JWT|BEARER|DSN|OAUTH\d?|PRIVATE)"
)
_SECRET_TAIL = re.compile(r"(?:TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|CREDENTIALS?|COOKIE)$")
_HARMLESS = frozenset(("PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "PYTHONHASHSEED"))


def looks_secret(name: str) -> bool:
    """Whether a variable or option of this name may hold a secret: `HF_TOKEN`, `db-password`, `AWS_ACCESS_KEY_ID`.

    Words are compared whole, so that TOKENIZERS_PARALLELISM, PYTHONHASHSEED, KEYBOARD and AUTHOR are not secrets.
    """
    upper = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).upper()
    if upper in _HARMLESS:
        return False
    words = [w for w in re.split(r"[^A-Z0-9]+", upper) if w]
    return any(_SECRET_WORD.fullmatch(w) or _SECRET_TAIL.search(w) for w in words)
