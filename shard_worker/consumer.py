"""Pulls requests from the queues of this worker's shards, only into free slots."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from common.endpoint import Endpoint
from common.errors import HedgerowError, RedisUnavailableError
from common.link import CommandError, Link, pack

log = structlog.get_logger()

BLOCK_S = 1.0  # must end well before the link's silence_s, or what was popped could be lost
PAUSE_AFTER_ERROR_S = 0.2
MAX_POPS = 8  # in one pull; each that finds nothing costs the server half a microsecond

Handle = Callable[[int, list[bytes]], None]


class Consumer:
    """One loop: wait for room, pull at most that much, hand it over.

    A request waits in Redis, where another replica can take it, and not in here: a pull takes what
    the lane will start within a few milliseconds, and nothing while the lane is full.

    One pull is one write of several pops, since a pop empties one queue at most: the first blocks,
    and the others find what came with what it found. A query that asks all shards then wakes this
    worker once, and not once a shard. Replies that are ready by then leave in the same write.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        silence_s: float,
        control: Link,
        queues: Mapping[str, int],
        wait_for_room: Callable[[], Awaitable[int]],
        handle: Handle,
        take_replies: Callable[[], list[bytes]] = list,
    ) -> None:
        """Describe the loop; `run` runs it.

        Args:
            endpoint: where Redis is; a blocking pop has a connection of its own.
            name: shown by CLIENT LIST.
            silence_s: longest wait for an answer that is due, in s.
            control: another link, to end a blocking pop at once when draining.
            queues: queue key → shard.
            wait_for_room: returns how many requests may be pulled, once that is not 0.
            handle: given the shard and the packed requests of one pop.
            take_replies: returns commands, which Redis does not answer, to send with the next pull.
        """
        self._link = Link(endpoint, name=name, silence_s=silence_s, on_connect=self._learn_id)
        self._control = control
        self._shards = {key.encode(): shard for key, shard in queues.items()}
        self._wait_for_room = wait_for_room
        self._handle = handle
        self._take_replies = take_replies
        self._is_draining = False
        self._is_pulling = False
        self._client_id: int | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Pull until `drain` is called."""
        self._task = asyncio.current_task()
        await self._link.start()
        try:
            keys = list(self._shards)
            while not self._is_draining:
                room = await self._wait_for_room()
                for key, messages in await self._pull(keys, room):
                    self._handle(self._shards[key], messages)
                    # A pop serves the first queue that has something: the one just served goes
                    # last.
                    keys.remove(key)
                    keys.append(key)
        finally:
            await self._link.close()

    async def drain(self) -> None:
        """Pull no more. What a pop under way has taken is still handed over."""
        self._is_draining = True
        if self._task is None:
            return
        if not self._is_pulling:
            self._task.cancel()  # it waits for room, and holds nothing
        elif self._client_id is not None:
            try:
                await self._control.call("CLIENT", "UNBLOCK", self._client_id)
            except (RedisUnavailableError, CommandError):
                log.debug("unblock_failed")  # the pop ends by itself within BLOCK_S
        await asyncio.wait([self._task])

    async def _pull(self, keys: list[bytes], room: int) -> list[list[Any]]:
        num_pops = min(len(keys), room, MAX_POPS)
        # Without a connection they are left to the reply link.
        commands = self._take_replies() if self._link.is_connected else []
        commands.append(_pop(keys, room // num_pops, blocks=True))
        for first in range(1, num_pops):
            commands.append(_pop(keys[first:] + keys[:first], room // num_pops, blocks=False))
        self._is_pulling = True
        try:
            replies = await self._link.call_all(commands, num_pops)
        finally:
            self._is_pulling = False
        error = next((reply for reply in replies if isinstance(reply, HedgerowError)), None)
        popped = [reply for reply in replies if type(reply) is list]
        if isinstance(error, CommandError):
            log.warning("pull_refused", error=str(error))
        if error is not None and not popped:
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
        return popped

    async def _learn_id(self, link: Link) -> None:
        self._client_id = await link.call("CLIENT", "ID")


def _pop(keys: list[bytes], count: int, *, blocks: bool) -> bytes:
    name, wait = (b"BLMPOP", (BLOCK_S,)) if blocks else (b"LMPOP", ())
    return pack(name, *wait, len(keys), *keys, b"LEFT", b"COUNT", count)
