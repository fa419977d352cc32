"""The pairs of collections of which one follows the other, as a shard's store has them.

They are written in the transaction of the batch that changes them, and are part of the copies of a
store. So what a replica mirrors follows from its position alone.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from hedgerow.common.shard_log.mirror_report import MAX_FIRST_MISFITS

# An earlier version ignores the tables, and keeps them.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS mirrors (
    mirror TEXT PRIMARY KEY, old TEXT NOT NULL, new TEXT NOT NULL, turned INTEGER NOT NULL,
    number INTEGER NOT NULL, reached TEXT NOT NULL, copied INTEGER NOT NULL,
    misfits INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS misfits (
    mirror TEXT NOT NULL, id TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (mirror, id)
) WITHOUT ROWID;
"""
MAX_REASON_CHARS: Final = 200


class StoredMirror(NamedTuple):
    """A pair of collections.

    Attributes:
        mirror: identifies the pair.
        old: uid of the collection whose documents are copied.
        new: uid of the other.
        is_turned: whether the old one follows the new one, and not the other way round.
        number: of the last step of the copy.
        reached: the greatest id that was copied.
        is_copied: whether there are no greater ones.
    """

    mirror: str
    old: str
    new: str
    is_turned: bool = False
    number: int = 0
    reached: str = ""
    is_copied: bool = False


class StoredMirrors:
    """The pairs, and which documents of the old collection do not fit the new one."""

    def __init__(self, connection: Callable[[], sqlite3.Connection]) -> None:
        """Read them over the connection of the calling thread."""
        self._connection = connection

    def all(self) -> tuple[StoredMirror, ...]:
        """The pairs, by their ids."""
        rows = self._connection().execute(
            "SELECT mirror, old, new, turned, number, reached, copied FROM mirrors ORDER BY mirror"
        )
        return tuple(
            StoredMirror(mirror, old, new, bool(turned), number, reached, bool(copied))
            for mirror, old, new, turned, number, reached, copied in rows
        )

    def num_misfits(self, mirror: str) -> int:
        """How many documents of a pair's old collection do not fit the new one."""
        row = (
            self._connection()
            .execute("SELECT misfits FROM mirrors WHERE mirror = ?", (mirror,))
            .fetchone()
        )
        return row[0] if row else 0

    def first_misfits(self, mirror: str) -> list[tuple[str, str]]:
        """The first of them: ids, ascending, with the reasons."""
        rows = self._connection().execute(
            "SELECT id, reason FROM misfits WHERE mirror = ? ORDER BY id LIMIT ?",
            (mirror, MAX_FIRST_MISFITS),
        )
        return list(rows)

    def apply(
        self,
        pairs: Mapping[str, StoredMirror | None],
        fits: Mapping[str, Mapping[str, str | None]],
    ) -> None:
        """Change pairs; the caller's transaction goes on.

        Args:
            pairs: id of a pair → the pair as it is now; None if it has ended.
            fits: id of a pair → id of a document that was mirrored → why it does not fit the new
                collection; None if it fits, or was removed.
        """
        connection = self._connection()
        for mirror, pair in pairs.items():
            if pair is None:
                connection.execute("DELETE FROM mirrors WHERE mirror = ?", (mirror,))
                connection.execute("DELETE FROM misfits WHERE mirror = ?", (mirror,))
            else:
                connection.execute(
                    "INSERT INTO mirrors VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
                    " ON CONFLICT (mirror) DO UPDATE SET turned = excluded.turned,"
                    " number = excluded.number, reached = excluded.reached,"
                    " copied = excluded.copied",
                    pair,
                )
        for mirror, reasons in fits.items():
            if pairs.get(mirror, mirror) is not None:
                _note(connection, mirror, reasons)


def _note(connection: sqlite3.Connection, mirror: str, reasons: Mapping[str, str | None]) -> None:
    # The number is maintained, since counting would read them all after each batch.
    before = connection.executemany(
        "DELETE FROM misfits WHERE mirror = ? AND id = ?", [(mirror, one) for one in reasons]
    ).rowcount
    found = [(mirror, one, reason[:MAX_REASON_CHARS]) for one, reason in reasons.items() if reason]
    connection.executemany("INSERT INTO misfits VALUES (?, ?, ?)", found)
    connection.execute(
        "UPDATE mirrors SET misfits = misfits + ? WHERE mirror = ?",
        (len(found) - max(0, before), mirror),
    )
