"""What is refused before anything is sent."""

from typing import Any

import pytest

from hedgerow.common.collection import Collection, define
from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.validation import Admitted, admit

COLLECTION: Collection = define(
    "things", {"fields": {"title": "text", "year": "integer"}}, uid="u1"
)
PROFILES = {"bm25": RankProfile(), "noop": RankProfile(first_phase="noop", lane="loop")}


def admitted(**changes: Any) -> Admitted:
    """Admit a good query with some changes."""
    query = SearchQuery(**{"collection": "things", "query": "hedge", **changes})
    return admit(query, COLLECTION, QuerySettings(), PROFILES)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rank_profile": "unheard-of"}, "rank_profile"),
        ({"filter": "colour:red"}, "filter"),
        ({"filter": "year:>=("}, "filter"),
        ({"filter": "year:>=1990", "rank_profile": "noop"}, "filter"),
        ({"query": "title:(", "syntax": "strict"}, "query"),
        ({"fields": tuple(f"f{number}" for number in range(257))}, "fields"),
    ],
)
def test_bad_input_names_its_field(changes: dict[str, Any], field: str) -> None:
    """Each part out of its range is refused with the name of that part."""
    with pytest.raises(BadRequestError) as refused:
        admitted(**changes)
    assert refused.value.field == field


def test_a_strict_error_has_its_position() -> None:
    """A syntax error names its place within the query."""
    with pytest.raises(BadRequestError) as refused:
        admitted(query="good (bad", syntax="strict")
    assert refused.value.position is not None
    assert 0 <= refused.value.position <= len("good (bad")


def test_a_lenient_query_is_let_in_with_warnings() -> None:
    """What strict refuses, lenient repairs and says so."""
    search = admitted(query='good "bad')
    assert search.profile == "bm25"
    assert search.warnings


def test_the_collections_own_profile_applies_unless_another_is_named() -> None:
    """The profile is the collection's, or the query's."""
    assert admitted().profile == "bm25"
    assert admitted(rank_profile="noop").profile == "noop"


@pytest.mark.parametrize("syntax", ["strict", "lenient"])
@pytest.mark.parametrize(
    ("unit", "limit", "setting"),
    [
        ("w{}", 64, "max_clauses"),
        ("year:{}", 64, "max_clauses"),
        ("w{}~1", 16, "max_fuzzy_edits"),
        ("w{}~2", 8, "max_fuzzy_edits"),
        ("w{}*", 8, "max_prefix_terms"),
        ("year:>{}", 32, "max_scans"),
        ('"a w{}"~3', 16, "max_sloppy_words"),
    ],
)
def test_a_query_that_costs_too_much_is_refused_with_the_limit(
    unit: str, limit: int, setting: str, syntax: str
) -> None:
    """The limit itself passes; one more is a 400 that names setting, limit and number."""
    limits = QuerySettings(max_clauses=64)
    at_limit = " ".join(unit.format(number) for number in range(limit))
    over = f"{at_limit} {unit.format(limit)}"

    def let_in(**changes: Any) -> None:
        query = SearchQuery(**{"collection": "things", "syntax": syntax, **changes})
        admit(query, COLLECTION, limits, PROFILES)

    let_in(query=at_limit)
    with pytest.raises(BadRequestError, match=rf"query\.{setting}") as refused:
        let_in(query=over)
    assert str(getattr(limits, setting)) in refused.value.reason
    assert refused.value.field == "query"


def test_a_filter_counts_together_with_its_query() -> None:
    """Each is within the limit, and both are not: the filter is at fault."""
    ranges = " AND ".join(f"year:>{number}" for number in range(20))
    admitted(filter=ranges)
    with pytest.raises(BadRequestError) as refused:
        admitted(query=ranges, filter=ranges)
    assert refused.value.field == "filter"
    assert "40" in refused.value.reason


def test_a_long_text_is_let_in_whatever_stands_in_it() -> None:
    """4,096 characters of prose with apostrophes, brackets and slashes pass, in lenient syntax."""
    sentence = "It's (as I've said) and/or 5% of 1/2: see /usr/share, [3] or \"that\" one; "
    assert admitted(query=(sentence * 60)[:4096]).warnings


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("titel:lamp", "there is no field titel (nearest: title): searched as text."),
        ("colour:red", "there is no field colour: searched as text."),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest(query: str, warning: str) -> None:
    """In a query that is repaired, and in one that is refused."""
    assert admitted(query=query).warnings == (warning,)
    with pytest.raises(BadRequestError) as refused:
        admitted(query="lamp", filter=query)
    assert refused.value.reason.startswith(warning.removesuffix(": searched as text."))


@pytest.mark.parametrize(
    "query", ["lamp", "+red -lamp", '"red lamp"', "(lamp)", "lam*^2", "lamp~1"]
)
@pytest.mark.parametrize("fields", [{"year": "integer"}, {"t": {"type": "text", "weight": 0}}])
def test_words_that_can_find_nothing_are_warned_about(query: str, fields: Any) -> None:
    """The collection has no text field in which words without a field name are searched."""
    collection = define("things", {"fields": fields})
    search = SearchQuery(collection="things", query=query)
    (warning,) = admit(search, collection, QuerySettings(), PROFILES).warnings
    assert "no text field" in warning
    assert not admitted(query=query).warnings
    for other in ("*", next(iter(fields)) + ":1"):
        search = SearchQuery(collection="things", query=other)
        assert not admit(search, collection, QuerySettings(), PROFILES).warnings


@pytest.mark.parametrize("first_phase", ["bm25", "noop"])
def test_a_profile_that_reads_a_misspelt_field_is_warned_about(first_phase: Any) -> None:
    """A member that resembles no field may be stored only, which is no mistake."""
    profile = RankProfile(
        first_phase=first_phase,
        second_phase="a:b",
        fields=["id", "title", "yaer", "vector", "titles"],
    )
    search = SearchQuery(collection="things", query="lamp", rank_profile="mine")
    found = admit(search, COLLECTION, QuerySettings(), {"mine": profile})
    assert found.warnings == (
        "The rank profile mine reads yaer, which is not a field of the collection (nearest: year).",
    )
    whole = RankProfile(second_phase="a:b")
    assert not admit(search, COLLECTION, QuerySettings(), {"mine": whole}).warnings
