"""The order of steps in a worker's turn, with a scripted consumer and pool."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.wire.messages import Reply
from hedgerow.shard_worker.serving.consumer import Consumer
from hedgerow.shard_worker.serving.pull_policy import Pulled
from hedgerow.shard_worker.serving.replier import Replier
from hedgerow.shard_worker.serving.turn import HOLD_S, Turn
from tests.support.virtual_time import run_virtually

REPLY = Reply(1, 4, 0, 3, 0, 0, 0, b"")


@dataclass
class Worker:
    """Notes in `done` what happens, in order: it is connection, pool and consumer at once."""

    ends_soon_: bool = False
    answers_at_once: bool = False
    is_connected: bool = True
    done: list[str] = field(default_factory=list)
    on_pulled: Callable[[list[Any]], None] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.lane = self
        connection = cast("RedisConnection", self)
        self.replier = Replier(connection, "w1", Counters(), 10_000)
        self.turn = Turn(self.replier, lambda: True)

    # The pool

    def cork(self) -> None:
        """Note it."""
        self.done.append("cork")

    def uncork(self) -> None:
        """Note it."""
        self.done.append("uncork")

    def ends_soon(self) -> bool:
        """What the test says."""
        return self.ends_soon_

    # The consumer

    async def run(self, on_pulled: Callable[[list[Any]], None]) -> None:
        """Wait for `stop`; the test has what was pulled arrive."""
        self.on_pulled = on_pulled
        await self.stop.wait()

    def deliver(self, answers: list[Any], handle: Callable[[list[Pulled]], None]) -> int:
        """Deliver all answers as requests of shard 4."""
        handle([(answer, [4]) for answer in answers])
        return len(answers)

    def pull_next(self) -> None:
        """Note it, with the number of messages that it takes along."""
        self.done.append(f"pull with {len(self.replier.take())}")

    # The connection

    def send_now(self, commands: list[bytes], _takers: list[object]) -> None:
        """Note it."""
        self.done.append(f"replies alone, {len(commands)}")

    # What the test calls

    def handle(self, pulled: list[Pulled]) -> None:
        """Note it; answer at once where the test says so."""
        self.done.append(f"start {len(pulled)}")
        if self.answers_at_once:
            self.replier.add("g1", REPLY)

    def pulled(self, *messages: bytes) -> list[str]:
        """Have a pull bring messages; returns what has happened then."""
        assert self.on_pulled is not None
        self.done.clear()
        self.on_pulled(list(messages))
        return list(self.done)

    def results(self) -> list[str]:
        """Have a result come; returns what has happened then."""
        self.done.clear()
        self.replier.add("g1", REPLY)
        self.turn.end()
        return list(self.done)


def serving(scenario: Callable[[Worker], Any], **how: Any) -> None:
    """Run a scenario with a worker that serves."""

    async def run() -> None:
        worker = Worker(**how)
        task = asyncio.create_task(worker.turn.serve(cast("Consumer", worker), worker.handle))
        await asyncio.sleep(0)
        try:
            await scenario(worker)
        finally:
            worker.stop.set()
            await task

    run_virtually(run())


STARTED = ["cork", "start 2", "uncork"]


def test_what_was_pulled_together_starts_together_and_the_next_pull_follows() -> None:
    """Tasks go to the pool between `cork` and `uncork`; the pull that follows is made at once."""

    async def scenario(worker: Worker) -> None:
        assert worker.pulled(b"a", b"b") == [*STARTED, "pull with 0"]
        assert worker.results() == ["replies alone, 1"]

    serving(scenario)


def test_what_the_loop_answers_leaves_with_the_next_pull() -> None:
    """Replies that are ready when the pull is made are in the same write, however quick."""

    async def scenario(worker: Worker) -> None:
        assert worker.pulled(b"a", b"b") == [*STARTED, "pull with 1"]

    serving(scenario, answers_at_once=True, ends_soon_=True)


def test_the_next_pull_waits_for_replies_that_come_soon_and_takes_them_along() -> None:
    """It leaves with the first results; those that come after it leave alone."""

    async def scenario(worker: Worker) -> None:
        assert worker.pulled(b"a", b"b") == STARTED
        assert worker.results() == ["pull with 1"]
        assert worker.results() == ["replies alone, 1"]

    serving(scenario, ends_soon_=True)


def test_each_consumer_that_waits_for_replies_pulls_again() -> None:
    """A worker has a consumer for each slot; the first results end the wait of all of them."""

    async def scenario(worker: Worker) -> None:
        other = Worker(ends_soon_=True)
        task = asyncio.create_task(worker.turn.serve(cast("Consumer", other), other.handle))
        await asyncio.sleep(0)
        assert worker.pulled(b"a", b"b") == STARTED
        assert other.pulled(b"c", b"d") == STARTED
        assert worker.results() == ["pull with 1"]
        assert other.done == [*STARTED, "pull with 0"]
        other.stop.set()
        await task

    serving(scenario, ends_soon_=True)


def test_the_next_pull_waits_for_late_replies_no_longer_than_it_may() -> None:
    """After `HOLD_S` it leaves without them."""

    async def scenario(worker: Worker) -> None:
        worker.pulled(b"a", b"b")
        await asyncio.sleep(0.9 * HOLD_S)
        assert worker.done == STARTED
        await asyncio.sleep(0.2 * HOLD_S)
        assert worker.done == [*STARTED, "pull with 0"]

    serving(scenario, ends_soon_=True)


def test_each_pull_waits_its_own_time_for_late_replies() -> None:
    """One that waits is not cut short by the timer of one before, which got its replies."""

    async def scenario(worker: Worker) -> None:
        worker.pulled(b"a", b"b")
        await asyncio.sleep(0.5 * HOLD_S)
        worker.results()
        worker.pulled(b"a", b"b")
        await asyncio.sleep(0.9 * HOLD_S)
        assert worker.done == STARTED

    serving(scenario, ends_soon_=True)


def test_a_pull_that_has_brought_nothing_waits_for_nothing() -> None:
    """The next one is made at once: it is the one that blocks."""

    async def scenario(worker: Worker) -> None:
        assert worker.pulled()[-1] == "pull with 0"

    serving(scenario, ends_soon_=True)


def test_results_that_come_alone_leave_together_at_the_end_of_the_loops_turn() -> None:
    """Two replies of threads make one message, which a pull that waits takes along."""

    async def scenario(worker: Worker) -> None:
        worker.pulled(b"a", b"b")
        worker.done.clear()
        worker.turn.reply("g1", REPLY)
        worker.turn.reply("g1", REPLY)
        assert worker.done == []
        await asyncio.sleep(0)
        assert worker.done == ["pull with 1"]

    serving(scenario, ends_soon_=True)


def test_a_pull_that_waits_is_dropped_with_its_consumer() -> None:
    """After a drain nothing is pulled, whatever results still come; their replies leave."""

    async def scenario(worker: Worker) -> None:
        worker.pulled(b"a", b"b")
        worker.stop.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert worker.results() == ["replies alone, 1"]

    serving(scenario, ends_soon_=True)
