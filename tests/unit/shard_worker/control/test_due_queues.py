"""Queues with jobs are found by one request for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.shard_worker.control.due_queues import DueQueues
from tests.support.virtual_time import run_virtually

INTERVAL_S = 1.0


class Redis:
    """How many jobs of each queue are due, and what was asked."""

    def __init__(self) -> None:
        self.due: dict[str, int] = {}
        self.asked: list[list[str]] = []
        self.is_up = True

    async def count(self, queues: Sequence[str]) -> list[int]:
        """As one request."""
        if not self.is_up:
            raise RedisUnavailableError("down")
        self.asked.append(list(queues))
        return [self.due.get(queue, 0) for queue in queues]


def watched(scene: Callable[[Redis, DueQueues], Awaitable[None]]) -> None:
    """Run a scene while the queues are watched, in virtual time."""

    async def run() -> None:
        redis = Redis()
        due = DueQueues(redis.count)
        watching = asyncio.create_task(due.run(INTERVAL_S))
        try:
            await scene(redis, due)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    run_virtually(run())


def test_all_queues_that_are_waited_for_are_asked_for_at_once() -> None:
    """Only who waits for the one with jobs is woken, within an interval; it is then left out."""

    async def scene(redis: Redis, due: DueQueues) -> None:
        one, other = (asyncio.create_task(due.until_due(name)) for name in ("one", "other"))
        await asyncio.sleep(2.1 * INTERVAL_S)
        assert redis.asked == [["one", "other"]] * 2
        assert not one.done()
        redis.due["one"] = 1
        async with asyncio.timeout(INTERVAL_S):
            await one
        assert not other.done()
        await asyncio.sleep(INTERVAL_S)
        assert redis.asked[-1] == ["other"]
        other.cancel()

    watched(scene)


def test_nothing_is_asked_while_nobody_waits() -> None:
    """Also after the last has given up."""

    async def scene(redis: Redis, due: DueQueues) -> None:
        await asyncio.sleep(3 * INTERVAL_S)
        waiting = asyncio.create_task(due.until_due("one"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(3 * INTERVAL_S)
        assert redis.asked == []

    watched(scene)


def test_those_who_wait_for_one_queue_are_all_woken_after_redis_was_away() -> None:
    """A request that fails is made again."""

    async def scene(redis: Redis, due: DueQueues) -> None:
        redis.is_up, redis.due["one"] = False, 2
        waiting = [asyncio.create_task(due.until_due("one")) for _ in range(2)]
        await asyncio.sleep(3.1 * INTERVAL_S)
        assert not any(task.done() for task in waiting)
        redis.is_up = True
        async with asyncio.timeout(INTERVAL_S):
            await asyncio.gather(*waiting)

    watched(scene)
