"""Short blocking calls, several of them in one turn of a thread.

Handing a call to a thread, and its result back, wakes the thread and the event loop, which costs
more than reading ten small documents. So calls wait in one queue, and a thread runs one after
another until there are no more, or for `WINDOW_S`. Finished calls are handed back together.

A call that hangs delays no other, since a call is taken from the queue only when it starts. Every
`LOOK_S`, the calls that its thread finished before it are handed back, and another thread is
started for those that wait.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

from hedgerow.common.errors import ExpiredEnd, ExpiredError, LaneUnavailableError, WorkError
from hedgerow.shard_worker.executors.bulkhead import OURS
from hedgerow.shard_worker.executors.thread_pool.lane_thread import ended
from hedgerow.shard_worker.executors.thread_pool.threads import Spent, ThreadLane

T = TypeVar("T")

WINDOW_S: Final = 0.001  # a thread takes no more calls after this
LOOK_S: Final = 2 * WINDOW_S
_WEIGHT: Final = 0.1  # of the last call in the average of the time that calls take

_clock = time.monotonic


class _Call(Generic[T]):
    """A call, and its result.

    Attributes:
        outcome: the result, for its caller.
        began_at: when a thread began it, in s; inf before.
        ran_s: how long it ran, in s.
        cpu_s: CPU time of its thread meanwhile, in s.
    """

    __slots__ = ("_call", "_error", "_result", "began_at", "cpu_s", "outcome", "ran_s", "spent")

    def __init__(self, call: Callable[[], T], outcome: asyncio.Future[T], spent: Spent) -> None:
        self._call = call
        self._result: Any = None
        self._error: Exception | None = None
        self.outcome = outcome
        self.spent = spent
        self.began_at = math.inf
        self.ran_s = self.cpu_s = 0.0

    def run(self) -> None:
        """Run the call, in a thread."""
        cpu_s = time.thread_time()
        self.began_at = _clock()
        self._result, self._error = ended(self._call)
        self.ran_s = _clock() - self.began_at
        self.cpu_s = time.thread_time() - cpu_s
        del self  # the frames in an error's traceback hold this one (see `carry_out`)

    def settle(self) -> bool:
        """Give the caller the result; returns whether the caller still waited."""
        if self.outcome.done():
            return False
        self.spent.ran_s += self.ran_s
        self.spent.cpu_s += self.cpu_s
        if self._error is None:
            self.outcome.set_result(self._result)
        else:
            self.outcome.set_exception(self._error)
        return True


class _Turn:
    """One turn of a thread.

    Attributes:
        began_at: when its current call began, in s; inf while it has none.
    """

    __slots__ = ("began_at",)

    def __init__(self) -> None:
        self.began_at = math.inf


class BatchedThreads:
    """A thread lane for calls that mostly take less time than handing them to a thread."""

    def __init__(
        self,
        lane: ThreadLane,
        max_batch: int,
        on_untaken: Callable[[float, float], None] | None = None,
    ) -> None:
        """Run calls in the threads of `lane`, which must run nothing else.

        Args:
            lane: has the threads; needs no `on_untaken`.
            max_batch: most calls that a free thread counts for in `room`.
            on_untaken: called for each call that returns after its caller has left, with how long
                it ran and its CPU time, both in s.
        """
        self._lane = lane
        self._max_batch = max_batch
        self._on_untaken = on_untaken
        self._waiting: deque[_Call[Any]] = deque()
        self._finished: deque[_Call[Any]] = deque()
        self._turns: dict[asyncio.Task[None], _Turn] = {}
        self._call_s = WINDOW_S  # a moving average; at first a thread takes one call
        self._num_late = 0
        self._is_starting = False
        self._look: asyncio.TimerHandle | None = None

    async def run(
        self, call: Callable[[], T], timeout_s: float, spent: Spent, profile: str = OURS
    ) -> T:
        """Run `call` in a thread; returns what it returns and raises what it raises.

        What it costs is added to `spent` if it returns in time.

        Raises:
            ExpiredError: `timeout_s` passed before a thread was free, or before the call returned;
                in the latter case it runs on and keeps its thread.
            LaneUnavailableError: every thread is lost, or the lane is closed.
        """
        del profile  # profiles have no shares of these threads
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        one = _Call(call, outcome, spent)
        self._waiting.append(one)
        if not self._is_starting:
            # Later in this turn of the loop, when more calls may have come.
            self._is_starting = True
            loop.call_soon(self._start)
        timer = loop.call_later(timeout_s, self._expire, one, timeout_s)
        try:
            return await outcome
        finally:
            timer.cancel()
            outcome.cancel()  # the result of a call that returns later is dropped
            del one, outcome  # an error's traceback holds this frame: a cycle with the call in it

    def room(self) -> int:
        """How many more calls would start within `WINDOW_S`; at least 1 if a thread is free."""
        num_free = self._lane.room()
        return max(1, num_free * self._num_a_turn() - len(self._waiting)) if num_free else 0

    async def wait_for_room(self) -> int:
        """Wait until a call would start at once; returns `room`.

        Raises:
            LaneUnavailableError: the lane is closed, or closes meanwhile.
        """
        await self._lane.wait_for_room()
        return self.room()

    def cork(self) -> None:
        """Do nothing: calls of one turn of the loop go together anyway."""

    def uncork(self) -> None:
        """See `cork`."""

    def ends_soon(self) -> bool:
        """Never: it is unknown how long a blocking call takes."""
        return False

    def load(self) -> dict[str, Any]:
        """Figures for heartbeat and status, as those of `ThreadLane.load`."""
        return {**self._lane.load(), "waiting": len(self._waiting), "late": self._num_late}

    async def close(self, drain_s: float) -> None:
        """Stop taking calls, wait at most `drain_s` for running calls, and leave the rest."""
        await self._lane.close(drain_s)
        self._fail(LaneUnavailableError("closed"))
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for task in list(self._turns):
            task.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)
        self._collect()

    # ---- in the thread

    def _work(self, turn: _Turn) -> None:
        waiting, finished = self._waiting, self._finished
        now = _clock()
        end = now + WINDOW_S
        while now < end:
            try:
                one = waiting.popleft()
            except IndexError:
                return
            if not one.outcome.done():
                turn.began_at = now
                one.run()
                turn.began_at = math.inf
                finished.append(one)
            del one  # as in `_Call.run`
            now = _clock()

    # ---- on the loop

    def _num_a_turn(self) -> int:
        return max(1, min(self._max_batch, int(WINDOW_S / self._call_s)))

    def _start(self) -> None:
        """Start as many turns as the waiting calls need, not counting turns that are held up."""
        self._is_starting = False
        now = _clock()
        num_moving = sum(not now - turn.began_at > LOOK_S for turn in self._turns.values())
        num_wanted = math.ceil(len(self._waiting) / self._num_a_turn())
        num_free = self._lane.room()
        # If no thread is free, one turn waits for the next, or learns that all are lost.
        num_new = min(num_wanted - num_moving, num_free or int(not num_moving))
        for _ in range(num_new):
            turn = _Turn()
            task = asyncio.create_task(self._take_turn(turn))
            self._turns[task] = turn
            task.add_done_callback(self._end_turn)
        if self._turns and self._look is None:
            self._look = asyncio.get_running_loop().call_later(LOOK_S, self._look_again)

    async def _take_turn(self, turn: _Turn) -> None:
        try:
            await self._lane.run(partial(self._work, turn), math.inf)
        except WorkError as error:  # all threads are lost, or the lane is closed
            self._fail(error)

    def _end_turn(self, task: asyncio.Task[None]) -> None:
        del self._turns[task]
        self._collect()
        if self._waiting:
            self._start()

    def _look_again(self) -> None:
        self._look = None
        self._collect()
        self._start()

    def _collect(self) -> None:
        while self._finished:
            one = self._finished.popleft()
            self._call_s += _WEIGHT * (one.ran_s - self._call_s)
            if not one.settle() and self._on_untaken is not None:
                self._on_untaken(one.ran_s, one.cpu_s)

    def _fail(self, error: WorkError) -> None:
        """Refuse the waiting calls."""
        while self._waiting:
            one = self._waiting.popleft()
            if not one.outcome.done():
                one.outcome.set_exception(error)

    def _expire(self, one: _Call[Any], timeout_s: float) -> None:
        if one.outcome.done():
            return
        if one.began_at == math.inf:
            reason = f"no thread was free within {timeout_s:.3f} s"
            one.outcome.set_exception(ExpiredError(reason, ExpiredEnd.DROPPED))
        else:
            self._num_late += 1
            reason = f"the call took longer than {timeout_s:.3f} s"
            one.outcome.set_exception(ExpiredError(reason))
