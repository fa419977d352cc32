"""Pulls requests from the queues of this worker's shards, only into free slots."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from common.endpoint import Endpoint
from common.errors import RedisUnavailableError
from common.link import CommandError, Handshake, Link, pack
from shard_worker.replier import Replier

log = structlog.get_logger()

LONGEST_BLOCK_S = 1.0
PAUSE_AFTER_ERROR_S = 0.2
MAX_POPS = 8  # in one pull; each that finds nothing costs the server half a microsecond

OWN_QUEUE = -1  # stands for the shard of what lies in a worker's own queue

Handle = Callable[[int, list[bytes]], None]


class Room(Protocol):
    """What a consumer asks of a lane."""

    def room(self) -> int:
        """How many more requests would start within a few milliseconds."""

    async def wait_for_room(self) -> int:
        """Wait until there is room; returns it."""


class Consumer:
    """One loop: wait for room, pull at most that much, hand it over.

    A request waits in Redis, where another replica can take it, and not in here: a pull takes what
    the lane will start within a few milliseconds, and nothing while the lane is full.

    One pull is one write of several pops, since a pop empties one queue at most: the first blocks,
    and the others find what came with what it found. A query that asks all shards then wakes this
    worker once, and not once a shard. Replies that are ready by then leave in the same write. And
    while there is room, a pull follows from the callback of the one before: waking a task would
    cost as much as several requests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        silence_s: float,
        control: Link,
        queues: Mapping[str, int],
        lane: Room,
        handle: Handle,
        replier: Replier | None = None,
        own_queue: str | None = None,
    ) -> None:
        """Describe the loop; `run` runs it.

        Args:
            endpoint: where Redis is; a blocking pop has a connection of its own.
            name: shown by CLIENT LIST.
            silence_s: longest wait for an answer that is due, in s.
            control: another link, to end a blocking pop at once when draining.
            queues: queue key → shard.
            lane: says how many requests may be pulled.
            handle: given the shard, or `OWN_QUEUE`, and the packed requests of one pop.
            replier: to which `handle` adds what it can answer at once.
            own_queue: key of a queue for this worker alone, in which each request says its shard.
        """
        self._link = Link(endpoint, name=name, silence_s=silence_s, on_connect=self._learn_id)
        self._control = control
        self._shards = {key.encode(): shard for key, shard in queues.items()}
        self._max_pops = min(len(self._shards), MAX_POPS)
        if own_queue is not None:  # hardly ever is there something in it
            self._shards[own_queue.encode()] = OWN_QUEUE
        self._keys = list(self._shards)
        self._lane = lane
        self._handle = handle
        self._replier = replier
        # Well before the link calls it silence, or what is popped then could be lost.
        self._block_s = min(LONGEST_BLOCK_S, silence_s / 3)
        self._withheld: frozenset[int] = frozenset()
        self._has_queues = asyncio.Event()
        self._has_queues.set()
        self._num_pops = 0
        self._answers: list[Any] = []  # to the pops of the pull under way
        # Done when no pull is under way.
        self._paused: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._paused.set_result(None)
        self._is_draining = False
        self._client_id: int | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Pull until `drain` is called."""
        self._task = asyncio.current_task()
        await self._link.start()
        try:
            while not self._is_draining:
                await self._has_queues.wait()
                room = await self._lane.wait_for_room()
                if not self._has_queues.is_set():
                    continue
                self._paused = asyncio.get_running_loop().create_future()
                self._pull(room)
                if (error := await self._paused) is not None:
                    if not isinstance(error, RedisUnavailableError):
                        log.warning("pull_refused", error=str(error))
                    await asyncio.sleep(PAUSE_AFTER_ERROR_S)
        finally:
            await self._link.close()

    def withhold(self, shards: frozenset[int]) -> None:
        """Pull nothing for these shards, and for all others again."""
        self._withheld = shards
        if shards >= set(self._shards.values()) - {OWN_QUEUE}:
            self._has_queues.clear()
        else:
            self._has_queues.set()

    async def drain(self) -> None:
        """Pull no more. What a pop under way has taken is still handed over."""
        self._is_draining = True
        if self._task is None:
            return
        if not self.is_pulling:
            self._task.cancel()  # it waits for room, and holds nothing
        elif self._client_id is not None:
            try:
                await self._control.call("CLIENT", "UNBLOCK", self._client_id)
            except (RedisUnavailableError, CommandError):
                log.debug("unblock_failed")  # the pop ends by itself, soon
        await asyncio.wait([self._task])

    @property
    def is_pulling(self) -> bool:
        """Whether a pop waits for requests, or has taken some that are not handed over."""
        return not self._paused.done()

    def _pull(self, room: int) -> None:
        keys = self._keys
        if self._withheld:
            keys = [key for key in keys if self._shards[key] not in self._withheld]
        num_pops = self._num_pops = min(len(keys), room, self._max_pops)
        commands = []
        # Without this connection they are left to the replier's own.
        if self._replier is not None and self._link.is_connected:
            commands = self._replier.take()
        commands.append(_pop(keys, room // num_pops, self._block_s))
        for first in range(1, num_pops):
            commands.append(_pop(keys[first:] + keys[:first], room // num_pops))
        self._link.send_now(commands, [self._on_answer] * num_pops)

    def _on_answer(self, answer: Any) -> None:
        self._answers.append(answer)
        if len(self._answers) == self._num_pops:
            answers, self._answers = self._answers, []
            try:
                self._on_pulled(answers)
            except Exception as error:  # noqa: BLE001 - the task's failure, not the connection's
                if self.is_pulling:
                    self._paused.set_exception(error)

    def _on_pulled(self, answers: list[Any]) -> None:
        keys, error = self._keys, None
        for answer in answers:
            if isinstance(answer, Exception):
                error = answer
            elif answer is not None:
                key, messages = answer
                self._handle(self._shards[key], messages)
                # A pop serves the first queue that has something: the one just served goes last.
                keys.remove(key)
                keys.append(key)
        is_ending = error is not None or self._is_draining or not self._has_queues.is_set()
        room = 0 if is_ending else self._lane.room()
        if room:
            self._pull(room)
            return
        if self._replier is not None:
            self._replier.flush()
        if self.is_pulling:
            self._paused.set_result(error)

    async def _learn_id(self, link: Handshake) -> None:
        self._client_id = await link.call("CLIENT", "ID")


def _pop(keys: list[bytes], count: int, block_s: float | None = None) -> bytes:
    name, wait = (b"LMPOP", ()) if block_s is None else (b"BLMPOP", (block_s,))
    return pack(name, *wait, len(keys), *keys, b"LEFT", b"COUNT", count)
