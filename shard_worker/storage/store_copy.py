"""Copies a shard's files as of one moment, while the writer continues.

- A text index: segments never change, so the files that `meta.json` names are hard-linked, which
  takes microseconds a file, whatever its size. Merges run in threads of their own and may replace
  `meta.json` and remove files at the same time; then the links are made again from the new one.
- Vectors (`shard_worker.vectors`): graphs never change and are linked. Rows are only appended, so
  those that there are now are copied in the thread that copies the store.
- The store: a read transaction, which sees what was committed when it began
  (https://sqlite.org/isolation.html), and SQLite's backup (https://sqlite.org/backup.html) in a
  thread. Until the backup ends, the write-ahead log grows with each write.
"""

import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hedgerow.common.errors import SnapshotError
from hedgerow.shard_worker.vectors.files import is_graph, is_rows

_META, _MANAGED = "meta.json", ".managed.json"
_ABOUT = "hedgerow.json"
_MAX_TRIES = 50
_PAGES = 2000  # copied between two checks of whether to stop
_CHUNK_BYTES = 4_194_304  # copied between two checks of whether to stop
_DELETES = re.compile(r"\.(\d+)\.del$")


def link_index(index: Path, target: Path) -> None:
    """Link a text index's files into a second folder, which later commits do not change.

    Args:
        index: the index's folder; nothing but merges may change it at the same time.
        target: the folder to create, on the same file system.

    Raises:
        SnapshotError: merges remove files faster than they can be linked.
        OSError: the file system refuses.
    """
    for _ in range(_MAX_TRIES):
        target.mkdir(parents=True)
        try:
            meta = (index / _META).read_bytes()
            names = _segment_files(index, json.loads(meta))
            graphs = [path.name for path in index.iterdir() if is_graph(path.name)]
            for name in (*names, *graphs, _ABOUT):
                _link(index / name, target / name)
        except FileNotFoundError:
            shutil.rmtree(target)
            continue
        (target / _META).write_bytes(meta)
        # From this list tantivy finds later which files are no longer used.
        (target / _MANAGED).write_text(json.dumps([*names, _META]))
        return
    raise SnapshotError(f"{index}: merges outran {_MAX_TRIES} attempts to link its files")


def _segment_files(index: Path, meta: dict[str, object]) -> list[str]:
    """The files that a `meta.json` refers to: segment.part, and segment.opstamp.del for deletes."""
    deletes: dict[str, int | None] = {}
    segments = meta["segments"]
    if not isinstance(segments, list):
        raise SnapshotError(f"{index}: meta.json has an unknown form")
    for one in segments:
        opstamp = one["deletes"]["opstamp"] if one["deletes"] else None
        deletes[one["segment_id"].replace("-", "")] = opstamp
    names = []
    for path in index.iterdir():
        segment = path.name.partition(".")[0]
        if segment in deletes:
            found = _DELETES.search(path.name)
            if found is None or int(found[1]) == deletes[segment]:
                names.append(path.name)
    missing = set(deletes) - {name.partition(".")[0] for name in names}
    missing_deletes = {
        f"{segment}.{opstamp}.del" for segment, opstamp in deletes.items() if opstamp is not None
    } - set(names)
    if missing or missing_deletes:
        raise FileNotFoundError(f"{index}: {sorted(missing | missing_deletes)}")
    return sorted(names)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # the file system has no hard links
        shutil.copyfile(source, target)


class RowsCopy(NamedTuple):
    """Rows that are to be copied.

    Attributes:
        source: the open file.
        target: the copy, whose folder exists.
        num_bytes: how many bytes of it.
    """

    source: BinaryIO
    target: Path
    num_bytes: int


def rows_to_copy(index: Path, target: Path) -> list[RowsCopy]:
    """The rows of a text index as they are now, to be copied into a folder.

    Raises:
        OSError: they cannot be read.
    """
    copies = []
    for path in index.iterdir():
        if is_rows(path.name):
            file = path.open("rb")
            copies.append(RowsCopy(file, target / path.name, path.stat().st_size))
    return copies


class StoreCopy:
    """A copy of a store as of the moment when this object is made, without the replica's id."""

    def __init__(self, source: Path, target: Path, rows: Sequence[RowsCopy] = ()) -> None:
        """Begin to copy, in a thread.

        Args:
            source: the store's file.
            target: the copy's file; it appears when the copy is complete.
            rows: of vectors, which are copied first; this object closes their files.

        Raises:
            OSError: the store cannot be read.
        """
        self._stopped = threading.Event()
        self._error: Exception | None = None
        self._target = target
        self._rows = rows
        try:
            self._source = sqlite3.connect(
                f"{source.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
            )
            self._source.execute("BEGIN")
            # The transaction begins with the first read.
            row = self._source.execute("SELECT value FROM meta WHERE key = 'position'").fetchone()
        except sqlite3.Error as error:
            self._close_rows()
            raise OSError(f"{source}: {error}") from error
        self.position = str(row[0])
        self._thread = threading.Thread(target=self._run, name="store copy", daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Whether the copy is complete.

        Raises:
            SnapshotError: the copy failed.
        """
        if self._thread.is_alive():
            return False
        if self._error is not None:
            raise SnapshotError(f"the store cannot be copied: {self._error}") from self._error
        return True

    def stop(self) -> None:
        """Stop copying, if it still runs, and wait until it has stopped."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._copy()
        except (sqlite3.Error, OSError, InterruptedError) as error:
            self._error = error
        finally:
            self._source.close()
            self._close_rows()

    def _close_rows(self) -> None:
        for rows in self._rows:
            rows.source.close()

    def _copy_rows(self) -> None:
        for rows in self._rows:
            left = rows.num_bytes
            with rows.target.open("wb") as target:
                while left and (chunk := rows.source.read(min(left, _CHUNK_BYTES))):
                    target.write(chunk)
                    left -= len(chunk)
                    self._look(0, 0, 0)

    def _copy(self) -> None:
        self._copy_rows()
        partial = self._target.with_name(f"{self._target.name}.partial")
        copy = sqlite3.connect(partial)
        try:
            copy.execute("PRAGMA synchronous=OFF")  # files restored from it are synced
            self._source.backup(copy, pages=_PAGES, progress=self._look)
            copy.execute("PRAGMA journal_mode=DELETE").fetchall()  # one file, not three
            copy.execute("DELETE FROM meta WHERE key = 'replica_id'")
            copy.commit()
        finally:
            copy.close()
        partial.rename(self._target)

    def _look(self, _status: int, _remaining: int, _total: int) -> None:
        if self._stopped.is_set():
            raise InterruptedError("stopped")
