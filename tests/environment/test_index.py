"""What an index tells, and what it costs when there is none. The server is a real one on loopback."""

import hashlib
import socket
from pathlib import Path

import pytest

from runbook.environment.index import Index
from tests.environment.conftest import OwnIndex
from tests.observe.wheelmaker import make_wheel

PIN = ("demo-pkg", "1.0")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def filled(own_index: OwnIndex, tmp_path: Path) -> OwnIndex:
    for tag in ("py3-none-any", "cp39-cp39-win_amd64", "cp314-cp314-macosx_11_0_arm64"):
        own_index.add(make_wheel(tmp_path, "demo_pkg", "1.0", {"demo.py": tag}, tag=tag))
    own_index.add(make_wheel(tmp_path, "demo_pkg", "1.0.1", {"demo.py": "other"}))
    source = tmp_path / "demo_pkg-1.0.tar.gz"
    source.write_bytes(b"source")
    own_index.add(source)
    return own_index


@pytest.mark.parametrize("form", ["json", "html"])
def test_files_of_every_platform_are_listed_with_their_hashes(filled: OwnIndex, tmp_path: Path, form: str) -> None:
    filled.form = form
    index = Index(tmp_path / "cache", filled.pip_args())
    release = index.files([PIN])[PIN]
    expected = {p.name: sha(p) for p in filled.files["demo-pkg"] if "1.0.1" not in p.name}
    assert {f.filename: f.sha256 for f in release.files} == expected
    assert index.hashes(release) == tuple(sorted(expected.values()))
    assert not release.problem
    assert not any("/files/" in path for path in filled.asked)


def test_what_an_index_lists_without_a_hash_is_downloaded_for_it(filled: OwnIndex, tmp_path: Path) -> None:
    filled.hashes = False
    index = Index(tmp_path / "cache", filled.pip_args())
    release = index.files([PIN])[PIN]
    assert {f.sha256 for f in release.files} == {None}
    assert set(index.hashes(release)) == {sha(p) for p in filled.files["demo-pkg"] if "1.0.1" not in p.name}


def test_a_second_look_asks_nobody(filled: OwnIndex, tmp_path: Path) -> None:
    first = Index(tmp_path / "cache", filled.pip_args()).files([PIN])
    filled.asked.clear()
    assert Index(tmp_path / "cache", filled.pip_args()).files([PIN]) == first
    assert filled.asked == []


def test_another_index_in_the_users_configuration_is_asked_at_once(
    filled: OwnIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "configuration" / "pip" / "pip.conf"
    place.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    for address in (filled.url, "http://localhost:" + filled.url.rpartition(":")[2]):
        place.write_text(f"[global]\nindex-url = {address}/simple/\n")
        filled.asked.clear()
        assert Index(tmp_path / "cache").files([PIN])[PIN].hashes
        assert filled.asked


def test_an_unknown_package_is_no_problem_of_the_index(filled: OwnIndex, tmp_path: Path) -> None:
    release = Index(tmp_path / "cache", filled.pip_args()).files([("nosuch", "1.0")])["nosuch", "1.0"]
    assert (release.files, release.problem, release.offline) == ((), "", False)


@pytest.mark.parametrize(
    ("behaviour", "said"), [({"status": 500}, "HTTP 500"), ({"garbage": True}, "not an index page")]
)
def test_a_broken_index_is_one_sentence_per_package(
    filled: OwnIndex, tmp_path: Path, behaviour: dict[str, object], said: str
) -> None:
    for name, value in behaviour.items():
        setattr(filled, name, value)
    pins = [(f"name{number}", "1.0") for number in range(5)]
    releases = Index(tmp_path / "cache", filled.pip_args()).files(pins)
    for pin in pins:
        assert said in releases[pin].problem or "many 500" in releases[pin].problem
        assert "\n" not in releases[pin].problem
        assert not releases[pin].offline


def test_without_a_connection_every_package_says_so_once(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    arguments = ("--isolated", "--index-url", f"http://user:hunter2@127.0.0.1:{port}/simple")
    pins = [(f"name{number}", "1.0") for number in range(40)]
    releases = Index(tmp_path / "cache", arguments).files(pins)
    assert all(release.offline and "refused" in release.problem for release in releases.values())
    assert "hunter2" not in repr(releases)


def test_a_folder_of_wheels_is_local(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo_pkg", "1.0+local", {"demo.py": ""})
    pin = ("demo-pkg", "1.0+local")
    arguments = ("--isolated", "--no-index", "--find-links", str(tmp_path))
    [file] = Index(tmp_path / "cache", arguments).files([pin])[pin].files
    assert (file.local, file.path) == (True, wheel)


@pytest.mark.network
def test_the_users_own_index_gives_hashes(tmp_path: Path) -> None:
    release = Index(tmp_path / "cache").files([("idna", "3.10")])["idna", "3.10"]
    assert "idna-3.10-py3-none-any.whl" in {f.filename for f in release.remote}
    assert all(f.sha256 for f in release.remote)
