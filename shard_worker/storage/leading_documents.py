"""Takes the first documents of a list of ids, until one is absent or there is no room for it.

A scorer does so, since a search that brings its documents along needs no fetch. It stops at the
first document that it cannot take: the fetch reads that one and all after it. Short documents lie
beside the text index (`bodies`); the others are read from the store.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence

_NUMBER = "SELECT number FROM collections WHERE uid = ?"
# Of a row that is too large, SQLite does not read the pages that its body lies in.
_BODY = "SELECT body FROM documents WHERE collection = ? AND id = ? AND length(body) <= ?"


def read_leading(
    connection: sqlite3.Connection,
    uid: str,
    ids: Sequence[str],
    max_bytes: int,
    is_late: Callable[[], bool],
) -> list[bytes]:
    """The documents of the first of `ids`, as stored, of `max_bytes` together.

    Args:
        connection: to the store; no transaction may be open.
        uid: the collection's.
        ids: those that are wanted, the most wanted first.
        max_bytes: where the next document would go beyond it, there are no more.
        is_late: asked before each document; when true, there are no more.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    bodies: list[bytes] = []
    # One cursor and one transaction: without, finding a row takes twice as long.
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
    """The first of the documents, up to one that is not there, of `max_bytes` together."""
    taken: list[bytes] = []
    for body in bodies:
        if body is None or len(body) > max_bytes:
            break
        max_bytes -= len(body)
        taken.append(body)
    return taken
