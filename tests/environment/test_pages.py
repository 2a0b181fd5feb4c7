"""A page asked for plainly tells what pip's own session tells, and what needs that session gets it."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook.environment.index import Index
from runbook.environment.release import Release
from tests.environment.conftest import OwnIndex, serving
from tests.observe.wheelmaker import make_wheel

PIN = ("demo-pkg", "1.0")
BY_PIP = ("--trusted-host", "127.0.0.1")


@pytest.fixture
def filled(own_index: OwnIndex, tmp_path: Path) -> OwnIndex:
    for tag in ("py3-none-any", "cp39-cp39-win_amd64"):
        own_index.add(make_wheel(tmp_path, "demo_pkg", "1.0", {"demo.py": tag}, tag=tag))
    own_index.add(make_wheel(tmp_path, "demo_pkg", "1.0.1", {"demo.py": ""}))
    return own_index


def ask(cache: Path, *pip_args: str) -> Release:
    return Index(cache, pip_args).files([PIN])[PIN]


@pytest.mark.parametrize("form", ["json", "html"])
def test_pips_session_and_a_plain_request_tell_the_same(filled: OwnIndex, tmp_path: Path, form: str) -> None:
    filled.form = form
    plain = ask(tmp_path / "plain", *filled.pip_args())
    assert len(plain.hashes) == 2
    assert not (tmp_path / "plain" / "http").exists()
    assert plain == ask(tmp_path / "pip", *filled.pip_args(), *BY_PIP)


def test_an_index_on_this_disk_needs_no_session(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "demo_pkg", "1.0", {"demo.py": ""})
    page = tmp_path / "simple" / "demo-pkg" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<!DOCTYPE html><html><body><a href="{wheel.as_uri()}">{wheel.name}</a></body></html>')
    [file] = ask(tmp_path / "cache", "--index-url", (tmp_path / "simple").as_uri()).files
    assert (file.local, file.path) == (True, wheel)


def test_a_login_in_the_address_is_used(filled: OwnIndex, tmp_path: Path) -> None:
    filled.login = "user:hunter2"
    address = f"{filled.url.replace('//', '//user:hunter2@')}/simple/"
    release = ask(tmp_path / "cache", "--index-url", address)
    assert len(release.hashes) == 2
    assert "hunter2" not in repr(release)
    assert ask(tmp_path / "other", *filled.pip_args()).problem


def test_a_login_in_the_netrc_file_is_used(
    filled: OwnIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.login = "user:hunter2"
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert len(ask(tmp_path / "cache", *filled.pip_args()).hashes) == 2


def test_a_proxy_is_asked_and_not_the_index(
    filled: OwnIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", filled.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    ask(tmp_path / "cache", "--index-url", "http://127.0.0.1:9/simple/")
    assert filled.asked == ["http://127.0.0.1:9/simple/demo-pkg/"]


def test_no_index_asks_nobody(filled: OwnIndex, tmp_path: Path) -> None:
    assert ask(tmp_path / "cache", *filled.pip_args(), "--no-index").files == ()
    assert filled.asked == []


@pytest.fixture
def secure(filled: OwnIndex, tmp_path: Path) -> Iterator[tuple[OwnIndex, Path]]:
    """The same index over https, and the certificate that it goes by."""
    tool = shutil.which("openssl")
    if tool is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    made = ("-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate)
    subprocess.run([tool, "req", "-x509", *made, *subject], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    index = OwnIndex()
    index.files = filled.files
    with serving(index, tls) as served:
        yield served, certificate


def test_the_users_own_certificates_are_trusted(secure: tuple[OwnIndex, Path], tmp_path: Path) -> None:
    index, certificate = secure
    release = ask(tmp_path / "cache", *index.pip_args(), "--cert", str(certificate))
    assert len(release.hashes) == 2
    assert not (tmp_path / "cache" / "http").exists()


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_index_whose_certificate_nobody_vouches_for_tells_nothing(
    secure: tuple[OwnIndex, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, _ = secure
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    release = ask(tmp_path / "cache", *index.pip_args())
    assert (release.files, index.asked) == ((), [])
    assert "certificate" in release.problem.lower()
    assert len(ask(tmp_path / "trusting", *index.pip_args(), *BY_PIP).hashes) == 2
