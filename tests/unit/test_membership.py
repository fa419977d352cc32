"""The view of the cluster, from heartbeats at a given time."""

from unittest.mock import Mock

from hypothesis import given
from hypothesis import strategies as st

from common.heartbeat import Heartbeat
from common.registry import Registry
from gateway.membership import Membership

EXPIRY_S = 2.0
NUM_SHARDS = 6


def beat(worker: str, shards: list[int], at_ms: int) -> Heartbeat:
    """A heartbeat."""
    return Heartbeat(
        id=worker,
        pid=1,
        host="here",
        shards=shards,
        version="1",
        beat_at_ms=at_ms,
        started_at_ms=0,
        replicas={shard: f"replica of {shard} at {worker}" for shard in shards},
    )


def view() -> Membership:
    """A view that has seen nothing."""
    return Membership(Mock(spec=Registry), NUM_SHARDS, EXPIRY_S, 0.1, lambda: 0, list)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, NUM_SHARDS - 1), unique=True), st.integers(0, 5000)),
        max_size=5,
    )
)
def test_a_shard_is_live_exactly_while_one_of_its_workers_is_fresh(
    workers: list[tuple[list[int], int]],
) -> None:
    """Live means: some heartbeat younger than the expiry names the shard."""
    now_ms = 5000
    heartbeats = {
        f"w{number}": beat(f"w{number}", shards, at_ms)
        for number, (shards, at_ms) in enumerate(workers)
    }
    membership = view()
    membership.take(heartbeats, {}, now_ms)
    for shard in range(NUM_SHARDS):
        fresh = [at_ms for shards, at_ms in workers if shard in shards and now_ms - at_ms < 2000]
        assert membership.live[shard] == bool(fresh)
        assert len(membership.replicas_of(shard)) == len(fresh)


def test_counts_outlive_their_worker() -> None:
    """What a shard last reported still counts in the total when nobody serves it any more."""
    membership = view()
    membership.take({}, {"u1": {0: 7, 3: 2}}, 0)
    assert membership.live == [False] * NUM_SHARDS
    assert membership.counts_of("u1") == [7, None, None, 2, None, None]
    assert membership.counts_of("unheard-of") == [None] * NUM_SHARDS
