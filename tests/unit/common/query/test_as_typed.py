"""Words as people type them: which may be meant for others, and by how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.query.as_typed import (
    AS_WRITTEN,
    Typing,
    as_typed,
    edits_of,
    wanted_edits,
)
from hedgerow.common.query.cost import estimate
from hedgerow.common.query.syntax import parse
from hedgerow.common.query.tree import Boosted, Clauses, Node, Occur, Typed, Words

COLLECTION = define(
    "c", {"fields": {"title": "text", "body": "text", "tag": "keyword", "year": "integer"}}, uid="u"
)
ALL = Typing(edits=1000)


def typed(query: str, typing: Typing) -> Node:
    """The tree of a query, as typed."""
    return as_typed(parse(query, COLLECTION, strict=False)[0], typing)


def found(node: Node) -> list[Typed]:
    """The parts of a tree that are `Typed`, in order."""
    match node:
        case Typed():
            return [node]
        case Boosted():
            return found(node.node)
        case Clauses():
            return [one for part in node.clauses for one in found(part.node)]
        case _:
            return []


@pytest.mark.parametrize(
    ("word", "edits"),
    [
        ("lamp", 0),
        ("lamps", 1),
        ("standard", 1),
        ("standards", 2),
        ("2024", 0),
        ("mp3player", 0),
        ("a" * 64, 2),
        ("a" * 65, 0),
    ],
)
def test_the_length_of_a_word_decides_how_many_edits_it_may_be_away(word: str, edits: int) -> None:
    """None below five letters, one below nine, else two; none with digits, or beyond 64 letters."""
    assert edits_of(word) == edits


def test_phrases_and_excluded_words_and_values_are_taken_as_they_are() -> None:
    """Only words that may match are tolerated."""
    tree = typed('"reading lamps" -candles tag:standards lantern title:lanterns^2', ALL)
    assert found(tree) == [Typed(None, "lantern", 1, False), Typed("title", "lanterns", 1, False)]


def test_only_the_last_word_is_unfinished() -> None:
    """The same word earlier in the query is whole."""
    tree = typed("lamp red lamp", Typing(is_last_unfinished=True))
    assert found(tree) == [Typed(None, "lamp", 0, True)]
    assert tree.clauses[-1].node == Typed(None, "lamp", 0, True)  # type: ignore[union-attr]


@pytest.mark.parametrize("query", ['red "reading la"', "red -la", "red tag:la", "red year:>1", "*"])
def test_a_query_that_ends_otherwise_than_with_a_word_has_no_unfinished_word(query: str) -> None:
    """A phrase, an excluded word or a value at the end is complete."""
    assert found(typed(query, Typing(is_last_unfinished=True))) == []


def test_a_written_word_of_several_parts_is_tolerated_in_each() -> None:
    """`reading-lamps` matches either part; if it is required, both."""
    parts = (Typed(None, "reading", 1, False), Typed(None, "lamps", 1, True))
    tree = typed("reading-lamps", ALL._replace(is_last_unfinished=True))
    assert isinstance(tree, Clauses)
    assert tuple(part.node for part in tree.clauses) == parts
    assert {part.occur for part in tree.clauses} == {Occur.SHOULD}
    required = typed("+reading-lamps +red", ALL)
    assert isinstance(required, Clauses)
    inner = required.clauses[0].node
    assert isinstance(inner, Clauses)
    assert {part.occur for part in inner.clauses} == {Occur.MUST}


@given(
    st.lists(st.sampled_from(["red", "lamps", "standards", "2024", "-candles"])), st.integers(0, 9)
)
def test_edits_never_exceed_what_is_allowed(words: list[str], edits: int) -> None:
    """However long the query is, its cost is within the limit, and the first words come first."""
    tree = parse(" ".join(words), COLLECTION, strict=False)[0]
    typing = Typing(edits)
    cost = estimate(as_typed(tree, typing), COLLECTION)
    assert cost.fuzzy_edits <= edits
    wanted = sum(edits_of(word) for word in words)
    assert wanted_edits(tree) == wanted
    if wanted <= edits:
        assert cost.fuzzy_edits == wanted


@given(st.text(max_size=40))
def test_a_query_without_options_keeps_its_tree(query: str) -> None:
    """Words are taken as they are written unless it is asked otherwise."""
    tree = parse(query, COLLECTION, strict=False)[0]
    assert as_typed(tree, AS_WRITTEN) is tree
    assert not [one for one in found(as_typed(tree, ALL)) if one.distance < 1]


def test_words_that_are_not_tolerated_stay_as_they_are() -> None:
    """A word too short for edits is a plain word, which costs no more than before."""
    assert typed("red", ALL) == Words(None, "red")
