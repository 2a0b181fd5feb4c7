"""Plugin of proxy.py: the proxy alone knows the company's names, so that what reaches them went through it."""

from __future__ import annotations

from proxy.http.proxy import HttpProxyBasePlugin


class CompanyNames(HttpProxyBasePlugin):
    """Every `….corp.test` is this machine."""

    def resolve_dns(self, host: str, port: int) -> tuple[str | None, None]:
        """The address of a host."""
        return ("127.0.0.1" if host.endswith(".corp.test") else None), None
