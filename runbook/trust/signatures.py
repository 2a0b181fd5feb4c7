"""What secrets look like: one row a kind, and how an assignment to a telling name is judged.

Patterns are RE2 over bytes; group 1 is the secret itself. Rows are in order of preference where two match.

NOTE: detect-secrets was measured first. Its plugins give no span to mask (the GitHub one yields `ghp`), lack
Hugging Face, W&B, Anthropic, Google, fine-grained GitHub and some twenty more, and read line by line in
pure Python. The tests hold this table against its plugins as an oracle.
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple


class Signature(NamedTuple):
    """A kind of secret and its pattern."""

    kind: str
    pattern: str


SIGNATURES: Final = tuple(
    Signature(*row)
    for row in (
        ("private-key", r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)"),
        ("private-key", r"(PuTTY-User-Key-File-[23]:)"),
        ("aws-access-key", r"\b((?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16})\b"),
        (
            "aws-secret-key",
            r"(?i)aws[^\n]{0,30}?(?:key|secret|token)[\"'\]]{0,2}\s{0,4}(?:=>|=|:|,)\s{0,4}[\"']?"
            r"([a-z0-9/+]{40})(?:[^a-z0-9/+=]|\z)",
        ),
        ("github-token", r"\b(gh[pousr]_[A-Za-z0-9]{36,255})\b"),
        ("github-token", r"\b(github_pat_[A-Za-z0-9_]{22,255})\b"),
        ("gitlab-token", r"\b(gl(?:pat|dt|ft|soat|rt|cbt|imt|ptt|agent|oas)-[A-Za-z0-9_\-]{20,})"),
        ("gitlab-token", r"\b(GR1348941[A-Za-z0-9_\-]{20,50})"),
        ("slack-token", r"(?i)\b(xox[abposre](?:-[0-9a-z]+){2,})\b"),
        ("slack-token", r"\b(xapp-[0-9]-[A-Z0-9]+-[0-9]+-[a-z0-9]{16,})\b"),
        ("slack-webhook", r"hooks\.slack\.com/(?:services|workflows)/(T[A-Za-z0-9_]+/[A-Za-z0-9_/]{16,})"),
        ("stripe-key", r"\b((?:sk|rk)_(?:live|test)_[0-9A-Za-z]{16,})\b"),
        ("stripe-key", r"\b(whsec_[A-Za-z0-9+/]{32,}={0,2})"),
        ("huggingface-token", r"\b((?:hf|api_org)_[A-Za-z0-9]{30,40})\b"),
        (
            "wandb-key",
            r"(?i)(?:wandb_?(?:api_?)?key[\"'\]]{0,2}\s{0,4}[=:,]\s{0,4}[\"']?"
            r"|wandb\s+login\s+(?:--?[a-z\-]+[ =])*|wandb\.login\([^)\n]{0,60}[\"'])([0-9a-f]{40})\b",
        ),
        ("wandb-key", r"\b(wandb_v[0-9]_[A-Za-z0-9_]{40,})\b"),
        ("anthropic-key", r"\b(sk-ant-[A-Za-z0-9_\-]{32,})"),
        ("openai-key", r"\b(sk-[A-Za-z0-9_\-]{10,}T3BlbkFJ[A-Za-z0-9_\-]{10,})"),
        ("openai-key", r"\b(sk-(?:proj|svcacct|admin)-[A-Za-z0-9_\-]{40,})"),
        ("openai-key", r"\b(sk-[A-Za-z0-9]{48})\b"),
        ("groq-key", r"\b(gsk_[A-Za-z0-9]{48,56})\b"),
        ("replicate-token", r"\b(r8_[A-Za-z0-9]{37})\b"),
        ("neptune-token", r"\b(eyJhcGlfYWRkcmVzcyI6[A-Za-z0-9+/_\-]{40,}={0,2})"),
        ("kaggle-key", r"\"username\"\s*:\s*\"[^\"\n]{1,80}\"\s*,\s*\"key\"\s*:\s*\"([0-9a-f]{32})\""),
        ("kaggle-key", r"\b(KGAT_[0-9a-f]{32})\b"),
        ("npm-token", r"\b(npm_[A-Za-z0-9]{36})\b"),
        ("npm-token", r"_authToken\s*=\s*([A-Za-z0-9_\-]{16,})"),
        ("pypi-token", r"\b(pypi-Ag[A-Za-z0-9_\-]{50,})"),
        ("json-web-token", r"\b(eyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{10,})"),
        ("azure-storage-key", r"(?i)AccountKey\s{0,2}=\s{0,2}([A-Za-z0-9+/]{80,90}={0,2})"),
        ("azure-access-key", r"(?i)SharedAccessKey\s{0,2}=\s{0,2}([A-Za-z0-9+/]{40,90}={0,2})"),
        ("azure-sas", r"[?&]sig=([A-Za-z0-9%+/]{40,}={0,2})"),
        ("azure-client-secret", r"\b([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34})"),
        ("google-api-key", r"\b(AIza[0-9A-Za-z_\-]{35})"),
        ("google-oauth-token", r"\b(ya29\.[0-9A-Za-z_\-]{20,})"),
        ("google-client-secret", r"\b(GOCSPX-[A-Za-z0-9_\-]{28})"),
        ("google-service-account", r"\"private_key_id\"\s*:\s*\"([0-9a-f]{40})\""),
        ("twilio-key", r"\b((?:AC|SK)[0-9a-f]{32})\b"),
        ("sendgrid-key", r"\b(SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43})"),
        ("telegram-token", r"\b([0-9]{8,10}:AA[A-Za-z0-9_\-]{33})"),
        ("discord-token", r"\b([MNO][A-Za-z0-9_\-]{23,25}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,38})"),
        ("discord-webhook", r"discord(?:app)?\.com/api/webhooks/[0-9]+/([A-Za-z0-9_\-]{60,})"),
        ("mailchimp-key", r"\b([0-9a-f]{32}-us[0-9]{1,2})\b"),
        ("mailgun-key", r"\b(key-[0-9a-f]{32})\b"),
        ("square-token", r"\b(sq0(?:csp|atp)-[0-9A-Za-z_\-]{22,43})"),
        ("shopify-token", r"\b(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})\b"),
        ("digitalocean-token", r"\b(do[opr]_v1_[0-9a-f]{64})\b"),
        ("databricks-token", r"\b(dapi[0-9a-f]{32}(?:-[0-9])?)\b"),
        ("docker-token", r"\b(dckr_[po]at_[A-Za-z0-9_\-]{27,})"),
        ("vault-token", r"\b(hv[sb]\.[A-Za-z0-9_\-]{24,})"),
        ("grafana-token", r"\b(glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8})\b"),
        ("linear-key", r"\b(lin_api_[A-Za-z0-9]{40})\b"),
        ("artifactory-key", r"\b(AKCp[A-Za-z0-9]{60,})\b"),
        ("age-key", r"\b(AGE-SECRET-KEY-1[A-Z0-9]{58})\b"),
        (
            "authorization-header",
            r"(?i)authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:bearer|basic|token)\s+([a-z0-9._~+/\-]{16,}=*)",
        ),
        ("netrc-password", r"(?i)\bmachine\s+\S+[\s+\-]+login\s+\S+[\s+\-]+password\s+(\S{6,})"),
        (
            "password-in-url",
            r"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,20}://[^\s:/@\"'<>{}$]{0,100}:([^\s/@\"'<>{}$]{1,200})@[A-Za-z0-9\[]",
        ),
        ("token-in-url", r"\b[a-zA-Z][a-zA-Z0-9+.\-]{1,20}://([A-Za-z0-9_\-]{20,200})@[A-Za-z0-9\[]"),
    )
)

PASSWORD_NAMES: Final = r"password|passwd|passphrase|passwort|pwd|secret"  # noqa: S105
KEY_NAMES: Final = (
    r"token|api[_\-]?key|access[_\-]?key|auth[_\-]?key|account[_\-]?key|secret[_\-]?key|private[_\-]?key"
    r"|service[_\-]?key|encryption[_\-]?key|signing[_\-]?key|client[_\-]?secret|credentials?"
)
ASSIGNMENT: Final = (
    rf"(?i)({KEY_NAMES}|{PASSWORD_NAMES})((?:[_\-]?(?:key|value|b64|base64|prod|production|dev|staging|live|[0-9]+))?)"
    r"[\"'\]]{0,2}[ \t]{0,4}(:=|=>|={1,2}|:)[ \t]{0,4}"
    r"(?:[rbfu]?\"([^\"\n]{4,400})\"|[rbfu]?'([^'\n]{4,400})'|([^\s\"'#,;(){}\[\]<>]{6,400}))"
)
"""A name that looks secret, then its value: double-quoted, single-quoted or bare."""

_PLACEHOLDER: Final = re.compile(
    r"[x*.•_\-]+|redacted|(?:your|my|the|some|test|fake|dummy|sample|example|default|user|db)?[_\- ]?"
    r"(?:password|passwd|pass|passphrase|pwd|pw|secret|token|api[_\-]?key|key|credentials?)s?(?:[_\- ]?here)?"
    r"|change[_\- ]?(?:me|it)|none|null|nil|true|false|undefined|todo|example|placeholder|string|required|optional"
    r"|hidden|masked|removed|omitted|auto|.*(?:<|>|\{|\}|\$|%\(|%s|\.\.\.|…).*|your[_\-].*|insert[_\-].*",
    re.IGNORECASE | re.DOTALL,
)
_WORDS: Final = re.compile(r"[A-Za-z]+(?:[_.\-:/][A-Za-z]+)*")


def placeholder(value: str) -> bool:
    """Whether a value only stands for a secret: `changeme`, `<token>`, `${PASSWORD}`, `xxxx`."""
    return bool(_PLACEHOLDER.fullmatch(value))


def secret_value(value: str, *, key: bool, quoted: bool, variable: bool) -> bool:
    """Whether what is assigned to a telling name is a secret rather than code, prose or a placeholder.

    key: the name is a token's or a key's, whose values are long and mixed; else a password's.
    quoted: it is a string literal. variable: it is a line such as NAME=value, as in a file of variables.
    """
    if placeholder(value) or any(c.isspace() for c in value):
        return False
    digit, letter = any(c.isdigit() for c in value), any(c.isalpha() for c in value)
    if key:
        plain = re.fullmatch(r"[A-Za-z0-9_\-+/=.~]{16,400}", value)
        return bool(plain and digit and letter and _entropy(value) >= 3.2 and not _code(value))
    if len(value) < 6:
        return False
    if quoted or variable:
        return not _WORDS.fullmatch(value) or (len(value) >= 10 and value.isalpha())
    return digit and letter and not _code(value)


def _code(value: str) -> bool:
    """Whether it reads as an expression or a path: `self.token2`, `os.environ`, `/run/secrets/key1`."""
    return bool(re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value)) or "/" in value[:2] or "::" in value


def _entropy(value: str) -> float:
    """Shannon entropy, bits a character."""
    counts = [value.count(c) / len(value) for c in set(value)]
    return -sum(p * math.log2(p) for p in counts)
