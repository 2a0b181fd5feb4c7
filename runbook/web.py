"""Requests to web servers as the user's machine makes them: its proxies, logins and certificate authorities."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from requests import Session

CERTIFICATES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
"""Variables that name certificate authorities, the first one wins: of requests, curl, OpenSSL and uv, pip."""


def certificates(environment: Mapping[str, str]) -> str:
    """File or folder of the authorities that the user trusts; empty where nothing is said."""
    return next(filter(None, map(environment.get, CERTIFICATES)), "")


def session() -> Session:
    """A session of requests, which takes HTTP(S)_PROXY, NO_PROXY and ~/.netrc from the environment by itself."""
    import requests

    made = requests.Session()
    made.verify = certificates(os.environ) or True
    return made
