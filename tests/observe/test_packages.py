import pytest

from runbook.observe import packages

from .conftest import Repository
from .wheelmaker import make_project, make_wheel


def only(venv, name):
    return next(p for p in packages.read_packages(venv.probe()) if p.name == name)


def ids(venv):
    return [f.id for f in packages.findings(venv.probe())]


def test_a_package_from_an_index_is_told_by_its_normalised_name(venv):
    venv.package("Tool_Box", "1.0", {"toolbox.py": ""})
    one = only(venv, "tool-box")
    assert (one.version, one.origin, one.source, one.record) == ("1.0", "index", "", "intact")
    assert ids(venv) == []


def test_a_wheel_from_a_file_is_told_with_its_path(venv, tmp_path):
    wheel = make_wheel(tmp_path, "local", "1.0", {"local.py": ""})
    venv.install(wheel)
    assert (only(venv, "local").origin, only(venv, "local").source) == ("local-file", str(wheel))


def test_an_editable_project_is_told_with_its_folder(venv, tmp_path):
    project = make_project(tmp_path / "project", "edited", "0.1", {"edited.py": "x = 1\n"})
    venv.install("-e", project)
    one = only(venv, "edited")
    assert (one.origin, one.source, one.record) == ("editable", str(project), "intact")


def test_a_package_from_a_repository_is_told_with_its_commit(venv, tmp_path):
    repository = Repository(tmp_path / "upstream")
    make_project(repository.path, "versioned", "0.2", {"versioned.py": "x = 1\n"})
    commit = repository.commit()
    venv.install(f"versioned @ git+file://{repository.path}")
    one = only(venv, "versioned")
    assert one.origin == "vcs"
    assert one.source == f"git+file://{repository.path}@{commit}"


@pytest.mark.parametrize("scheme", ["https", "git+https"])
def test_credentials_of_a_direct_url_are_stripped(venv, scheme):
    venv.package("secretive")
    info = next(venv.site.glob("secretive-*.dist-info"))
    (info / "direct_url.json").write_text(
        f'{{"url": "{scheme}://bob:hunter2@host.example/x.whl", "archive_info": {{}}}}'
    )
    one = only(venv, "secretive")
    assert (one.origin, one.source) == ("off-index", f"{scheme}://host.example/x.whl")


def test_a_hand_edited_package_is_a_finding_that_names_the_file(venv):
    venv.package("lib", "1.5", {"lib/a.py": "a = 1\n"})
    (venv.site / "lib/a.py").write_text("a = 2\n")
    one = only(venv, "lib")
    (finding,) = packages.findings(venv.probe())
    assert (one.record, one.modified) == ("modified", ("lib/a.py",))
    assert finding.id == "package-modified"
    assert "lib 1.5" in finding.text
    assert "lib/a.py" in finding.text


def test_a_module_dropped_among_the_packages_is_a_finding(venv):
    (venv.site / "dropped.py").write_text("")
    (finding,) = packages.findings(venv.probe())
    assert finding.id == "stray-files"
    assert finding.text.endswith("dropped.py")


def test_a_requirement_that_is_not_met_is_a_finding(venv):
    venv.package("app", "1.0", requires=["dep>=2", "gone", "never; python_version < '3'", "extra; extra == 'x'"])
    venv.package("dep", "1.0")
    assert packages.unmet_requirements(venv.probe()) == (
        "app 1.0 requires dep>=2, but 1.0 is installed",
        "app 1.0 requires gone, which is not installed",
    )
    assert ids(venv) == ["environment-inconsistent", "environment-inconsistent"]


def test_a_local_version_satisfies_its_public_one(venv):
    venv.package("app", requires=["torchlike==2.0"])
    venv.package("torchlike", "2.0+cpu")
    assert packages.unmet_requirements(venv.probe()) == ()


def test_markers_are_evaluated_for_the_jobs_interpreter(venv):
    probe = venv.probe()
    environment = packages.marker_environment(probe)
    from packaging.markers import default_environment

    told = {k: v for k, v in default_environment().items() if k not in ("platform_version",)}
    assert {k: v for k, v in environment.items() if k in told} == told


def test_an_unchecked_environment_says_so(venv):
    assert [f.id for f in packages.findings(venv.probe(record_check=False))] == ["record-not-checked"]


def test_packages_of_the_operating_system_are_not_called_modified():
    from pathlib import Path

    from runbook.observe.probing import run_probe

    python, folder = Path("/usr/bin/python3"), Path("/usr/lib/python3/dist-packages")
    if not python.exists() or not any(folder.glob("*-info")):
        pytest.skip("no Debian packages of Python here")
    found = packages.read_packages(run_probe(str(python), {}, Path("/")))
    ours = [p for p in found if p.origin == "distro"]
    assert ours
    assert {(p.record, p.source) for p in ours} == {("absent", str(folder))}
