"""URLs as they may enter a record: without the credentials that people put into them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from runbook.observe.names import looks_secret


def without_credentials(url: str) -> str:
    """The same URL without user, password and secret-looking query parameters.

    The user of `ssh://git@host/…` and of `git@host:path` stays: it names the protocol's account, not a person.
    A text that is no URL, such as a path, is returned as it is.
    """
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://(unreadable)"
    account, at, host = parts.netloc.rpartition("@")
    user = account.partition(":")[0]
    keep = f"{user}@" if at and user and "ssh" in parts.scheme else ""
    query = parts.query
    if query:
        kept = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if not looks_secret(k)]
        query = urlencode(kept) if len(kept) != len(parse_qsl(query, keep_blank_values=True)) else query
    return urlunsplit((parts.scheme, keep + host, parts.path, query, parts.fragment))
