"""The scripted transport, asked as the gateway asks it."""

import asyncio
import random
from collections.abc import Mapping

from hedgerow.common.wire.messages import Kind, Reply, Request, pack_request
from hedgerow.gateway.simulate.event_loop import VirtualLoop
from hedgerow.gateway.simulate.jobs import Totals
from hedgerow.gateway.simulate.run import make_shards
from hedgerow.gateway.simulate.scenario import parse
from hedgerow.gateway.simulate.transport import ScriptedTransport

ONE_SHARD = """
title = "x"
queries = 1
arrivals = { kind = "closed", callers = 1 }
[network]
request = { kind = "constant", ms = 500 }
reply = { kind = "constant", ms = 250 }
[shards]
count = 1
replicas = 2
service = { kind = "constant", ms = 10000 }
"""


class Sink:
    """Notes what it hears, and when."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.replies: list[tuple[float, str, bool]] = []
        self._loop = loop

    def on_reply(self, reply: Reply, worker: str, now: float) -> None:
        """Note it."""
        assert now == self._loop.time()
        self.replies.append((now, worker, reply.is_hedge))

    def on_unsent(self, shard: int, reason: str) -> None:
        """Fail: scripted networks take everything."""
        raise AssertionError(shard, reason)

    def on_lost(self, reason: str) -> None:
        """Fail: they lose nothing."""
        raise AssertionError(reason)


def message_of(query_id: int) -> bytes:
    """A search for the shard."""
    return pack_request(Request(Kind.SEARCH, query_id, 10**9, 0, "here", b""))


class Desk:
    """A transport over one shard with two replicas; a request's way takes 0.5 s, a reply's 0.25."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.totals = Totals()
        run = parse("x", ONE_SHARD).runs[0]
        self.transport = ScriptedTransport(run, self.loop, self.totals, random.Random)
        self.transport.shards = make_shards(
            run, self.loop, self.totals, self.transport.answered, random.Random
        )
        self.sinks: dict[int, Sink] = {}
        self.answers: list[bool] = []

    def ask(self, query_id: int) -> Mapping[int, int]:
        """Send a search to the shard; returns the backlogs."""
        sink = self.sinks[query_id] = Sink(self.loop)
        return self.transport.scatter(Kind.SEARCH, query_id, (0,), message_of(query_id), sink)

    def ask_queue(self, query_id: int) -> None:
        """Ask whether the first copy waits."""
        self.transport.ask_queue(Kind.SEARCH, 0, message_of(query_id), self.answers.append)

    def hedge(self, query_id: int) -> None:
        """Send a second copy."""
        self.transport.hedge(Kind.SEARCH, 0, message_of(query_id))

    def withdraw(self, query_id: int) -> None:
        """Take it back."""
        self.transport.withdraw(Kind.SEARCH, 0, message_of(query_id), self.answers.append)

    def pass_time(self, until: float) -> None:
        """Let time pass."""
        self.loop.run_until_complete(asyncio.sleep(until - self.loop.time()))


def test_requests_replies_and_cancellations_take_their_way() -> None:
    """A reply comes after both ways and the work; the backlog once the request is there."""
    desk = Desk()
    backlogs = [desk.ask(query_id) for query_id in (1, 2, 3, 4)]
    assert backlogs == [{}, {}, {}, {}]
    desk.pass_time(1)
    # Two were handed over at once; Redis counts each as the one in its queue.
    assert backlogs == [{0: 1}, {0: 1}, {0: 1}, {0: 2}]
    for query_id in (1, 2, 3, 4):
        desk.ask_queue(query_id)
    desk.pass_time(2.1)  # there and back
    assert desk.answers == [False, False, True, True]
    desk.transport.release(3)
    desk.transport.cancel(3, (0,), 10**9)
    desk.pass_time(100)
    assert [sink.replies[0][0] if sink.replies else None for sink in desk.sinks.values()] == [
        10.75,
        10.75,
        None,
        20.75,
    ]
    assert desk.totals.cancelled_unstarted == 1
    desk.loop.close()


def test_what_was_cancelled_on_its_way_is_not_queued() -> None:
    """A cancellation that overtakes its request is remembered, as workers do."""
    desk = Desk()
    desk.ask(1)
    desk.transport._control_s = lambda: 0.1
    desk.transport.release(1)
    desk.transport.cancel(1, (0,), 10**9)
    desk.pass_time(100)
    assert desk.totals.busy_s == 0
    assert desk.sinks[1].replies == []
    desk.loop.close()


def test_a_hedge_is_answered_by_the_other_replica() -> None:
    """Both copies are worked on, both reply, and the second's work was wasted."""
    desk = Desk()
    desk.ask(1)
    desk.pass_time(5)
    desk.hedge(1)
    desk.hedge(1)  # one copy a shard
    desk.pass_time(100)
    replies = desk.sinks[1].replies
    assert [(at, is_hedge) for at, _, is_hedge in replies] == [(10.75, False), (15.75, True)]
    assert len({worker for _, worker, _ in replies}) == 2
    assert (desk.totals.copies, desk.totals.copies_started) == (1, 1)
    assert desk.totals.abandoned_s == 10
    assert list(desk.transport.reply_s) == [10.75]
    desk.loop.close()


def test_a_second_copy_is_withdrawn_unless_it_has_started() -> None:
    """With both replicas busy it waits, and is taken back; with one free it has started."""
    busy, free = Desk(), Desk()
    busy.ask(2)
    for desk in (busy, free):
        desk.ask(1)
        desk.pass_time(2)
        desk.hedge(1)
        desk.pass_time(3)
        desk.withdraw(1)
        desk.pass_time(100)
    assert (busy.answers, free.answers) == ([True], [False])
    assert (busy.totals.copies_started, free.totals.copies_started) == (0, 1)
    for desk in (busy, free):
        desk.loop.close()


def test_replies_to_a_query_that_was_released_are_late() -> None:
    """No reply is sent, and the work counts as abandoned."""
    desk = Desk()
    desk.ask(1)
    desk.pass_time(5)
    desk.transport.release(1)
    desk.pass_time(100)
    assert desk.sinks[1].replies == []
    assert desk.transport.num_late == 1
    assert desk.totals.abandoned_s == 10
    desk.loop.close()
