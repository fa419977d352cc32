"""The words of a whole collection that are like one that was typed.

They are read from the table that `term_statistics.write_table` makes, so every worker finds the
same ones, whichever shards it has. Edits are counted as tantivy does: to insert, drop or replace a
letter, or to swap two neighbours, is one ("optimal string alignment").
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

# Of the words that begin alike, or are as far from one that was typed; the others count less. With
# 50, Elasticsearch's `max_expansions` for fuzzy words is the same.
MAX_LIKE = 50
_CACHED_WORDS = 2_000  # typed ones, for each version of the statistics
_CACHED_CHARS = 2_000_000  # of the lists of words of one length, which take ten times as many bytes
_LAST = "\U0010ffff"  # sorts after all that begins alike

SCHEMA = (
    "CREATE TABLE lengths (field TEXT, length INTEGER, terms TEXT,"
    " PRIMARY KEY (field, length)) WITHOUT ROWID;"
)


class Like(NamedTuple):
    """Words that are equally like one that was typed.

    Attributes:
        words: the most frequent ones, by frequency and then by themselves.
        frequency: of how many documents they are, if no document has two; the words that are not
            among `words` included.
    """

    words: tuple[str, ...]
    frequency: int


def rows_of(name: str, terms: Iterable[str]) -> list[tuple[str, int, str]]:
    """The rows of the table `lengths` for one field."""
    ordered = sorted(terms, key=len)
    return [(name, length, "\n".join(sorted(same))) for length, same in groupby(ordered, len)]


class Dictionary:
    """Finds words by their beginning, or by their distance to another."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Read from a table of term statistics, which may be an earlier version's."""
        self._connection = connection
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'lengths'")
        self._has_lengths = tables.fetchone() is not None
        self._lists: dict[tuple[str, int], Sequence[str]] = {}
        self._num_chars = 0  # of the words in `_lists`
        self._beginning: dict[tuple[str, str], Like] = {}
        self._near: dict[tuple[str, str, int], Mapping[int, Like]] = {}

    def beginning_with(self, name: str, start: str) -> Like:
        """The words of a field that begin with `start` and are longer; 0.1 µs for each."""
        known = self._beginning.get((name, start))
        if known is None:
            if len(self._beginning) >= _CACHED_WORDS:
                self._beginning.clear()
            known = self._beginning[name, start] = self._find_beginning(name, start)
        return known

    def _find_beginning(self, name: str, start: str) -> Like:
        span = (name, start, start + _LAST)
        where = "FROM terms WHERE field = ? AND term > ? AND term < ?"
        (total,) = self._connection.execute(f"SELECT SUM(frequency) {where}", span).fetchone()
        if not total:
            return Like((), 0)
        best = f"SELECT term {where} ORDER BY frequency DESC, term LIMIT {MAX_LIKE}"
        return Like(tuple(term for (term,) in self._connection.execute(best, span)), int(total))

    def near(self, name: str, word: str, distance: int) -> Mapping[int, Like]:
        """The words of a field that are 1 to `distance` edits away, by their number of edits.

        Takes 50 ns for each word of about that length.
        """
        key = name, word, distance
        known = self._near.get(key)
        if known is None:
            if len(self._near) >= _CACHED_WORDS:
                self._near.clear()
            known = self._near[key] = self._find_near(name, word, distance)
        return known

    def _find_near(self, name: str, word: str, distance: int) -> Mapping[int, Like]:
        if not self._has_lengths:
            return {}
        # Only a scorer that is asked for fuzzy words needs them.
        from rapidfuzz import process  # noqa: PLC0415 - as above
        from rapidfuzz.distance import OSA  # noqa: PLC0415 - as above

        found: dict[int, list[tuple[int, str]]] = {}
        for terms in self._of_length(name, len(word) - distance, len(word) + distance):
            matches = process.extract(
                word, terms, scorer=OSA.distance, score_cutoff=distance, limit=None
            )
            for term, edits, _ in matches:
                if edits:
                    found.setdefault(int(edits), []).append((-self._frequency(name, term), term))
        return {
            edits: Like(
                tuple(term for _, term in sorted(counted)[:MAX_LIKE]),
                -sum(frequency for frequency, _ in counted),
            )
            for edits, counted in found.items()
        }

    def _of_length(self, name: str, shortest: int, longest: int) -> Iterable[Sequence[str]]:
        for length in range(shortest, longest + 1):
            terms = self._lists.get((name, length))
            if terms is None:
                terms = self._read_list(name, length)
            yield terms

    def _read_list(self, name: str, length: int) -> Sequence[str]:
        row = self._connection.execute(
            "SELECT terms FROM lengths WHERE field = ? AND length = ?", (name, length)
        ).fetchone()
        terms: Sequence[str] = row[0].split("\n") if row is not None else ()
        self._num_chars += length * len(terms)
        if self._num_chars > _CACHED_CHARS:
            self._lists.clear()
            self._num_chars = length * len(terms)
        self._lists[name, length] = terms
        return terms

    def _frequency(self, name: str, term: str) -> int:
        row = self._connection.execute(
            "SELECT frequency FROM terms WHERE field = ? AND term = ?", (name, term)
        ).fetchone()
        return int(row[0])
