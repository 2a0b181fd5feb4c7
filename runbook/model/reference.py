"""Image references: `host/path:tag@digest`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PATH})(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True)
class Reference:
    """An image by name: `host/path:tag@digest`, with what is usually left out filled in."""

    host: str
    """Empty for the default registry."""
    path: str
    tag: str
    digest: str

    @property
    def name(self) -> str:
        """Without tag and digest, as a person writes it."""
        return f"{self.host}/{self.path}" if self.host else self.path

    def at(self, digest: str) -> str:
        """The same image, pinned."""
        return f"{self.name}@{digest}"


def parse_reference(text: str) -> Reference | None:
    """Read an image reference; None when it is none. A first part with a dot or a port is a host."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    host, path = match["host"] or "", match["path"]
    if host and not ("." in host or ":" in host or host == "localhost"):
        host, path = "", f"{host}/{path}"
    if not re.fullmatch(_PATH, path):
        return None
    return Reference(host, path, match["tag"] or "latest", match["digest"] or "")
