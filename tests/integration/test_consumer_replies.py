"""Whether the next pull of a consumer waits for the replies of the last, against a real server."""

import asyncio
from functools import partial

import pytest

from hedgerow.common.wire.messages import Reply
from hedgerow.shard_worker.serving import turn
from tests.integration.support.pulling import LONG_S, Pulling, Slots, pulling
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration


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
