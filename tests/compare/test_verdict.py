from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runbook.compare.data import Manifests
from runbook.compare.verdict import compare, weakest
from runbook.model.code import Tree
from runbook.model.environment import Package
from runbook.model.fact import missing, observed
from runbook.model.host import Accelerator, Accelerators
from runbook.model.metric import Metric, Series, Tolerance, to_number
from runbook.model.record import Record, Seed
from runbook.model.verdict import EXIT, STRENGTH, Comparison
from tests.factories import SERIES, entries_of, make_environment, make_host, make_input, make_record

ORIGINAL = make_record()


def metrics(accuracy: float, loss: float = 0.4) -> tuple[Metric, ...]:
    a, b = ORIGINAL.metrics
    return (replace(a, final=accuracy), replace(b, final=loss))


def replayed(**changes: Any) -> Record:
    return make_record(**{"kind": "replay", "replay_of": "f" * 64, "engine": "docker"} | changes)


def judge(replay: Record, original: Record = ORIGINAL, *, replaying: bool = True, **options: Any) -> Comparison:
    return compare(original, replay, SERIES, SERIES, replaying=replaying, **options)


def package(name: str, version: str, **changes: Any) -> Package:
    return Package(**{"name": name, "version": version, "origin": "index", "record": "intact"} | changes)


def gpu(model: str) -> Any:
    unknown = missing("not asked")
    device = Accelerator(
        index=0,
        model=observed(model),
        uuid=unknown,
        memory_bytes=observed(80 << 30),
        compute_capability=unknown,
        ecc=unknown,
        mig=unknown,
        pci_bus_id=unknown,
        serial=unknown,
        vbios=unknown,
        power_limit_w=unknown,
    )
    return observed(Accelerators(driver=observed("580.1"), cuda=observed("13.0"), nvml=unknown, devices=(device,)))


def test_a_replay_with_the_same_numbers_is_identical() -> None:
    found = judge(replayed())
    assert (found.verdict, found.broken_preconditions, found.substitutions) == ("identical", (), ())
    assert found.reason == "Both metrics are identical."


def test_every_record_is_identical_to_itself_with_nothing_that_differs() -> None:
    for replaying in (True, False):
        found = judge(ORIGINAL, replaying=replaying)
        assert (found.verdict, found.differences) == ("identical", ())


def test_another_number_is_different_and_the_reason_counts_it() -> None:
    found = judge(replayed(metrics=metrics(0.9)))
    assert found.verdict == "different"
    assert found.reason.startswith("Of 2 metrics, 1 differs and 1 is identical")


def test_no_metric_on_either_side_is_not_comparable() -> None:
    bare = make_record(metrics=())
    assert judge(replayed(metrics=()), bare).verdict == "not comparable"
    assert judge(bare, bare, replaying=False).verdict == "not comparable"


OTHER_TREE = replace(ORIGINAL.code, tree=Tree(digest="0" * 64, files=1, bytes=1))
OTHER_LOCK = make_environment(packages=(package("numpy", "2.4.0"),))


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"code": OTHER_TREE}, "code: source tree"),
        ({"inputs": (make_input("iris.csv", {"iris.csv": b"other"}), ORIGINAL.inputs[1])}, "data: data/iris.csv"),
        ({"inputs": ORIGINAL.inputs[:1]}, "data: data/images"),
        ({"environment": OTHER_LOCK}, "lock: numpy: 2.3.5 → 2.4.0"),
        ({"environment": make_environment(interpreter=missing("the probe failed"))}, "the probe failed"),
        ({"job": replace(ORIGINAL.job, argv=("python", "evil.py"))}, "argv: command"),
        (
            {"outcome": replace(ORIGINAL.outcome, status="failed", exit_code=observed(1))},
            "outcome: the original completed, the replay failed with exit code 1",
        ),
    ],
    ids=["code", "data", "data-gone", "lock", "probe", "argv", "failed"],
)
def test_a_replay_of_something_else_is_not_comparable_even_when_the_numbers_agree(
    changes: dict[str, Any], names: str
) -> None:
    found = judge(replayed(**changes))
    assert found.verdict == "not comparable"
    assert any(names in text for text in found.broken_preconditions)
    assert {m.verdict for m in found.metrics} == {"not comparable"}
    assert "the numbers agree" in found.metrics[0].reason


def test_diff_compares_numbers_whatever_else_changed() -> None:
    other = make_record(code=OTHER_TREE, environment=OTHER_LOCK, inputs=())
    found = judge(other, replaying=False)
    assert EXIT[found.verdict] == 0
    assert {d.family for d in found.differences} >= {"code", "data", "lock"}
    assert found.broken_preconditions == ()


def test_installers_and_what_the_bundle_could_not_ship_break_no_lock() -> None:
    mine = make_environment(packages=(package("numpy", "2.3.5"), package("apt-tool", "1", shipped="absent")))
    theirs = make_environment(packages=(package("numpy", "2.3.5"), package("pip", "26.1")))
    found = judge(replayed(environment=theirs), make_record(environment=mine))
    assert (found.verdict, found.broken_preconditions) == ("identical", ())
    assert {d.what for d in found.differences if d.family == "lock"} == {"apt-tool", "pip"}


def test_a_package_changed_by_hand_breaks_the_lock_unless_the_bundle_carries_it() -> None:
    edited = package("numpy", "2.3.5", record="modified", modified=("numpy/core.py",))
    carried = replace(edited, shipped="carried")
    plain = replayed(environment=make_environment(packages=(package("numpy", "2.3.5"),)))
    broken = judge(plain, make_record(environment=make_environment(packages=(edited,))))
    assert "numpy/core.py" in broken.broken_preconditions[0]
    assert judge(plain, make_record(environment=make_environment(packages=(carried,)))).verdict == "identical"


OTHER_CPU = make_host(cpu_model=observed("Another CPU"))


def test_metrics_that_agree_in_spite_of_a_substitution_are_reproduced() -> None:
    found = judge(replayed(host=OTHER_CPU), substitutions=("the base is another",))
    assert found.verdict == "identical"
    assert found.substitutions == ("the base is another", "cpu: CPU model: Demo CPU 3000 → Another CPU")
    assert "in spite of 2 substitutions" in found.reason


def test_metrics_that_differ_under_a_substitution_are_not_comparable() -> None:
    found = judge(replayed(host=OTHER_CPU, metrics=metrics(0.9)))
    assert [m.verdict for m in found.metrics] == ["not comparable", "identical"]
    assert "Another CPU" in found.reason


def test_a_gpu_that_is_not_there_is_a_substitution() -> None:
    found = judge(replayed(accelerators=missing("no driver")), make_record(accelerators=gpu("H100")))
    assert found.substitutions == ("accelerator: devices: 1 × H100 → (none): no driver",)


def test_the_same_machine_in_a_container_is_no_substitution() -> None:
    assert judge(replayed(metrics=metrics(0.9))).verdict == "different"


def test_in_diff_another_cpu_excuses_nothing() -> None:
    assert judge(make_record(host=OTHER_CPU, metrics=metrics(0.9)), replaying=False).verdict == "different"


def test_what_only_one_side_knows_is_no_substitution() -> None:
    found = judge(replayed(host=make_host(cpu_model=missing("masked here"))))
    assert found.substitutions == ()
    assert next(d for d in found.differences if d.what == "CPU model").risk == "low"


def test_without_a_seed_a_replay_that_is_not_identical_is_never_reproduced() -> None:
    loose = (Tolerance(pattern="*", absolute=100.0),)
    original = make_record(seeds=(), tolerances=loose)
    near = judge(replayed(seeds=(), metrics=metrics(0.9)), original)
    assert EXIT[near.verdict] != 0
    assert "no seed was seen" in near.reason
    far = judge(replayed(seeds=(), metrics=metrics(0.9)), make_record(seeds=()))
    assert far.verdict == "different"
    assert "no seed was seen" in far.reason
    assert judge(replayed(seeds=()), original).verdict == "identical"


def test_with_a_seed_a_tolerance_that_covers_the_difference_reproduces() -> None:
    found = judge(
        replayed(metrics=metrics(0.9)), make_record(tolerances=(Tolerance(pattern="acc*", absolute=0.1),))
    )
    assert found.verdict == "within tolerance"


def test_an_override_is_named_with_how_many_metrics_it_reaches() -> None:
    wide = Tolerance(pattern="acc*", relative=0.5)
    found = judge(replayed(metrics=metrics(0.9)), overrides=(wide, Tolerance(pattern="nothing", absolute=1.0)))
    assert found.verdict == "within tolerance"
    assert found.overrides[0] == "acc*: rel 0.5, given for this comparison; names 1 metric"
    assert found.overrides[1].endswith("names no metric")


def test_another_seed_is_named_once_and_first() -> None:
    job = replace(
        ORIGINAL.job,
        argv=("python", "train.py", "--lr", "0.1", "--seed", "8"),
        parameters={"lr": "0.1", "seed": "8"},
    )
    seed = (Seed(name="argv --seed", value="8", evidence="observed"),)
    found = judge(make_record(job=job, seeds=seed, metrics=metrics(0.9, 0.3)), replaying=False)
    assert [(d.family, d.what, d.original, d.replay) for d in found.differences] == [
        ("seed", "argv --seed", "7", "8")
    ]
    assert "argv --seed: 7 → 8" in found.reason


def test_another_parameter_is_named_instead_of_the_whole_command() -> None:
    job = replace(ORIGINAL.job, argv=("python", "train.py", "--lr=0.2", "--seed", "7"), parameters={"lr": "0.2"})
    before = replace(
        ORIGINAL.job, argv=("python", "train.py", "--lr=0.1", "--seed", "7"), parameters={"lr": "0.1"}
    )
    found = judge(make_record(job=job), make_record(job=before), replaying=False)
    assert [(d.what, d.original, d.replay) for d in found.differences] == [("parameter lr", "0.1", "0.2")]


def test_differences_are_ranked_by_what_is_known_to_matter() -> None:
    seeds = (Seed(name="argv --seed", value="8", evidence="observed"),)
    packages = (package("numpy", "2.4.0"), package("tqdm", "4.0"))
    host = make_host(kernel=observed("6.9"), threads={"OMP_NUM_THREADS": observed("4")})
    found = judge(
        make_record(seeds=seeds, environment=make_environment(packages=packages), host=host), replaying=False
    )
    assert [(d.risk, d.what) for d in found.differences if d.family != "argv"] == [
        ("high", "argv --seed"),
        ("high", "numpy"),
        ("medium", "OMP_NUM_THREADS"),
        ("low", "tqdm"),
        ("low", "kernel"),
    ]


def test_files_of_the_code_are_named_when_manifests_are_at_hand() -> None:
    a = {"train.py": b"1", "old.py": b"x", "README.md": b"1"}
    b = {"train.py": b"2", "new.py": b"x", "README.md": b"2"}
    found = judge(
        make_record(code=OTHER_TREE),
        replaying=False,
        manifests=(Manifests(code=entries_of(a)), Manifests(code=entries_of(b))),
    )
    risks = {d.what: d.risk for d in found.differences if d.family == "code"}
    assert risks == {
        "source tree": "low",
        "train.py": "high",
        "old.py": "high",
        "new.py": "high",
        "README.md": "low",
    }


def test_a_declared_run_that_nobody_observed_can_be_replayed() -> None:
    outcome = replace(ORIGINAL.outcome, status="unobserved", exit_code=missing("declared"))
    assert judge(replayed(), make_record(outcome=outcome)).verdict == "identical"


@given(st.lists(st.sampled_from(STRENGTH), min_size=1))
def test_the_overall_verdict_is_the_weakest(verdicts: list[Any]) -> None:
    overall = weakest(verdicts)
    assert overall in verdicts
    assert all(STRENGTH.index(v) <= STRENGTH.index(overall) for v in verdicts)


values = st.one_of(st.floats(), st.integers(-5, 5)).map(to_number)


@given(st.lists(values, min_size=1, max_size=4), st.lists(values, min_size=1, max_size=4), st.booleans())
def test_no_comparison_is_better_than_its_worst_metric_and_a_single_run_is_never_equivalent(
    left: list[Any], right: list[Any], replaying: bool
) -> None:
    def named(numbers: list[Any]) -> tuple[Metric, ...]:
        return tuple(Metric(name=f"m{i}", final=n, source="f", evidence="observed") for i, n in enumerate(numbers))

    empty: dict[str, Series] = {}
    a, b = make_record(metrics=named(left)), make_record(metrics=named(right))
    found = compare(a, b, empty, empty, replaying=replaying)
    assert found.verdict == weakest([m.verdict for m in found.metrics])
    assert found.verdict != "equivalent"
    other = compare(b, a, empty, empty, replaying=replaying)
    assert other.verdict == found.verdict


def test_scripts_beside_a_package_are_not_the_package() -> None:
    def sides(*edits: str) -> str:
        edited = replace(package("numpy", "2.3.5"), record="modified", modified=edits)
        found = judge(make_record(environment=make_environment(packages=(edited,))), replaying=False)
        return next(d.risk for d in found.differences if d.what == "numpy (files)")

    assert sides("../../../bin/f2py") == "low"
    assert sides("../../../bin/f2py", "numpy/core.py") == "high"
