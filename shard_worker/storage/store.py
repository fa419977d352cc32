"""A shard's documents, collections and position in the log: one SQLite file, in WAL mode.

Source: https://sqlite.org/wal.html (readers and the one writer do not block each other).
"""

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from pathlib import Path
from types import MappingProxyType

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.common.wire.formats import other_format
from hedgerow.shard_worker.storage.judgements import SCHEMA as JUDGEMENTS_SCHEMA
from hedgerow.shard_worker.storage.judgements import StoredJudgements
from hedgerow.shard_worker.storage.leading_documents import read_leading
from hedgerow.shard_worker.storage.mirrors import SCHEMA as MIRRORS_SCHEMA
from hedgerow.shard_worker.storage.mirrors import StoredMirror, StoredMirrors
from hedgerow.shard_worker.storage.ordered_documents import READ, read_in_order
from hedgerow.shard_worker.storage.thread_connections import ThreadConnections

FORMAT = "1"
BUSY_TIMEOUT_S = 30.0
MAX_WAL_BYTES = 1_048_576

# Rows hold whole documents, so ids have a tree of their own, without the bodies
# (https://sqlite.org/withoutrowid.html: WITHOUT ROWID is for small rows).
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS collections (
    number INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, definition TEXT NOT NULL,
    documents INTEGER NOT NULL DEFAULT 0, changes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS documents (
    collection INTEGER NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS documents_by_id ON documents (collection, id);
"""


class Store:
    """One shard's store. Any number of threads and processes may read; one process writes.

    Each thread gets a connection of its own, which is closed when the thread ends. A read sees the
    last `apply` that ended before it.

    Attributes:
        judgements: of conditional writes; to be read by the process that writes.
        mirrors: pairs of collections of which one follows the other; likewise.
    """

    def __init__(self, path: Path, *, read_only: bool, mapped_bytes: int) -> None:
        self._path = path
        self._read_only = read_only
        self._mapped_bytes = mapped_bytes
        self._connections = ThreadConnections(self._connect)
        self._connection = self._connections.own
        self.judgements = StoredJudgements(self._connection)
        self.mirrors = StoredMirrors(self._connection)

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False, mapped_bytes: int = 0) -> "Store":
        """Open a store; create it if it does not exist, unless read-only.

        Args:
            path: the store's file.
            read_only: open for reading alone.
            mapped_bytes: how much of the file to map into memory. Mapped reads are a third faster,
                but an I/O error of the disk kills the process (https://sqlite.org/mmap.html).

        Raises:
            ConfigurationError: it has another format, or is read-only and does not exist.
        """
        store = cls(path, read_only=read_only, mapped_bytes=mapped_bytes)
        if read_only and not path.is_file():
            raise ConfigurationError(f"there is no store {path}")
        try:
            if not read_only:
                store._make()
            store._check_format()
        except BaseException:
            store.close()
            raise
        return store

    def _make(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connection()
        connection.executescript(_SCHEMA + JUDGEMENTS_SCHEMA + MIRRORS_SCHEMA)
        with connection:
            connection.executemany(
                "INSERT OR IGNORE INTO meta VALUES (?, ?)",
                [("format", FORMAT), ("replica_id", secrets.token_hex(8)), ("position", "0-0")],
            )

    def _check_format(self) -> None:
        found = self._meta("format")
        if found != FORMAT:
            raise ConfigurationError(other_format(str(self._path), found, FORMAT))

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        try:
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                check_same_thread=False,  # close() may be called by another thread
            )
        except sqlite3.OperationalError as error:
            raise sqlite3.OperationalError(f"{self._path}: {error}") from error
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        if not self._read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            # The log is trimmed up to the position stored here: power loss must not undo it.
            connection.execute("PRAGMA synchronous=FULL")
        if self._mapped_bytes:
            connection.execute(f"PRAGMA mmap_size = {self._mapped_bytes}").fetchall()

    def close(self) -> None:
        """Close every thread's connection."""
        self._connections.close()

    def _meta(self, key: str) -> str:
        row = self._connection().execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    @property
    def replica_id(self) -> str:
        """Identifies this copy of the shard; random, drawn when the store was created."""
        return self._meta("replica_id")

    @property
    def position(self) -> str:
        """Id of the last log entry that was applied; "0-0" before the first."""
        return self._meta("position")

    def begin_reading(self) -> str:
        """Begin a transaction in which this thread sees the store as it is now; `close` ends it.

        Returns:
            The position.
        """
        self._connection().execute("BEGIN")
        return self.position  # the first read fixes what is seen

    def collections(self) -> dict[str, str]:
        """Uid → definition (JSON) of every collection."""
        return dict(self._connection().execute("SELECT uid, definition FROM collections"))

    def definition(self, uid: str) -> str | None:
        """The definition (JSON) of one collection; None if it is unknown."""
        row = (
            self._connection()
            .execute("SELECT definition FROM collections WHERE uid = ?", (uid,))
            .fetchone()
        )
        return row[0] if row else None

    def count(self, uid: str) -> int:
        """The number of documents of a collection; 0 if it is unknown."""
        row = (
            self._connection()
            .execute("SELECT documents FROM collections WHERE uid = ?", (uid,))
            .fetchone()
        )
        return int(row[0]) if row else 0

    def changes(self, uid: str) -> int:
        """How many documents of a collection were ever added, replaced or deleted here."""
        row = (
            self._connection()
            .execute("SELECT changes FROM collections WHERE uid = ?", (uid,))
            .fetchone()
        )
        return int(row[0]) if row else 0

    def first_ids(self, uid: str, limit: int) -> list[str]:
        """The first ids of a collection, ascending."""
        rows = self._connection().execute(
            "SELECT id FROM documents WHERE collection ="
            " (SELECT number FROM collections WHERE uid = ?) ORDER BY id LIMIT ?",
            (uid, limit),
        )
        return [row[0] for row in rows]

    def ids_at(self, uid: str, ranks: Iterable[int]) -> list[str]:
        """The ids of a collection at some ranks; the lowest id has rank 0.

        This walks over all ids up to the last rank: 15 ms for a million.

        Args:
            uid: the collection's.
            ranks: in ascending order, without duplicates; ranks beyond the last id are ignored.
        """
        found: list[str] = []
        passed, last = 0, ""
        for rank in ranks:
            row = (
                self._connection()
                .execute(
                    "SELECT id FROM documents WHERE collection ="
                    " (SELECT number FROM collections WHERE uid = ?) AND id > ?"
                    " ORDER BY id LIMIT 1 OFFSET ?",
                    (uid, last, rank - passed),
                )
                .fetchone()
            )
            if row is None:
                break
            last, passed = row[0], rank + 1
            found.append(last)
        return found

    def get(self, uid: str, ids: Sequence[str]) -> list[bytes | None]:
        """Documents as stored (JSON), in the order of `ids`; None if there is none."""
        rows = self._connection().execute(READ, (uid, json.dumps(list(ids))))
        found: dict[str, bytes] = dict(rows)
        return [found.get(one) for one in ids]

    def read(
        self,
        uid: str,
        ids: Sequence[str],
        max_bytes: int,
        pick: Callable[[bytes], bytes] | None = None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> list[bytes | int | None]:
        """Documents as stored (JSON), or what `pick` makes of them, up to `max_bytes` in total.

        Args:
            uid: the collection's.
            ids: the documents to read, in order of importance.
            max_bytes: documents that would exceed it are left out.
            pick: extracts a part of a document; the size of that part counts.
            is_late: called before each document; when it returns True, the rest is left out.

        Returns:
            For each id, in order: the document; its size in bytes if it was left out; None if
            there is none.
        """
        rows = self._connection().execute(READ, (uid, json.dumps(list(ids))))
        found: dict[str, bytes] = {}
        num_bytes = 0
        for one, stored in rows:
            body = stored if pick is None else pick(stored)
            num_bytes += len(body)
            if num_bytes > max_bytes or is_late():
                break
            found[one] = body
        else:
            return [found.get(one) for one in ids]
        rows.close()
        found.clear()
        return read_in_order(self._connection(), uid, ids, max_bytes, pick, is_late)

    def leading(
        self, uid: str, ids: Sequence[str], max_bytes: int, is_late: Callable[[], bool]
    ) -> list[bytes]:
        """The first documents of `ids`; see `read_leading`."""
        return read_leading(self._connection(), uid, ids, max_bytes, is_late)

    def existing(self, uid: str, ids: Iterable[str]) -> set[str]:
        """Those of the ids that a collection has documents of."""
        rows = self._connection().execute(
            "SELECT id FROM documents WHERE collection ="
            " (SELECT number FROM collections WHERE uid = ?)"
            " AND id IN (SELECT value FROM json_each(?))",
            (uid, json.dumps(list(ids))),
        )
        return {row[0] for row in rows}

    def scan(self, uid: str, page: int = 500, after: str = "") -> Iterator[tuple[str, bytes]]:
        """All documents of a collection (id, JSON), in ascending order of ids, read in pages.

        With `after`, only those with a greater id.
        """
        while True:
            rows = (
                self._connection()
                .execute(
                    "SELECT id, body FROM documents WHERE collection ="
                    " (SELECT number FROM collections WHERE uid = ?) AND id > ?"
                    " ORDER BY id LIMIT ?",
                    (uid, after, page),
                )
                .fetchall()
            )
            yield from rows
            if len(rows) < page:
                return
            after = rows[-1][0]

    def count_as_changed(self, uid: str) -> None:
        """Add all documents of a collection to its `changes`: they are indexed in another way."""
        connection = self._connection()
        with connection:
            connection.execute(
                "UPDATE collections SET changes = changes + documents WHERE uid = ?", (uid,)
            )

    def apply(
        self,
        position: str,
        *,
        definitions: Mapping[str, str] | None = None,
        documents: Mapping[str, Mapping[str, bytes | None]] | None = None,
        dropped: AbstractCollection[str] = (),
        judged: Iterable[tuple[int, Judgement]] = (),
        mirrors: Mapping[str, StoredMirror | None] = MappingProxyType({}),
        fits: Mapping[str, Mapping[str, str | None]] = MappingProxyType({}),
    ) -> None:
        """Write a batch of log entries in one transaction; applying it again changes nothing.

        Args:
            position: id of the last log entry in the batch.
            definitions: uid → definition (JSON) of collections that are new or changed.
            documents: uid → id → JSON of the document, or None to delete it, as of the end of the
                batch. Documents of unknown collections are ignored.
            dropped: uids of collections to remove with their documents, after all other changes.
            judged: numbers and judgements of the batch's conditional writes.
            mirrors: the batch's changes of pairs, as for `StoredMirrors.apply`.
            fits: likewise.
        """
        connection = self._connection()
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT INTO collections (uid, definition) VALUES (?, ?)"
                " ON CONFLICT (uid) DO UPDATE SET definition = excluded.definition",
                (definitions or {}).items(),
            )
            numbers = dict(connection.execute("SELECT uid, number FROM collections"))
            for uid, changes in (documents or {}).items():
                if uid in numbers:
                    _apply_changes(connection, numbers[uid], changes)
            for uid in dropped:
                if uid in numbers:
                    number = (numbers[uid],)
                    connection.execute("DELETE FROM documents WHERE collection = ?", number)
                    connection.execute("DELETE FROM collections WHERE number = ?", number)
            self.judgements.add(judged)
            self.mirrors.apply(mirrors, fits)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'position'", (position,))
        self._trim()

    def _trim(self) -> None:
        """Give back the disk space that a large batch has taken in the write-ahead log."""
        wal = self._path.with_name(f"{self._path.name}-wal")
        if wal.is_file() and wal.stat().st_size > MAX_WAL_BYTES:
            connection = self._connection()
            # While a reader is in a query, this fails, and the next large batch tries again.
            connection.execute("PRAGMA busy_timeout = 50")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")


def _apply_changes(
    connection: sqlite3.Connection, number: int, changes: Mapping[str, bytes | None]
) -> None:
    # The number of documents is maintained, since counting them reads the whole index of ids.
    existing = connection.execute(
        "SELECT COUNT(*) FROM documents WHERE collection = ?"
        " AND id IN (SELECT value FROM json_each(?))",
        (number, json.dumps(list(changes))),
    ).fetchone()[0]
    upserts = [(number, one, body) for one, body in changes.items() if body is not None]
    connection.executemany(
        "DELETE FROM documents WHERE collection = ? AND id = ?",
        [(number, one) for one, body in changes.items() if body is None],
    )
    connection.executemany(
        "INSERT INTO documents VALUES (?, ?, ?)"
        " ON CONFLICT (collection, id) DO UPDATE SET body = excluded.body",
        upserts,
    )
    connection.execute(
        "UPDATE collections SET documents = documents + ?, changes = changes + ? WHERE number = ?",
        (len(upserts) - existing, len(changes), number),
    )
