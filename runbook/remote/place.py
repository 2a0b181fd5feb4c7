"""Which store a remote's name stands for."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from runbook.errors import UsageError
from runbook.model.reference import parse_reference
from runbook.remote.interface import Store

_TIMEOUT_S: Final = 60.0
_SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.DOTALL)
_HINT: Final = "oci://HOST/NAME:TAG, s3://BUCKET/NAME, file:///PATH/NAME, or https://HOST/NAME to pull"


def open_store(remote: str) -> Store:
    """The store of `oci://HOST/NAME[:TAG][@sha256:…]`, `https://…` or any URL of fsspec; nothing is asked yet.

    Raises UsageError for what is none, NeedMissing where its client is not installed.
    """
    match = _SCHEME.fullmatch(remote)
    if match is None or not remote.isprintable() or "::" in remote:
        raise UsageError("not a remote", remote, hint=_HINT, id="remote-name")
    scheme, rest = match[1], match[2].rstrip("/")
    if scheme == "oci":
        from runbook.remote.registry import Repository

        reference = parse_reference(rest)
        if reference is None or not reference.host:
            hint = "oci://HOST/NAME:TAG, all lower case"
            raise UsageError("not a place in a registry", remote, hint=hint, id="remote-name")
        return Repository(reference, timeout_s=_TIMEOUT_S)
    parts = urlsplit(remote)
    if "@" in parts.netloc or parts.query or parts.fragment:
        hint = "logins are those of the client's own configuration"
        raise UsageError(
            "a remote holds no login and no query", without_login(remote), hint=hint, id="remote-name"
        )
    above, _, name = rest.rpartition("/")
    if not above or not name or name in (".", "..", "blobs"):
        raise UsageError("a remote needs a name of its own", remote, hint=_HINT, id="remote-name")
    from runbook.remote.layout import LayoutStore

    if scheme in ("http", "https"):
        from runbook.remote.web import WebFiles

        return LayoutStore(WebFiles(f"{scheme}://{above}"), name)
    from runbook.remote.files import FsspecFiles

    return LayoutStore(FsspecFiles(f"{scheme}://{above}"), name)


def without_login(remote: str) -> str:
    """The remote as it may be shown."""
    return re.sub(r"//[^/]*@", "//", remote).partition("?")[0]
