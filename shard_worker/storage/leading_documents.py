"""Reads the first documents of a list of ids, up to one that is absent or does not fit.

A scorer does this because a search that attaches its documents needs no fetch. It stops at the
first document that it cannot take; the fetch then reads that one and all after it. Short documents
are beside the text index (`bodies`); the others are read from the store.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence

_NUMBER = "SELECT number FROM collections WHERE uid = ?"
# If a body is too large, SQLite does not read the pages that hold it.
_BODY = "SELECT body FROM documents WHERE collection = ? AND id = ? AND length(body) <= ?"


def read_leading(
    connection: sqlite3.Connection,
    uid: str,
    ids: Sequence[str],
    max_bytes: int,
    is_late: Callable[[], bool],
) -> list[bytes]:
    """The documents of the first of `ids`, as stored, up to `max_bytes` in total.

    Args:
        connection: to the store; no transaction may be open.
        uid: the collection's.
        ids: the documents to read, in order of importance.
        max_bytes: reading stops before the document that would exceed it.
        is_late: called before each document; reading stops when it returns True.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    bodies: list[bytes] = []
    # Without one cursor and one transaction for all, finding a row takes twice as long.
    execute = connection.cursor().execute
    execute("BEGIN")
    try:
        number = execute(_NUMBER, (uid,)).fetchone()
        if number is None:
            return bodies
        for one in ids:
            row = None if is_late() else execute(_BODY, (number[0], one, max_bytes)).fetchone()
            if row is None:
                break
            max_bytes -= len(row[0])
            bodies.append(row[0])
    finally:
        connection.rollback()
    return bodies


def leading_of(bodies: Iterable[bytes | None], max_bytes: int) -> list[bytes]:
    """The first of the documents, up to one that is None or exceeds `max_bytes` in total."""
    taken: list[bytes] = []
    for body in bodies:
        if body is None or len(body) > max_bytes:
            break
        max_bytes -= len(body)
        taken.append(body)
    return taken
