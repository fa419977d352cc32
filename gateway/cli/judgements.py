"""Reads judged queries in the formats of BEIR (https://github.com/beir-cellar/beir) and TREC.

Queries: BEIR's `{"_id": "1", "text": "…"}` a line (`id` will do), or TREC topics `1<TAB>text`.
Judgements: BEIR's query, document, grade, with a header or without, or TREC's query, iteration,
document, grade (https://trec.nist.gov/data/qrels_eng/). Files may be compressed (.gz).
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from hedgerow.common.errors import BadRequestError

MAX_LINE_CHARS: Final = 1_048_576  # far more than a query may have


class Judgement(NamedTuple):
    """How relevant a document is to a query; the grade is the gain, 0 is not relevant."""

    query_id: str
    document_id: str
    grade: int


class Ranking(NamedTuple):
    """The answer to one query."""

    query_id: str
    document_ids: list[str]
    is_full: bool


def read_queries(path: Path) -> dict[str, str]:
    """Read query id → text.

    Raises:
        BadRequestError: a line is in neither form; names the file and the line.
    """
    queries: dict[str, str] = {}
    for number, line in _lines(path, "queries"):
        query_id, text = _query(line) or _at_fault(path, number, "queries", "is no query")
        if query_id in queries:
            _at_fault(path, number, "queries", f"repeats query {query_id}")
        queries[query_id] = text
    return queries


def _query(line: str) -> tuple[str, str] | None:
    if not line.startswith("{"):
        query_id, tab, text = line.partition("\t")
        return (query_id.strip(), text.strip()) if tab else None
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    query_id, text = found.get("_id", found.get("id")), found.get("text")
    if not isinstance(query_id, str | int) or not isinstance(text, str):
        return None
    return str(query_id), text


def read_judgements(path: Path) -> list[Judgement]:
    """Read judgements.

    Raises:
        BadRequestError: a line is in neither form; names the file and the line.
    """
    judgements = []
    for number, line in _lines(path, "qrels"):
        columns = line.split("\t") if "\t" in line else line.split()
        columns = [column.strip() for column in columns]
        if len(columns) == 4:
            del columns[1]  # TREC's iteration, which nothing uses
        if len(columns) != 3:
            _at_fault(path, number, "qrels", "has neither 3 columns (BEIR) nor 4 (TREC)")
        try:
            grade = int(columns[2])
        except ValueError:
            if number == 1:
                continue  # BEIR's header
            _at_fault(path, number, "qrels", f"has {columns[2]!r} for a grade")
        judgements.append(Judgement(columns[0], columns[1], grade))
    return judgements


def _lines(path: Path, what: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, numbered from 1."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(
            path, "rt", encoding="utf-8-sig"
        ) as file:
            # Reads are bounded, since a line of a compressed file may be of any length.
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARS), ""), 1):
                if len(line) == MAX_LINE_CHARS:
                    _at_fault(path, number, what, f"is longer than {MAX_LINE_CHARS} characters")
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise BadRequestError(what, f"{path} cannot be read: {error}") from error


def _at_fault(path: Path, number: int, what: str, reason: str) -> Any:
    raise BadRequestError(what, f"line {number} of {path} {reason}")
