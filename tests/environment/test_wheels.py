"""One wheel for each pin, and never a byte that the lock does not name."""

import hashlib
from pathlib import Path

import pytest

from runbook.environment.index import Index
from runbook.environment.wheels import Fetched, fetch
from runbook.errors import BundleRejected, EnvironmentNotRebuilt
from runbook.model.environment import Interpreter
from runbook.model.requirements import Requirement, render_requirements
from tests.environment.conftest import OwnIndex
from tests.factories import make_interpreter
from tests.observe.wheelmaker import make_wheel

NOWHERE = ("--isolated", "--index-url", "http://127.0.0.1:9/simple")


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Bench:
    """A lock, a cache and an index."""

    def __init__(self, folder: Path, index: OwnIndex) -> None:
        self.folder, self.index = folder, index
        self.wheels = folder / "published"
        self.wheels.mkdir()
        self.pins: list[Requirement] = []
        self.rounds = 0

    def publish(self, name: str, *tags: str, body: str = "", extra: tuple[str, ...] = ()) -> list[Path]:
        made = [
            make_wheel(self.wheels, name, "1.0", {f"{name}.py": body + tag}, tag=tag)
            for tag in tags or ("py3-none-any",)
        ]
        for wheel in made:
            self.index.add(wheel)
        self.pins.append(Requirement(name, "1.0", tuple(sorted([*map(sha, made), *extra]))))
        return made

    def fetch(
        self,
        *pip_args: str,
        carried: Path | None = None,
        interpreter: Interpreter | None = None,
        cache: str = "cache",
    ) -> Fetched:
        lock = self.folder / "requirements.txt"
        lock.write_bytes(render_requirements(self.pins))
        self.rounds += 1
        place = self.folder / cache
        return fetch(
            lock,
            interpreter or make_interpreter(),
            carried,
            self.folder / f"target{self.rounds}",
            index=Index(place, pip_args or self.index.pip_args()),
            cache=place,
        )


@pytest.fixture
def bench(tmp_path: Path, own_index: OwnIndex) -> Bench:
    return Bench(tmp_path, own_index)


def test_one_wheel_a_pin_the_one_the_jobs_interpreter_prefers(bench: Bench) -> None:
    bench.publish(
        "alpha", "py3-none-any", "cp311-cp311-manylinux_2_28_x86_64", "cp312-cp312-manylinux_2_28_x86_64"
    )
    bench.publish("beta")
    got = bench.fetch()
    assert got.wheels == ("alpha-1.0-cp311-cp311-manylinux_2_28_x86_64.whl", "beta-1.0-py3-none-any.whl")
    assert sorted(p.name for p in got.folder.iterdir()) == sorted(got.wheels)
    older = bench.fetch(interpreter=make_interpreter(libc="glibc 2.17"))
    assert older.wheels[0] == "alpha-1.0-py3-none-any.whl"


def test_a_second_fetch_needs_no_index_and_links_the_same_file(bench: Bench) -> None:
    bench.publish("alpha")
    first = bench.fetch()
    bench.index.asked.clear()
    second = bench.fetch(*NOWHERE)
    assert (second.wheels, second.downloaded) == (first.wheels, 0)
    assert (second.folder / second.wheels[0]).stat().st_ino == (first.folder / first.wheels[0]).stat().st_ino
    assert bench.index.asked == []


def test_carried_wheels_need_no_index(bench: Bench, tmp_path: Path) -> None:
    [wheel] = bench.publish("alpha")
    got = bench.fetch(*NOWHERE, carried=bench.wheels)
    assert (got.folder / wheel.name).read_bytes() == wheel.read_bytes()


def test_a_carried_wheel_with_another_hash_is_rejected_as_damage(bench: Bench) -> None:
    [wheel] = bench.publish("alpha")
    bench.fetch()
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(BundleRejected) as caught:
        bench.fetch(carried=bench.wheels, cache="other")
    assert (caught.value.exit_code, caught.value.value) == (5, wheel.name)
    assert not list((bench.folder / f"target{bench.rounds}").iterdir())


def test_bytes_other_than_the_listed_hash_never_reach_cache_or_target(bench: Bench) -> None:
    [wheel] = bench.publish("alpha")
    bench.index.replaced[wheel.name] = wheel.read_bytes()[:-1] + b"!"
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        bench.fetch()
    assert caught.value.exit_code == 4
    assert "alpha==1.0" in caught.value.value
    assert not list((bench.folder / "cache" / "wheels").rglob("*.whl"))
    bench.index.replaced.clear()
    assert bench.fetch().wheels == (wheel.name,)


def test_a_pin_whose_hashes_match_nothing_is_named_with_what_was_found(bench: Bench) -> None:
    bench.publish("alpha")
    bench.pins = [Requirement("alpha", "1.0", ("0" * 64,)), Requirement("gone", "1.0", ("1" * 64,))]
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        bench.fetch()
    assert caught.value.id == "pin-unsatisfied"
    assert "alpha==1.0: alpha-1.0-py3-none-any.whl was found, but with a hash" in caught.value.value
    assert "gone==1.0: no index has this version" in caught.value.value
    assert caught.value.hint


def test_a_wheel_for_other_machines_only_is_said_so(bench: Bench) -> None:
    bench.publish("alpha", "cp311-cp311-win_amd64")
    with pytest.raises(EnvironmentNotRebuilt, match="none of the 1 wheels that were found is for cp311 on linux"):
        bench.fetch()


def test_without_a_network_the_error_says_what_to_do(bench: Bench) -> None:
    bench.publish("alpha")
    with pytest.raises(EnvironmentNotRebuilt) as caught:
        bench.fetch(*NOWHERE)
    assert (caught.value.id, caught.value.exit_code) == ("index-unreachable", 4)
    assert "PIP_FIND_LINKS" in caught.value.hint


def test_a_download_that_breaks_off_goes_on_where_it_was(bench: Bench) -> None:
    [wheel] = bench.publish("alpha", body="x" * 4000)
    bench.index.cut[wheel.name] = 1000
    got = bench.fetch()
    assert (got.folder / wheel.name).read_bytes() == wheel.read_bytes()
    assert bench.index.asked.count(f"/files/{wheel.name}") == 2
    assert got.downloaded == wheel.stat().st_size


def test_what_a_killed_download_left_is_continued_or_started_again(bench: Bench) -> None:
    [wheel] = bench.publish("alpha", body="x" * 4000)
    partial = bench.folder / "cache" / "wheels" / "partial"
    partial.mkdir(parents=True)
    data = wheel.read_bytes()
    for left in (data[:500], data, b"garbage of another file" * 10):
        (partial / sha(wheel)).write_bytes(left)
        assert bench.fetch().wheels == (wheel.name,)
        [cached] = (bench.folder / "cache" / "wheels" / sha(wheel)).iterdir()
        cached.unlink()


def test_a_rotten_cache_mends_itself(bench: Bench) -> None:
    [wheel] = bench.publish("alpha")
    bench.fetch()
    cached = bench.folder / "cache" / "wheels" / sha(wheel) / wheel.name
    cached.chmod(0o644)
    cached.write_bytes(b"rotten")
    got = bench.fetch()
    assert (got.folder / wheel.name).read_bytes() == wheel.read_bytes()
    assert sha(cached) == sha(wheel)


def test_a_wheel_listed_without_a_hash_is_taken_only_if_its_bytes_are_right(bench: Bench) -> None:
    [wheel] = bench.publish("alpha")
    bench.index.hashes = False
    assert bench.fetch().wheels == (wheel.name,)
    bench.index.replaced[wheel.name] = b"other bytes"
    with pytest.raises(EnvironmentNotRebuilt):
        bench.fetch(cache="fresh")


def test_a_lock_that_is_none_stops_before_anything_is_asked(bench: Bench) -> None:
    (bench.folder / "requirements.txt").write_bytes(b"--index-url http://evil.example/simple\n")
    with pytest.raises(BundleRejected):
        fetch(
            bench.folder / "requirements.txt",
            make_interpreter(),
            None,
            bench.folder / "target",
            index=Index(bench.folder / "cache", bench.index.pip_args()),
            cache=bench.folder / "cache",
        )
    assert bench.index.asked == []
    assert not (bench.folder / "target").exists()
