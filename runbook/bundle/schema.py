"""The JSON Schema of a record, as it is published in the package and in every bundle."""

from __future__ import annotations

import msgspec

from runbook.model.record import SCHEMA, Record


def record_schema() -> bytes:
    """The schema (JSON Schema 2020-12), indented, keys sorted: the same bytes for the same version of runbook."""
    schema = msgspec.json.schema(Record)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{SCHEMA}", **schema}
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"
