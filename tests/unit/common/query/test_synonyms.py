"""Synonyms are added to the words of a query, and to nothing else."""

import pytest

from hedgerow.common.collection import define
from hedgerow.common.query.as_typed import Typing, as_typed
from hedgerow.common.query.cost import estimate
from hedgerow.common.query.synonyms import SynonymRules, expand
from hedgerow.common.query.syntax import parse
from hedgerow.common.query.tree import Alternatives, Clause, Clauses, Node, Occur, Typed, Words
from hedgerow.common.wire.search_options import Synonym

COLLECTION = define("c", {"fields": {"title": "text", "kind": "keyword"}})


def rules() -> SynonymRules:
    """Two groups and a one-way rule."""
    made = SynonymRules(folding=True)
    made.add_group(["TV", "television"])
    made.add_group(["New York", "NYC", "big apple"])
    made.add("laptop", ["notebook"])
    made.add("new", ["recent"])
    return made


def parsed(query: str) -> Node:
    """The tree of a query, before its words are analysed."""
    return parse(query, COLLECTION, strict=True)[0]


def found_in(node: Node) -> dict[str, list[str]]:
    """What was typed, as one text, to the texts that mean the same."""
    match node:
        case Alternatives(Words(_, text), others):
            return {text: [one.text for one in others]}
        case Alternatives(Clauses(clauses), others):
            typed = " ".join(part.text for _, part in clauses if isinstance(part, Words))
            return {typed: [one.text for one in others]}
        case Clauses(clauses):
            found: dict[str, list[str]] = {}
            for _, part in clauses:
                found |= found_in(part)
            return found
        case _:
            inner = getattr(node, "node", None)
            return {} if inner is None else found_in(inner)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("tv", {"tv": ["television"]}),
        ("Télévision", {"Télévision": ["TV"]}),  # case and accents make no difference
        ("a tv and a laptop", {"tv": ["television"], "laptop": ["notebook"]}),
        ("notebook", {}),  # one way
        ("new york pizza", {"new york": ["NYC", "big apple"]}),  # the longest rule
        ("new pizza", {"new": ["recent"]}),
        ("york new", {"new": ["recent"]}),
        ("+new +york", {"new york": ["NYC", "big apple"]}),
        ("+new york", {"new": ["recent"]}),  # one is required, the other is not
        ("nyc tv", {"nyc": ["New York", "big apple"], "tv": ["television"]}),
        ("title:tv", {"tv": ["television"]}),
        ("tv^2 (laptop AND title:nyc)", None),
        ("kind:tv", {}),
        ('"new york" "tv"', {}),
        ("tv* tv~1", {}),
        ("lamp -tv -laptop", {}),
        ("tvs", {}),  # endings make a difference
    ],
)
def test_words_find_what_means_the_same(query: str, expected: dict[str, list[str]] | None) -> None:
    """Whole words of a query do; phrases, excluded and fuzzy words are taken as written."""
    if expected is None:
        expected = {"tv": ["television"], "laptop": ["notebook"], "nyc": ["New York", "big apple"]}
    expanded = expand(parsed(query), rules(), 32)
    assert found_in(expanded.tree) == expected
    again = SynonymRules.of(expanded.used, folding=True)
    assert expand(parsed(query), again, 32).tree == expanded.tree  # as a worker does it


def test_what_is_required_stays_so() -> None:
    """A required word, or what means the same, has to be there."""
    assert expand(parsed("+tv +lamp"), rules(), 32).tree == Clauses(
        (
            Clause(
                Occur.MUST,
                Alternatives(Words(None, "tv"), (Words(None, "television", is_phrase=True),)),
            ),
            Clause(Occur.MUST, Words(None, "lamp")),
        )
    )


def test_the_first_words_get_synonyms_if_there_are_too_many() -> None:
    """Each rule counts once, however often its words are repeated."""
    expanded = expand(parsed("tv tv nyc laptop"), rules(), 2)
    assert expanded.used == (Synonym("tv", ("television",)), Synonym("nyc", ("New York",)))
    assert expanded.is_cut
    assert not expand(parsed("tv tv tv"), rules(), 1).is_cut


def test_a_typed_word_may_be_misspelt_and_its_synonyms_are_not() -> None:
    """Tolerance is for what was typed."""
    expanded = expand(parsed("laptop"), rules(), 32).tree
    assert as_typed(expanded, Typing(1, is_last_unfinished=True)) == Alternatives(
        Typed(None, "laptop", 1, is_prefix=True), (Words(None, "notebook", is_phrase=True),)
    )


def test_synonyms_are_part_of_the_cost() -> None:
    """Each costs what it would cost as a phrase."""
    plain, expanded = parsed("nyc"), expand(parsed("nyc"), rules(), 32).tree
    assert estimate(plain, COLLECTION).clauses == 1
    assert estimate(expanded, COLLECTION).clauses == 1 + 2 + 2
