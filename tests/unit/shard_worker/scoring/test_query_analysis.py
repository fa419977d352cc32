"""Queries are read once for all shards of a collection."""

import weakref
from unittest.mock import patch

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.fields.word_analysis import PLAIN_TEXTS, WordAnalysis
from hedgerow.common.query import syntax as query_syntax
from hedgerow.common.query.analysers import tokens_of
from hedgerow.common.query.pruning import pruned
from hedgerow.common.query.tree import Clause, Clauses, Occur, Words
from hedgerow.shard_worker.scoring.query_analysis import QueryAnalysis

ENGLISH = define("texts", {"fields": {"text": "text", "year": "integer"}})
NONE = WordAnalysis("none", PLAIN_TEXTS, folding=False)


def test_query_is_parsed_once() -> None:
    """A second shard's question for the same query is answered without the parser."""
    read = QueryAnalysis(ENGLISH).read
    with patch("hedgerow.common.query.query_reading.parse", wraps=query_syntax.parse) as parse:
        first, second = read("red lamp", False), read("red lamp", False)
        assert first is second
        assert parse.call_count == 1
        read("red lamp", True)  # what is strict may be refused: another question
        assert parse.call_count == 2


def test_query_that_is_refused_is_refused_again() -> None:
    """An error is not kept as an answer."""
    read = QueryAnalysis(ENGLISH).read
    for _ in range(2):
        with pytest.raises(BadRequestError):
            read("red AND (", True)


def test_stop_words_are_left_out() -> None:
    """Of "+the year:1990" the year alone is left, whichever stop word was with it."""
    read = QueryAnalysis(ENGLISH).read
    assert read("+the year:1990", False) == read("of year:1990", False)
    assert read("+lamp year:1990", False) != read("year:1990", False)


def test_pruning_goes_by_the_language_of_the_collection() -> None:
    """A stop word is dropped in English, and kept where no language is."""
    node = Clauses(
        (Clause(Occur.SHOULD, Words(None, "the")), Clause(Occur.SHOULD, Words(None, "lamp")))
    )
    plain = define("texts", {"fields": {"text": "text"}, "language": "none"})
    assert pruned(node, plain) == node
    assert pruned(node, ENGLISH) == Clauses((Clause(Occur.SHOULD, Words(None, "lamp")),))


def test_tokens_are_those_of_the_language() -> None:
    """Words are stemmed in English and left as they are without a language; positions count."""
    assert tokens_of(ENGLISH.word_analysis, "Lamps glowing") == ((0, "lamp"), (1, "glow"))
    assert tokens_of(NONE, "Lamps glowing") == ((0, "lamps"), (1, "glowing"))


def test_long_queries_are_read_and_not_kept() -> None:
    """A long query, which takes hundreds of KB once it is read, is gone with its search."""
    analysis = QueryAnalysis(ENGLISH)
    long = "lamp " * 500
    assert analysis.read(long, False) is not analysis.read(long, False)
    assert analysis.read(long, False) == analysis.read(long, False)
    phrase = " ".join("abcdefgh" * 20)
    assert tokens_of(NONE, phrase) is not tokens_of(NONE, phrase)
    assert tokens_of(NONE, "lamp") is tokens_of(NONE, "lamp")


def test_what_was_read_goes_with_its_collection() -> None:
    """An object that nothing refers to is freed at once, and not when garbage is collected."""
    analysis = QueryAnalysis(ENGLISH)
    analysis.read("lamp", False)
    gone = weakref.ref(analysis)
    del analysis
    assert gone() is None
