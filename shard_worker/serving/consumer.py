"""Pulls requests from the queues of this worker's shards, as many as there is room for."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from hedgerow.common.errors import RedisUnavailableError
from hedgerow.common.redis.asked_nodes import AskedNodes
from hedgerow.common.redis.commands import asked_node, is_moving, pack, unanswered
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.primary import Primary
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.shard_worker.serving.moving_pull import MovingPull
from hedgerow.shard_worker.serving.pops import NEWEST, OLDEST, pop
from hedgerow.shard_worker.serving.pull_policy import Lane, Pulled, PullPolicy, by_query, sift
from hedgerow.shard_worker.serving.replier import Replier

log = structlog.get_logger()

LONGEST_BLOCK_S = 1.0
PAUSE_AFTER_ERROR_S = 0.2
UNBLOCK_AGAIN_S = 0.005  # after a command to end a pop has found none that waits
# Between looks into empty queues whose slot is being moved to another node of a Redis Cluster.
PAUSE_WHILE_MOVING_S = 0.005
MAX_POPS = 8  # in one pull; each that finds nothing costs the server half a microsecond

OWN_QUEUE = -1  # in place of a shard: a worker's own queue

OnPulled = Callable[[list[Any]], None]


class Consumer:
    """Pulls from a set of queues: waits for room, then pulls at most that much.

    Requests wait in Redis, where another replica can take them, not in this process: a pull takes
    what the lane will start within a few milliseconds, and nothing while the lane is full.

    A pop takes from one queue only, so a pull writes several pops at once: the first blocks, and
    the others find what arrived together with what it found. A query to all shards thus wakes this
    worker once, not once for each shard. Replies that are ready leave in the same write.

    `Turn` decides what follows a pull, and in which order: it has the requests delivered and makes
    the next pull.

    Attributes:
        lane: where the requests run.
    """

    def __init__(
        self,
        redis: RedisSettings,
        primary: Primary,
        name: str,
        control: RedisConnection,
        lane: Lane,
        replier: Replier,
        policy: PullPolicy | None = None,
        num_sharing: int = 1,
    ) -> None:
        """Prepare to pull, from no queue yet; `run` pulls.

        Args:
            redis: how long Redis may take.
            primary: where Redis is; the blocking pop has a connection of its own.
            name: shown by CLIENT LIST.
            control: another connection, to end a blocking pop at once when draining. It is that of
                the replies, too: while it is lost, nothing is pulled.
            lane: says how many requests may be pulled.
            replier: holds the replies that leave with a pull.
            policy: from which end to pull; None to pull the oldest first, always.
            num_sharing: how many consumers pull for the lane, each for a part of its room.
        """
        silence_s = redis.command_timeout_s
        self._queue_expiry_s = redis.queue_expiry_s
        self._connection = RedisConnection(
            primary, name=name, silence_s=silence_s, on_connect=self._learn_id
        )
        self._moving = MovingPull(self._connection, AskedNodes(primary, f"{name}-asked", silence_s))
        self._control = control
        self._shards: dict[bytes, int] = {}  # by queue
        self._max_pops = 1
        self._keys: list[bytes] = []  # the shards' queues, in the order of the next pull
        self._own: tuple[bytes, ...] = ()  # the worker's own queue, if it has one
        self._is_own_first = True  # unless the last pull took from it
        self.lane = lane
        self._replier = replier
        self._num_sharing = num_sharing
        self._order = None if policy is None else policy.order
        self._spent_share = None if policy is None else policy.spent_share
        self._room = 0  # for which the current pull was made
        self._num_asked = 0  # most requests that its first pops may return
        self._num_work = 0  # how many those are; the others look for expired ones
        # Well below the time after which the connection counts as dead, or requests could be lost.
        self._block_s = min(LONGEST_BLOCK_S, silence_s / 3)
        self._withheld: frozenset[int] = frozenset()
        self._has_queues = asyncio.Event()
        self._num_pops = 0
        self._num_pulls = 0
        self._answers: list[Any] = []  # to the pops of the current pull
        self._error: Exception | None = None  # of that pull
        self._waiting: list[Callable[[], None]] = []  # to be called when no pop is waiting
        self._on_pulled: OnPulled = _ignore
        self._is_pulling = False
        # Done when `run` has to make the next pull.
        self._paused: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._paused.set_result(None)
        self._is_draining = False
        self._client_id: int | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def num_reconnects(self) -> int:
        """How often its connection was restored."""
        return self._connection.num_reconnects

    async def run(self, on_pulled: OnPulled) -> None:
        """Pull until `drain` is called.

        Args:
            on_pulled: called with the answers to a pull's pops; it must pass them to `deliver` and
                then call `pull_next`, at once or later.
        """
        self._task = asyncio.current_task()
        self._on_pulled = on_pulled
        await self._connection.start()
        try:
            while not self._is_draining:
                await self._has_queues.wait()
                # Without it, what is pulled could not be answered, nor be put back.
                await self._control.until_connected(None)
                room = await self.lane.wait_for_room()
                if not self._may_pull():
                    continue
                self._paused = asyncio.get_running_loop().create_future()
                self._pull(room)
                while is_moving(error := await self._paused) and not self._is_draining:
                    await self._pull_while_moving(error)
                if error is not None:
                    if not isinstance(error, RedisUnavailableError):
                        log.warning("pull_refused", error=str(error))
                    await asyncio.sleep(PAUSE_AFTER_ERROR_S)
        finally:
            await self._moving.close()
            await self._connection.close()

    async def _pull_while_moving(self, error: Exception | None) -> None:
        """Pull from queues whose slot is being moved, then try again as usual."""
        self._paused = asyncio.get_running_loop().create_future()
        room, keys = self.lane.room(), sum(self._wanted_keys(), ())
        if error is None or not room or not keys:
            self._paused.set_result(None)
            return
        self._is_pulling = True  # a drain waits for what this pops
        pops = [pop((key,), max(1, room // len(keys)), OLDEST) for key in keys]
        answers = await self._moving.pull(pops, error)
        self._is_pulling = False
        self._room, self._num_work, self._num_asked = room, len(answers), 0
        if answers:
            self._on_pulled(answers)  # which pulls as usual
            return
        if self._waiting:
            self._call_waiting()
        await asyncio.sleep(PAUSE_WHILE_MOVING_S)
        self.pull_next()

    def withhold(self, shards: frozenset[int]) -> None:
        """Pull from the queues of all shards except these; a pop that is waiting ends.

        `OWN_QUEUE` in `shards` means the worker's own queue.
        """
        if shards != self._withheld:
            self._end_pop()
        self._withheld = shards
        self._on_queues()

    def add(self, queue: str, shard: int) -> None:
        """Pull from another queue; a pop that is waiting ends, and the next includes it.

        Args:
            queue: its key.
            shard: whose requests it has; or `OWN_QUEUE` for a queue of this worker alone, in which
                each request names its shard.
        """
        key = queue.encode()
        if key in self._shards:
            return
        self._shards[key] = shard
        if shard == OWN_QUEUE:
            self._own = (key,)
        else:
            self._keys.append(key)
        self._on_queues()
        self._end_pop()

    async def remove(self, queue: str) -> None:
        """Pull from a queue no longer; what was pulled from it has been delivered on return."""
        key = queue.encode()
        removed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def remove() -> None:
            if self._shards.pop(key, None) is not None:
                if key in self._own:
                    self._own = ()
                else:
                    self._keys.remove(key)
                self._on_queues()
            if not removed.done():
                removed.set_result(None)

        self.between_pulls(remove)
        await removed

    def _on_queues(self) -> None:
        """The queues, or those that are withheld, have changed."""
        shards = self._shards.values()
        # Without the worker's own queue, which is nearly always empty.
        num_shared = sum(shard != OWN_QUEUE for shard in shards)
        self._max_pops = max(1, min(num_shared, MAX_POPS))
        if self._withheld >= set(shards):
            self._has_queues.clear()
        else:
            self._has_queues.set()

    def between_pulls(self, then: Callable[[], None]) -> None:
        """Call `then` soon, when no pop is waiting and the last one's requests are delivered."""
        if not self._is_pulling:
            then()
            return
        self._waiting.append(then)
        self._end_pop()

    def _call_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()

    def _end_pop(self) -> None:
        if self._is_pulling and self._client_id is not None:
            ended = partial(self._on_unblocked, self._num_pulls)
            self._control.send(pack("CLIENT", "UNBLOCK", self._client_id), ended)

    def _on_unblocked(self, pull: int, reply: Any) -> None:
        if isinstance(reply, Exception):
            log.debug("unblock_failed", error=str(reply))  # the pop ends by itself, soon
        elif not reply and self._is_pulling and self._num_pulls == pull:
            # It came before the pop, which goes over another connection, or after its end.
            asyncio.get_running_loop().call_later(UNBLOCK_AGAIN_S, self._end_pop)

    def look_again(self) -> None:
        """A waiting pop ends, since what it waits for may be where the queues' slot goes."""
        self._end_pop()

    def send_where_asked(self, commands: list[bytes], reply: Any) -> None:
        """Send commands again if their node has said that their slot is being moved to another."""
        if (node := asked_node(reply)) is not None:
            self._moving.send(node, commands)

    async def drain(self) -> None:
        """Stop pulling; requests that a waiting pop has already taken are still delivered."""
        self._is_draining = True
        if self._task is None:
            return
        if not self._is_pulling:
            self._task.cancel()  # it waits for room or replies, and has no request
        else:
            self._end_pop()
        await asyncio.wait([self._task])

    @property
    def is_pulling(self) -> bool:
        """Whether a pop is waiting, or has taken requests that have not arrived yet."""
        return self._is_pulling

    def _may_pull(self) -> bool:
        return self._has_queues.is_set() and self._control.is_connected

    def _pull(self, room: int) -> None:
        own, shared = self._wanted_keys()
        keys = own + shared if self._is_own_first else shared + own
        if self._num_sharing > 1:
            room = max(1, room // self._num_sharing)
        num_pops = min(len(keys), room, self._max_pops)
        # Without this connection, the replier sends them over its own.
        commands = self._replier.take() if self._connection.is_connected else []
        self._room, self._num_work = room, num_pops
        self._num_asked = num_pops * (room // num_pops)
        end, drops = OLDEST, 0
        if self._order is not None and self._order.is_newest_first:
            end, drops = NEWEST, self._order.num_drops
        commands.append(pop(keys, room // num_pops, end, self._block_s))
        # Each of the others begins with another queue, so that the shards of a query come together.
        for first in range(1, num_pops):
            others = shared[first:] + shared[:first] + own
            commands.append(pop(others, room // num_pops, end))
        if drops:
            commands += [pop((key,), drops, OLDEST) for key in keys]
            num_pops += len(keys)
        self._num_pops = num_pops
        self._num_pulls += 1
        self._is_pulling = True
        self._connection.send_now(commands, [self._on_answer] * num_pops)

    def _wanted_keys(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The queues to pull from: the worker's own, and those of its shards, in order."""
        if not self._withheld:
            return self._own, tuple(self._keys)
        own, shared = (
            tuple(key for key in keys if self._shards[key] not in self._withheld)
            for keys in (self._own, self._keys)
        )
        return own, shared

    def _on_answer(self, answer: Any) -> None:
        self._answers.append(answer)
        if len(self._answers) < self._num_pops:
            return
        answers, self._answers = self._answers, []
        self._is_pulling = False
        self._error = next((answer for answer in answers if isinstance(answer, Exception)), None)
        try:
            self._on_pulled(answers)
        except Exception as error:  # noqa: BLE001 - the task's failure, not the connection's
            if not self._paused.done():
                self._paused.set_exception(error)

    def pull_next(self) -> None:
        """Pull again if there is room; otherwise `run` waits for room."""
        error, self._error = self._error, None
        is_ending = error is not None or self._is_draining or not self._may_pull()
        room = 0 if is_ending else self.lane.room()
        if room:
            self._pull(room)
        elif not self._paused.done():
            self._paused.set_result(error)

    def deliver(self, answers: list[Any], handle: Callable[[list[Pulled]], None]) -> int:
        """Pass the requests that were pulled to `handle`; returns their number.

        Then makes the calls that `between_pulls` has put off.
        """
        keys, num_taken, is_own_first = self._keys, 0, True
        pops: list[tuple[int, list[bytes]]] = []
        for at, answer in enumerate(answers):
            if answer is None or isinstance(answer, Exception):
                continue
            key, messages = answer
            if at >= self._num_work:
                num_taken += self._sift(key, messages, self._room - num_taken, pops)
                continue
            num_taken += len(messages)
            if self._order is not None and not self._order.is_newest_first:
                self._note_oldest(messages, 0)
            pops.append((self._shards[key], messages))
            # A pop takes from the first queue with a request, so this one goes last now.
            if key in self._own:
                is_own_first = False
            else:
                keys.remove(key)
                keys.append(key)
        self._is_own_first = is_own_first
        if pops:
            handle(by_query(pops))
        if (
            self._order is not None
            and self._error is None
            and not self._is_standing(answers, num_taken)
        ):
            self._order.on_short()
        if self._waiting:
            self._call_waiting()
        return num_taken

    def put_back(self, answers: list[Any]) -> None:
        """Put what was pulled back to the head of the queues, where another replica takes it."""
        commands = []
        for answer in answers:
            if answer is not None and not isinstance(answer, Exception):
                key, messages = answer
                # In reverse, so that the oldest is at the head again.
                commands.append(unanswered("LPUSH", key, *reversed(messages)))
                commands.append(unanswered("EXPIRE", key, self._queue_expiry_s))
        if commands:
            self._control.send_now(commands, [])
        if self._waiting:
            self._call_waiting()

    def _is_standing(self, answers: list[Any], num_taken: int) -> bool:
        """Whether the queues may hold more than the current pull has taken."""
        if len(answers) > self._num_work:  # it has looked at the other end, too
            return any(answer is not None for answer in answers[self._num_work :])
        return num_taken >= self._num_asked

    def _sift(
        self,
        key: bytes,
        messages: list[bytes],
        room: int,
        pops: list[tuple[int, list[bytes]]],
    ) -> int:
        """Take what `sift` says; the rest goes back. Returns how many were taken."""
        now = time.monotonic()
        sifted = sift(messages, room, self._share, now)
        self._note_oldest(messages, len(sifted.expired))
        # Those that have expired are dropped, and counted, where the others are started.
        pops.append((self._shards[key], sifted.expired + sifted.taken))
        if sifted.left:
            self._control.send_now([unanswered("LPUSH", key, *reversed(sifted.left))], [])
        return len(sifted.taken)

    def _note_oldest(self, oldest: list[bytes], num_expired: int) -> None:
        if self._order is not None:
            now = time.monotonic()
            self._order.on_oldest(self._share(oldest[0], now), len(oldest), num_expired, now)

    def _share(self, message: bytes, now: float) -> float:
        return 0.0 if self._spent_share is None else self._spent_share(message, now)

    async def _learn_id(self, handshake: Handshake) -> None:
        self._client_id = await handshake.call("CLIENT", "ID")


def _ignore(_answers: list[Any]) -> None:
    """Do nothing: `run` has not been called."""
