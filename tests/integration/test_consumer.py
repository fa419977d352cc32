"""Which requests a consumer pulls, against a real server: only into free slots, in which order."""

import asyncio

import pytest

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.keys import Keys
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE
from hedgerow.shard_worker.serving.forwarding import GiveBack
from tests.integration.support.pulling import LONG_S, Slots, pulling
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


async def test_it_pulls_no_more_than_it_has_slots(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """With two free slots and five requests, three wait in Redis until a slot is free."""
    slots = Slots(free=2)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, "a", "b", "c", "d", "e")
        await until(lambda: len(slots.pulled) == 2)
        assert await at_work.waiting(4) == 3
        slots.release(1)
        await until(lambda: len(slots.pulled) == 3)
        assert await at_work.waiting(4) == 2
    assert slots.pulled == [(4, b"a"), (4, b"b"), (4, b"c")]


async def test_a_worker_that_was_silent_puts_back_what_it_pulled(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """In the order in which it came, so that another replica answers it next."""
    slots = Slots(free=8)
    async with pulling(redis_server, key_prefix, slots) as at_work:

        def withhold() -> bool:
            at_work.consumer.withhold(frozenset({4, 7}))
            return False

        slots.is_current = withhold
        await until(at_work.is_blocked)
        await at_work.push(4, "a", "b", "c")
        await until(lambda: at_work.consumer.is_pulling is False)
        assert await at_work.link.call("LRANGE", at_work.queue(4), 0, -1) == [b"a", b"b", b"c"]
        assert slots.pulled == []
        assert await at_work.link.call("TTL", at_work.queue(4)) > 0
        slots.is_current = lambda: True
        at_work.consumer.withhold(frozenset())
        await until(lambda: len(slots.pulled) == 3)
    assert slots.pulled == [(4, b"a"), (4, b"b"), (4, b"c")]


async def test_no_shard_starves(redis_server: RedisServer, key_prefix: str) -> None:
    """While one shard's queue never empties, the other's requests are still pulled."""
    slots = Slots(free=0)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, *(f"busy-{number}" for number in range(50)))
        await at_work.push(7, "quiet")
        for _ in range(3):
            slots.release(1)
            await until(lambda: slots.free == 0)
    assert (7, b"quiet") in slots.pulled


async def test_the_shards_of_a_query_are_pulled_together(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A pull takes from each queue, also if there is room for two requests only."""
    slots = Slots(free=0)
    own_queue = f"{key_prefix}:own"
    async with pulling(redis_server, key_prefix, slots, own_queue=own_queue) as at_work:
        for shard in (4, 7):
            await at_work.push(shard, "a", "b", "c", "d")
        for _ in range(4):
            slots.release(2)
            await until(lambda: slots.free == 0)
    pulls = [slots.pulled[at : at + 2] for at in range(0, 8, 2)]
    assert [sorted(pull) for pull in pulls] == [
        [(4, message), (7, message)] for message in (b"a", b"b", b"c", b"d")
    ]


async def test_the_own_queue_and_the_others_take_turns(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Neither starves while the other never empties."""
    slots = Slots(free=0)
    own_queue = f"{key_prefix}:own"
    async with pulling(redis_server, key_prefix, slots, own_queue=own_queue) as at_work:
        await at_work.link.call("RPUSH", own_queue, *(f"own-{number}" for number in range(9)))
        await at_work.push(4, *(f"other-{number}" for number in range(9)))
        for _ in range(6):
            slots.release(1)
            await until(lambda: slots.free == 0)
    shards = [shard for shard, _ in slots.pulled]
    assert [sorted(shards[at : at + 2]) for at in range(0, 6, 2)] == [[OWN_QUEUE, 4]] * 3


async def test_a_worker_that_is_behind_takes_the_newest_and_drops_the_expired(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Work comes from the right; of the oldest, the expired go and the others stay, in order."""
    slots, order = Slots(free=0), PullOrder()
    order.is_newest_first, order.num_drops = True, 2
    async with pulling(redis_server, key_prefix, slots, order=order) as at_work:
        await at_work.push(4, "expired-1", "expired-2", "a", "b", "c", "d")
        slots.release(1)
        await until(lambda: slots.pulled == [(4, b"d")])
        assert slots.dropped == [b"expired-1", b"expired-2"]
        assert await at_work.waiting(4) == 3
        slots.release(1)
        await until(lambda: slots.pulled == [(4, b"d"), (4, b"c")])

        async def all_back() -> bool:
            waiting = await at_work.link.call("LRANGE", at_work.queue(4), 0, -1)
            return bool(waiting == [b"a", b"b"])

        await until(all_back)
    assert order.num_drops == 1  # what it found had not expired


async def test_a_worker_that_is_behind_takes_what_was_put_ahead(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """It is taken beside the newest though there is no room for it; the oldest stay."""
    slots, order = Slots(free=0), PullOrder()
    order.is_newest_first, order.num_drops = True, 2
    async with pulling(redis_server, key_prefix, slots, order=order) as at_work:
        await at_work.push(4, "a", "b", "c")
        await at_work.link.call("LPUSH", at_work.queue(4), "fresh-1")
        slots.release(1)
        await until(lambda: slots.pulled == [(4, b"c"), (4, b"fresh-1")])

        async def is_back() -> bool:
            waiting = await at_work.link.call("LRANGE", at_work.queue(4), 0, -1)
            return bool(waiting == [b"a", b"b"])

        await until(is_back)
        slots.release(2)  # of which one was taken before it was there
        await until(lambda: len(slots.pulled) == 3)


async def test_the_oldest_go_first_again_when_nothing_is_left(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """A pull that takes the last request of all queues, and it only, ends newest first."""
    slots, order = Slots(free=0), PullOrder()
    order.is_newest_first, order.num_drops = True, 1
    async with pulling(redis_server, key_prefix, slots, order=order) as at_work:
        await at_work.push(4, "a")
        await at_work.push(7, "b")
        slots.release(1)
        await until(lambda: len(slots.pulled) == 1)
        assert order.is_newest_first  # the other one is left
        slots.release(1)
        await until(lambda: len(slots.pulled) == 2)
        assert not order.is_newest_first


async def test_a_pull_that_brings_what_it_asked_for_says_nothing_of_the_queues_end(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """With room for three and two pops of one each, two requests are not a queue's end."""
    ends: list[int] = []

    class Order(PullOrder):
        def on_short(self) -> None:
            ends.append(len(slots.pulled))

    slots = Slots(free=0)
    async with pulling(redis_server, key_prefix, slots, order=Order()) as at_work:
        await at_work.push(4, *"abcd")
        slots.release(3)
        await until(lambda: slots.free == 0)
        assert len(slots.pulled) == 3
        assert ends == []
        slots.release(3)
        await until(lambda: len(slots.pulled) == 4)
        await until(lambda: ends == [4])


async def test_what_is_withheld_waits_for_another_worker(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """Nothing is pulled for a shard that is withheld, then for both, and all once it is not."""
    slots = Slots(free=9)
    async with pulling(redis_server, key_prefix, slots, LONG_S) as at_work:
        at_work.consumer.withhold(frozenset({4}))
        await at_work.push(7, "ends the pop that had begun")
        await until(lambda: len(slots.pulled) == 1)
        await at_work.push(4, "left")
        await at_work.push(7, "taken")
        await until(lambda: len(slots.pulled) == 2)
        assert slots.pulled[1] == (7, b"taken")
        await until(at_work.is_blocked)
        at_work.consumer.withhold(frozenset({4, 7}))  # ends the pop that waits
        await until(lambda: not at_work.consumer.is_pulling)
        await at_work.push(7, "left too")
        assert (await at_work.waiting(4), await at_work.waiting(7)) == (1, 1)
        at_work.consumer.withhold(frozenset())
        await until(lambda: len(slots.pulled) == 4)
    assert sorted(slots.pulled[2:]) == [(4, b"left"), (7, b"left too")]


async def test_a_worker_that_leaves_all_shards_to_others_reads_its_own_queue(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """What is meant for it alone is pulled then too, unless that is withheld as well."""
    slots = Slots(free=9)
    own = f"{key_prefix}:own"
    async with pulling(redis_server, key_prefix, slots, LONG_S, own_queue=own) as at_work:
        await at_work.push(7, "taken")
        await until(lambda: len(slots.pulled) == 1)
        await until(at_work.is_blocked)
        at_work.consumer.withhold(frozenset({4, 7}))
        await until(at_work.is_blocked)  # the pull under way, whose end that brings, is over
        await at_work.push(4, "left")
        await at_work.link.call("RPUSH", own, "a trial", "another")
        await until(lambda: len(slots.pulled) == 3)
        assert slots.pulled[1:] == [(OWN_QUEUE, b"a trial"), (OWN_QUEUE, b"another")]
        await until(at_work.is_blocked)
        at_work.consumer.withhold(frozenset({4, 7, OWN_QUEUE}))
        await until(lambda: not at_work.consumer.is_pulling)
        await at_work.link.call("RPUSH", own, "left too")
        assert await at_work.waiting(4) == 1
        at_work.consumer.withhold(frozenset())
        await until(lambda: len(slots.pulled) == 5)
    assert sorted(slots.pulled[3:]) == [(OWN_QUEUE, b"left too"), (4, b"left")]


async def test_what_is_given_back_is_left_to_others(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """It lies at the head of its queue, oldest first; the pop that waited has not taken it again.

    What that pop took meanwhile is handled, and the worker pulls on when it has room.
    """
    slots = Slots(free=4)
    async with pulling(redis_server, f"{key_prefix}:search", slots) as at_work:
        counters = Counters()
        give_back = GiveBack(at_work.link, Keys(key_prefix), 60, counters, at_work.consumer)
        await at_work.push(4, "a", "b")
        await until(lambda: len(slots.pulled) == 2)
        await until(at_work.is_blocked)  # a pop waits, for which there was room
        slots.free = 0
        for message in (b"a", b"b"):
            give_back.give_back(4, message)
        await until(lambda: not at_work.consumer.is_pulling)
        await at_work.push(4, "c")
        assert await at_work.link.call("LRANGE", at_work.queue(4), 0, -1) == [b"a", b"b", b"c"]
        assert 0 < int(await at_work.link.call("TTL", at_work.queue(4))) <= 60
        assert counters["searches_given_back"] == 2
        slots.release(3)
        await until(lambda: len(slots.pulled) == 5)
    assert [message for _, message in slots.pulled] == [b"a", b"b", b"a", b"b", b"c"]


async def test_what_was_pulled_from_a_queue_is_delivered_before_it_is_removed(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """From then on, its requests wait in Redis, for others; the other queue is pulled on."""
    slots = Slots(free=100)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, "a")
        await until(lambda: slots.pulled == [(4, b"a")])
        pushed = asyncio.create_task(at_work.push(4, "b"))
        await at_work.consumer.remove(at_work.queue(4))
        await pushed
        await at_work.push(4, "c")
        await at_work.push(7, "d")
        await until(lambda: (7, b"d") in slots.pulled)
        num_pulled = sum(shard == 4 for shard, _ in slots.pulled)
        assert num_pulled + await at_work.waiting(4) == 3
        assert (4, b"c") not in slots.pulled


async def test_a_queue_that_is_added_is_pulled_from_at_once(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """Also if the consumer had none, and while its pop waits for other queues."""
    slots = Slots(free=100)
    async with pulling(redis_server, key_prefix, slots, LONG_S) as at_work:
        for shard in (4, 7):
            await at_work.consumer.remove(at_work.queue(shard))
        await at_work.push(4, "a")
        await at_work.push(5, "b")
        assert slots.pulled == []
        at_work.consumer.add(at_work.queue(4), 4)
        await until(lambda: slots.pulled == [(4, b"a")])
        at_work.consumer.add(at_work.queue(5), 5)
        await until(lambda: slots.pulled == [(4, b"a"), (5, b"b")])
        await at_work.consumer.remove(at_work.queue(9))  # it has none of this name
