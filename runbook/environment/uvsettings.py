"""What the user told uv about indexes, for those who told pip nothing: uv's variables, user and system files.

A project's own uv.toml is not read: the folder that a replay is started in may be a stranger's.
Source: https://docs.astral.sh/uv/reference/settings/ and /uv/reference/environment/.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit


@dataclass(frozen=True)
class UvSettings:
    """Indexes with the credentials that uv has for them. Not to be shown."""

    default: str = ""
    """URL of the index that stands in for PyPI."""
    extra: tuple[str, ...] = ()
    keyring: bool = False
    """Whether the `keyring` command is asked for credentials."""


def read_settings(environment: Mapping[str, str]) -> UvSettings:
    """Variables before the user's file before the system's, as uv reads them. A file that is none is skipped."""
    files = [_read(path) for path in paths(environment)]
    named = [one for file in files for one in _list(file.get("index")) if isinstance(one, dict)]
    named = [one for one in named if isinstance(one.get("url"), str) and not one.get("explicit")]
    plain = [file | {} for file in files] + [file["pip"] for file in files if isinstance(file.get("pip"), dict)]
    default = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL") or ""
    default = default or next((_with_login(one, environment) for one in named if one.get("default")), "")
    default = default or next((f["index-url"] for f in plain if isinstance(f.get("index-url"), str)), "")
    extra = [*environment.get("UV_INDEX", "").split(), *environment.get("UV_EXTRA_INDEX_URL", "").split()]
    extra += [_with_login(one, environment) for one in named if not one.get("default")]
    extra += [url for file in plain for url in _list(file.get("extra-index-url")) if isinstance(url, str)]
    asked = environment.get("UV_KEYRING_PROVIDER") or next(
        (file["keyring-provider"] for file in plain if file.get("keyring-provider")), ""
    )
    return UvSettings(
        default=_url(default, environment),
        extra=tuple(dict.fromkeys(_url(text, environment) for text in extra)),
        keyring=asked == "subprocess",
    )


def paths(environment: Mapping[str, str]) -> Iterator[Path]:
    """The files that uv reads settings from, the strongest first; those that are there."""
    if environment.get("UV_NO_CONFIG"):
        return
    if told := environment.get("UV_CONFIG_FILE"):
        candidates = [Path(told)]
    else:
        own = environment.get("XDG_CONFIG_HOME") or "~/.config"
        shared = (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
        candidates = [Path(folder).expanduser() / "uv" / "uv.toml" for folder in (own, *shared)]
        candidates.append(Path("/etc/uv/uv.toml"))
    yield from (path for path in candidates if path.is_file())


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _url(text: str, environment: Mapping[str, str]) -> str:
    """Of `NAME=URL` the URL, with the login that variables have for that name."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)=(.+)", text)
    return _with_login({"name": match[1], "url": match[2]}, environment) if match else text


def _with_login(index: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The URL with UV_INDEX_NAME_USERNAME and …_PASSWORD, unless it has a login of its own."""
    url, name = str(index["url"]), re.sub(r"[^A-Z0-9]", "_", str(index.get("name", "")).upper())
    user, password = (environment.get(f"UV_INDEX_{name}_{what}", "") for what in ("USERNAME", "PASSWORD"))
    parts = urlsplit(url)
    if not name or not (user or password) or "@" in parts.netloc:
        return url
    login = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))
