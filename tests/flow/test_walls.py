"""Behind company walls: a package index and data over TLS with a private CA and a login, past a proxy with one.

The names resolve in the proxy alone. What the user told pip, uv, curl or netrc has to be enough, and nothing of it
may be in an image, a record, a bundle or a log.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme
from proxy.http.proxy import HttpProxyBasePlugin  # noqa: F401 - the proxy is needed

from tests.environment.conftest import Environment, OwnIndex, serving
from tests.flow.conftest import Done, Project
from tests.observe.wheelmaker import make_wheel

USER, PASSWORD = "ada", "s3cr3t-of-the-index/+@"
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"
PROXY_USER, PROXY_PASSWORD = "bob", "s3cr3t-of-the-proxy"
SECRETS = [
    PASSWORD,
    PROXY_PASSWORD,
    quote(PASSWORD, safe=""),
    base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
    base64.b64encode(f"{PROXY_USER}:{PROXY_PASSWORD}".encode()).decode(),
]
SUPPORT = Path(__file__).parents[1] / "support"
MINE = ("PIP_", "UV_", "SSL_", "HTTP", "http", "ALL_PROXY", "NO_PROXY", "no_proxy", "NETRC")


@dataclass
class Company:
    """What stands behind the walls, and how one gets there."""

    folder: Path
    index: OwnIndex
    proxy: str
    """URL of the proxy with its login."""
    ca: Path

    @property
    def host(self) -> str:
        """The index by the name that only the proxy knows, `index.corp.test:PORT`."""
        return f"index.corp.test:{self.index.url.rpartition(':')[2]}"

    def simple(self, login: str = "") -> str:
        """The URL of the index, with a login or without."""
        return f"https://{login}{'@' if login else ''}{self.host}/simple/"

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of a person who told nobody anything yet, but for these."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(MINE) and "CA_BUNDLE" not in k}
        told = {
            "HOME": self.folder,
            "XDG_CONFIG_HOME": self.folder / "config",
            "XDG_CONFIG_DIRS": self.folder / "none",
        }
        told |= {"XDG_CACHE_HOME": self.folder / "cache", "PIP_CONFIG_FILE": "", "NETRC": self.folder / "no-netrc"}
        return kept | {name: str(value) for name, value in told.items()} | more

    def write(self, name: str, text: str) -> str:
        """A file of the user's."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return str(path)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real proxy with a login, on loopback; its URL."""
    port = tmp_path_factory.mktemp("proxy") / "port"
    command = [sys.executable, "-m", "proxy", "--port", "0", "--port-file", port, "--num-workers", "1"]
    command += ["--num-acceptors", "1", "--basic-auth", f"{PROXY_USER}:{PROXY_PASSWORD}", "--log-level", "ERROR"]
    command += ["--plugins", "resolving.CompanyNames"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(SUPPORT)}) as process:
        for _ in range(600):
            if port.exists() and port.read_text().strip():
                break
            time.sleep(0.1)
        yield f"http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:{port.read_text().strip()}"
        process.terminate()


@pytest.fixture
def company(tmp_path: Path, proxy: str) -> Iterator[Company]:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("index.corp.test").configure_cert(tls)
    ca = tmp_path / "company.pem"
    authority.cert_pem.write_to_path(str(ca))
    index = OwnIndex()
    index.login = f"{USER}:{PASSWORD}"
    (tmp_path / "published").mkdir()
    index.add(make_wheel(tmp_path / "published", "corp_pkg", "1.0", {"corp_pkg.py": "VALUE = 42\n"}))
    (tmp_path / "user").mkdir()
    with serving(index, tls) as served:
        yield Company(tmp_path / "user", served, proxy, ca)


def by_pip_conf(company: Company) -> dict[str, str]:
    company.write(
        "config/pip/pip.conf",
        f"[global]\nindex-url = {company.simple(LOGIN)}\ncert = {company.ca}\nproxy = {company.proxy}\n",
    )
    return company.environment()


def by_variables(company: Company) -> dict[str, str]:
    return company.environment(
        PIP_INDEX_URL=company.simple(LOGIN), PIP_CERT=str(company.ca), HTTPS_PROXY=company.proxy
    )


def by_netrc(company: Company) -> dict[str, str]:
    netrc = company.write("netrc", f"machine index.corp.test login {USER} password {PASSWORD}\n")
    return company.environment(
        PIP_INDEX_URL=company.simple(),
        NETRC=netrc,
        SSL_CERT_FILE=str(company.ca),
        https_proxy=company.proxy,
    )


def by_keyring(company: Company) -> dict[str, str]:
    env = company.environment(
        PIP_INDEX_URL=company.simple(USER),
        PIP_KEYRING_PROVIDER="subprocess",
        REQUESTS_CA_BUNDLE=str(company.ca),
        HTTPS_PROXY=company.proxy,
        PYTHON_KEYRING_BACKEND="keyrings.alt.file.PlaintextKeyring",
        XDG_DATA_HOME=str(company.folder / "data"),
        PATH=f"{company.folder / 'bin'}:{os.environ['PATH']}",
    )
    # pip passes over the one beside itself.
    company.write("bin/keyring", f'#!/bin/sh\nexec {sys.executable} -m keyring "$@"\n')
    (company.folder / "bin/keyring").chmod(0o700)
    # pip asks for the index by its host.
    subprocess.run(["keyring", "set", company.host, USER], input=PASSWORD, text=True, env=env, check=True)
    return env


def by_uv_toml(company: Company) -> dict[str, str]:
    company.write(
        "config/uv/uv.toml", f'[[index]]\nname = "the-corp"\nurl = "{company.simple()}"\ndefault = true\n'
    )
    return company.environment(
        UV_INDEX_THE_CORP_USERNAME=USER,
        UV_INDEX_THE_CORP_PASSWORD=PASSWORD,
        SSL_CERT_FILE=str(company.ca),
        HTTPS_PROXY=company.proxy,
    )


WAYS = [by_pip_conf, by_variables, by_netrc, by_keyring, by_uv_toml]
FETCH = """
import sys
from pathlib import Path
import msgspec
from runbook.environment.index import Index
from runbook.environment.wheels import fetch
from tests.factories import make_interpreter
folder = Path(sys.argv[1])
index = Index(folder / "cache")
hashes = index.files([("corp-pkg", "1.0")])["corp-pkg", "1.0"]
assert hashes.hashes, hashes.problem
(folder / "requirements.txt").write_text(f"corp-pkg==1.0 --hash=sha256:{hashes.hashes[0]}\\n")
print(*fetch(folder / "requirements.txt", make_interpreter(), None, folder / "target",
             index=index, cache=folder / "cache").wheels)
"""


def secrets_below(folder: Path, *but: Path) -> list[str]:
    """Files that hold one of the secrets."""
    files = [p for p in folder.rglob("*") if p.is_file() and not any(p.is_relative_to(b) for b in but)]
    return [str(p) for p in files if any(secret.encode() in p.read_bytes() for secret in SECRETS)]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_wheels_are_fetched_with_what_the_user_told_pip_or_uv(company: Company, way: Any, tmp_path: Path) -> None:
    env = way(company)
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FETCH, work],
        env={**env, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "corp_pkg-1.0-py3-none-any.whl\n"), done.stderr
    assert secrets_below(work) == []


def test_without_the_login_the_error_says_so_and_shows_no_secret(company: Company, tmp_path: Path) -> None:
    wrong = company.simple(f"{USER}:{PROXY_PASSWORD}")
    env = company.environment(PIP_INDEX_URL=wrong, PIP_CERT=str(company.ca), HTTPS_PROXY=company.proxy)
    done = subprocess.run(
        [sys.executable, "-c", FETCH, tmp_path],
        env={**env, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "401" in done.stderr
    assert not any(secret in done.stderr for secret in SECRETS)


JOB = """
import os, pathlib, corp_pkg
if pathlib.Path("/opt/runbook").exists():
    for name, value in sorted(os.environ.items()):
        print("variable", name, value)
    for path in ("/etc/pip.conf", "/root/.netrc", os.path.expanduser("~/.config/pip/pip.conf")):
        print(path, pathlib.Path(path).exists())
print("total:", corp_pkg.VALUE * sum(map(float, open("data.txt"))))
"""


@pytest.mark.docker
def test_no_secret_is_in_the_image_the_record_the_bundle_or_a_log(company: Company, tmp_path: Path) -> None:
    venv = Environment(tmp_path / "venv")
    venv.install(tmp_path / "published/corp_pkg-1.0-py3-none-any.whl")
    direct = next((tmp_path / "venv").rglob("direct_url.json"))
    direct.unlink()  # As if the index had given it.
    record = direct.with_name("RECORD")
    record.write_text("".join(x for x in record.read_text().splitlines(True) if "direct_url" not in x))
    project = Project(tmp_path / "project", venv.python, company.folder)
    project.write("train.py", JOB)
    data = project.write("data.txt", "1.5\n2.5\n")
    company.index.add(data)  # Served below /files/, with the same login.
    env = by_pip_conf(company) | {
        "HTTPS_PROXY": company.proxy,
        "SSL_CERT_FILE": str(company.ca),
        "NETRC": company.write("netrc", f"machine index.corp.test login {USER} password {PASSWORD}\n"),
        "DOCKER_CONFIG": str(company.folder / "docker"),
    }
    company.write("docker/config.json", json.dumps({"proxies": {"default": {"httpsProxy": company.proxy}}}))

    def runbook(*arguments: str | Path) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "runbook", *map(str, arguments)],
            cwd=project.folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        (tmp_path / f"printed-{arguments[0]}").write_text(done.stdout + done.stderr)
        return Done(done.returncode, done.stdout, done.stderr)

    source = f"data.txt=https://{company.host}/files/data.txt"
    ran = runbook("run", "--metric", "total=total: ([0-9.]+)", "--input", source, "--", venv.python, "train.py")
    assert ran.code == 0, ran.err
    captured = runbook("capture", "-o", "x.runbook", "--embed-limit", "0")
    assert captured.code == 0, captured.err
    lock = (project.folder / "x.runbook/data/lock/requirements.txt").read_text()
    assert "corp-pkg==1.0" in lock and not list((project.folder / "x.runbook/data/lock").glob("wheels/*"))
    data.rename(tmp_path / "published/data.txt")
    company.index.files[""] = [tmp_path / "published/data.txt"]
    company.index.asked.clear()
    assert runbook("replay", "x.runbook", "--plan").code == 0
    done = runbook("replay", "x.runbook", "--engine", "docker", "-o", "report")
    assert done.code == 0, done.err
    assert {"/files/corp_pkg-1.0-py3-none-any.whl", "/files/data.txt"} <= set(company.index.asked)
    said = (project.folder / "report/stdout.log").read_text()
    assert "variable PATH" in said and "PROXY" not in said.upper()
    assert "pip.conf False" in said and "netrc False" in said
    environment = json.loads((project.folder / "x.runbook/data/record.json").read_text())["environment"]["id"]
    image = f"runbook/env:{environment['value'][7:31]}"
    try:
        subprocess.run(["docker", "save", "-o", tmp_path / "image.tar", image], check=True)
    finally:
        subprocess.run(["docker", "rmi", "--force", image], capture_output=True, check=False)
    with tarfile.open(tmp_path / "image.tar") as archive:
        archive.extractall(tmp_path / "image", filter="data")
    for layer in (tmp_path / "image").rglob("layer.tar"):
        with tarfile.open(layer) as archive:
            archive.extractall(layer.parent / "files", filter="tar")
    environments = [path.parents[4] for path in tmp_path.rglob("linked/*/lib/python3*/site-packages/corp_pkg.py")]
    environments += [
        path.parents[4] for path in company.folder.rglob("linked/*/lib/python3*/site-packages/corp_pkg.py")
    ]
    assert environments and all(secrets_below(one) == [] for one in environments)
    user = [company.folder / name for name in ("config", "netrc", "docker")]
    assert secrets_below(tmp_path, *user) == []
    assert secrets_below(company.folder) != []  # The search finds what is there.
