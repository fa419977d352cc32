"""Connections to nodes to which slots are being moved, made when a node first sends there (ASK)."""

import asyncio
from collections.abc import Coroutine
from typing import Final

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.commands import ASKING, OnReply
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.primary import Primary
from hedgerow.common.tasks import end

IDLE_S: Final = 10.0  # a connection that is not used for this long is closed
CONNECT_S: Final = 2.0


def _ignore(_reply: object) -> None:
    """Do nothing with the answer to ASKING."""


class AskedNodes:
    """Sends single commands to nodes that do not own their slot yet."""

    def __init__(self, primary: Primary, name: str, silence_s: float) -> None:
        """Connect as to `primary`; see `RedisConnection` for the rest."""
        self._primary = primary
        self._name = name
        self._silence_s = silence_s
        self._nodes: dict[tuple[str, int], RedisConnection] = {}
        self._timers: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, node: tuple[str, int], commands: list[bytes], on_replies: list[OnReply]) -> None:
        """Send commands, each with its callback, as soon as there is a connection.

        If there is none in time, the callbacks get RedisUnavailableError.
        """
        loop = asyncio.get_running_loop()
        connection = self._nodes.get(node)
        if connection is None:
            connection = self._nodes[node] = RedisConnection(
                self._primary.at(*node), name=self._name, silence_s=self._silence_s
            )
            connection.begin()
        if node in self._timers:
            self._timers[node].cancel()
        self._timers[node] = loop.call_later(IDLE_S, self._leave, node)
        packed = [part for command in commands for part in (ASKING, command)]
        answers = [part for on_reply in on_replies for part in (_ignore, on_reply)]
        if connection.is_connected:
            connection.send_now(packed, answers)
        else:
            self._do(_send_soon(connection, packed, answers))

    async def close(self) -> None:
        """Close all connections."""
        for timer in self._timers.values():
            timer.cancel()
        await end(self._tasks)
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    def _leave(self, node: tuple[str, int]) -> None:
        self._timers.pop(node, None)
        if (connection := self._nodes.pop(node, None)) is not None:
            self._do(connection.close())

    def _do(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine, name=self._name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _send_soon(
    connection: RedisConnection, packed: list[bytes], answers: list[OnReply]
) -> None:
    try:
        await connection.until_connected(CONNECT_S)
    except RedisUnavailableError as error:
        for on_reply in answers:
            on_reply(error)
    else:
        connection.send_now(packed, answers)
