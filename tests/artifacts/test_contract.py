"""What every format keeps: a planted difference is located, and other bytes of the same content are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.artifacts.judge import format_of, judge
from runbook.model.artifact import ArtifactComparison
from runbook.registry import members
from tests.artifacts.planted import planted

FORMATS = sorted(members("artifacts"))


def compared(folder: Path, a: bytes, b: bytes, name: str) -> ArtifactComparison:
    (folder / "a").write_bytes(a)
    (folder / "b").write_bytes(b)
    with (folder / "a").open("rb", buffering=0) as one, (folder / "b").open("rb", buffering=0) as other:
        return judge(name, one, other)


def test_every_format_has_planted_files() -> None:
    assert set(FORMATS) == set(planted())


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_is_known_by_what_it_is(format: str) -> None:
    one = planted()[format]()
    found = format_of(f"out/x{one.suffix}", one.original[:4096])
    assert found is not None
    assert found.name == format


@pytest.mark.parametrize("format", FORMATS)
def test_a_planted_difference_is_found_and_located(format: str, tmp_path: Path) -> None:
    one = planted()[format]()
    found = compared(tmp_path, one.original, one.changed, f"x{one.suffix}")
    assert found.kind == format
    assert found.verdict == ("different" if one.part else "bytes differ")
    assert one.says in found.words()
    if one.part:
        assert found.parts[0].name == one.part
        assert found.parts_differing == 1


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_bytes_and_the_same_content_are_told_apart(format: str, tmp_path: Path) -> None:
    one = planted()[format]()
    assert compared(tmp_path, one.original, one.original, f"x{one.suffix}").verdict == "identical bytes"
    if one.again is not None:
        found = compared(tmp_path, one.original, one.again, f"x{one.suffix}")
        assert found.verdict == "same content", found
        assert found.reason
