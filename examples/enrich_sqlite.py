"""An `enrich` hook: adds prices and stock from a database, using its synchronous driver.

They change too often to be indexed, so they are looked up for the winners alone, after the ranking.
The driver blocks, but `enrich` runs in the worker's thread pool, where it holds up nothing else. If
it fails or is late, the hits keep their stored fields, and the answer says so.

`python examples/enrich_sqlite.py DATABASE` creates a database to try it with.
"""

import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DATABASE_VARIABLE = "STOCK_DATABASE"
BUSY_TIMEOUT_S = 0.1  # no price is better than a late one

_local = threading.local()


def enrich(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add `price` and `in_stock` to the winners; to be named by the setting `enrich`.

    Args:
        documents: the winners of one shard, with all their stored fields.

    Returns:
        The same documents in the same order; those that the database does not know are unchanged.

    Raises:
        sqlite3.Error: the database cannot be read.
        KeyError: STOCK_DATABASE is not set.
    """
    ids = json.dumps([document["id"] for document in documents])
    rows = _connection(os.environ[DATABASE_VARIABLE]).execute(
        # One query for all documents, not one for each.
        "SELECT id, price, in_stock FROM stock WHERE id IN (SELECT value FROM json_each(?))",
        (ids,),
    )
    stock = {row[0]: {"price": row[1], "in_stock": bool(row[2])} for row in rows}
    return [document | stock.get(document["id"], {}) for document in documents]


def _connection(path: str) -> sqlite3.Connection:
    """This thread's connection; the pool's threads are reused, so each opens it once."""
    known: tuple[str, sqlite3.Connection] | None = getattr(_local, "connection", None)
    if known is None or known[0] != path:
        if known is not None:
            known[1].close()
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        known = (path, sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S))
        _local.connection = known
    return known[1]


def make_database(path: Path, stock: Iterable[tuple[str, float, bool]]) -> None:
    """Create a database of (id, price, in stock) rows, or add to it."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS stock (id TEXT PRIMARY KEY, price REAL, in_stock INTEGER)"
        )
        connection.executemany("INSERT OR REPLACE INTO stock VALUES (?, ?, ?)", stock)
    connection.close()


if __name__ == "__main__":
    lines = Path(__file__).with_name("shop.jsonl").read_text().splitlines()
    articles = [json.loads(line) for line in lines]
    make_database(
        Path(sys.argv[1]),
        [
            (article["id"], 9.5 + 10 * place, place % 3 > 0)
            for place, article in enumerate(articles)
        ],
    )
