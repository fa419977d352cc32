"""The merge against sorting everything."""

from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.common.wire.messages import SearchBody
from hedgerow.gateway.search.merge import merge as merge_bodies
from hedgerow.gateway.search.result import Hit

Part = tuple[int, list[str], list[float]]

# Few distinct values, so that ties, also at the cut, are the rule.
scores = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.5, -3.25]),
    st.floats(allow_nan=False),
)
ids = st.one_of(st.integers(0, 30).map(str), st.text("ab\u00e9\U0001f600", max_size=3))
hits = st.lists(st.tuples(ids, scores), max_size=12)


@st.composite
def parts_of_shards(
    draw: st.DrawFn, hits: st.SearchStrategy[list[tuple[str, float]]]
) -> list[Part]:
    """Parts in any order of shards, sorted as the wire format says or not at all."""
    shards = draw(st.lists(st.integers(0, 63), unique=True, max_size=8))
    parts = []
    for shard in shards:
        rows = draw(hits)
        if draw(st.booleans()):
            rows.sort(key=lambda row: (-row[1], row[0]))
        parts.append((shard, [row[0] for row in rows], [row[1] for row in rows]))
    return parts


def merge(parts: list[Part], k: int) -> list[Hit]:
    """The merge of such parts, as replies bring them."""
    bodies = [
        (shard, SearchBody(len(ids), len(ids), True, ids, scores)) for shard, ids, scores in parts
    ]
    return merge_bodies(bodies, k)


def brute_force(parts: list[Part], k: int) -> list[tuple[float, str, int]]:
    """All hits as (-score, id, shard), in order, cut at k."""
    rows = [
        (-score, document_id, shard)
        for shard, its_ids, its_scores in parts
        for document_id, score in zip(its_ids, its_scores, strict=True)
    ]
    return sorted(rows)[:k]


@given(parts_of_shards(hits), st.integers(1, 120))
@example([], 10)
@example([(0, [], [])], 10)
@example([(1, ["b", "c"], [1.0, 1.0]), (0, ["a", "b"], [1.0, 1.0])], 3)
def test_equals_sorting_everything(parts: list[Part], k: int) -> None:
    """The merge is what sorting all hits by (-score, id, shard) gives, for any parts and k."""
    found = [(-hit.score, hit.id, hit.shard) for hit in merge(parts, k)]
    assert found == brute_force(parts, k)


@given(parts_of_shards(st.lists(st.tuples(ids, st.just(0.0)), max_size=40)), st.integers(1, 120))
@example([(0, ["a", "b", "c"], [0.0] * 3), (1, [], []), (2, ["d"], [0.0])], 4)
def test_ties_alone_equal_sorting_everything(parts: list[Part], k: int) -> None:
    """Nor is a winner lost if all scores are the same, however the ids are spread."""
    found = [(-hit.score, hit.id, hit.shard) for hit in merge(parts, k)]
    assert found == brute_force(parts, k)


@given(parts_of_shards(hits), st.integers(1, 20), st.randoms())
def test_order_of_arrival_does_not_matter(parts: list[Part], k: int, random: object) -> None:
    """The same parts in another order of arrival give the same answer."""
    shuffled = parts.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' own Random
    assert merge(parts, k) == merge(shuffled, k)


def test_largest_fan_out() -> None:
    """64 shards of 1,000 hits, the largest there can be, are merged right."""
    parts: list[Part] = [
        (
            shard,
            [f"{number * 7919 % 1000}-{shard}" for number in range(1000)],
            [(number * 31 + shard * 17) % 997 / 10 for number in range(1000)],
        )
        for shard in range(64)
    ]
    found = [(-hit.score, hit.id, hit.shard) for hit in merge(parts, 1000)]
    assert found == brute_force(parts, 1000)


def test_merge_leaves_its_parts_alone() -> None:
    """The parts are not changed, and fresh hits have no fields."""
    parts: list[Part] = [(1, ["b", "a"], [1.0, 2.0]), (0, ["c"], [1.5])]
    hits = merge(parts, 3)
    assert parts == [(1, ["b", "a"], [1.0, 2.0]), (0, ["c"], [1.5])]
    assert [hit.fields for hit in hits] == [None] * 3
