"""The documents say what the program does: help texts, verbs, options, exit codes, targets."""

import re
import subprocess
from pathlib import Path

import click
import golden
import pytest

from runbook import __version__, errors
from runbook.cli.main import VERBS, cli
from runbook.model.verdict import STRENGTH

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = README + "".join(p.read_text() for p in sorted((ROOT / "docs").glob("*.md")))


def command_of(verb):
    return cli.get_command(click.Context(cli), verb)


def test_help_texts_in_the_readme_are_what_the_program_prints():
    assert golden.regenerated(README) == README, "run `make golden`"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb):
    assert f"runbook {verb}" in DOCUMENTS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches_by_an_example(verb):
    assert f"runbook {verb}" in (command_of(verb).help or "")


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_text(verb):
    silent = [p.name for p in command_of(verb).params if isinstance(p, click.Option) and not p.help]
    assert silent == []


def test_every_exit_code_is_in_the_readme():
    codes = {0, 1, errors.Interrupted.exit_code}
    codes |= {e.exit_code for e in errors.RunbookError.__subclasses__()}
    table = set(map(int, re.findall(r"^\| (\d+) \|", README, flags=re.M)))
    assert table == codes


def test_every_verdict_is_in_the_readme():
    assert [v for v in STRENGTH if f"| `{v}` |" not in README] == []


def test_every_target_that_the_documents_name_exists():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.M))
    texts = DOCUMENTS + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`make ([a-z]+)", texts)) | set(re.findall(r"^make ([a-z]+)", texts, flags=re.M))
    assert named <= targets
    assert {"demo", "test"} <= named


def test_make_without_a_target_lists_them():
    said = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    assert "make demo" in said
    assert "make test" in said


def test_links_between_documents_lead_somewhere():
    broken = []
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        broken += [f"{document.name}: {target}" for target in targets if not (document.parent / target).exists()]
    assert broken == []


def test_the_changelog_has_a_place_for_what_is_not_released():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.findall(r"^## \[(.+?)\]", changelog, flags=re.M)[0] == "Unreleased"


def test_version_is_one_number_everywhere(runbook_cli):
    from importlib.metadata import version

    assert runbook_cli("--version").stdout == f"runbook {__version__}\n"
    assert version("runbook") == __version__
