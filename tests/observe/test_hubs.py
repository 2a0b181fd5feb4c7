"""Where libraries keep what they download: pure rules over paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.flow.downloads import findings, gather, refused
from runbook.model import hubs
from runbook.model.watch import Connection, FileUse

HOME = "/home/me"


@pytest.mark.parametrize(
    ("path", "variables", "cache", "unit", "variable"),
    [
        ("~/.cache/huggingface/hub/models--a--b/snapshots/1/c.json", {}, "hub", "models--a--b", "HOME"),
        ("/x/hf/hub/datasets--a--b/refs/main", {"HF_HOME": "/x/hf"}, "hub", "datasets--a--b", "HF_HOME"),
        ("/x/hub/models--a--b/blobs/1", {"HF_HUB_CACHE": "/x/hub/"}, "hub", "models--a--b", "HF_HUB_CACHE"),
        ("/x/huggingface/hub/models--a/refs/m", {"XDG_CACHE_HOME": "/x"}, "hub", "models--a", "XDG_CACHE_HOME"),
        ("/anywhere/models--a--b/snapshots/1/c.json", {}, "anywhere", "models--a--b", ""),
        ("~/.cache/huggingface/datasets/a___b/default/0.0.0/x.arrow", {}, "datasets", "a___b", "HOME"),
        ("~/.cache/huggingface/datasets/downloads/abc", {}, "datasets", "downloads/abc", "HOME"),
        ("~/.cache/torch/hub/checkpoints/w.pth", {}, "hub", "checkpoints/w.pth", "HOME"),
        ("~/.cache/torch/hub/owner_repo_main/hubconf.py", {}, "hub", "owner_repo_main", "HOME"),
        ("/t/hub/checkpoints/w.pth", {"TORCH_HOME": "/t"}, "hub", "checkpoints/w.pth", "TORCH_HOME"),
        ("~/scikit_learn_data/cal.pkz", {}, "scikit_learn_data", "cal.pkz", "HOME"),
        ("/s/cal.pkz", {"SCIKIT_LEARN_DATA": "/s"}, "s", "cal.pkz", "SCIKIT_LEARN_DATA"),
        ("~/.keras/datasets/mnist.npz", {}, ".keras", "datasets/mnist.npz", "HOME"),
    ],
)
def test_the_cache_of_a_path_and_what_belongs_together_there(
    path: str, variables: dict[str, str], cache: str, unit: str, variable: str
) -> None:
    path = path.replace("~", HOME)
    place = hubs.find(path, hubs.places(HOME, variables))
    assert place is not None
    assert (Path(place.folder).name, place.variable) == (cache, variable)
    assert place.unit(path) == f"{place.folder}/{unit}"


@given(st.text(alphabet="abcmodels-/._", max_size=60), st.sampled_from(["", HOME, "/"]))
def test_a_unit_is_the_path_or_a_folder_above_it_and_inside_the_cache(path: str, home: str) -> None:
    path = "/" + path
    place = hubs.find(path, hubs.places(home, {}))
    if place is not None:
        unit = place.unit(path)
        assert unit == path or path.startswith(unit + "/")
        assert unit.startswith(place.folder + "/")


def test_a_cache_of_an_unknown_library_is_one_and_what_programs_compute_for_themselves_is_not() -> None:
    assert hubs.unknown_cache(f"{HOME}/.cache/proj/x.csv", HOME, {}) == (f"{HOME}/.cache/proj", "HOME")
    moved = hubs.unknown_cache("/x/proj/x.csv", HOME, {"XDG_CACHE_HOME": "/x"})
    assert moved == ("/x/proj", "XDG_CACHE_HOME")
    assert hubs.unknown_cache(f"{HOME}/.cache/matplotlib/fontlist.json", HOME, {}) is None
    assert hubs.unknown_cache(f"{HOME}/.cache/loose", HOME, {}) is None


def test_a_repository_is_one_input_with_the_variable_that_leads_to_it(tmp_path: Path) -> None:
    repository = tmp_path / ".cache/huggingface/hub/models--a--b"
    (repository / "refs").mkdir(parents=True)
    data = tmp_path / "data.csv"
    found = gather([f"{repository}/refs/main", f"{repository}/blobs/1", str(data)], "/p", str(tmp_path), {})
    assert found.units == (str(repository),)
    assert found.single == (str(data),)
    assert found.variables == ("HOME",)
    (cache,) = found.caches
    assert cache.offline["HF_HUB_OFFLINE"] == "1"


def asked(url: str, **more: str) -> Connection:
    return Connection(process=0, url=url, **{"method": "GET", **more})


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        (asked("https://x/a.csv"), True),
        (asked("https://x/a.csv", method="POST"), False),
        (asked("https://x/a.csv", method="HEAD"), False),
        (asked("https://x/kept.csv"), False),
        (asked("https://x/a.csv", by="redirect"), False),
        (asked("https://x/api/models/a", by="huggingface_hub"), False),
        (asked("https://x/a/resolve/main/a.csv", by="huggingface_hub"), True),
        (asked("https://x/index.json", by="sklearn.datasets"), False),
    ],
)
def test_only_what_was_downloaded_and_kept_by_nobody_is_a_finding(connection: Connection, told: bool) -> None:
    uses = [FileUse(path="/p/kept.csv", written=True, url="https://x/kept.csv")]
    assert [one.id for one in findings([connection], uses)] == ["download-not-kept"] * told


def test_what_a_replay_asked_for_in_vain_is_named_by_url_or_by_the_originals_host() -> None:
    original = [asked("https://data.example/a.csv")]
    looked_up = Connection(process=0, host="data.example", port=443)
    own = Connection(process=0, host="runbook", port=29500)
    (one,) = refused([looked_up, own], original)
    assert one.text.endswith(": data.example")
    assert refused([own], original) == []
    (other,) = refused([Connection(process=0, host="example.org", port=443)], [])
    assert other.text.endswith(": example.org")
    assert refused([asked("https://hub/x", by="huggingface_hub")], []) == []
