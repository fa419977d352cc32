"""An answer that calls its hits exact has those of an answer with every shard."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.common.collection import define
from hedgerow.common.query.needs import need_of
from hedgerow.common.query.shard_summary import ShardSummary, summarise
from hedgerow.common.wire.messages import SearchBody
from hedgerow.common.wire.search_options import SearchExtras, SortKey
from hedgerow.gateway.search.options.sorting import merge_ordered
from hedgerow.gateway.search.result import Hit
from hedgerow.gateway.search.skipping.exactness import Exactness, exactness_of

FIELDS = {"text": "text", "price": "float", "year": "integer", "day": "date"}
COLLECTION = define("c", {"fields": FIELDS, "language": "none"}, uid="u1")
DAY = datetime(2020, 2, 29, tzinfo=UTC)
NEED = need_of("red", "", COLLECTION, strict=True)


class Document(NamedTuple):
    """One document; it may be deleted, or an older version that was replaced."""

    word: str
    price: float | None
    year: int | None
    day: float | None  # seconds after `DAY`
    is_gone: bool


documents = st.builds(
    Document,
    st.sampled_from(["red", "red", "blue"]),
    st.sampled_from([None, -1.5, 0.0, 0.1, 2.0**53]),
    st.sampled_from([None, 1, 2, 2**53, 2**53 + 1, 2**63 - 1]),
    st.sampled_from([None, 0.0, 0.4, 0.9, 1.0, 2.5, 90.0]),
    st.booleans(),
)
keys = st.lists(
    st.builds(
        SortKey,
        st.sampled_from(["price", "year", "day", "_score"]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=2,
    unique_by=lambda key: key.field,
).map(lambda some: sorted(some, key=lambda key: key.field == "_score"))


def shown(document: Document, field: str) -> Any:
    """A value as shards return it."""
    if field == "_score":
        return 1.0
    value = getattr(document, field)
    if field == "day" and value is not None:
        day = DAY + timedelta(seconds=int(value))
        return day.isoformat().replace("+00:00", "Z")
    return value


def body_of(shard: Sequence[tuple[str, Document]], order: Sequence[SortKey], k: int) -> SearchBody:
    """A shard's answer: its best matches, which the merge orders."""
    rows = [(name, one) for name, one in shard if one.word == "red" and not one.is_gone]
    values = tuple(tuple(shown(one, key.field) for key in order) for _, one in rows)
    extras = SearchExtras(sort_values=values)
    ids, scores = [name for name, _ in rows], [1.0] * len(rows)
    return SearchBody(len(shard), len(rows), True, ids, scores, extras=extras)


def summary_of(shard: Sequence[tuple[str, Document]]) -> ShardSummary:
    """Its summary, which counts words of deleted documents, but not their values."""
    live = [one for _, one in shard if not one.is_gone]

    def span(values: Sequence[float | None]) -> tuple[float, float] | None:
        some = [float(value) for value in values if value is not None]
        return (min(some), max(some)) if some else None

    days = [None if one.day is None else DAY.timestamp() + one.day for one in live]
    ranges = {
        "price": span([one.price for one in live]),
        "year": span([one.year for one in live]),
        "day": span(days),
    }
    found = {one.word for _, one in shard}
    words = {"text": found, "_present": {f"~{word}" for word in found}}
    return summarise(len(live), words, ranges, 100)


def hits_of(
    bodies: Sequence[tuple[int, SearchBody]], order: Sequence[SortKey], k: int
) -> list[Hit]:
    """As a search merges them."""
    return merge_ordered(bodies, k, order, is_grouped=False)


@given(
    st.lists(st.lists(documents, max_size=5), min_size=2, max_size=4),
    keys,
    st.integers(1, 4),
    st.data(),
)
@example(
    [
        [Document("red", None, 1, None, False)],
        [Document("red", None, 2**53 + 1, None, False)],
        [Document("red", None, 2**53, None, False)],
    ],
    [SortKey("year", False)],
    1,
    None,
)
def test_what_is_called_exact_is(
    shards: list[list[Document]], order: list[SortKey], k: int, data: st.DataObject | None
) -> None:
    """Whichever shards are missing; values may tie, or be equal but for rounding."""
    named = [
        [(f"d{number}.{at}", one) for at, one in enumerate(shard)]
        for number, shard in enumerate(shards)
    ]
    numbers = st.sets(st.sampled_from(range(len(shards))), min_size=1)
    missing = {1} if data is None else data.draw(numbers)
    bodies = [(number, body_of(shard, order, k)) for number, shard in enumerate(named)]
    partial = hits_of([one for one in bodies if one[0] not in missing], order, k)
    summaries = [summary_of(named[number]) for number in missing]
    found = exactness_of(summaries, NEED, partial, k, order)
    if found is not None:
        whole = hits_of(bodies, order, k)
        assert [hit.id for hit in partial] == [hit.id for hit in whole]


def test_a_shard_whose_best_value_comes_later_changes_nothing() -> None:
    """The bound is that value; if it ties, nothing is promised."""
    near = [("a", Document("red", 0.1, 1, 0.0, False)), ("b", Document("red", 2.0, 2, 2.0, False))]
    far = [("c", Document("red", 2.0, 2, 90.0, False))]
    for field, bound in (("price", 2.0), ("year", 2), ("day", "2020-02-29T00:01:30Z")):
        order = [SortKey(field, is_descending=False)]
        for k, expected in ((1, Exactness(bound)), (3, None)):
            partial = hits_of([(0, body_of(near, order, k))], order, k)
            assert exactness_of([summary_of(far)], NEED, partial, k, order) == expected
    order = [SortKey("price", is_descending=False)]
    tie = hits_of([(0, body_of(near, order, 2))], order, 2)
    assert exactness_of([summary_of(far)], NEED, tie, 2, order) is None


def test_scores_promise_nothing_unless_nothing_matches() -> None:
    """A shard without the word has no hits, however many are wanted."""
    blue = [("c", Document("blue", 2.0, 2, 90.0, False))]
    red = [("c", Document("red", 2.0, 2, 90.0, False))]
    assert exactness_of([summary_of(blue)], NEED, [], 10, ()) == Exactness()
    assert exactness_of([summary_of(red)], NEED, [Hit("a", 9.0, 0)], 1, ()) is None
