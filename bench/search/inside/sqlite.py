"""SQLite FTS5, which has no server: a connection a process, and the page cache for all.

No option. Ways: `sql`, and `matches`, which counts the matches and finds nothing.
"""

import sqlite3
import time
from pathlib import Path

from bench.harness.pipe import Setting
from bench.search.inside.serving import Find, Hits, Ready, Task, disk_bytes, serve
from bench.search.queries import Query, to_fts5

_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE VIRTUAL TABLE texts USING fts5(
    text, content='', columnsize=1, tokenize="unicode61 remove_diacritics 0"
);
"""
_FIND = """
SELECT documents.id, -found.rank FROM (
    SELECT rowid, rank FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT ?
) AS found JOIN documents ON documents.number = found.rowid
"""
_COUNT = "SELECT count(*) FROM texts WHERE texts MATCH ?"
SETTINGS = (
    Setting(
        "ORDER BY rank", "bm25, its default", "the quick way to the best, by its documentation"
    ),
    Setting("content", "'' (contentless)", "ids and no texts, as for the others"),
    Setting("tokenize", "unicode61 remove_diacritics 0", "the same words as the others"),
    Setting("'optimize'", "after the build", "one b-tree instead of several"),
    Setting("journal_mode", "WAL", "for the build; then opened read-only and immutable"),
    Setting("mmap_size", "the whole file", "no copies, and one page cache for all processes"),
    Setting("processes", "one a core, a connection each", "Python's lock is no bottleneck"),
)


def build(task: Task) -> float:
    """Build the index; returns how long it took, in s."""
    started = time.perf_counter()
    task.folder.mkdir(parents=True)
    connection = sqlite3.connect(_file(task.folder))
    connection.executescript(_SCHEMA)
    with connection:
        for number, (one, text) in enumerate(task.read(), 1):
            connection.execute("INSERT INTO documents VALUES (?, ?)", (number, one))
            connection.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (number, text))
    with connection:
        connection.execute("INSERT INTO texts (texts) VALUES ('optimize')")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return time.perf_counter() - started


def finders(folder: Path) -> dict[str, list[Find]]:
    """One for each way, by a connection of their own."""
    file = _file(folder)
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False
    )
    connection.execute(f"PRAGMA mmap_size = {file.stat().st_size}")

    def find(query: Query, k: int) -> tuple[int | None, Hits]:
        return None, connection.execute(_FIND, (to_fts5(query), k)).fetchall()

    def count(query: Query, _: int) -> tuple[int | None, Hits]:
        return connection.execute(_COUNT, (to_fts5(query),)).fetchone()[0], []

    return {"sql": [find], "matches": [count]}


def _file(folder: Path) -> Path:
    return folder / "index.sqlite"


def main() -> None:
    """Build if need be, and serve."""
    task = Task.from_arguments()
    build_s = 0.0 if task.folder.exists() else build(task)
    versions = {"SQLite": sqlite3.sqlite_version}
    ready = Ready(build_s, disk_bytes(task.folder), versions, SETTINGS)
    serve(task, ready, finders(task.folder))


if __name__ == "__main__":
    main()
