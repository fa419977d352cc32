"""The queries, and how each engine writes them; pure.

They are those of the search benchmark game, in tantivy's syntax: words, +words that must occur,
-words that must not, and phrases in quotation marks. Hedgerow, tantivy and Lucene take them
unchanged. Every translation matches the same documents: required words decide which; words without
a sign then only add to the score, and are left out where an engine's language cannot express them
(noted at each).
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Sign = Literal["+", "-", ""]
_CLAUSE = re.compile(r'([+-]?)(?:"([^"]*)"|(\S+))')
_WORD = re.compile(r"[^\W_]+")  # a run of letters and digits, as the other engines' analysis has it


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a query.

    Attributes:
        sign: "+" must occur, "-" must not, "" may.
        words: in lower case; several form a phrase.
    """

    sign: Sign
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A query.

    Attributes:
        text: as in the file.
        kind: its first tag in the file, such as "intersection".
    """

    text: str
    kind: str

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """Its parts, in order."""
        return tuple(_clauses(self.text))

    def having(self, sign: Sign) -> list[tuple[str, ...]]:
        """The words of the clauses with this sign."""
        return [clause.words for clause in self.clauses if clause.sign == sign]


def read_queries(path: Path) -> list[Query]:
    """Read the queries of a file with a JSON object a line, of `query` and `tags`."""
    return [
        Query(one["query"], one["tags"][0])
        for one in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def shuffled(queries: Sequence[Query], seed: int = 1) -> list[Query]:
    """The queries in random order, so that each part of them is like the whole."""
    return random.Random(seed).sample(queries, len(queries))


def write_plainly(path: Path, queries: Sequence[Query]) -> None:
    """Write a line for each query, kind and text separated by a tab, as engines read them."""
    path.write_text("".join(f"{one.kind}\t{one.text}\n" for one in queries), encoding="utf-8")


def read_plainly(path: Path) -> list[Query]:
    """Read what `write_plainly` wrote."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Query(text, kind) for kind, _, text in (line.partition("\t") for line in lines)]


def _clauses(text: str) -> Iterator[Clause]:
    for sign, phrase, word in _CLAUSE.findall(text):
        words = words_of(phrase or word)
        if words:
            yield Clause(sign, words)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: its runs of letters and digits, in lower case."""
    return tuple(_WORD.findall(text.lower()))


def to_fts5(query: Query) -> str:
    """For SQLite's MATCH (its "Full-text Query Syntax").

    FTS5 has no clause that only scores; `a AND (a OR b)` is one: its bm25 counts every phrase of
    the expression that a document has. It weighs `a` twice then, which changes the order and not
    the matches.
    """
    must, may, never = (query.having(sign) for sign in ("+", "", "-"))
    wanted = " AND ".join(map(_quoted, must))
    if must and may:
        either = " OR ".join(map(_quoted, [*must[:1], *may]))
        wanted = f"{wanted} AND ({either})"
    elif may:
        wanted = " OR ".join(map(_quoted, may))
    if len(must) + len(may) > 1 and never:
        wanted = f"({wanted})"
    return "".join([wanted, *(f" NOT {_quoted(words)}" for words in never)])


def _quoted(words: tuple[str, ...]) -> str:
    return f'"{" ".join(words)}"'


def to_tsquery(query: Query) -> str:
    """For PostgreSQL's `to_tsquery` and ranking: `a & (a | b)` where `b` only scores."""
    must, may, never = (query.having(sign) for sign in ("+", "", "-"))
    parts = list(map(_followed, must))
    if must and may:
        parts.append(f"({' | '.join(map(_followed, [*must[:1], *may]))})")
    elif may:
        either = " | ".join(map(_followed, may))
        parts.append(f"({either})" if never and len(may) > 1 else either)
    parts += [f"!{_followed(words)}" for words in never]
    return " & ".join(parts)


def _followed(words: tuple[str, ...]) -> str:
    quoted = " <-> ".join(f"'{word}'" for word in words)
    return f"({quoted})" if len(words) > 1 else quoted
