"""Term statistics of a whole collection, so that its shards rank as a single index would.

BM25 (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009) weighs
a term by its inverse document frequency, and a document's length against the average. Both differ
between shards. The statistics of all shards are therefore collected, summed, and written as a table
in each worker's data folder, where its scorers look up the terms of a query.

A table is only ever replaced as a whole. Its scorers map its first bytes, and the writer marks them
once a new table is in its place: so a scorer uses that from the next search on, and need not look
at the folder with each.
"""

import contextlib
import math
import mmap
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import msgpack

from hedgerow.common.errors import WireError
from hedgerow.common.query.searched import text_fields
from hedgerow.common.query.word_frequencies import pack_frequencies
from hedgerow.shard_worker.storage.dictionary import SCHEMA, Dictionary, rows_of
from hedgerow.shard_worker.storage.length_padding import is_padding, padding_words
from hedgerow.shard_worker.storage.text_index import TextIndex

MAX_TERMS = 1_000_000  # of a field; for rarer terms the shard's own count will do
_CACHED_TERMS = 50_000  # in each scorer, about 5 MB
_FORMAT = 1
# SQLite's `user_version`, which is 0 in a new file, and which SQLite itself does not use.
_MARK_AT, _MARK_BYTES = 60, 4
# How often a scorer looks for a new table anyway, in case that its writer died before it marked the
# one before.
_LOOK_EACH_S = 1.0


@dataclass(frozen=True)
class FieldStatistics:
    """Statistics of one text field.

    Attributes:
        words: the number of words in all documents, after analysis.
        frequencies: term → the number of documents in which it occurs.
    """

    words: int
    frequencies: Mapping[str, int]


@dataclass(frozen=True)
class Statistics:
    """Statistics of one shard, or of several.

    Attributes:
        documents: their number as BM25 counts, with deleted ones until a merge drops them.
        fields: field → statistics, for each text field of the index.
    """

    documents: int
    fields: Mapping[str, FieldStatistics] = field(default_factory=dict)


def collect(index: TextIndex, max_terms: int = MAX_TERMS) -> Statistics:
    """Read one shard's statistics from its index; takes about 1 µs a term."""
    fields = {}
    for name in text_fields(index.collection):
        terms = index.searcher.terms_with_prefix(name, "", None, None)
        words = index.total_words(name) - padding_words(index, name)
        frequencies = {term: count for term, count in terms if not is_padding(term)}
        fields[name] = FieldStatistics(words, _most_frequent(frequencies, max_terms))
    return Statistics(index.num_counted, fields)


def merge(parts: Iterable[Statistics], max_terms: int = MAX_TERMS) -> Statistics:
    """Sum statistics; no document may be in two parts.

    While a field that was added is being filled, only some parts have it, and all documents are
    compared with its frequencies. The parts that have it then stand for the others: documents are
    spread over the shards by chance.
    """
    documents = 0
    counted: dict[str, int] = {}
    words: dict[str, int] = {}
    frequencies: dict[str, dict[str, int]] = {}
    for part in parts:
        documents += part.documents
        for name, one in part.fields.items():
            counted[name] = counted.get(name, 0) + part.documents
            words[name] = words.get(name, 0) + one.words
            total = frequencies.setdefault(name, {})
            for term, count in one.frequencies.items():
                total[term] = total.get(term, 0) + count
    fields = {}
    for name, total in frequencies.items():
        kept = _most_frequent(total, max_terms)
        if 0 < counted[name] < documents:
            share = counted[name] / documents
            words[name] = round(words[name] / share)
            kept = {term: round(count / share) for term, count in kept.items()}
        fields[name] = FieldStatistics(words[name], kept)
    return Statistics(documents, fields)


def _most_frequent(frequencies: dict[str, int], max_terms: int) -> dict[str, int]:
    if len(frequencies) <= max_terms:
        return frequencies
    ranked = sorted(frequencies.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:max_terms])


def pack(statistics: Statistics) -> bytes:
    """Encode statistics for Redis: MessagePack, deflated (about 5 bytes a term)."""
    packed: bytes = msgpack.packb(
        [
            _FORMAT,
            statistics.documents,
            {
                name: [one.words, sorted(one.frequencies), _values(one.frequencies)]
                for name, one in statistics.fields.items()
            },
        ]
    )
    return zlib.compress(packed, 1)


def _values(frequencies: Mapping[str, int]) -> list[int]:
    return [frequencies[term] for term in sorted(frequencies)]


def unpack(data: bytes) -> Statistics:
    """Decode what `pack` encoded.

    Raises:
        WireError: the data are malformed, or of an unknown version.
    """
    try:
        version, documents, fields = msgpack.unpackb(zlib.decompress(data))
        if version != _FORMAT:
            raise WireError(f"term statistics of version {version!r} are unknown here")
        return Statistics(
            int(documents),
            {
                name: FieldStatistics(int(words), dict(zip(terms, counts, strict=True)))
                for name, (words, terms, counts) in fields.items()
            },
        )
    except (ValueError, TypeError, zlib.error, msgpack.UnpackException) as error:
        raise WireError(f"malformed term statistics: {error}") from error


class Summed(NamedTuple):
    """The statistics of a collection, packed.

    Attributes:
        statistics: for workers.
        words: the most frequent words, for gateways (`common.query.word_frequencies`).
    """

    statistics: bytes
    words: bytes


def pack_sum(parts: Iterable[bytes]) -> Summed:
    """Add up packed statistics of shards.

    Raises:
        WireError: as `unpack`.
    """
    total = merge(map(unpack, parts))
    fields = {name: one.frequencies for name, one in total.fields.items()}
    return Summed(pack(total), pack_frequencies(total.documents, fields))


def write_table(path: Path, statistics: Statistics) -> None:
    """Write a collection's statistics for the scorers, replacing the file atomically.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    written.unlink(missing_ok=True)
    try:
        _write_tables(written, statistics)
    except sqlite3.Error as error:  # which does not name the file
        with contextlib.suppress(OSError):
            written.unlink(missing_ok=True)  # another thread tries again, by another name
        raise OSError(f"{path}: {error}") from error
    with contextlib.ExitStack() as stack:
        before = None
        with contextlib.suppress(OSError):
            before = stack.enter_context(path.open("r+b", buffering=0))
        written.replace(path)
        if before is not None:
            before.seek(_MARK_AT)
            before.write(b"\1" * _MARK_BYTES)


def _write_tables(path: Path, statistics: Statistics) -> None:
    connection = sqlite3.connect(path)
    try:
        connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE about (key TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;"
            "CREATE TABLE terms (field TEXT, term TEXT, frequency INTEGER,"
            " PRIMARY KEY (field, term)) WITHOUT ROWID;" + SCHEMA
        )
        with connection:
            about = {f"words:{name}": one.words for name, one in statistics.fields.items()}
            about["documents"] = statistics.documents
            connection.executemany("INSERT INTO about VALUES (?, ?)", about.items())
            for name, one in sorted(statistics.fields.items()):
                connection.executemany(
                    "INSERT INTO terms VALUES (?, ?, ?)",
                    ((name, term, count) for term, count in sorted(one.frequencies.items())),
                )
                connection.executemany(
                    "INSERT INTO lengths VALUES (?, ?, ?)", rows_of(name, one.frequencies)
                )
    finally:
        connection.close()


def statistics_path(data: Path, uid: str) -> Path:
    """The table of a collection's statistics in a worker's data folder."""
    return data / "statistics" / f"{uid}.sqlite"


class TermStatistics:
    """A collection's statistics, read term by term from the table that `write_table` made.

    Attributes:
        documents: how many documents the collection has.
        dictionary: its words.
    """

    def __init__(self, connection: sqlite3.Connection, head: mmap.mmap) -> None:
        self._connection = connection
        self._head = head
        self.dictionary = Dictionary(connection)
        self._about: dict[str, float] = dict(connection.execute("SELECT key, value FROM about"))
        self._cache: dict[tuple[str, str], int | None] = {}
        self.documents = int(self._about["documents"])

    @classmethod
    def open(cls, path: Path) -> "TermStatistics":
        """Open a table, to be read by one thread.

        Raises:
            OSError: the table does not exist or cannot be read.
        """
        connection: sqlite3.Connection | None = None
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < _MARK_AT + _MARK_BYTES:
                raise OSError(f"{path}: is not a table of statistics")
            # Mapped first: a table that replaces this one meanwhile is opened once more.
            head = mmap.mmap(file.fileno(), _MARK_AT + _MARK_BYTES, access=mmap.ACCESS_READ)
        try:
            # The file is only ever replaced as a whole, so it needs no locks.
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?immutable=1",
                uri=True,
                check_same_thread=False,  # close() may be called by another thread
            )
            return cls(connection, head)
        except (sqlite3.Error, KeyError) as error:
            head.close()
            if connection is not None:
                connection.close()
            raise OSError(f"{path}: {error}") from error

    @property
    def is_replaced(self) -> bool:
        """Whether another table has taken the place of this one."""
        return self._head[_MARK_AT] != 0

    def document_frequency(self, name: str, term: str) -> int | None:
        """The number of documents in which a term occurs; None if the term is not listed."""
        key = (name, term)
        if key not in self._cache:
            if len(self._cache) >= _CACHED_TERMS:
                self._cache.clear()
            row = self._connection.execute(
                "SELECT frequency FROM terms WHERE field = ? AND term = ?", key
            ).fetchone()
            self._cache[key] = None if row is None else int(row[0])
        return self._cache[key]

    @cached_property
    def average_lengths(self) -> Mapping[str, float]:
        """Text field → average number of words over the collection."""
        return {
            key.removeprefix("words:"): words / max(self.documents, 1)
            for key, words in self._about.items()
            if key.startswith("words:")
        }

    @cached_property
    def fingerprint(self) -> str:
        """Differs for statistics that differ, but for those of single terms."""
        return repr(sorted(self._about.items()))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        self._head.close()


def read_average_lengths(path: Path) -> Mapping[str, float]:
    """As `TermStatistics.average_lengths`; empty if there is no table at a path."""
    try:
        table = TermStatistics.open(path)
    except OSError:
        return {}
    try:
        return table.average_lengths
    finally:
        table.close()


class StatisticsFile:
    """The current statistics at a path; `current` notices when the file has been replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)  # cached; os.stat would convert a Path at each call
        self._seen: tuple[int, int] | None = None
        self._open: TermStatistics | None = None
        self._look_at = -math.inf

    def current(self, now: float) -> TermStatistics | None:
        """The statistics in the file; None if there is no file yet.

        Takes 0.2 µs, and 2 µs (one `stat`) each `_LOOK_EACH_S` and while there is no file.

        Args:
            now: seconds on the clock of `time.monotonic`.
        """
        known = self._open
        if known is not None and now < self._look_at and not known.is_replaced:
            return known
        self._look_at = now + _LOOK_EACH_S
        try:
            found = os.stat(self._name)  # noqa: PTH116 - half the price of pathlib's
            seen = (found.st_ino, found.st_mtime_ns)
            if seen != self._seen:
                opened = TermStatistics.open(self._path)
                self.close()
                self._open, self._seen = opened, seen
        except OSError:
            return self._open
        return self._open

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None
