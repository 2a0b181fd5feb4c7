"""Seed the HTTP cache of rocrate-validator with the RO-Crate 1.1 context that the package `rocrate` carries.

Usage: python crate_cache.py CACHE_PATH. Nothing is fetched.
"""

import sys
from importlib.resources import files
from io import BytesIO

from requests import Request
from requests.adapters import HTTPAdapter
from requests_cache import CachedSession
from urllib3 import HTTPResponse

CONTEXT = "https://w3id.org/ro/crate/1.1/context"


class _Carried(HTTPAdapter):
    """Answers every request with the carried context."""

    def send(self, request, **_options):
        body = files("rocrate").joinpath("data/ro-crate.jsonld").read_bytes()
        headers = {"Content-Type": "application/ld+json"}
        answer = HTTPResponse(body=BytesIO(body), headers=headers, status=200, preload_content=False)
        return self.build_response(request, answer)


def seed(cache: str) -> None:
    """Store the context under the headers that the validator asks with, and under none."""
    with CachedSession(cache, backend="sqlite", expire_after=-1, allowable_methods=("GET",)) as session:
        session.mount("https://", _Carried())
        for headers in ({}, {"Accept": "application/ld+json, application/json"}):
            session.send(session.prepare_request(Request("GET", CONTEXT, headers=headers)))


if __name__ == "__main__":
    seed(sys.argv[1])
