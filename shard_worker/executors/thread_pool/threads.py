"""The thread lane: blocking calls in a bounded number of threads.

A thread cannot be killed. So a thread becomes free when its call really returns, not when the
caller stops waiting (as in trio's `to_thread`): a call that hangs occupies its thread until it
returns, and the lane never runs more calls than it has threads.

The calls of a rank profile may occupy only a share of the threads (`bulkhead`), so calls that hang
leave threads to other profiles.

The lane has threads of its own. `ThreadPoolExecutor` joins its threads when the interpreter exits,
also those of calls that hang, which keeps the process from ending; these are daemon threads.
"""

import asyncio
import contextlib
import contextvars
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from hedgerow.common.errors import (
    ExpiredEnd,
    ExpiredError,
    LaneUnavailableError,
    ProfileBusyError,
)
from hedgerow.shard_worker.executors.bulkhead import OURS, Bulkhead
from hedgerow.shard_worker.executors.fair_queue import FairQueue
from hedgerow.shard_worker.executors.thread_pool.lane_thread import LaneThread, carry_out

T = TypeVar("T")


@dataclass(slots=True)
class Spent:
    """The cost of calls whose callers got the results.

    Attributes:
        ran_s: how long they had a thread, in s.
        cpu_s: CPU time of the thread meanwhile, in s.
    """

    ran_s: float = 0.0
    cpu_s: float = 0.0


# A profile with this many waiting calls is far behind; more would only expire.
_MOST_WAITING = 256


class ThreadLane:
    """Runs blocking calls in at most `num_threads` threads, started when first needed."""

    def __init__(
        self,
        *,
        num_threads: int,
        lost_after_s: float,
        name: str,
        on_untaken: Callable[[float, float], None] | None = None,
        bulkhead: Bulkhead | None = None,
    ) -> None:
        """Describe a lane; it needs no start.

        Args:
            num_threads: its capacity.
            lost_after_s: a call that runs longer makes its thread count as lost until it returns.
            name: shown in errors and as the threads' name.
            on_untaken: called for each call that returns after its caller has left, with how long
                it had its thread and the CPU time of this, both in s.
            bulkhead: how many of the threads each profile may have; None for any number.
        """
        self._bulkhead = Bulkhead(num_threads, 1.0, {}) if bulkhead is None else bulkhead
        self._on_untaken = on_untaken
        self._num_threads = num_threads
        self._lost_after_s = lost_after_s
        self._name = name
        self._threads: list[LaneThread] = []
        self._free: list[LaneThread] = []
        self._waiting: FairQueue[asyncio.Future[LaneThread]] = FairQueue()
        self._room_waiters: list[asyncio.Future[None]] = []
        self._loss_timer: asyncio.TimerHandle | None = None
        self._num_late = 0
        self._is_open = True

    async def run(
        self,
        call: Callable[[], T],
        timeout_s: float,
        spent: Spent | None = None,
        profile: str = OURS,
    ) -> T:
        """Run `call` in a thread; returns what it returns and raises what it raises.

        Its cost is added to `spent`, if that is given and the call returns in time. It counts
        against the share of `profile`.

        Raises:
            ExpiredError: `timeout_s` passed before a thread was free, or before the call returned;
                in the latter case the call runs on and keeps its thread.
            LaneUnavailableError: every thread that it may have is lost, or the lane is closed.
            ProfileBusyError: too many calls of the profile are waiting.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        thread = self._take(profile, loop.time())
        if thread is None:
            thread = await self._wait_for_thread(profile, timeout_s)
        outcome: asyncio.Future[T] = loop.create_future()
        thread.started_at = loop.time()
        thread.hand(self._job(contextvars.copy_context(), call, thread, outcome, spent))
        try:
            await asyncio.wait([outcome], timeout=deadline - loop.time())
            if outcome.done():
                return outcome.result()
            self._num_late += 1
            raise ExpiredError(f"{self._name}: the call took longer than {timeout_s:.3f} s")
        finally:
            outcome.cancel()  # the call's result is dropped from now on
            del outcome  # an error's traceback holds this frame: a cycle with the call in it

    def room(self) -> int:
        """How many more calls would start at once."""
        if not self._is_open:
            return 0
        return max(0, len(self._free) + self._num_threads - len(self._threads))

    async def wait_for_room(self) -> int:
        """Wait until a call would start at once; returns how many would.

        Raises:
            LaneUnavailableError: the lane is closed, or closes meanwhile.
        """
        while (room := self.room()) == 0:
            if not self._is_open:
                raise LaneUnavailableError(f"{self._name}: closed")
            await self._change()
        return room

    def cork(self) -> None:
        """Do nothing: calls that come together are no cheaper, since each has a thread."""

    def ends_soon(self) -> bool:
        """Never: how long a blocking call takes is unknown."""
        return False

    def uncork(self) -> None:
        """See `cork`."""

    def load(self) -> dict[str, Any]:
        """Figures for heartbeat and status.

        `busy` includes `lost`; `late` counts the calls, ever, whose callers stopped waiting;
        `profiles` says what each profile holds (`Bulkhead.load`).
        """
        return {
            "capacity": self._num_threads,
            "busy": self._num_busy(),
            "lost": self._num_lost(self._threads, asyncio.get_running_loop().time()),
            "waiting": len(self._waiting),
            "late": self._num_late,
            "profiles": self._bulkhead.load(),
        }

    async def close(self, drain_s: float) -> None:
        """Stop taking calls, wait at most `drain_s` for running calls, and leave the rest.

        Calls that wait for a thread are refused first, since no call may start while draining.
        Threads whose calls hang stay behind; being daemons, they do not keep the process alive.
        """
        self._is_open = False
        self._fail(self._waiting.take_all(), f"{self._name}: closed")
        if self._loss_timer is not None:
            self._loss_timer.cancel()
            self._loss_timer = None
        self._wake()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + drain_s
        while self._num_busy() and (left_s := deadline - loop.time()) > 0:
            await asyncio.wait([self._change()], timeout=left_s)
        for thread in self._threads:
            thread.end()
        for thread in self._free:
            thread.join()
        self._free.clear()
        self._threads = [thread for thread in self._threads if thread.started_at < math.inf]

    # ---- in the thread

    def _job(
        self,
        context: contextvars.Context,
        call: Callable[[], T],
        thread: LaneThread,
        outcome: asyncio.Future[T],
        spent: Spent | None,
    ) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def settle(finish: Callable[[], None]) -> None:
            cpu_s = thread.lap_cpu_s()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._end_call, thread, outcome, finish, cpu_s, spent)

        return partial(carry_out, partial(context.run, call), outcome, settle)

    # ---- free threads

    def _take(self, profile: str, now: float) -> LaneThread | None:
        if not self._is_open:
            raise LaneUnavailableError(f"{self._name}: closed")
        thread = None
        if not self._bulkhead.may_take(profile):
            self._check_share(profile, now)
        elif self._free:
            thread = self._free.pop()
        elif len(self._threads) < self._num_threads:
            thread = LaneThread(f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
        elif self._num_lost(self._threads, now) == self._num_threads:
            raise LaneUnavailableError(self._all_lost(profile))
        if thread is not None:
            self._lend(thread, profile)
        return thread

    def _check_share(self, profile: str, now: float) -> None:
        """Refuse a call that would wait too long, or in vain, for other calls of its profile."""
        num_lost = self._num_lost(self._in_the_way_of(profile), now)
        if num_lost >= self._bulkhead.most(profile):
            self._bulkhead.refuse(profile)
            raise LaneUnavailableError(self._all_lost(profile))
        if self._waiting.count(profile) >= _MOST_WAITING:
            self._bulkhead.refuse(profile)
            raise ProfileBusyError(f"{self._name}: {_MOST_WAITING} calls of {profile} are waiting")

    def _lend(self, thread: LaneThread, profile: str) -> None:
        thread.profile = profile
        self._bulkhead.take(profile)

    async def _wait_for_thread(self, profile: str, timeout_s: float) -> LaneThread:
        waiter: asyncio.Future[LaneThread] = asyncio.get_running_loop().create_future()
        self._waiting.append(profile, waiter)
        self._watch_loss()
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
        except asyncio.CancelledError:
            self._give_up(profile, waiter)
            raise
        if waiter.done():
            return waiter.result()
        self._give_up(profile, waiter)
        raise ExpiredError(
            f"{self._name}: no thread was free within {timeout_s:.3f} s", ExpiredEnd.DROPPED
        )

    def _give_up(self, profile: str, waiter: asyncio.Future[LaneThread]) -> None:
        if not waiter.done():
            self._waiting.remove(profile, waiter)
            waiter.cancel()
        elif waiter.exception() is None:  # a thread became free in the same turn of the loop
            self._put(waiter.result())

    def _end_call(
        self,
        thread: LaneThread,
        outcome: asyncio.Future[T],
        finish: Callable[[], None],
        cpu_s: float,
        spent: Spent | None,
    ) -> None:
        ran_s = asyncio.get_running_loop().time() - thread.started_at
        thread.started_at = math.inf
        if not outcome.done():
            finish()
            if spent is not None:
                spent.ran_s += ran_s
                spent.cpu_s += cpu_s
        elif self._on_untaken is not None:
            self._on_untaken(ran_s, cpu_s)
        self._put(thread)

    def _put(self, thread: LaneThread) -> None:
        self._bulkhead.give_back(thread.profile)
        profile = self._waiting.next_profile(self._bulkhead.may_take) if self._waiting else None
        if profile is None:
            self._free.append(thread)
        else:
            waiter = self._waiting.pop(profile)
            self._waiting.end_turn(profile)
            self._lend(thread, profile)
            waiter.set_result(thread)
        self._wake()

    # ---- lost threads

    def _num_busy(self) -> int:
        return len(self._threads) - len(self._free)

    def _num_lost(self, threads: Iterable[LaneThread], now: float) -> int:
        return sum(now - thread.started_at > self._lost_after_s for thread in threads)

    def _in_the_way_of(self, profile: str) -> list[LaneThread]:
        """The threads one of which must become free before a call of the profile starts."""
        if self._bulkhead.may_take(profile):
            return self._threads
        busy = set(self._threads).difference(self._free)
        return [thread for thread in busy if thread.profile == profile]

    def _all_lost(self, profile: str) -> str:
        if self._bulkhead.may_take(profile):
            which = f"all {self._num_threads} threads"
        else:
            which = f"the {self._bulkhead.most(profile)} threads that {profile} may hold"
        return (
            f"{self._name}: {which} are lost to calls "
            f"that have not returned for {self._lost_after_s:g} s"
        )

    def _watch_loss(self) -> None:
        """Have waiting calls refused as soon as every thread that they may have is lost."""
        if self._loss_timer is not None or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        starts = [
            max(thread.started_at for thread in self._in_the_way_of(profile))
            for profile in self._waiting.profiles()
        ]
        # A thread that is being handed on has not started yet: look after a whole period.
        start = min(*starts, loop.time())
        at = max(start + self._lost_after_s, loop.time()) + 0.001
        self._loss_timer = loop.call_at(at, self._check_loss)

    def _check_loss(self) -> None:
        self._loss_timer = None
        now = asyncio.get_running_loop().time()
        for profile in self._waiting.profiles():
            threads = self._in_the_way_of(profile)
            if self._num_lost(threads, now) == len(threads):
                reason = self._all_lost(profile)
                waiting = [self._waiting.pop(profile) for _ in range(self._waiting.count(profile))]
                self._fail(waiting, reason)
        self._watch_loss()

    def _fail(self, waiting: Iterable[asyncio.Future[LaneThread]], reason: str) -> None:
        for waiter in waiting:
            waiter.set_exception(LaneUnavailableError(reason))

    # ---- changes

    def _change(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room_waiters.append(waiter)
        return waiter

    def _wake(self) -> None:
        waiters, self._room_waiters = self._room_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
