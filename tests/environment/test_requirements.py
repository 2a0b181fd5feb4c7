"""The grammar of the lock: what is written can be read, and nothing but pins with hashes gets through."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.errors import BundleRejected
from runbook.model.requirements import Requirement, parse_requirements, render_requirements

A, B = "a" * 64, "b" * 64
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda n: "--" not in n)
versions = st.from_regex(
    r"[1-9][0-9]{0,2}(\.[0-9]{1,3}){0,3}((a|b|rc)[1-9])?(\.post[1-9])?(\+[a-z]{1,5})?", fullmatch=True
)
hashes = st.sets(st.from_regex(r"[0-9a-f]{64}", fullmatch=True), min_size=1, max_size=3)
requirements = st.builds(lambda n, v, h: Requirement(n, v, tuple(sorted(h))), names, versions, hashes)


@given(st.lists(requirements, unique_by=lambda r: r.name))
def test_what_is_written_is_read_again(pins: list[Requirement]) -> None:
    assert parse_requirements(render_requirements(pins)) == tuple(sorted(pins))


@given(st.lists(requirements, unique_by=lambda r: r.name), st.randoms())
def test_the_order_of_packages_does_not_change_the_bytes(pins: list[Requirement], random) -> None:
    shuffled = list(pins)
    random.shuffle(shuffled)
    assert render_requirements(shuffled) == render_requirements(pins)


@given(st.binary(max_size=200))
def test_no_other_bytes_are_ever_accepted(text: bytes) -> None:
    try:
        pins = parse_requirements(text)
    except BundleRejected as error:
        assert error.exit_code == 5
        assert error.id == "lock-grammar"
    else:
        assert text.strip() == b"" or pins


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "-e .",
        "--index-url https://index.example/simple",
        "--extra-index-url https://index.example/simple",
        "--find-links /tmp",
        "--trusted-host index.example",
        "-c constraints.txt",
        "name",
        "name==1.0",
        f"name>=1.0 --hash=sha256:{A}",
        f"name==1.* --hash=sha256:{A}",
        f"name[extra]==1.0 --hash=sha256:{A}",
        f"name==1.0 ; python_version>'3' --hash=sha256:{A}",
        f"name @ https://index.example/name.whl --hash=sha256:{A}",
        f"git+https://index.example/name --hash=sha256:{A}",
        f"name==1.0 --hash=md5:{A[:32]}",
        f"name==1.0 --hash=sha256:{A[:63]}",
        f"name==1.0 --hash=sha256:{A.upper()}",
        f"name==1.0 --hash=sha256:{A} --config-settings=x=y",
        f"name==1.0  --hash=sha256:{A}",
        f"name==1.0 --hash=sha256:{A} # comment",
        "# comment",
        f"name==1.0 --hash=sha256:{A}\nName==2.0 --hash=sha256:{B}",
        f"name==1.0 --hash=sha256:{A}\r",
        f"name==1.0 --hash=sha256:{A}\x00",
        f"nam\u0435==1.0 --hash=sha256:{A}",
        f"name==1.0 \\\n\n    --hash=sha256:{A}",
        "\\\n",
    ],
)
def test_anything_but_a_pin_with_hashes_is_rejected(line: str) -> None:
    with pytest.raises(BundleRejected) as caught:
        parse_requirements(f"{line}\n".encode())
    assert caught.value.id == "lock-grammar"


def test_a_lock_cut_off_in_its_last_line_is_rejected() -> None:
    whole = render_requirements([Requirement("name", "1.0", (A,))])
    for cut in range(1, len(whole)):
        with pytest.raises(BundleRejected):
            parse_requirements(whole[:cut])


def test_pip_reads_the_file_as_it_is_meant(tmp_path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_bytes(render_requirements([Requirement("nosuch-name", "1.0+local", (A, B))]))
    pip = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--no-index", "--no-deps"]
    told = subprocess.run([*pip, "--require-hashes", "-r", str(file)], capture_output=True, text=True, check=False)
    assert "nosuch-name==1.0+local" in told.stderr
    assert "Invalid requirement" not in told.stderr
