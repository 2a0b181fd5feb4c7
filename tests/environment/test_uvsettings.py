"""What uv was told of indexes, in its own order of precedence."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.environment.index import Index
from runbook.environment.uvsettings import UvSettings, read_settings

USER_FILE = """
extra-index-url = ["https://extra.example/simple"]
keyring-provider = "subprocess"
[[index]]
name = "corp-main"
url = "https://user-file.example/simple"
default = true
[[index]]
name = "torch"
url = "https://torch.example/whl"
[[index]]
name = "for one package"
url = "https://explicit.example/simple"
explicit = true
"""


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """Variables that lead to a user's and a system's file."""
    for place, text in (("own", USER_FILE), ("shared", '[pip]\nindex-url = "https://system.example/simple"\n')):
        (tmp_path / place / "uv").mkdir(parents=True)
        (tmp_path / place / "uv/uv.toml").write_text(text)
    return {"XDG_CONFIG_HOME": str(tmp_path / "own"), "XDG_CONFIG_DIRS": str(tmp_path / "shared")}


def test_the_users_file_comes_before_the_systems(user: dict[str, str]) -> None:
    assert read_settings(user) == UvSettings(
        default="https://user-file.example/simple",
        extra=("https://torch.example/whl", "https://extra.example/simple"),
        keyring=True,
    )
    assert read_settings(user | {"XDG_CONFIG_HOME": "/nowhere"}).default == "https://system.example/simple"


def test_variables_come_before_files(user: dict[str, str]) -> None:
    told = read_settings(
        user | {"UV_DEFAULT_INDEX": "https://variable.example/simple", "UV_INDEX": "https://a https://b"}
    )
    assert told.default == "https://variable.example/simple"
    assert told.extra[:2] == ("https://a", "https://b")
    assert read_settings(user | {"UV_KEYRING_PROVIDER": "disabled"}).keyring is False
    assert read_settings(user | {"UV_NO_CONFIG": "1"}) == UvSettings()


def test_a_named_file_stands_alone(user: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "named.toml").write_text('index-url = "https://named.example/simple"\n')
    told = read_settings(user | {"UV_CONFIG_FILE": str(tmp_path / "named.toml")})
    assert told == UvSettings(default="https://named.example/simple")


@pytest.mark.parametrize(
    "text", ["not = [toml", "index = 3", 'index = ["x"]', "pip = 1", '[[index]]\nname = "x"\n', "\x00"]
)
def test_a_file_that_uv_would_refuse_is_passed_over(text: str, tmp_path: Path) -> None:
    (tmp_path / "uv.toml").write_text(text)
    assert read_settings({"UV_CONFIG_FILE": str(tmp_path / "uv.toml")}) == UvSettings()


@given(user=st.text(min_size=1), password=st.text())
def test_a_login_by_name_becomes_part_of_the_url_whatever_it_holds(user: str, password: str) -> None:
    told = read_settings(
        {
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": "the-corp=https://index.example:8443/simple",
            "UV_INDEX_THE_CORP_USERNAME": user,
            "UV_INDEX_THE_CORP_PASSWORD": password,
        }
    )
    parts = urlsplit(told.default)
    assert (parts.hostname, parts.port, parts.path) == ("index.example", 8443, "/simple")
    assert (unquote(parts.username or ""), unquote(parts.password or "")) == (user, password)


def test_what_pip_was_told_stands_before_what_uv_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_CONFIG_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/uv/simple")
    monkeypatch.setenv("UV_INDEX", "http://127.0.0.1:9/more/simple")
    assert Index(tmp_path).uv_environment()["UV_DEFAULT_INDEX"] == "http://127.0.0.1:9/uv/simple"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/pip/simple")
    told = Index(tmp_path).uv_environment()
    assert told["UV_DEFAULT_INDEX"] == "http://127.0.0.1:9/pip/simple"
    assert "http://127.0.0.1:9/more/simple" in told["UV_INDEX"]
    monkeypatch.delenv("PIP_INDEX_URL")
    assert "127.0.0.1:9" not in Index(tmp_path, ("--isolated",)).uv_environment()["UV_DEFAULT_INDEX"]
