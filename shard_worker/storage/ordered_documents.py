"""Reading documents in the order of their importance, when not all of them may be read."""

import json
import sqlite3
from collections.abc import Callable, Sequence

_OF_IDS = (
    " FROM documents WHERE collection = (SELECT number FROM collections WHERE uid = ?)"
    " AND id IN (SELECT value FROM json_each(?))"
)
READ = f"SELECT id, body{_OF_IDS}"
_MEASURE = f"SELECT id, length(body){_OF_IDS}"


def read_in_order(
    connection: sqlite3.Connection,
    uid: str,
    ids: Sequence[str],
    max_bytes: int,
    pick: Callable[[bytes], bytes] | None,
    is_late: Callable[[], bool],
) -> list[bytes | int | None]:
    """Read documents one by one; the arguments and the result are those of `Store.read`."""
    # If only the length of a body is selected, SQLite does not read the pages that hold it.
    sizes: dict[str, int] = dict(connection.execute(_MEASURE, (uid, json.dumps(list(ids)))))
    taken: list[bytes | int | None] = []
    left, is_full = max_bytes, False
    for one in ids:
        size = sizes.get(one)
        if size is None or is_full or (pick is None and size > left):
            taken.append(size)
            continue
        row = connection.execute(READ, (uid, json.dumps([one]))).fetchone()
        body = None if row is None else row[1] if pick is None else pick(row[1])
        if body is not None and len(body) > left:  # replaced since it was measured
            # Measuring the parts of later documents would take reading them.
            taken.append(len(body))
            is_full = pick is not None
            continue
        left -= 0 if body is None else len(body)
        taken.append(body)
        is_full = is_late()
    return taken
