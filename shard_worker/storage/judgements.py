"""The judgements of conditional writes that a shard remembers, in its store."""

import sqlite3
from collections.abc import Callable, Iterable
from typing import Final

from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS, Judgement

# An earlier version ignores the table, and keeps it.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS judgements (
    number INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, done INTEGER NOT NULL,
    version TEXT NOT NULL
);
"""


class StoredJudgements:
    """Judgements, numbered from 1 in the order of the log."""

    def __init__(self, connection: Callable[[], sqlite3.Connection]) -> None:
        """Read them over the connection of the calling thread."""
        self._connection = connection

    @property
    def last_number(self) -> int:
        """Number of the newest; 0 if there is none."""
        row = self._connection().execute("SELECT MAX(number) FROM judgements").fetchone()
        return row[0] or 0

    def find(self, token: str) -> tuple[int, Judgement] | None:
        """Number and judgement of the write with a token; None if it is not remembered."""
        row = (
            self._connection()
            .execute("SELECT number, done, version FROM judgements WHERE token = ?", (token,))
            .fetchone()
        )
        return None if row is None else (row[0], Judgement(token, bool(row[1]), row[2]))

    def newest(self, limit: int) -> tuple[Judgement, ...]:
        """The newest ones, newest first."""
        rows = self._connection().execute(
            "SELECT token, done, version FROM judgements ORDER BY number DESC LIMIT ?", (limit,)
        )
        return tuple(Judgement(token, bool(done), version) for token, done, version in rows)

    def add(self, judged: Iterable[tuple[int, Judgement]]) -> None:
        """Remember judgements, and forget the oldest; the caller's transaction goes on."""
        rows = [(number, one.token, one.is_done, one.version) for number, one in judged]
        if not rows:
            return
        connection = self._connection()
        connection.executemany("INSERT OR REPLACE INTO judgements VALUES (?, ?, ?, ?)", rows)
        oldest = rows[-1][0] - KEPT_JUDGEMENTS
        connection.execute("DELETE FROM judgements WHERE number <= ?", (oldest,))
