"""Searches with typos and prefix, as the gateway checks them."""

import pytest

from hedgerow.common.collection import define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.query.synonyms import SynonymRules
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.common.wire.search_options import LEVEL, SYNONYMS_LEVEL, SearchOptions, Synonym
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.validation import Admitted, admit, check_level

COLLECTION = define("films", {"fields": {"title": "text", "year": "integer"}}, uid="u")
LIMITS = QuerySettings(max_fuzzy_edits=4)


def admitted(query: SearchQuery) -> Admitted:
    """The search, if it may be sent."""
    return admit(query, COLLECTION, LIMITS, BUILT_IN_PROFILES)


def test_a_search_without_them_has_no_options() -> None:
    """It is sent as before, to workers of any version."""
    assert admitted(SearchQuery("films", "standards of living")).options is None


def test_the_shards_get_the_edits_that_the_limit_leaves() -> None:
    """Those of fuzzy words count first; a long query is not refused, but says so."""
    query = SearchQuery("films", "standards~2 lamps", typos="auto", prefix=True)
    found = admitted(query)
    assert found.options == SearchOptions(typos=2, prefix=True)
    assert (found.cost.fuzzy_edits, found.cost.prefix_terms) == (3, 1)
    assert found.warnings == ()
    many = admitted(SearchQuery("films", "standards " * 9, typos="auto"))
    assert many.cost.fuzzy_edits == 4
    (warning,) = many.warnings
    assert warning.endswith("words may be 4 edits away together (query.max_fuzzy_edits).")
    none_left = admitted(SearchQuery("films", "standards~2 candlestick~2 lamps", typos="auto"))
    assert none_left.options is None
    assert len(none_left.warnings) == 1


def test_a_strict_query_is_still_checked() -> None:
    """A syntax error is one, however tolerant the search of words is."""
    with pytest.raises(BadRequestError) as caught:
        admitted(SearchQuery("films", "year:x", syntax="strict", typos="auto"))
    assert caught.value.field == "query"


def rules_of(*groups: list[str]) -> SynonymRules:
    """Rules of some groups."""
    rules = SynonymRules(folding=True)
    for group in groups:
        rules.add_group(group)
    return rules


def test_the_shards_get_the_synonyms_that_a_query_needs() -> None:
    """A query without any is sent as before; rules that do not apply stay here."""
    rules = rules_of(["film", "movie"], ["lamp", "light"])
    query = SearchQuery("films", "a film")
    found = admit(query, COLLECTION, LIMITS, BUILT_IN_PROFILES, synonyms=rules)
    assert found.options == SearchOptions(synonyms=(Synonym("film", ("movie",)),))
    assert found.options.level == SYNONYMS_LEVEL
    assert found.cost.clauses == 3
    other = SearchQuery("films", "nothing of that")
    assert admit(other, COLLECTION, LIMITS, BUILT_IN_PROFILES, synonyms=rules).options is None


def test_synonyms_are_never_a_reason_to_refuse_a_query() -> None:
    """If there are too many, or they would cost too much, the answer says so."""
    rules = rules_of(["film", "movie", "picture", "motion picture", "flick"])
    few = LIMITS.model_copy(update={"max_synonyms": 2})
    query = SearchQuery("films", "film")
    cut = admit(query, COLLECTION, few, BUILT_IN_PROFILES, synonyms=rules)
    assert cut.options == SearchOptions(synonyms=(Synonym("film", ("movie", "picture")),))
    (warning,) = cut.warnings
    assert "first 2 synonyms" in warning
    cheap = LIMITS.model_copy(update={"max_clauses": 4})
    without = admit(query, COLLECTION, cheap, BUILT_IN_PROFILES, synonyms=rules)
    assert without.options is None
    (warning,) = without.warnings
    assert "cost too much" in warning


def test_an_older_worker_would_ignore_them() -> None:
    """So the search is refused while it lives, and the error names what it does not know."""
    options = admitted(SearchQuery("films", "lamps", prefix=True)).options
    assert options is not None
    check_level(options, LEVEL)
    with pytest.raises(BadRequestError) as caught:
        check_level(options, 1)
    assert caught.value.field == "prefix"
