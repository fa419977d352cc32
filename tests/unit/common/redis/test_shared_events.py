"""Subscriptions that several listeners of a process share, without a server."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.shared_events import MOST_WAITING, RECONNECTED, SharedEvents
from hedgerow.common.tasks import end
from tests.support.virtual_time import run_virtually


class Server:
    """A channel, and how many subscriptions of it have begun and ended."""

    def __init__(self) -> None:
        self.num_begun = self.num_ended = 0
        self.messages: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    async def subscribe(self, _channel: str) -> AsyncGenerator[bytes]:
        """Yield what is put into `messages`, as a subscription does; raise errors."""
        self.num_begun += 1
        try:
            while True:
                message = await self.messages.get()
                if isinstance(message, Exception):
                    raise message
                yield message
        finally:
            self.num_ended += 1


class Listener:
    """A task that listens, and what it has heard."""

    def __init__(self, shared: SharedEvents, channel: str = "events") -> None:
        self.heard: list[bytes] = []
        self.task = asyncio.create_task(self._listen(shared, channel))

    async def _listen(self, shared: SharedEvents, channel: str) -> None:
        async with aclosing(shared.listen(channel)) as messages:
            async for message in messages:
                self.heard.append(message)


async def _turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_listeners_share_a_subscription() -> None:
    """Each gets every message. One that joins later is told to read everything again."""

    async def scenario() -> None:
        server = Server()
        shared = SharedEvents(server.subscribe)
        first, second = Listener(shared), Listener(shared)
        server.messages.put_nowait(RECONNECTED)
        server.messages.put_nowait(b"one")
        await _turns()
        third = Listener(shared)
        await _turns()
        server.messages.put_nowait(b"two")
        await _turns()
        assert first.heard == second.heard == [RECONNECTED, b"one", b"two"]
        assert third.heard == [RECONNECTED, b"two"]
        assert server.num_begun == 1
        await end([first.task, second.task, third.task])

    run_virtually(scenario())


def test_the_last_listener_ends_the_subscription() -> None:
    """It lasts until its last listener leaves, and the next listener starts a new one."""

    async def scenario() -> None:
        server = Server()
        shared = SharedEvents(server.subscribe)
        first, second = Listener(shared), Listener(shared)
        server.messages.put_nowait(RECONNECTED)
        await _turns()
        await end([first.task])
        server.messages.put_nowait(b"one")
        await _turns()
        assert second.heard == [RECONNECTED, b"one"]
        assert server.num_ended == 0
        await end([second.task])
        assert server.num_ended == 1
        third = Listener(shared)
        server.messages.put_nowait(RECONNECTED)
        await _turns()
        assert third.heard == [RECONNECTED]
        assert server.num_begun == 2
        await end([third.task])

    run_virtually(scenario())


def test_a_listener_that_is_far_behind_reads_everything_anew() -> None:
    """What it could not hear in time does not fill the memory, and the others hear all of it."""

    async def scenario() -> None:
        server = Server()
        shared = SharedEvents(server.subscribe)
        quick = Listener(shared)
        async with aclosing(shared.listen("events")) as slow:
            server.messages.put_nowait(RECONNECTED)
            assert await anext(slow) == RECONNECTED
            for number in range(MOST_WAITING + 5):
                server.messages.put_nowait(b"%d" % number)
                await _turns()
            assert await anext(slow) == RECONNECTED
            for number in range(MOST_WAITING + 1, MOST_WAITING + 5):
                assert await anext(slow) == b"%d" % number
        assert len(quick.heard) == MOST_WAITING + 6
        await end([quick.task])

    run_virtually(scenario())


def test_a_failure_reaches_every_listener() -> None:
    """A subscription that fails for a reason that is not Redis's fails in all that listen."""

    async def scenario() -> None:
        server = Server()
        shared = SharedEvents(server.subscribe)
        listeners = [Listener(shared), Listener(shared)]
        await _turns()
        server.messages.put_nowait(ValueError("a bug"))
        await asyncio.wait([one.task for one in listeners])
        for one in listeners:
            with pytest.raises(ValueError, match="a bug"):
                one.task.result()

    run_virtually(scenario())


def test_closing_ends_what_listens() -> None:
    """No listener goes on waiting once the connection is closed."""

    async def scenario() -> None:
        server = Server()
        shared = SharedEvents(server.subscribe)
        listener = Listener(shared)
        await _turns()
        await shared.close()
        assert server.num_ended == 1
        await asyncio.wait([listener.task])
        with pytest.raises(RedisUnavailableError):
            listener.task.result()

    run_virtually(scenario())
