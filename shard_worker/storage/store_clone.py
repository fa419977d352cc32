"""Clones a store: a new one with those of its documents that belong to one shard of more.

The read transaction of the old store lasts until all is copied, so that its position says what the
clone has. Until then, the clone is written without a journal, and nothing else may use it.
"""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.partition import shard_of
from hedgerow.common.shard_log.judgement import KEPT_JUDGEMENTS
from hedgerow.common.wire.formats import other_format
from hedgerow.shard_worker.storage.store import FORMAT, Store

STEP_DOCUMENTS: Final = 5000  # of the old store: some 20 ms

_COPY: Final = """
INSERT INTO documents SELECT collection, id, body FROM (
    SELECT collection, id, body FROM old.documents WHERE rowid > ? ORDER BY rowid LIMIT ?
) WHERE belongs(id)
"""
_LAST: Final = """
SELECT MAX(number), COUNT(*) FROM (
    SELECT rowid AS number FROM old.documents WHERE rowid > ? ORDER BY rowid LIMIT ?
)
"""
_COPY_COLLECTIONS: Final = """
INSERT INTO collections (number, uid, definition) SELECT number, uid, definition
FROM old.collections
"""
_COPY_JUDGEMENTS: Final = """
INSERT INTO judgements SELECT number, token, done, version
FROM old.judgements ORDER BY number DESC LIMIT ?
"""
# As if every document had been added here.
_COUNT: Final = """
UPDATE collections SET documents =
    (SELECT COUNT(*) FROM documents WHERE documents.collection = collections.number)
"""


class StoreClone:
    """A store that is being cloned; to be used by one thread at a time.

    Attributes:
        replica_id: of the new store.
        position: the last entry of its log that the old store had applied.
    """

    def __init__(self, old: Path, new: Path, shard: int, num_shards: int) -> None:
        """Fix what is cloned; `steps` does it.

        Args:
            old: the old store's file.
            new: the new store's file, which does not exist.
            shard: the shard that the new store is of.
            num_shards: over how many shards the documents are to be spread.

        Raises:
            ConfigurationError: there is no old store, or it has another format.
            sqlite3.Error: the old one cannot be read, or the new one not be written.
        """
        if not old.is_file():
            raise ConfigurationError(f"there is no store {old}")
        made = Store.open(new)
        self.replica_id = made.replica_id
        made.close()
        self._new = new
        self._connection = sqlite3.connect(
            new.absolute().as_uri(), uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            self.position = self._begin(old, shard, num_shards)
        except BaseException:
            self.close()
            raise

    def _begin(self, old: Path, shard: int, num_shards: int) -> str:
        connection = self._connection
        connection.execute("PRAGMA journal_mode = OFF").fetchall()
        connection.execute("PRAGMA synchronous = OFF")
        connection.create_function(
            "belongs", 1, lambda one: shard_of(one, num_shards) == shard, deterministic=True
        )
        connection.execute("ATTACH ? AS old", (f"{old.absolute().as_uri()}?mode=ro",))
        connection.execute("BEGIN")
        # The first read fixes what is seen.
        about = dict(connection.execute("SELECT key, value FROM old.meta"))
        if about.get("format") != FORMAT:
            raise ConfigurationError(other_format(str(old), about.get("format"), FORMAT))
        return str(about["position"])

    def steps(self) -> Iterator[None]:
        """Clone the store in steps; at the end, the new one is complete, durable and closed.

        Raises:
            sqlite3.Error, OSError: something cannot be read or written.
        """
        connection = self._connection
        connection.execute(_COPY_COLLECTIONS)
        connection.execute(_COPY_JUDGEMENTS, (KEPT_JUDGEMENTS,))
        last, num_read = 0, STEP_DOCUMENTS
        while num_read == STEP_DOCUMENTS:
            some = last, STEP_DOCUMENTS
            connection.execute(_COPY, some)
            last, num_read = connection.execute(_LAST, some).fetchone()
            yield
        connection.execute(_COUNT)
        connection.execute("UPDATE collections SET changes = documents")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'position'", (self.position,))
        connection.execute("COMMIT")
        self.close()
        with self._new.open("rb") as file:
            os.fsync(file.fileno())

    def close(self) -> None:
        """End it; a new store that is not complete is of no use then."""
        self._connection.close()
