"""Hash slots and tags, against redis-py's own computation and published values."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from hedgerow.common.redis.hash_slots import NUM_HASH_SLOTS, hash_slot, tags


@given(st.binary(max_size=40) | st.text(alphabet="{}ab", max_size=12).map(str.encode))
def test_slots_are_those_of_redis_py(key: bytes) -> None:
    """Whatever braces a key has, its slot is the one that redis-py computes."""
    assert hash_slot(key) == key_slot(key)


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        ("123456789", 0x31C3),  # the check value of CRC-16/XMODEM, in the cluster specification
        ("foo", 12182),
        ("bar", 5061),
        ("hello", 866),
    ],
)
def test_slots_are_those_that_are_published(key: str, slot: int) -> None:
    """Known keys have the slots that Redis's documentation shows."""
    assert hash_slot(key) == slot


@given(st.integers(1, 128), st.integers(1, 128))
def test_nodes_get_their_share_of_the_tags(number: int, num_nodes: int) -> None:
    """Nodes with equal ranges have equally many tags, or nearly so if that is not possible."""
    slots = [hash_slot(f"{{{tag}}}:x") for tag in tags(number)]
    assert len(set(slots)) == number
    assert all(one < other for one, other in pairwise(slots))
    nodes = [slot * num_nodes // NUM_HASH_SLOTS for slot in slots]
    counts = [nodes.count(node) for node in range(num_nodes)]
    assert max(counts) - min(counts) <= (0 if number % num_nodes == 0 else 2)
