"""What a worker knows of its shards, and what it has scorers ask for."""

import time

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.shard_worker.indexing.shard_report import CollectionReport, ShardState, pack_ids
from hedgerow.shard_worker.scoring.opening import first_generation, split
from hedgerow.shard_worker.serving.shard_state import ShardStates


def state(shard: int, generation: int) -> ShardState:
    """A shard with one collection, whose index is of this generation."""
    return ShardState(
        shard, "r", "1-0", [CollectionReport("u", "{}", 3, generation, 3, pack_ids([]))]
    )


def test_each_opening_of_a_shard_is_told_from_the_others() -> None:
    """Also by searches of a collection that the shard lacks; within one, generations grow."""
    states, now_us = ShardStates(), int(time.time() * 1e6)
    seen = []
    for _ in range(3):
        for generation in (now_us, now_us + 1):
            states.take(state(0, generation))
            opening, found = split(states.of(0, "u").generation)
            assert found == generation
            assert split(states.of(0, "absent").generation) == (opening, 0)
        seen.append(opening)
        assert 0 in states
        states.remove(0)
        assert 0 not in states
    assert seen == [0, 1, 2]
    assert states.documents() == {}


@given(st.integers(0, 10**6), st.integers(0, 2**53))
def test_a_generation_of_any_opening_fits_into_a_message(num_before: int, generation: int) -> None:
    """It can be split again, and has at most 63 bits."""
    asked = first_generation(num_before) + generation
    assert 0 <= asked < 2**63
    assert split(asked)[1] == generation
    assert split(asked)[0] != split(first_generation(num_before + 1))[0]
