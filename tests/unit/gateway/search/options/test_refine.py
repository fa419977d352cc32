"""Choices narrow the hits and all facets but those of their own field."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hedgerow.common.errors import BadRequestError
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import BUILT_IN_PROFILES
from hedgerow.gateway.search.options.refine import check_refine
from hedgerow.gateway.search.result import SearchQuery
from hedgerow.gateway.search.validation import admit, check_level
from hedgerow.gateway.shapes.facets import Choice, Facet, FacetBucket, FacetRange
from hedgerow.gateway.shapes.sorting import NextPage
from tests.unit.gateway.search.options.corpus import BRANDS, COLLECTION, matches, shards
from tests.unit.gateway.search.options.test_facets import dates, numbers, second_of, shown
from tests.unit.support.real_shards import RealShards

FIELDS = ("brand", "tags", "year", "price", "new", "sold")


whole = numbers.filter(lambda one: one == int(one)).map(int)
bounds = st.none() | numbers
ranges = st.builds(FacetRange, bounds, bounds).filter(lambda one: one != FacetRange())
spans = st.builds(FacetRange, st.none() | dates, dates)
choices = st.fixed_dictionaries(
    {},
    optional={
        "brand": st.lists(st.sampled_from((*BRANDS, "gone")), max_size=3),
        "tags": st.lists(st.sampled_from(("x", "x y", "Z")), max_size=2),
        "year": st.lists(whole | ranges, max_size=3),
        "price": st.lists(numbers | ranges, max_size=3),
        "new": st.lists(st.booleans(), max_size=2),
        "sold": st.lists(dates | spans, max_size=3),
    },
)


def has_one(row: Mapping[str, Any], field: str, wanted: Sequence[Choice]) -> bool:
    """Whether a document has one of the values that were chosen."""
    value = row.get(field)
    values = [] if value is None else value if isinstance(value, list) else [value]
    read: Callable[[Any], Any] = second_of if field == "sold" else lambda one: one
    return any(
        (one.from_ is None or up(one.from_, field) <= read(value))
        and (one.to is None or read(value) < up(one.to, field))
        if isinstance(one, FacetRange)
        else read(one) == read(value) and isinstance(one, bool) == isinstance(value, bool)
        for value in values
        for one in wanted
    )


def up(bound: Any, field: str) -> Any:
    """A bound of dates is compared by the second, and rounded up."""
    if field != "sold":
        return bound
    second = second_of(str(bound))
    return second.replace(second=second.second + 1) if ".5" in bound else second


def unmet(row: Mapping[str, Any], refine: Mapping[str, Sequence[Choice]]) -> set[str]:
    """The fields in which a document has none of the values that were chosen."""
    return {field for field, wanted in refine.items() if wanted and not has_one(row, field, wanted)}


def rows_of(
    found: RealShards, word: str, refine: Mapping[str, Sequence[Choice]], left_out: str = ""
) -> list[Mapping[str, Any]]:
    """The documents that match, without the choice of one field."""
    return [
        row
        for row in found.documents.values()
        if matches(row, word) and unmet(row, refine) <= {left_out}
    ]


def counted(rows: Sequence[Mapping[str, Any]], field: str) -> list[FacetBucket]:
    """The counts of a field's values, as a facet has them."""
    counts: Counter[Any] = Counter()
    for row in rows:
        value = row.get(field)
        values = [] if value is None else set(value) if isinstance(value, list) else [value]
        counts.update(shown(one, field) for one in values)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [FacetBucket(count, value) for value, count in ranked]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(word=st.sampled_from(("*", "red", "none")), refine=choices, filtered=st.booleans())
def test_hits_and_facets_are_those_of_the_documents(
    goods_shards: RealShards, word: str, refine: dict[str, list[Choice]], filtered: bool
) -> None:
    """A facet counts what matches all choices but that of its own field; hits match all."""
    result = goods_shards.search(
        word,
        k=300,
        refine=refine,
        filter="year:>=0" if filtered else "",
        facets={field: Facet(300) for field in FIELDS},
    )
    assert result.coverage.is_full, result.detail

    matching = [
        (row, unmet(row, refine))
        for row in goods_shards.documents.values()
        if matches(row, word) and (not filtered or row.get("year", -1) >= 0)
    ]
    hits = [row for row, fields in matching if not fields]
    assert {hit.id for hit in result.hits} == {row["id"] for row in hits}
    assert result.total_hits.value == len(hits)
    assert isinstance(result.facets, dict)
    for field in FIELDS:
        rows = [row for row, fields in matching if fields <= {field}]
        assert result.facets[field].buckets == counted(rows, field), field
        assert result.facets[field].is_exact


def test_statistics_and_ranges_leave_their_own_choice_out_too(goods_shards: RealShards) -> None:
    """All that is counted of a field is counted over the same documents."""
    refine: dict[str, list[Choice]] = {"price": [FacetRange(1, 2)], "new": [True]}
    result = goods_shards.search(
        "*", refine=refine, facets={"price": Facet(ranges=(FacetRange(None, 1),), stats=True)}
    )
    values = [
        row["price"]
        for row in rows_of(goods_shards, "*", refine, "price")
        if row.get("price") is not None
    ]
    assert isinstance(result.facets, dict)
    answer = result.facets["price"]
    assert answer.buckets == [FacetBucket(sum(one < 1 for one in values), to=1)]
    assert answer.stats is not None
    assert answer.stats.count == len(values)


def test_pages_go_on_within_what_was_chosen(goods_shards: RealShards) -> None:
    """Pages have all hits once; a cursor of other choices is refused, one of the same is not."""
    refine = {"brand": ["acme", "zeta"], "new": []}
    ids: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = goods_shards.search("*", sort=("year",), k=7, refine=refine, search_after=cursor)
        ids += [hit.id for hit in page.hits]
        assert isinstance(page.next_page, NextPage)
        cursor = page.next_page.cursor
        refine = {"brand": ["acme", "zeta"]}  # an empty choice is none
        if cursor is not None:
            with pytest.raises(BadRequestError, match="search_after"):
                goods_shards.search(
                    "*", sort=("year",), k=7, refine={"brand": ["acme"]}, search_after=cursor
                )
    assert sorted(ids) == sorted(row["id"] for row in rows_of(goods_shards, "*", refine))


def test_a_missing_shard_is_missing_from_all_counts(tmp_path: Any) -> None:
    """Facets say how many documents were not searched, whether or not they leave a choice out."""
    found = shards(tmp_path, 8)
    found.down = {3}
    result = found.search(
        "*", refine={"brand": ["acme"]}, facets={"brand": Facet(), "new": Facet()}
    )
    assert isinstance(result.facets, dict)
    missing = found.index(3).num_documents
    assert {one.not_searched for one in result.facets.values()} == {missing}


@pytest.mark.parametrize(
    ("refine", "field", "reason"),
    [
        ({"colour": ["red"]}, "refine.colour", "not a field"),
        ({"title": ["red"]}, "refine.title", "text field"),
        ({"brand": [1]}, "refine.brand", "1 is not a value of a keyword field"),
        ({"year": ["1990"]}, "refine.year", "'1990' is not a value of a integer field"),
        ({"year": [1.5]}, "refine.year", "not a value"),
        ({"year": [True]}, "refine.year", "not a value"),
        ({"year": [2**63]}, "refine.year", "not a value"),
        ({"price": [10**400]}, "refine.price", "not a value"),
        ({"new": [1]}, "refine.new", "not a value"),
        ({"sold": ["yesterday"]}, "refine.sold", "not a value"),
        ({"brand": [FacetRange("a", "b")]}, "refine.brand.from and to", "numbers and dates"),
        ({"year": [FacetRange()]}, "refine.year", "neither from nor to"),
        ({"sold": [FacetRange("then")]}, "refine.sold", "not a date"),
    ],
)
def test_what_no_field_can_have_is_refused(
    refine: dict[str, list[Choice]], field: str, reason: str
) -> None:
    """The error names the field and says what is wrong with the choice."""
    with pytest.raises(BadRequestError) as caught:
        check_refine(refine, COLLECTION)
    assert caught.value.field == field
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("refine", "setting"),
    [
        ({"year": list(range(3000))}, "max_clauses"),
        ({"year": [FacetRange(one) for one in range(40)]}, "max_scans"),
    ],
)
def test_choices_cost_what_a_filter_costs(refine: dict[str, list[Choice]], setting: str) -> None:
    """More than a query and its filter may have is refused, with the name of the setting."""
    query = SearchQuery("goods", "red", refine={name: tuple(one) for name, one in refine.items()})
    with pytest.raises(BadRequestError, match=setting) as caught:
        admit(query, COLLECTION, QuerySettings(), dict(BUILT_IN_PROFILES))
    assert caught.value.field == "refine"


def test_a_facet_that_leaves_a_choice_out_costs_another_search() -> None:
    """The estimate counts each time that a shard looks for matches."""

    def cost(facets: dict[str, Facet]) -> float:
        query = SearchQuery("goods", "red", refine={"brand": ("acme",)}, facets=facets)
        return admit(query, COLLECTION, QuerySettings(), dict(BUILT_IN_PROFILES)).cost.clauses

    assert cost({"tags": Facet()}) == 2
    assert cost({"brand": Facet(), "tags": Facet()}) == 4


def test_older_workers_are_not_asked() -> None:
    """A worker that does not know choices would answer as if there were none."""
    query = SearchQuery("goods", "red", refine={"brand": ("acme",)})
    options = admit(query, COLLECTION, QuerySettings(), dict(BUILT_IN_PROFILES)).options
    assert options is not None
    with pytest.raises(BadRequestError, match="upgrade the workers"):
        check_level(options, 3)
    check_level(options, 4)


def test_a_profile_without_an_index_refuses_choices() -> None:
    """It would return documents that do not match."""
    profiles = dict(BUILT_IN_PROFILES)
    name = next(name for name, one in profiles.items() if one.first_phase == "noop")
    query = SearchQuery("goods", "red", refine={"brand": ("acme",)}, rank_profile=name)
    with pytest.raises(BadRequestError, match="reads no index"):
        admit(query, COLLECTION, QuerySettings(), profiles)
