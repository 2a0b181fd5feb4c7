"""A bundle again with another record: every other file as it is, what is derived from the record made anew."""

from __future__ import annotations

from pathlib import Path

from runbook.bundle.read import Bundle
from runbook.bundle.write import BundleWriter
from runbook.flow.own import note_derived
from runbook.flow.seal import DERIVED, add_documents
from runbook.model.record import Record


def reseal(bundle: Bundle, record: Record, target: Path, *, archive: bool, replace: bool) -> str:
    """Write a new bundle with this record; its id. Each file is checked by the old manifest while copied.

    What was attested or approved is about the old bundle and stays with it.
    """
    with BundleWriter(target, form="zip" if archive else "directory", replace=replace) as writer:
        for name in bundle.names:
            if name not in DERIVED:
                with bundle.open(name) as source:
                    writer.add_stream(name, source, sha256=bundle.digest(name))
        add_documents(writer, record, bundle.series)
        identity = writer.finish()
    note_derived(identity, bundle.id)
    return identity
