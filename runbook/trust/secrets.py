"""Finds and masks values that look like secrets, before anything is hashed or sealed. Offline; no value is kept.

A line that holds `pragma: allowlist secret` is left alone: that is how a person says "this is none".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import re2

from runbook.errors import SecretFound
from runbook.progress import SILENT, Progress
from runbook.trust import signatures

MASK = b"REDACTED"
_CHUNK = 16 * 1024 * 1024
_OVERLAP = 64 * 1024
_KEY_BLOCK = 16 * 1024
"""Bytes that a private key's block may be long."""
_PRAGMA = b"pragma: allowlist secret"
_NAME = re.compile(r"TOKEN|SECRET|KEY|PASS|PWD|CRED|AUTH|COOKIE|SESSION", re.IGNORECASE)


@dataclass(frozen=True)
class SecretHit:
    """Where something looks like a secret, and like which. Never the value, nor its hash."""

    where: str
    """A file's path, `argv`, `variable NAME` …"""
    line: int
    """1-based."""
    kind: str


class _Span(NamedTuple):
    start: int
    end: int
    kind: str


def scan(items: Iterable[tuple[str, bytes]]) -> list[SecretHit]:
    """What looks like a secret in named texts. Binary data (a NUL near its start) is passed over."""
    return [hit for where, data in items for hit in _hits(where, data, _spans(data))]


def scan_files(
    files: Iterable[tuple[str, Path]], *, progress: Progress = SILENT
) -> tuple[list[SecretHit], list[str]]:
    """What looks like a secret in named files, and the names of the binary ones, which are not searched."""
    hits: list[SecretHit] = []
    binary: list[str] = []
    with progress.bar("secrets", None) as advance:
        for where, path in files:
            with path.open("rb") as stream:
                found = _scan_stream(where, stream)
            advance(path.stat().st_size)
            if found is None:
                binary.append(where)
            else:
                hits += found
    return hits, binary


def mask(data: bytes, where: str = "") -> tuple[bytes, list[SecretHit]]:
    """The data with every secret replaced by REDACTED, and what. Scanning the result finds nothing."""
    spans = _spans(data)
    pieces, position = [], 0
    for span in spans:
        pieces += [data[position : span.start], MASK]
        position = span.end
    return b"".join([*pieces, data[position:]]), _hits(where, data, spans)


def mask_text(text: str, where: str = "") -> tuple[str, list[SecretHit]]:
    """The same for text."""
    data, hits = mask(text.encode("utf-8", "surrogateescape"), where)
    return data.decode("utf-8", "surrogateescape"), hits


def mask_value(name: str, value: str, where: str) -> tuple[str, list[SecretHit]]:
    """The value of a named thing, such as a variable or an option: masked when the name or the value tells."""
    masked, hits = mask_text(value, where)
    if hits:
        return masked, hits
    prefix = name.lstrip("-") + "="
    masked, hits = mask_text(prefix + value, where)
    return (masked[len(prefix) :], hits) if masked.startswith(prefix) else (value, [])


def mask_argv(argv: Sequence[str]) -> tuple[tuple[str, ...], list[SecretHit]]:
    """A command with its secrets masked, those after an option such as `--token` too."""
    masked: list[str] = []
    hits: list[SecretHit] = []
    option = ""
    for word in argv:
        value, found = mask_value(option, word, "argv") if option else mask_text(word, "argv")
        masked.append(value)
        hits += found
        option = word if word.startswith("-") and "=" not in word else ""
    return tuple(masked), hits


def secret_name(name: str) -> bool:
    """Whether a variable's name looks like that of a secret."""
    return bool(_NAME.search(name))


def as_error(hits: Sequence[SecretHit], *, most: int = 20) -> SecretFound:
    """The error that stops a capture: every place, never a value."""
    places = [f"  {hit.where}, line {hit.line}: {hit.kind}" for hit in hits[:most]]
    if len(hits) > most:
        places.append(f"  and {len(hits) - most} more")
    count = "1 value looks like a secret" if len(hits) == 1 else f"{len(hits)} values look like secrets"
    return SecretFound(
        count,
        "\n" + "\n".join(places),
        hint="take them out, or add --redact to mask them in the bundle; a line that holds "
        "`pragma: allowlist secret` is passed over",
        id="secret-found",
    )


def _scan_stream(where: str, stream: BinaryIO) -> list[SecretHit] | None:
    """What is in a file, a piece at a time; None for a binary one."""
    hits: list[SecretHit] = []
    line, rest = 1, b""
    while True:
        data = rest + stream.read(_CHUNK)
        if line == 1 and _binary(data):
            return None
        last = len(data) < _CHUNK
        # What starts in the overlap is found, whole, with the next piece.
        end = len(data) if last else data.rfind(b"\n", 0, len(data) - _OVERLAP) + 1 or len(data) - _OVERLAP
        hits += _hits(where, data, [s for s in _spans(data) if s.start < end], line)
        if last:
            return hits
        line += data.count(b"\n", 0, end)
        rest = data[end:]


def _hits(where: str, data: bytes, spans: list[_Span], line: int = 1) -> list[SecretHit]:
    hits, position = [], 0
    for span in spans:
        line += data.count(b"\n", position, span.start)
        position = span.start
        hits.append(SecretHit(where, line, span.kind))
    return hits


def _spans(data: bytes) -> list[_Span]:
    """Every secret's place, in order, none overlapping another; the more telling kind wins."""
    if _binary(data):
        return []
    found: list[_Span] = []
    if _any_signature().search(data):
        for kind, pattern in _signatures():
            found += [span for match in pattern.finditer(data) if (span := _judge(kind, match, data))]
    found += _assignments(data)
    taken: list[_Span] = []
    for span in found:
        if not any(span.start < other.end and other.start < span.end for other in taken):
            taken.append(span)
    return sorted(span for span in taken if not _allowed(data, span.start))


def _judge(kind: str, match: Any, data: bytes) -> _Span | None:
    start, end = match.span(1)
    if kind == "private-key":
        return _key_block(data, start, end)
    if kind in ("password-in-url", "token-in-url", "authorization-header", "netrc-password"):
        value = data[start:end].decode("utf-8", "replace")
        if signatures.placeholder(value) or (kind == "token-in-url" and not re.search("[0-9]", value)):
            return None
    return _Span(start, end, kind)


def _key_block(data: bytes, start: int, header_end: int) -> _Span | None:
    """The whole block of a private key; a mere header, as in code that looks for one, is no key."""
    limit = start + _KEY_BLOCK
    if data[start : start + 5] == b"PuTTY":
        closing = re.compile(rb"Private-MAC:[^\n]*")
    else:
        closing = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
    end = closing.search(data, header_end, limit)
    body = data[header_end : end.start() if end else limit]
    if end is None:
        # Cut short, as in a log: what still looks like base64 belongs to it.
        body = re.match(rb"(?:[A-Za-z0-9+/=\s]|\\[nr])*", body)[0]  # type: ignore[index]
    if not re.search(rb"[A-Za-z0-9+/=]{32}", body):
        return None
    return _Span(start, end.end() if end else header_end + len(body), "private-key")


def _assignments(data: bytes) -> Iterator[_Span]:
    for match in _assignment().finditer(data):
        quoted = match[4] is not None or match[5] is not None
        group = 4 if match[4] is not None else 5 if match[5] is not None else 6
        start, end = match.span(group)
        if group == 6 and data[end : end + 1] in (b"(", b"["):
            continue
        begin = data.rfind(b"\n", 0, match.start()) + 1
        before = data[begin : match.start()][-200:]
        variable = (
            match[3] == b"=" and match[1].isupper() and bool(re.search(rb"(?:^|[\s\"'+-])[A-Z0-9_]*$", before))
        )
        name = (match[1] + match[2]).decode().lower()
        key = not re.search(signatures.PASSWORD_NAMES, name) or re.search("key|token", name) is not None
        value = data[start:end].decode("utf-8", "replace")
        if signatures.secret_value(value, key=key, quoted=quoted, variable=variable):
            yield _Span(start, end, "key-assignment" if key else "password-assignment")


def _allowed(data: bytes, position: int) -> bool:
    begin = data.rfind(b"\n", 0, position) + 1
    end = data.find(b"\n", position)
    return _PRAGMA in data[begin : end if end >= 0 else len(data)]


def _binary(data: bytes) -> bool:
    return b"\0" in data[:8192]


@cache
def _signatures() -> tuple[tuple[str, Any], ...]:
    return tuple((row.kind, _compile(row.pattern)) for row in signatures.SIGNATURES)


@cache
def _any_signature() -> Any:
    """One automaton for all: most files hold nothing, and one pass says so."""
    return _compile("|".join(f"(?:{row.pattern})" for row in signatures.SIGNATURES))


@cache
def _assignment() -> Any:
    return _compile(signatures.ASSIGNMENT)


def _compile(pattern: str) -> Any:
    options = re2.Options()
    options.max_mem = 256 * 1024 * 1024
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern.encode(), options)
