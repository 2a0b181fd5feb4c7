"""What the job downloaded: which caches it lies in, what belongs together there, and what cannot be kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runbook.engine.placement import HOST
from runbook.model import hubs
from runbook.model.fact import Fact, missing, observed
from runbook.model.hubs import Cache
from runbook.model.record import Finding
from runbook.model.watch import Connection, FileUse

_NAMED = 5
_SWITCHED = ("datasets", "huggingface_hub", "transformers")
"""Libraries with an offline switch: they give up before they ask."""


@dataclass(frozen=True)
class Gathered:
    """The inputs of a job, those in caches of libraries by what belongs together."""

    single: tuple[str, ...]
    """Paths that belong to no such folder."""
    units: tuple[str, ...]
    """Folders that are one input each, whether the job was seen to read all of it or not."""
    caches: tuple[Cache, ...]
    variables: tuple[str, ...]
    """Names of the variables that told where inputs are; a replay needs them."""


def gather(inputs: Iterable[str], root: str, home: str, variables: Mapping[str, str]) -> Gathered:
    """Sort the inputs' absolute paths.

    All of one repository is one input: native readers read more of it than is seen of them, and some of its files
    only lead to others.
    """
    known = hubs.places(home, variables)
    single, units, names = list[str](), dict[str, None](), dict[str, None]()
    caches: dict[str, Cache] = {}
    for path in inputs:
        place = hubs.find(path, known)
        unknown = hubs.unknown_cache(path, home, variables) if place is None else None
        if place is not None:
            caches.setdefault(place.folder, place.cache())
            names[place.variable] = None
        elif unknown is not None:
            caches.setdefault(unknown[0], Cache(name="a library's cache", folder=unknown[0]))
            names[unknown[1]] = None
        elif home and path.startswith(home + "/") and not path.startswith(root + "/"):
            names["HOME"] = None
        unit = path if place is None else place.unit(path)
        if unit != path and Path(unit).is_dir():
            units[unit] = None
        else:
            single.append(path)
    names.pop("", None)
    ordered = tuple(caches[folder] for folder in sorted(caches))
    return Gathered(tuple(single), tuple(sorted(units)), ordered, tuple(sorted(names)))


def fetched(use: FileUse, caches: Iterable[Cache]) -> bool:
    """Whether a file that the job wrote is what it downloaded, and no result."""
    return use.made and (bool(use.fetched_by) or any(use.path.startswith(one.folder + "/") for one in caches))


def source(path: str, uses: Mapping[str, FileUse]) -> str:
    """The URL that a folder's files came from, up to where they part; empty when none was seen."""
    urls = [use.url for name, use in sorted(uses.items()) if use.url and name.startswith(path + "/")]
    repository = next((url for url in urls if "/resolve/" in url), "")
    return repository.partition("/resolve/")[0] if repository else next(iter(urls), "")


def version(path: Path) -> Fact[str]:
    """The commit of a repository in Hugging Face's cache."""
    try:
        commits = sorted(one.name for one in (path / "snapshots").iterdir())
    except OSError:
        return missing("no version was declared")
    return observed(", ".join(commits)) if commits else missing("no version was declared")


def findings(connections: Iterable[Connection], uses: Iterable[FileUse]) -> list[Finding]:
    """What was downloaded and cannot be kept, for no file holds it."""
    kept = {use.url for use in uses if use.url}
    asked = {
        one.url: None
        for one in connections
        if one.url and one.method == "GET" and one.url not in kept and _in_memory(one)
    }
    if not asked:
        return []
    text = f"downloaded into memory, so no file holds it and a replay without network goes without: {_some(asked)}"
    return [Finding(id="download-not-kept", level="warning", text=text)]


def refused(connections: Iterable[Connection], original: Iterable[Connection]) -> list[Finding]:
    """What a replay's job asked for in vain: URLs, and hosts beyond them.

    A host of this machine itself counts when the original's URLs name it: something answered there then.
    """
    hosts = {urlsplit(one.url).hostname for one in (*connections, *original) if one.url}
    asked: dict[str, None] = {}
    reached: dict[str, None] = {}
    for one in connections:
        if one.url:
            if one.by not in _SWITCHED:
                asked[one.url] = None
        elif one.host in hosts or (one.host not in ("", HOST) and not loopback(one.host)):
            reached[one.host] = None
    names = [*asked, *(host for host in reached if not any(host in url for url in asked))]
    if not names:
        return []
    text = f"the job reached for the network, which the sandbox does not have: {_some(names)}"
    return [Finding(id="tried-network", level="warning", text=text)]


def loopback(host: str) -> bool:
    """Whether it is this machine itself, or a socket in its file system."""
    return host in ("localhost", "::1", "0.0.0.0") or host.startswith(("127.", "/"))  # noqa: S104


def _in_memory(one: Connection) -> bool:
    """Whether nobody keeps the answer: libraries with a cache do, but for what they read without it."""
    return not one.by or ("/resolve/" in one.url and one.by != "redirect")


def _some(urls: Iterable[str]) -> str:
    names = list(urls)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
