"""How keys are spelled, with and without Redis Cluster."""

from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.redis.hash_slots import hash_slot
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings

_OF_SHARDS = ("search_queue", "fetch_queue", "cancel_channel", "log", "applied", "trimmed")


def test_without_a_cluster_keys_are_as_in_earlier_versions() -> None:
    """On a plain server, an earlier version's process finds every key and channel."""
    keys = Keys.of(RedisSettings(key_prefix="p", control_url="redis://other"))
    assert [getattr(keys, name)(7) for name in _OF_SHARDS] == [
        "p:search:7",
        "p:fetch:7",
        "p:cancel:7",
        "p:log:7",
        "p:applied:7",
        "p:trimmed:7",
    ]
    assert keys.worker_search_queue("w") == "p:search@w"
    assert keys.worker_fetch_queue("w") == "p:fetch@w"
    assert keys.confirm() == "p:log:confirm"


@given(st.integers(1, 128), st.integers(0, 10_000))
def test_what_belongs_to_a_shard_is_in_one_slot(num_slots: int, shard: int) -> None:
    """All of a shard's keys and channels share a slot, with those of its workers and gateways."""
    keys = Keys("p", num_slots)
    slot = keys.slot(shard)
    names = {getattr(keys, name)(shard) for name in _OF_SHARDS} | {
        keys.worker_search_queue("w", slot),
        keys.worker_fetch_queue("w", slot),
        keys.confirm(slot),
        keys.reply_channel_in(slot, keys.reply_channel("g")),
    }
    assert len(names) == len(_OF_SHARDS) + 4
    assert len({hash_slot(name) for name in names}) == 1
    assert all(name.startswith("p:") for name in names)


def test_slots_have_different_names_for_a_gateway() -> None:
    """A gateway's channels of several slots can be told apart, and name the gateway."""
    keys = Keys("p", 3)
    channels = {keys.reply_channel_in(slot, keys.reply_channel("g")) for slot in range(3)}
    assert len(channels) == 3
    assert all(channel.endswith(":reply:g") for channel in channels)
