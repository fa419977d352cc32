"""Reads which replica a shard's store is, without opening it as a store."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

STORE_FILE = "store.sqlite"


class Stamp(NamedTuple):
    """Which replica a store is, and the id of the last log entry that it has applied."""

    replica_id: str
    position: str


def read_stamp(folder: Path) -> Stamp | None:
    """Read the stamp of the store in a shard's folder; None if there is none.

    Blocks.
    """
    path = folder / STORE_FILE
    if not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            meta = dict(store.execute("SELECT key, value FROM meta"))
        return Stamp(meta["replica_id"], meta["position"])
    except (sqlite3.Error, KeyError):
        return None
