"""Pulls requests from the queues of this worker's shards, only into free slots."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

import structlog

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.connection import (
    CommandError,
    Handshake,
    RedisConnection,
    pack,
    unanswered,
)
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.wire.pull_order import PullOrder
from hedgerow.shard_worker.serving.replier import Replier

log = structlog.get_logger()

LONGEST_BLOCK_S = 1.0
PAUSE_AFTER_ERROR_S = 0.2
# A pull that waits to leave with replies waits no longer, should they be late.
HOLD_S = 0.002
MAX_POPS = 8  # in one pull; each that finds nothing costs the server half a microsecond

# What is so fresh at the far end of a queue that is served newest first is not the oldest, but
# was put ahead: what stands there has spent more of its time. So many are taken at once, at most.
FRESH_SHARE = 0.5
MAX_AHEAD = 4

_OLDEST, _NEWEST = b"LEFT", b"RIGHT"  # gateways push to the right

OWN_QUEUE = -1  # stands for the shard of what lies in a worker's own queue

Handle = Callable[[int, list[bytes]], None]


class Room(Protocol):
    """What a consumer asks of a lane."""

    def room(self) -> int:
        """How many more requests would start within a few milliseconds."""

    async def wait_for_room(self) -> int:
        """Wait until there is room; returns it."""

    def ends_soon(self) -> bool:
        """Whether there is work in hand, and all of it is expected to end within 0.5 ms."""

    def cork(self) -> None:
        """What is submitted from now on belongs together."""

    def uncork(self) -> None:
        """There is no more of it."""


class Consumer:
    """One loop: wait for room, pull at most that much, hand it over.

    A request waits in Redis, where another replica can take it, and not in here: a pull takes what
    the lane will start within a few milliseconds, and nothing while the lane is full.

    One pull is one write of several pops, since a pop empties one queue at most: the first blocks,
    and the others find what came with what it found. A query that asks all shards then wakes this
    worker once, and not once a shard. Replies that are ready by then leave in the same write; and
    when what was pulled is so cheap that its replies will be ready in a moment, the next pull waits
    for them, which spares this worker a write and the server a wakeup. Else, while there is room, a
    pull follows from the callback of the one before: waking a task would cost as much as several
    requests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        name: str,
        silence_s: float,
        control: RedisConnection,
        queues: Mapping[str, int],
        lane: Room,
        handle: Handle,
        replier: Replier | None = None,
        own_queue: str | None = None,
        order: PullOrder | None = None,
        spent_share: Callable[[bytes, float], float] | None = None,
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
            replier: to which `handle` adds what it can answer at once. What it sends of later
                answers leaves with a pull that waits for it.
            own_queue: key of a queue for this worker alone, in which each request says its shard.
            order: from which end to pull; None for always the oldest first.
            spent_share: of a packed request, the share of its time that it has spent at an
                instant of `time.monotonic()`, in s; over 1 when it has expired. Goes with `order`.
        """
        self._link = RedisConnection(
            endpoint, name=name, silence_s=silence_s, on_connect=self._learn_id
        )
        self._control = control
        self._shards = {key.encode(): shard for key, shard in queues.items()}
        self._max_pops = min(len(self._shards), MAX_POPS)
        if own_queue is not None:  # hardly ever is there something in it
            self._shards[own_queue.encode()] = OWN_QUEUE
        self._keys = list(self._shards)
        self._lane = lane
        self._handle = handle
        self._replier = replier
        if replier is not None:
            replier.call_before_flush(self._pull_held)
        self._held: asyncio.TimerHandle | None = None  # of a pull that waits for replies
        self._order = order
        self._spent_share = spent_share
        self._room = 0  # that the pull under way was made for
        self._num_asked = 0  # requests that its pops for work may bring, at most
        self._num_work = 0  # those pops; the others look for what has expired
        # Well before the link calls it silence, or what is popped then could be lost.
        self._block_s = min(LONGEST_BLOCK_S, silence_s / 3)
        self._withheld: frozenset[int] = frozenset()
        self._has_queues = asyncio.Event()
        self._has_queues.set()
        self._num_pops = 0
        self._answers: list[Any] = []  # to the pops of the pull under way
        self._after_pull: list[Callable[[], None]] = []
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
            if self._held is not None:
                self._held.cancel()
                self._held = None
            await self._link.close()

    def withhold(self, shards: frozenset[int]) -> None:
        """Pull nothing for these shards, and for all others again; a pop under way ends.

        `OWN_QUEUE` among them stands for the worker's own queue.
        """
        if shards != self._withheld:
            self._end_pop()
        self._withheld = shards
        if shards >= set(self._shards.values()):
            self._has_queues.clear()
        else:
            self._has_queues.set()

    def after_pull(self, then: Callable[[], None]) -> None:
        """Call `then` when no pop waits, and what the last has taken is handed over; soon."""
        if not self.is_pulling:
            then()
            return
        self._after_pull.append(then)
        self._end_pop()

    def _end_pop(self) -> None:
        if self.is_pulling and self._client_id is not None:
            self._control.send(pack("CLIENT", "UNBLOCK", self._client_id))

    async def drain(self) -> None:
        """Pull no more. What a pop under way has taken is still handed over."""
        self._is_draining = True
        if self._task is None:
            return
        if not self.is_pulling:
            self._task.cancel()  # it waits for room or replies, and holds nothing
        elif self._client_id is not None:
            try:
                await self._control.call("CLIENT", "UNBLOCK", self._client_id)
            except (RedisUnavailableError, CommandError):
                log.debug("unblock_failed")  # the pop ends by itself, soon
        await asyncio.wait([self._task])

    @property
    def is_pulling(self) -> bool:
        """Whether a pop waits for requests, or has taken some that are not handed over."""
        return not self._paused.done() and self._held is None

    def _pull(self, room: int) -> None:
        keys = tuple(self._keys)
        if self._withheld:
            keys = tuple(key for key in keys if self._shards[key] not in self._withheld)
        num_pops = min(len(keys), room, self._max_pops)
        commands = []
        # Without this connection they are left to the replier's own.
        if self._replier is not None and self._link.is_connected:
            commands = self._replier.take()
        self._room, self._num_work = room, num_pops
        self._num_asked = num_pops * (room // num_pops)
        end, drops = _OLDEST, 0
        if self._order is not None and self._order.is_newest_first:
            end, drops = _NEWEST, self._order.num_drops
        commands.append(_pop(keys, room // num_pops, end, self._block_s))
        for first in range(1, num_pops):
            commands.append(_pop(keys[first:] + keys[:first], room // num_pops, end))
        if drops:
            commands += [_pop((key,), drops, _OLDEST) for key in keys]
            num_pops += len(keys)
        self._num_pops = num_pops
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
        error = next((answer for answer in answers if isinstance(answer, Exception)), None)
        self._lane.cork()
        try:
            num_taken = self._hand_over(answers)
        finally:
            self._lane.uncork()
        if error is None and self._order is not None and not self._is_standing(answers, num_taken):
            self._order.on_short()
        self._call_waiting()
        replier = self._replier
        is_held = error is None and num_taken and replier is not None and not replier.has_ready
        if is_held and self._lane.ends_soon():
            self._held = asyncio.get_running_loop().call_later(HOLD_S, self._pull_held)
            return
        self._go_on(error)

    def _pull_held(self) -> None:
        """Replies leave now, or none have come in time: so does the pull that waits for them."""
        if self._held is not None:
            self._held.cancel()
            self._held = None
            self._go_on(None)

    def _go_on(self, error: Exception | None) -> None:
        """Pull again if there is room, else let `run` wait for it."""
        is_ending = error is not None or self._is_draining or not self._has_queues.is_set()
        room = 0 if is_ending else self._lane.room()
        if room:
            self._pull(room)
            return
        if self._replier is not None:
            self._replier.flush()
        if self.is_pulling:
            self._paused.set_result(error)

    def _hand_over(self, answers: list[Any]) -> int:
        """Hand over what the pops have brought; returns how many requests that is."""
        keys, num_taken = self._keys, 0
        for at, answer in enumerate(answers):
            if answer is None or isinstance(answer, Exception):
                continue
            key, messages = answer
            if at >= self._num_work:
                num_taken += self._sift(key, messages, self._room - num_taken)
                continue
            num_taken += len(messages)
            if self._order is not None and not self._order.is_newest_first:
                self._tell(messages, 0)
            self._handle(self._shards[key], messages)
            # A pop serves the first queue that has something: the one just served goes last.
            keys.remove(key)
            keys.append(key)
        return num_taken

    def _is_standing(self, answers: list[Any], num_taken: int) -> bool:
        """Whether there may be more in the queues than the pull under way has taken."""
        if len(answers) > self._num_work:  # it has looked from the other end, too
            return any(answer is not None for answer in answers[self._num_work :])
        return num_taken >= self._num_asked

    def _call_waiting(self) -> None:
        waiting, self._after_pull = self._after_pull, []
        for then in waiting:
            then()

    def _sift(self, key: bytes, messages: list[bytes], room: int) -> int:
        """Of the oldest in a queue, drop what has expired and take what there is room for.

        What a gateway has put ahead of them is found here, and is taken in any case: it is fresh,
        where what has stood in the queue is not. The rest goes back to where it was. Returns how
        many were taken.
        """
        now, share = time.monotonic(), self._share
        expired = [message for message in messages if share(message, now) >= 1]
        alive = [message for message in messages if share(message, now) < 1]
        self._tell(messages, len(expired))
        num_ahead = 0
        while num_ahead < min(len(alive), MAX_AHEAD) and share(alive[num_ahead], now) < FRESH_SHARE:
            num_ahead += 1
        room = max(room, num_ahead)
        taken, left = alive[:room], alive[room:]
        # What has expired is dropped there too, and counted.
        self._handle(self._shards[key], expired + taken)
        if left:
            self._control.send_now([unanswered("LPUSH", key, *reversed(left))], [])
        return len(taken)

    def _tell(self, oldest: list[bytes], num_expired: int) -> None:
        if self._order is not None:
            now = time.monotonic()
            self._order.on_oldest(self._share(oldest[0], now), len(oldest), num_expired, now)

    def _share(self, message: bytes, now: float) -> float:
        return 0.0 if self._spent_share is None else self._spent_share(message, now)

    async def _learn_id(self, link: Handshake) -> None:
        self._client_id = await link.call("CLIENT", "ID")


# Put into wire form once: a pull's pops are mostly those of one before, and take 1.4 µs each.
@lru_cache(maxsize=256)
def _pop(keys: tuple[bytes, ...], count: int, end: bytes, block_s: float | None = None) -> bytes:
    name, wait = (b"LMPOP", ()) if block_s is None else (b"BLMPOP", (block_s,))
    return pack(name, *wait, len(keys), *keys, end, b"COUNT", count)
