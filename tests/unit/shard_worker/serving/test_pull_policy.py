"""The order in which the requests of a pull are started."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.serving.pull_policy import by_query


def test_the_shards_of_a_query_are_next_to_each_other() -> None:
    """In the order in which the queries came first; each shard keeps the order of its queue."""
    pops = [(0, [b"x", b"y"]), (1, [b"y", b"z", b"x"])]
    assert by_query(pops) == [(b"x", [0, 1]), (b"y", [0, 1]), (b"z", [1])]


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.sampled_from([b"x", b"y", b"z"]), max_size=4)),
        max_size=4,
    )
)
def test_nothing_is_lost_or_added(pops: list[tuple[int, list[bytes]]]) -> None:
    """A request that was sent twice is started twice."""
    pulled = sorted((shard, message) for shard, messages in pops for message in messages)
    started = [(shard, message) for message, shards in by_query(pops) for shard in shards]
    assert sorted(started) == pulled
