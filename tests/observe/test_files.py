"""What a path is taken for, and which datasets there are: pure rules over values."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.model.environment import Package
from runbook.model.watch import FileUse
from runbook.observe.files import Surrounding, sort_files
from runbook.observe.inputs import MANY, datasets
from runbook.observe.requirements import requirements, undeclared, unmet

ROOT = "/home/me/project"
SITE = f"{ROOT}/.venv/lib/python3.11/site-packages"


def sort(
    path: str, *, code: tuple[str, ...] = (), gone: bool = False, size: int = 10, **use: object
) -> tuple[str, str]:
    here = Surrounding(
        root=ROOT,
        code=frozenset(code),
        sizes=dict.fromkeys(code, size),
        sites=(SITE,),
        owners={"sklearn": "scikit-learn"},
        interpreter=(f"{ROOT}/.venv", "/opt/python3.11"),
        home="/home/me",
        variables={"HF_HOME": "/data/hf"},
        present=frozenset() if gone else frozenset((path,)),
    )
    (one,) = sort_files([FileUse(path=path, **{"read": True, **use})], here)
    return one.kind, one.why


WROTE = {"read": False, "written": True, "first": "written"}


@pytest.mark.parametrize(
    ("path", "options", "kind", "why"),
    [
        (f"{ROOT}/train.py", {"code": ("train.py",)}, "code", "source"),
        (f"{ROOT}/conf/a.yaml", {"code": ("conf/a.yaml",)}, "code", "settings"),
        (f"{ROOT}/.dvc/config", {"code": (".dvc/config",)}, "code", "settings"),
        (f"{ROOT}/.dvcignore", {"code": (".dvcignore",)}, "code", "settings"),
        (f"{ROOT}/.dvc/cache/files/md5/41/89", WROTE, "cache", "DVC's own"),
        (f"{ROOT}/.dvc/tmp/btime", WROTE, "cache", "DVC's own"),
        ("/var/tmp/dvc/repo/9c/links/cache.db", {"written": True}, "cache", "DVC's own"),
        ("/home/me/.gitconfig", {}, "noise", "git's own"),
        (f"{ROOT}/config.json", {"code": ("config.json",)}, "code", "settings"),
        (f"{ROOT}/data/rows.json", {"code": ("data/rows.json",)}, "input", "data of the project"),
        (f"{ROOT}/big.json", {"code": ("big.json",), "size": 1 << 20}, "input", "data of the project"),
        (f"{ROOT}/names.txt", {"code": ("names.txt",)}, "input", "data of the project"),
        (f"{ROOT}/regression.train", {"code": ("regression.train",)}, "input", "data of the project"),
        (f"{ROOT}/cache/x.npy", {}, "input", "neither tracked nor code"),
        ("/data/corpus/a.txt", {}, "input", "outside of the project"),
        ("/usr/share/dict/data/words", {}, "input", "outside of the project"),
        ("/tmp/prepared.bin", {}, "input", "temporary folder, and there before"),
        (f"{ROOT}/out.csv", WROTE, "output", "the job wrote it"),
        (f"{ROOT}/step.csv", {**WROTE, "read": True}, "output", "then read it"),
        (f"{ROOT}/made.db", {"written": True}, "output", "the job wrote it"),
        (f"{ROOT}/state.bin", {"written": True, "kept": "kept/1-1"}, "input", "then overwritten"),
        (f"{ROOT}/native.bin", {**WROTE, "seen_by": ()}, "output", "native code"),
        (f"{ROOT}/tmp.x", {**WROTE, "gone": True}, "noise", "gone when the job ended"),
        (f"{ROOT}/maybe.yaml", {"gone": True}, "noise", "not there"),
        (f"{SITE}/sklearn/svm.py", {}, "package", "imported"),
        (f"{SITE}/sklearn/datasets/data/iris.csv", {}, "input", "data that the package scikit-learn brings"),
        (f"{SITE}/sklearn/datasets/data/__init__.py", {}, "package", "imported"),
        (f"{SITE}/other.dist-info/METADATA", {}, "package", "read"),
        ("/opt/python3.11/lib/json/__init__.py", {}, "package", "own files"),
        (f"{ROOT}/.venv/pyvenv.cfg", {}, "package", "own files"),
        ("/data/hf/hub/models--x/blobs/abc", {}, "input", "Hugging Face"),
        ("/home/me/.cache/torch/hub/checkpoints/r.pth", {}, "input", "torch hub"),
        (
            "/home/me/scikit_learn_data/c.pkz",
            {**WROTE, "url": "https://x"},
            "input",
            "downloaded while the job ran",
        ),
        ("/home/me/.cache/huggingface/hub/x.lock", {}, "cache", "bookkeeping"),
        ("/home/me/scikit_learn_data/d.pkz", {**WROTE, "fetched_by": "sklearn.datasets"}, "input", "downloaded"),
        ("/home/me/scikit_learn_data/e.pkz", WROTE, "cache", "not read"),
        ("/data/hf/hub/models--x/snapshots/1/a", {**WROTE, "linked_to": "/b"}, "input", "downloaded"),
        ("/home/me/.cache/mine/d.csv", {}, "input", "a library's cache"),
        ("/home/me/.cache/mine/d.csv", {**WROTE, "url": "https://x", "read": True}, "input", "downloaded"),
        (f"{ROOT}/d.csv", {**WROTE, "url": "https://x", "read": True}, "input", "downloaded while the job ran"),
        (f"{ROOT}/d.csv", {**WROTE, "fetched_by": "urllib"}, "input", "by urllib"),
        (f"{ROOT}/model.bin", {**WROTE, "url": "https://x"}, "output", "the job wrote it"),
        (
            f"{ROOT}/log.csv",
            {"written": True, "kept": "kept/1-1", "url": "https://x"},
            "input",
            "then overwritten",
        ),
        ("/home/me/.cache/matplotlib/fontlist.json", {}, "cache", "settings and caches"),
        ("/home/me/.cache/huggingface/token", {}, "noise", "credentials"),
        ("/home/me/.netrc", {}, "noise", "credentials"),
        ("/proc/cpuinfo", {}, "noise", "kernel"),
        ("/etc/ssl/openssl.cnf", {}, "noise", "system"),
        ("/usr/lib/x86_64-linux-gnu/libgomp.so.1", {"library": True}, "package", "loaded by the job"),
        (f"{ROOT}/.runbook/runs/x", {}, "noise", "runbook's own"),
        (f"{ROOT}/pkg/__pycache__/a.cpython-311.pyc", WROTE, "cache", "compiled Python"),
    ],
)
def test_a_path_is_taken_for_what_it_is_with_the_reason(path, options, kind, why):
    found = sort(path, **options)
    assert found[0] == kind
    assert why in found[1]


@given(st.lists(st.text("ab/.", min_size=1, max_size=12).map(lambda t: "/" + t.strip("/")), max_size=30))
def test_every_path_gets_a_kind_and_a_reason_and_none_is_lost(paths):
    uses = [FileUse(path=path, read=True) for path in dict.fromkeys(paths)]
    found = sort_files(uses, Surrounding(root="/a", present=frozenset(paths)))
    assert sum(one.files for one in found) == len(uses)
    assert all(one.why for one in found)


def test_many_files_of_a_folder_are_one_dataset_and_a_folder_a_class_is_one_too():
    flat = [f"/d/flat/{n}" for n in range(MANY)]
    few = [f"/d/few/{n}" for n in range(MANY - 1)]
    classes = [f"/d/classes/{c}/{n}" for c in range(5) for n in range(MANY)]
    found = datasets([*flat, *few, *classes], foreign=(), never=("/", "/d"))
    assert found == sorted([("/d/flat", True), ("/d/classes", True), *((path, False) for path in few)])


def test_a_folder_with_code_or_outputs_in_it_is_never_one_dataset():
    paths = [f"/p/mixed/{n}" for n in range(100)]
    assert all(not folder for _, folder in datasets(paths, foreign=["/p/mixed/train.py"], never=("/",)))


@given(
    st.lists(st.sampled_from([f"/{a}/{b}/{n}" for a in "xy" for b in "pqrst" for n in range(40)]), max_size=400)
)
def test_every_file_that_was_read_belongs_to_exactly_one_dataset(paths):
    found = datasets(paths, foreign=(), never=("/",))
    for path in paths:
        assert sum(path == one or (folder and path.startswith(one + "/")) for one, folder in found) == 1


def package(name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> Package:
    return Package(
        name=name,
        version=version,
        origin="index",
        record="intact",
        requires=requires,
        imports=(name.replace("-", "_"),),
    )


def test_what_was_imported_and_not_declared_is_named_without_what_comes_with_it(tmp_path: Path):
    (tmp_path / "requirements.txt").write_text("Torch>=2  # the framework\n-r other.txt\n")
    installed = [package("torch", requires=("numpy", 'win-only; sys_platform == "win32"')), package("numpy")]
    installed += [package("tensorboard", requires=("grpcio",)), package("grpcio")]
    wanted = requirements(tmp_path, tmp_path)
    assert wanted.files == ("requirements.txt",)
    assert undeclared(("torch", "numpy", "tensorboard", "grpcio", "json"), installed, wanted.names) == (
        "tensorboard",
    )


def test_a_name_that_packages_share_and_extras_that_name_each_other_do_not_mislead():
    shared = [
        Package(name=name, version="1", origin="index", record="intact", imports=("google",), requires=requires)
        for name, requires in (("google-auth", ()), ("protobuf", ()))
    ]
    board = package("tensorboard", requires=("protobuf",))
    assert undeclared(("google", "tensorboard"), [*shared, board], ()) == ("tensorboard",)
    assert undeclared(("google",), [*shared, board], ("protobuf",)) == ()
    assert undeclared(("google",), shared, ()) == ("google-auth",)
    one = package("transformers", requires=('accelerate; extra == "torch"', "regex"))
    other = package("accelerate", requires=('transformers; extra == "testing"', 'pandas; extra == "test"'))
    installed = [one, other, package("regex"), package("pandas")]
    assert undeclared(("transformers", "accelerate", "regex", "pandas"), installed, ()) == (
        "accelerate",
        "transformers",
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("requirements.txt", "torch<2.6\n"),
        ("requirements/base.txt", "torch<2.6\n"),
        ("pyproject.toml", '[project]\nname = "x"\ndependencies = ["torch<2.6"]\n'),
        ("environment.yml", "dependencies:\n  - pip:\n    - torch<2.6\n"),
    ],
)
def test_a_requirement_that_the_installed_version_does_not_meet_is_named_with_its_file(name, text, tmp_path: Path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    (sentence,) = unmet(requirements(tmp_path, tmp_path), [package("torch", "2.13.0+cpu")])
    assert sentence == f"{name} asks for torch<2.6; 2.13.0+cpu is installed"
    assert not list(unmet(requirements(tmp_path, tmp_path), [package("torch", "2.5.1")]))


@given(st.binary(max_size=200))
def test_whatever_a_requirements_file_holds_it_is_read(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("r")
    for name in ("requirements.txt", "pyproject.toml", "environment.yml", "Pipfile"):
        (folder / name).write_bytes(data)
    wanted = requirements(folder, folder)
    list(unmet(wanted, [package("a")]))
    assert all(wanted.names)
