"""pip-tools' hashes of a pin, from what an index lists.

pip-tools finds them by asking for a document that many indexes lack and then by downloading every file. Here its
repository is given the files and hashes that the Simple API (PEP 503, 691) lists at once.
"""

from __future__ import annotations

from typing import Any

from packaging.utils import canonicalize_name
from pip._internal.exceptions import PipError
from pip._internal.models.candidate import InstallationCandidate
from pip._internal.models.link import Link
from pip._internal.req.constructors import install_req_from_line
from pip._vendor.requests.exceptions import RequestException
from piptools.repositories.pypi import PyPIRepository

from runbook.environment.release import Release
from runbook.environment.repository import Repository, sentence


class Hashes(PyPIRepository):  # type: ignore[misc]
    """pip-tools' repository without a session and a finder of its own: both are slow to make and seldom needed."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._available_candidates_cache: dict[str, list[InstallationCandidate]] = {}
        self._listed: dict[str, dict[str, str]] = {}

    @property
    def session(self) -> Any:
        """What files without a hash are downloaded with."""
        return self._repository.session

    def of(self, release: Release) -> tuple[str, ...]:
        """sha256 of every remote file, sorted; what the index listed without one is downloaded. Raises OSError."""
        listed = {file.url: f"sha256:{file.sha256}" for file in release.remote if file.sha256}
        self._listed[release.name] = listed
        self._available_candidates_cache[release.name] = [
            InstallationCandidate(release.name, release.version, Link(file.url)) for file in release.remote
        ]
        try:
            found = self.get_hashes(install_req_from_line(f"{release.name}=={release.version}"))
        except (PipError, RequestException, ValueError) as error:
            raise OSError(f"{release.name} {release.version}: {sentence(error)}") from error
        return tuple(sorted(one.removeprefix("sha256:") for one in found))

    def _get_hashes_from_pypi(self, ireq: Any) -> dict[str, str]:
        return self._listed[canonicalize_name(ireq.name)]
