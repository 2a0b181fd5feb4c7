"""Metrics from MLflow's SQLite store, `mlflow.db`: one table, runs told apart by their id, in the order of their
start.

The bytes are read into memory: no path is opened by SQLite, so that no link is followed and no journal beside
it is replayed. A database is hostile: it may hold views, triggers and functions in place of the tables that are
asked for, and so may nothing but plain reading of the two tables, within a bound of steps.
"""

from __future__ import annotations

import sqlite3
from typing import BinaryIO

from runbook.launch.metrics.interface import Claim, Reading, Source
from runbook.launch.metrics.numbers import Points

_MAX_TICKS = 2000
"""Each is 100,000 instructions of SQLite's machine: some ten seconds in all."""
_TABLES = frozenset(("metrics", "runs", "sqlite_master"))
_QUERY = """
SELECT m.run_uuid, m.key, m.step, m.value, m.is_nan
FROM metrics AS m JOIN runs AS r ON r.run_uuid = m.run_uuid
WHERE r.lifecycle_stage = 'active' AND m.timestamp >= ?
ORDER BY r.start_time, r.run_uuid, m.key, m.step, m.timestamp
"""


class _MlflowSqlite:
    name = "mlflow-sqlite"
    cap = 256 * 1024 * 1024
    rank = 0

    def claims(self, path: str) -> Claim | None:
        if not path.endswith((".db", ".sqlite", ".sqlite3")):
            return None
        return Claim(store=path, run=path)

    def recognises(self, source: Source) -> bool:
        return source.reader == self.name

    def check(self, source: Source) -> None:
        return None

    def read(self, source: Source, data: BinaryIO) -> Reading:
        head = data.read(100)
        if len(head) < 100 or not head.startswith(b"SQLite format 3\0"):
            raise ValueError("is no SQLite database")
        # NOTE: a database in write-ahead mode opens in memory only when it says that it is not.
        content = bytearray(head + data.read())
        content[18:20] = b"\1\1"
        connection = sqlite3.connect(":memory:")
        try:
            connection.deserialize(bytes(content))
            return _read(connection, source.since)
        except sqlite3.Error as error:
            raise ValueError(f"cannot be read as an MLflow store ({error})") from None
        finally:
            connection.close()


def _read(connection: sqlite3.Connection, since: float | None) -> Reading:
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return ticks > _MAX_TICKS

    def allow(action: int, table: str | None, *rest: str | None) -> int:
        inner = rest[-1]  # The view or trigger that asks.
        plain = action == sqlite3.SQLITE_SELECT or (action == sqlite3.SQLITE_READ and table in _TABLES)
        return sqlite3.SQLITE_OK if plain and inner is None else sqlite3.SQLITE_DENY

    connection.execute("PRAGMA trusted_schema = OFF")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1024 * 1024)
    connection.set_progress_handler(tick, 100_000)
    connection.set_authorizer(allow)
    points, runs = Points(), dict[str, int]()
    for run, key, step, value, is_nan in connection.execute(_QUERY, (0 if since is None else int(since) * 1000,)):
        if not isinstance(key, str) or not isinstance(value, int | float):
            raise ValueError("holds a metric that is no number")
        number = runs.setdefault(str(run), len(runs) + 1)
        points.add_or_note(
            key if number == 1 else f"{key}#{number}", step, float("nan") if is_nan else float(value)
        )
    return points.reading()


MEMBER = _MlflowSqlite()
