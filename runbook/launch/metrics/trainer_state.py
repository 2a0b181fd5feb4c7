"""Metrics from `trainer_state.json` of Hugging Face's Trainer: its `log_history`, also in checkpoints."""

from __future__ import annotations

import re
from typing import BinaryIO

from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.json_file import parse_json
from runbook.launch.metrics.numbers import from_rows

_FILE = "trainer_state.json"
_CHECKPOINT = re.compile(r"(?:^|/)checkpoint-[0-9]+$")


class _TrainerState:
    name = "trainer-state"
    cap = 64 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        if not path.endswith(_FILE):
            return None
        folder, _, name = path.rpartition("/")
        # Each checkpoint holds the whole history up to it: they are one run, and the longest stands.
        run = _CHECKPOINT.sub("", folder)
        return Claim(store=run, run=run) if name == _FILE else None

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        tree = parse_json(data.read())
        rows = tree.get("log_history") if isinstance(tree, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("holds no log_history")
        return from_rows(rows)


MEMBER = _TrainerState()
