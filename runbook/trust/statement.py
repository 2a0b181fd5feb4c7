"""What a signed Statement is about: its subjects are held against the bundle, by name and by digest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook.errors import SignatureRefused
from runbook.model.statement import MANIFEST, STATEMENT


def check(statement: Any, bundle_id: str, digests: Mapping[str, str]) -> str:
    """The type of a Statement's predicate, when it is one about this very bundle. Raises SignatureRefused.

    digests: name → sha256 of the bundle's payload. A subject that the bundle does not hold may be there (a file
    too large to embed); one that it holds must be what it says, and the manifest must be among them: in-toto
    matches by digest alone, and swapped names would pass.
    """
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT:
        raise SignatureRefused("what is signed is no in-toto Statement 1", id="not-a-statement")
    subjects, predicate = statement.get("subject"), statement.get("predicateType")
    if not isinstance(predicate, str) or not isinstance(statement.get("predicate"), dict):
        raise SignatureRefused("what is signed has no predicate", id="not-a-statement")
    if not isinstance(subjects, list) or not all(map(_well_formed, subjects)):
        raise SignatureRefused("what is signed has no proper subjects", id="not-a-statement")
    named = [(one["name"], one["digest"]["sha256"]) for one in subjects]
    if len({name for name, _ in named}) != len(named):
        raise SignatureRefused("what is signed has a subject twice", id="swapped-subject")
    about = dict(named)
    if MANIFEST not in about:
        raise SignatureRefused("what is signed does not name a bundle's manifest", id="not-a-statement")
    if about.pop(MANIFEST) != bundle_id:
        raise SignatureRefused("the signature is about another bundle", id="other-bundle")
    for name, digest in sorted(about.items()):
        if digests.get(name, digest) != digest:
            raise SignatureRefused(
                "a signed subject is not the bundle's file of that name", name, id="swapped-subject"
            )
    return predicate


def _well_formed(subject: Any) -> bool:
    if not isinstance(subject, dict) or not isinstance(subject.get("name"), str):
        return False
    digest = subject.get("digest")
    return isinstance(digest, dict) and isinstance(digest.get("sha256"), str)
