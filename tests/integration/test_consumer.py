"""Pulling, against a real server: only into free slots, nothing lost when draining."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.wire.messages import Reply
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.serving import consumer as consumers
from hedgerow.shard_worker.serving import turn
from hedgerow.shard_worker.serving.consumer import OWN_QUEUE, Consumer
from hedgerow.shard_worker.serving.forwarding import GiveBack
from hedgerow.shard_worker.serving.pull_policy import Pulled, PullPolicy
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.turn import Turn
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

LONG_S = 1800.0


@dataclass
class Slots:
    """A lane of this many slots, which the test frees by hand."""

    free: int
    is_quick: bool = False
    is_current: Callable[[], bool] = lambda: True
    pulled: list[tuple[int, bytes]] = field(default_factory=list)
    dropped: list[bytes] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def room(self) -> int:
        """How many are free; none where more was taken than there was room for."""
        return max(0, self.free)

    async def wait_for_room(self) -> int:
        """Wait until a slot is free."""
        while self.free <= 0:
            self._changed.clear()
            await self._changed.wait()
        return self.free

    def ends_soon(self) -> bool:
        """What the test has set."""
        return self.is_quick

    def cork(self) -> None:
        """A pull is handed over."""

    def uncork(self) -> None:
        """That was all of it."""

    def handle(self, pulled: list[Pulled]) -> None:
        """Take a slot for each request, but for one that has expired."""
        for message, shards in pulled:
            if message.startswith(b"expired"):
                self.dropped += [message] * len(shards)
            else:
                self.free -= len(shards)
                self.pulled += [(shard, message) for shard in shards]

    def release(self, count: int) -> None:
        """Free this many slots."""
        self.free += count
        self._changed.set()


@dataclass
class Pulling:
    """A consumer at work, and a connection to look at its queues."""

    consumer: Consumer
    turn: Turn
    replier: Replier
    link: RedisConnection
    task: asyncio.Task[None]
    prefix: str

    def queue(self, shard: int) -> str:
        """The queue of one of its shards."""
        return f"{self.prefix}:{shard}"

    async def push(self, shard: int, *messages: str) -> None:
        """Queue requests."""
        await self.link.call("RPUSH", self.queue(shard), *messages)

    async def is_blocked(self) -> bool:
        """Whether the server has a pop that waits: the consumer's, which has the server alone."""
        clients: bytes = await self.link.call("INFO", "clients")
        return b"blocked_clients:1\r" in clients

    async def waiting(self, shard: int) -> int:
        """How many requests wait in Redis."""
        return int(await self.link.call("LLEN", self.queue(shard)))


@pytest.fixture
def endless_pops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pop does not end by itself while a test runs, if `silence_s` is `LONG_S`."""
    monkeypatch.setattr(consumers, "LONGEST_BLOCK_S", LONG_S)


@asynccontextmanager
async def pulling(
    server: RedisServer,
    prefix: str,
    slots: Slots,
    silence_s: float = 5.0,
    order: PullOrder | None = None,
    own_queue: str | None = None,
    control: RedisConnection | None = None,
) -> AsyncIterator[Pulling]:
    """A consumer of shards 4 and 7 for the block; without `control`, it replies over `link`."""
    redis = RedisSettings(url=server.url, command_timeout_s=silence_s)
    link = RedisConnection(Endpoint.of(redis), name="test", silence_s=5)
    await link.start(5)
    replier = Replier(control or link, "w1", Counters(), 10_000)
    its_turn = Turn(replier, lambda: slots.is_current())  # noqa: PLW0108 - a test replaces it
    policy = None if order is None else PullPolicy(order, _spent_share)
    consumer = Consumer(
        redis,
        Endpoint.of(redis),
        "test-consumer",
        control or link,
        slots,
        replier,
        policy,
    )
    for shard in (4, 7):
        consumer.add(f"{prefix}:{shard}", shard)
    if own_queue is not None:
        consumer.add(own_queue, OWN_QUEUE)
    task = asyncio.create_task(its_turn.serve(consumer, slots.handle))
    try:
        yield Pulling(consumer, its_turn, replier, link, task, prefix)
    finally:
        await consumer.drain()
        await link.close()


def _spent_share(message: bytes, _now: float) -> float:
    return {b"expired": 2.0, b"fresh": 0.1}.get(message.partition(b"-")[0], 0.5)


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


async def test_draining_ends_a_blocked_pop_at_once(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """A consumer that waits for requests stops without waiting for its pop to time out."""
    async with pulling(redis_server, key_prefix, Slots(free=1), LONG_S) as at_work:
        await until(lambda: at_work.consumer.is_pulling)
        await at_work.consumer.drain()
        assert at_work.task.done()


async def test_a_drain_that_overtakes_a_pop_ends_it_all_the_same(
    redis_server: RedisServer, key_prefix: str, endless_pops: None
) -> None:
    """A server that has not begun the pop finds nothing to end, and is asked again."""
    slots = Slots(free=0)
    async with pulling(redis_server, key_prefix, slots, LONG_S) as at_work:

        async def num_asked() -> int:
            stats: bytes = await at_work.link.call("INFO", "commandstats")
            found = re.search(rb"client\|unblock:calls=(\d+)", stats)
            return 0 if found is None else int(found[1])

        async def has_asked() -> bool:
            return await num_asked() >= before + 2

        before = await num_asked()
        await at_work.link.call("CLIENT", "PAUSE", 600_000, "WRITE")  # so it begins no pop
        slots.release(1)
        await until(lambda: at_work.consumer.is_pulling)
        drain = asyncio.create_task(at_work.consumer.drain())
        try:
            await until(has_asked)
        finally:
            await at_work.link.call("CLIENT", "UNPAUSE")
        async with asyncio.timeout(45):
            await drain


async def test_draining_takes_nothing_that_it_does_not_hand_over(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Whenever a drain falls among pushes, each request was handed over or still waits."""
    for attempt in range(20):
        slots = Slots(free=1000)
        prefix = f"{key_prefix}-{attempt}"
        async with pulling(redis_server, prefix, slots) as at_work:
            await at_work.push(4, "first")
            pushes = asyncio.gather(*(at_work.push(4, f"r{number}") for number in range(20)))
            await asyncio.sleep(0.0002 * attempt)
            await at_work.consumer.drain()
            await pushes
            assert len(slots.pulled) + await at_work.waiting(4) == 21


async def test_draining_does_not_wait_for_room(redis_server: RedisServer, key_prefix: str) -> None:
    """A consumer whose lane is full, perhaps for ever, stops at once and holds no request."""
    slots = Slots(free=0)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, "a")
        await at_work.consumer.drain()
        assert at_work.task.done()
        assert await at_work.waiting(4) == 1


async def test_it_pulls_again_from_a_server_that_came_back(own_server: RedisServer) -> None:
    """After the server was killed and started again, requests are pulled without a restart."""
    slots = Slots(free=10)
    async with pulling(own_server, "p", slots) as at_work:
        await at_work.push(4, "before")
        await until(lambda: len(slots.pulled) == 1)
        own_server.stop(kill=True)
        await until(lambda: not at_work.link.is_connected)
        own_server.start()
        await until(lambda: at_work.link.is_connected)
        await at_work.push(4, "after")
        await until(lambda: len(slots.pulled) == 2)


async def test_nothing_is_pulled_that_could_not_be_answered(own_server: RedisServer) -> None:
    """While the connection for replies is lost, requests wait where other replicas take them."""
    slots = Slots(free=10)
    endpoint = Endpoint.of(RedisSettings(url=own_server.url))
    control = RedisConnection(endpoint, name="test-control", silence_s=5)
    try:
        async with pulling(own_server, "p", slots, control=control) as at_work:

            async def has_connected() -> bool:
                clients: bytes = await at_work.link.call("CLIENT", "LIST")
                return b"name=test-consumer" in clients

            await until(has_connected)
            await at_work.push(4, "a")
            for _ in range(20):
                assert await at_work.waiting(4) == 1
            await control.start(45)
            await until(lambda: len(slots.pulled) == 1)
    finally:
        await control.close()


async def test_waiting_for_requests_is_not_taken_for_silence(
    own_server: RedisServer, endless_pops: None
) -> None:
    """However short the command timeout is, an idle consumer keeps its connection."""
    async with pulling(own_server, "p", Slots(free=10), silence_s=2.0) as at_work:
        await until(lambda: at_work.consumer.is_pulling)

        async def number(section: str, of: str) -> int:
            found = re.search(of.encode() + rb"(\d+)", await at_work.link.call("INFO", section))
            return 0 if found is None else int(found[1])

        async def have_ended() -> bool:
            return await number("commandstats", "cmdstat_blmpop:calls=") >= before + 4

        before = await number("commandstats", "cmdstat_blmpop:calls=")
        num_connections = await number("stats", "total_connections_received:")
        await until(have_ended)  # together they take longer than what counts as silence
        assert await number("stats", "total_connections_received:") == num_connections


async def each_is_pulled_at_once(at_work: Pulling, slots: Slots) -> None:
    """Requests that come one by one are pulled, though none of them ends."""

    def has_pulled(count: int) -> bool:
        return len(slots.pulled) == count

    for count in range(1, 4):
        await at_work.push(4, "endless")
        await until(partial(has_pulled, count))


async def test_the_next_pull_leaves_with_the_replies_of_quick_works(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pop is sent until they are there; then one takes them along."""
    monkeypatch.setattr(turn, "HOLD_S", LONG_S)
    slots = Slots(free=8, is_quick=True)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, "a")
        await until(lambda: len(slots.pulled) == 1)
        assert not at_work.consumer.is_pulling
        assert not await at_work.is_blocked()
        await at_work.push(7, "b")
        assert await at_work.waiting(7) == 1
        at_work.replier.add("g1", Reply(1, 4, 0, 3, 0, 0, 0, b""))
        at_work.turn.end()
        assert not at_work.replier.has_ready
        assert at_work.consumer.is_pulling
        await until(lambda: len(slots.pulled) == 2)


async def test_a_pull_does_not_wait_for_the_replies_of_works_that_take_longer(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is room, the next request starts beside them."""
    monkeypatch.setattr(turn, "HOLD_S", LONG_S)
    slots = Slots(free=8, is_quick=False)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await each_is_pulled_at_once(at_work, slots)


async def test_a_pull_does_not_wait_for_long_for_replies(
    redis_server: RedisServer, key_prefix: str
) -> None:
    """Tasks that hang, although they should have ended soon, do not stop the pulling."""
    slots = Slots(free=8, is_quick=True)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await each_is_pulled_at_once(at_work, slots)


async def test_draining_does_not_wait_for_replies(
    redis_server: RedisServer, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pull that waits for them has taken nothing: it is dropped, and what is queued stays."""
    monkeypatch.setattr(turn, "HOLD_S", LONG_S)
    slots = Slots(free=8, is_quick=True)
    async with pulling(redis_server, key_prefix, slots) as at_work:
        await at_work.push(4, "a")
        await until(lambda: len(slots.pulled) == 1)
        await at_work.push(4, "b")
        called: list[str] = []
        at_work.consumer.between_pulls(lambda: called.append("at once"))
        assert called == ["at once"]
        async with asyncio.timeout(60):
            await at_work.consumer.drain()
        assert at_work.task.done()
        assert await at_work.waiting(4) == 1
    assert slots.pulled == [(4, b"a")]


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
