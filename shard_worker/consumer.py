"""Pulls requests from the queues of this worker's shards, only into free slots."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from common.errors import RedisUnavailableError
from common.link import CommandError, Endpoint, Link

log = structlog.get_logger()

BLOCK_S = 1.0  # must end well before the link's silence_s, or what was popped could be lost
PAUSE_AFTER_ERROR_S = 0.2

Handle = Callable[[int, list[bytes]], None]


class Consumer:
    """One loop: wait for room, pull at most that much, hand it over.

    A request waits in Redis, where another replica can take it, and not in here: a pull takes what
    the lane will start within a few milliseconds, and nothing while the lane is full.
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
    ) -> None:
        """Describe the loop; `run` runs it.

        Args:
            endpoint: where Redis is; a blocking pop has a connection of its own.
            name: shown by CLIENT LIST.
            silence_s: longest wait for an answer that is due, in s.
            control: another link, to end a blocking pop at once when draining.
            queues: queue key → shard.
            wait_for_room: returns how many requests may be pulled, once that is not 0.
            handle: given the shard and the packed requests of one pull.
        """
        self._link = Link(endpoint, name=name, silence_s=silence_s, on_connect=self._learn_id)
        self._control = control
        self._shards = {key.encode(): shard for key, shard in queues.items()}
        self._wait_for_room = wait_for_room
        self._handle = handle
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
                popped = await self._pull(keys, room)
                if popped is not None:
                    key, messages = popped
                    self._handle(self._shards[key], messages)
                    # BLMPOP serves the first queue that has something: the one just served goes
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

    async def _pull(self, keys: list[bytes], room: int) -> tuple[bytes, list[bytes]] | None:
        self._is_pulling = True
        try:
            popped: tuple[bytes, list[bytes]] | None = await self._link.call(
                b"BLMPOP", BLOCK_S, len(keys), *keys, b"LEFT", b"COUNT", room
            )
        except (RedisUnavailableError, CommandError) as error:
            if isinstance(error, CommandError):
                log.warning("pull_refused", error=str(error))
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)
            return None
        finally:
            self._is_pulling = False
        return popped

    async def _learn_id(self, link: Link) -> None:
        self._client_id = await link.call("CLIENT", "ID")
