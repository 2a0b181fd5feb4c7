"""Extension modules built by the test, linked as real packages are."""

import shutil
import subprocess

import pytest

from runbook.observe import libraries, ospackages

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the extension modules")

OPENMP = """
#include <omp.h>
int threads(void) { int n = 0;
#pragma omp parallel reduction(+ : n)
n += 1; return n; }
"""


def build(path, source="int f(void) { return 1; }", *flags):
    path.parent.mkdir(parents=True, exist_ok=True)
    code = path.with_suffix(".c")
    code.write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", path, code, *flags], check=True)
    return path


def install(venv, name, *members):
    """Install a package that holds these built files: (path inside, file)."""
    files = {inside: path.read_bytes() for inside, path in members}
    venv.package(name, files={f"{name}/__init__.py": "", **files})


def names(probe, **options):
    return {x.soname: x for x in libraries.system_libraries(probe, **options)}


def test_a_module_linked_to_libgomp_is_found_to_need_it_with_its_owner(venv, tmp_path):
    module = build(tmp_path / "b/_omp.so", OPENMP, "-fopenmp")
    install(venv, "omp", ("omp/_omp.so", module))
    found = names(venv.probe())
    gomp = found["libgomp.so.1"]
    assert gomp.needed_by == ("omp",)
    assert len(gomp.sha256) == 64
    assert not any(name.startswith(("libc.so", "libm.so", "ld-linux", "libpthread")) for name in found)
    if shutil.which("dpkg-query"):
        version = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", "libgomp1"], capture_output=True, text=True, check=True
        ).stdout
        assert gomp.os_package.value == f"libgomp1 {version}"
    else:
        assert gomp.os_package.known or gomp.os_package.reason


def test_a_library_that_the_package_bundles_by_its_rpath_is_not_the_systems(venv, tmp_path):
    bundled = build(tmp_path / "b/libinner-1.so", "int inner(void) { return 1; }", "-Wl,-soname,libinner-1.so")
    module = build(
        tmp_path / "b/_ext.so",
        "int inner(void); int f(void) { return inner(); }",
        bundled,
        "-Wl,-rpath,$ORIGIN/../pkg.libs",
    )
    install(venv, "pkg", ("pkg/_ext.so", module), ("pkg.libs/libinner-1.so", bundled))
    probe = venv.probe()
    assert names(probe) == {}
    assert libraries.findings(probe) == ()


def link_by_name(tmp_path, name):
    """A module that needs lib<name>.so by its bare soname, and the library itself."""
    library = build(
        tmp_path / f"lib/lib{name}.so", f"int {name}(void) {{ return 1; }}", f"-Wl,-soname,lib{name}.so"
    )
    source = f"int {name}(void); int f(void) {{ return {name}(); }}"
    return build(tmp_path / "b/_ext.so", source, library), library


def test_a_library_that_another_package_loads_first_is_not_missing(venv, tmp_path):
    module, library = link_by_name(tmp_path, "core")
    install(venv, "base", ("base/lib/libcore.so", library))
    install(venv, "user", ("user/_ext.so", module))
    probe = venv.probe()
    assert (names(probe), libraries.findings(probe)) == ({}, ())


@pytest.mark.parametrize("required", [False, True])
def test_another_packages_copy_stands_in_for_the_systems_only_when_it_is_required(required, venv, tmp_path):
    module = build(tmp_path / "b/_omp.so", OPENMP, "-fopenmp")
    copy = build(tmp_path / "c/libgomp.so.1", "int g(void) { return 1; }", "-Wl,-soname,libgomp.so.1")
    install(venv, "other", ("other/lib/libgomp.so.1", copy))
    files = {"omp/__init__.py": "", "omp/_omp.so": module.read_bytes()}
    venv.package("omp", files=files, requires=("Other>=0",) if required else ())
    assert set(names(venv.probe())) == (set() if required else {"libgomp.so.1"})


def test_a_library_that_is_nowhere_is_a_finding_with_who_needs_it(venv, tmp_path):
    module, _ = link_by_name(tmp_path, "lost")
    install(venv, "broken", ("broken/_ext.so", module))
    (finding,) = libraries.findings(venv.probe())
    assert finding.id == "library-unresolved"
    assert finding.text.startswith("liblost.so, which broken needs, is not found")


def test_the_jobs_library_path_is_searched_and_no_package_owns_what_lies_there(venv, tmp_path):
    module, library = link_by_name(tmp_path, "site")
    install(venv, "pkg", ("pkg/_ext.so", module))
    found = names(venv.probe(), library_path=f"relative::{library.parent}")
    assert found["libsite.so"].path == str(library)
    assert found["libsite.so"].os_package.reason == "no OS package owns this file" or not shutil.which(
        "dpkg-query"
    )


def test_libraries_of_libraries_are_followed(venv, tmp_path):
    deep = build(tmp_path / "far/libdeep.so", "int deep(void) { return 1; }", "-Wl,-soname,libdeep.so")
    near = build(
        tmp_path / "far/libnear.so",
        "int deep(void); int near(void) { return deep(); }",
        "-Wl,-soname,libnear.so",
        deep,
        "-Wl,-rpath,$ORIGIN",
    )
    module = build(
        tmp_path / "b/_ext.so", "int near(void); int f(void) { return near(); }", near, f"-Wl,-rpath,{near.parent}"
    )
    install(venv, "pkg", ("pkg/_ext.so", module))
    found = names(venv.probe())
    assert set(found) == {"libdeep.so", "libnear.so"}
    assert found["libdeep.so"].needed_by == ("pkg",)


def test_a_linker_script_or_broken_file_is_no_library(venv, tmp_path):
    venv.package(
        "odd", files={"odd/libx.so": "GROUP ( libx.so.1 )", "odd/_y.so": b"\x7fELF" + bytes(20), "odd/e.so": ""}
    )
    probe = venv.probe()
    assert (names(probe), libraries.findings(probe)) == ({}, ())


def test_the_operating_systems_packages_are_listed():
    fact = ospackages.os_packages()
    if not any(shutil.which(p) for p in ("dpkg-query", "rpm", "apk")):
        assert fact.reason
        return
    assert fact.value == tuple(sorted(fact.value))
    assert all(len(line.split(" ")) >= 2 for line in fact.value)
