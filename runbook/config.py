"""runbook.yaml: read, checked against its schema, turned into values."""
