"""`make golden`: rewrite what is generated: help texts in README.md, schemas of the record and the plan."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from runbook.bundle.schema import preflight_schema, record_schema

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
_BLOCK = re.compile(r"(<!-- begin (?P<command>runbook[^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def help_text(command: str) -> str:
    """What the command prints, 100 columns wide."""
    arguments = command.split()[1:]
    done = subprocess.run(
        [sys.executable, "-m", "runbook", *arguments],
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip()


def regenerated(text: str) -> str:
    """The same document with every generated block as the program prints it now."""
    return _BLOCK.sub(lambda m: f"{m[1]}```text\n{help_text(m['command'])}\n```\n{m[3]}", text)


if __name__ == "__main__":
    README.write_text(regenerated(README.read_text()))
    (ROOT / "docs" / "record.schema.json").write_bytes(record_schema())
    (ROOT / "docs" / "preflight.schema.json").write_bytes(preflight_schema())
