"""Shares subscriptions: many parts of a process listen to a channel, by one connection.

A worker has eight parts that wait for events of the cluster, most of them for one kind. With a
connection for each, every event would be sent, read and parsed eight times.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Final

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.tasks import end

RECONNECTED: Final = b"reconnected"
# A listener that is as many messages behind reads everything again instead.
MOST_WAITING: Final = 1000

Subscribe = Callable[[str], AsyncGenerator[bytes]]


class SharedEvents:
    """Messages of channels; a channel is subscribed to for as long as it has a listener."""

    def __init__(self, subscribe: Subscribe) -> None:
        """Listen to nothing yet.

        Args:
            subscribe: yields the messages of a channel, on a connection of its own, and
                `RECONNECTED` each time that its subscription starts.
        """
        self._subscribe = subscribe
        self._channels: dict[str, _Channel] = {}

    async def listen(self, channel: str) -> AsyncGenerator[bytes]:
        """Yield the messages of a channel, and `RECONNECTED` whenever some may have been missed.

        That is, too, at the beginning, and if this listener is far behind.

        Raises:
            RedisUnavailableError: `close` was called.
        """
        shared = self._channels.get(channel)
        if shared is None or shared.task.done():
            shared = self._channels[channel] = _Channel(channel, self._subscribe(channel))
        listener = _Listener()
        shared.add(listener)
        try:
            while True:
                yield await listener.next()
        finally:
            shared.listeners.discard(listener)
            if not shared.listeners:
                # First, so that a listener that comes meanwhile has a subscription of its own.
                if self._channels.get(channel) is shared:
                    del self._channels[channel]
                await end([shared.task])

    async def close(self) -> None:
        """End all subscriptions, and with them what listens."""
        channels, self._channels = list(self._channels.values()), {}
        await end([channel.task for channel in channels])


class _Listener:
    """One that listens, and what it has not heard yet."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue()
        self._ended: BaseException | None = None

    def put(self, message: bytes) -> None:
        if self._waiting.qsize() >= MOST_WAITING:
            while not self._waiting.empty():
                self._waiting.get_nowait()
            message = RECONNECTED
        self._waiting.put_nowait(message)

    def end(self, error: BaseException) -> None:
        self._ended = error
        self._waiting.put_nowait(b"")  # wakes it

    async def next(self) -> bytes:
        message = await self._waiting.get()
        if self._ended is not None:
            raise self._ended
        return message


class _Channel:
    """A channel that is subscribed to, by a task, and those that listen to it."""

    def __init__(self, name: str, messages: AsyncGenerator[bytes]) -> None:
        self.listeners: set[_Listener] = set()
        self._is_subscribed = False
        self.task = asyncio.create_task(self._pass_on(messages), name=f"events of {name}")
        self.task.add_done_callback(self._end)

    def add(self, listener: _Listener) -> None:
        """Let one more listen; nothing that is published from now on is missed."""
        self.listeners.add(listener)
        if self._is_subscribed:
            listener.put(RECONNECTED)

    async def _pass_on(self, messages: AsyncGenerator[bytes]) -> None:
        try:
            async for message in messages:
                self._is_subscribed = True
                for listener in self.listeners:
                    listener.put(message)
        finally:
            await messages.aclose()

    def _end(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        for listener in self.listeners:
            listener.end(error or RedisUnavailableError("the connection to Redis was closed"))
