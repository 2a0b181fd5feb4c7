"""JSON Schemas: of a record, as it is published in the package and in every bundle, and of a plan."""

from __future__ import annotations

from typing import Any

import msgspec

from runbook.model import preflight
from runbook.model.preflight import Preflight
from runbook.model.record import SCHEMA, Record


def record_schema() -> bytes:
    """The schema (JSON Schema 2020-12), indented, keys sorted: the same bytes for the same version of runbook."""
    return _schema(Record, SCHEMA)


def preflight_schema() -> bytes:
    """The schema of what `replay --plan --json` prints."""
    return _schema(Preflight, preflight.SCHEMA)


def _schema(kind: type[Any], name: str) -> bytes:
    schema = msgspec.json.schema(kind)
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:{name}", **schema}
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"
