"""Which hits of a shard can win, given those of the shards that were searched with it."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.scoring.local_merge import LocalMerge

Hits = list[tuple[float, str]]


def hits() -> st.SearchStrategy[list[Hits]]:
    """Score and id of the hits of some shards, best first; many scores tie."""
    scores = st.sampled_from([0.5, 1.0, 2.5])
    every = st.dictionaries(
        st.text("abc", min_size=1, max_size=3), st.tuples(scores, st.integers(0, 2))
    )

    def by_shard(found: dict[str, tuple[float, int]]) -> list[Hits]:
        ranked = sorted(((score, one) for one, (score, _) in found.items()), key=_place)
        return [[hit for hit in ranked if found[hit[1]][1] == shard] for shard in range(3)]

    return every.map(by_shard)


def _place(hit: tuple[float, str]) -> tuple[float, str]:
    return -hit[0], hit[1]


@given(hits(), st.integers(1, 8))
def test_the_first_hits_of_each_shard_are_the_best_of_all(shards: list[Hits], k: int) -> None:
    """With all shards, they are exactly the winners; with some, none of the winners is missing."""
    best = sorted((hit for part in shards for hit in part), key=_place)[:k]
    merge = LocalMerge(b"q", k)
    for shard, part in enumerate(shards):
        merge.add(shard, [one for _, one in part], [score for score, _ in part])
        for before in range(shard + 1):
            leading = shards[before][: merge.num_leading(before)]
            assert {hit for hit in best if hit in shards[before]} <= set(leading)
    leading = [hit for at, part in enumerate(shards) for hit in part[: merge.num_leading(at)]]
    assert sorted(leading, key=_place) == best


def test_other_searches_and_other_answers_are_not_compared() -> None:
    """A shard that answers the same search again does so for another caller."""
    merge = LocalMerge(b"q", 3)
    merge.add(0, ["a"], [1.0])
    assert merge.takes(b"q", 1)
    assert not merge.takes(b"other", 1)
    assert not merge.takes(b"q", 0)
