"""One run of the breaker's experiment: a dependency that degrades, and its callers."""

import asyncio
import random
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hedgerow.common.outcome import Outcome
from hedgerow.common.settings.breaker import BreakerSettings
from hedgerow.gateway.policies.breaker import State, Transition
from hedgerow.gateway.search.gather import Gather
from hedgerow.gateway.search.guards.breakers import Breakers
from lab.cluster import DEPENDENCY, SLEEP, LabCluster
from lab.script import script
from lab.shards import Shards

SICK, HEALTHY = 0, 1  # two shards of one worker, which share its scorers
NUM_CALLERS = 100
HEALTHY_MS = 5.0
HEALTHY_EVERY_S = 0.05
HEALTHY_TIMEOUT_S = 1.0
_LOOK_S = 0.02
_EDGE_S = 0.1  # at each end of the crowd's time, in which it comes and goes


class Look(NamedTuple):
    """A sample of the calling process: tasks of its loop, and memory of Python objects, in kB."""

    at_s: float
    tasks: int
    memory_kb: float


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the dependency.

    Attributes:
        at_s: when it was made.
        held_s: how long its caller was held.
        outcome: how it ended.
        left: the breaker's state right after the call.
    """

    at_s: float
    held_s: float
    outcome: str
    left: State


@dataclass(slots=True)
class Record:
    """The observations of one run; times are in s since its start.

    Attributes:
        first: the calls that found the degradation.
        crowd: the calls that came together.
        after: calls after the dependency had recovered: some at once, then some more.
        healthy: time and duration of calls that do not need the dependency; inf for a timeout.
        looks: samples, every 20 ms.
        transitions: of the breaker.
        crowd_at: when the crowd came, and when it had gone.
    """

    first: list[Call] = field(default_factory=list)
    crowd: list[Call] = field(default_factory=list)
    after: list[list[Call]] = field(default_factory=list)
    healthy: list[tuple[float, float]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    crowd_at: tuple[float, float] = (0.0, 0.0)

    def is_crowded(self, at_s: float) -> bool:
        """Whether the crowd was there, and not just coming or going."""
        start, end = self.crowd_at
        return start + _EDGE_S <= at_s <= end - _EDGE_S

    @property
    def num_borne(self) -> int:
        """Failures that left the breaker closed; the first calls all had their permits by then."""
        return sum(one.outcome == "in vain" and one.left is State.CLOSED for one in self.first)

    @property
    def more_tasks(self) -> int:
        """The most tasks during the crowd, less those before it."""
        return max(one.tasks for one in self._crowded) - self._before.tasks

    @property
    def more_memory_kb(self) -> float:
        """The most memory during the crowd, less the memory before it."""
        return max(one.memory_kb for one in self._crowded) - self._before.memory_kb

    @property
    def _crowded(self) -> list[Look]:
        return [one for one in self.looks if self.is_crowded(one.at_s)]

    @property
    def _before(self) -> Look:
        return [one for one in self.looks if one.at_s < self.crowd_at[0]][-1]


async def guarded(breakers: Breakers, call: Callable[[], Awaitable[Gather]]) -> str:
    """Call the dependency if its breaker lets the call through; returns how that ended."""
    loop = asyncio.get_running_loop()
    permit = breakers[SICK].allow(loop.time())
    if permit is None:
        return "refused"
    gather = await call()
    breakers.finish([SICK], [permit], gather.results, loop.time())
    return "answered" if gather.num_ok else "in vain"


class Trial:
    """One run: all is well, five callers find out, a hundred come at once, all is well again."""

    def __init__(
        self, cluster: LabCluster, shards: Shards, degraded_s: float, *, is_guarded: bool
    ) -> None:
        """Ask `shards` of a cluster whose dependency takes `degraded_s` while it is degraded."""
        self._cluster = cluster
        self._shards = shards
        self._degraded_s = degraded_s
        self._record = record = Record()
        self._breakers = Breakers(
            2, BreakerSettings(), random.random, lambda _, one: record.transitions.append(one)
        )
        self._loop = asyncio.get_running_loop()
        if not is_guarded:
            self._breakers[SICK].disable(self._loop.time())
            record.transitions.clear()
        self._started = 0.0

    def _now(self) -> float:
        return self._loop.time() - self._started

    async def run(self) -> Record:
        """Make the calls; returns the observations."""
        record, cluster = self._record, self._cluster
        await self._calls(10)
        self._started = self._loop.time()
        async with asyncio.TaskGroup() as group:
            watch = [group.create_task(one) for one in (self._look(), self._ask_healthy())]
            await asyncio.sleep(0.5)
            cluster.degrade(is_degraded=True)
            record.first = await self._calls(5)
            crowd = group.create_task(self._calls(NUM_CALLERS))
            crowd_from = self._now()
            await asyncio.sleep(self._degraded_s)
            record.crowd = await crowd
            record.crowd_at = (crowd_from, self._now())
            cluster.degrade(is_degraded=False)
            await asyncio.sleep(1.2)  # until the breaker lets a probe through
            record.after = [await self._calls(10), await self._calls(10)]
            await asyncio.sleep(0.3)
            for task in watch:
                task.cancel()
        return record

    async def _calls(self, count: int) -> list[Call]:
        return await asyncio.gather(*(self._call() for _ in range(count)))

    async def _call(self) -> Call:
        at_s, started = self._now(), time.perf_counter()
        # Callers want an answer, and wait as long as the degraded dependency takes.
        query = script([self._degraded_s * 1000] * 2)
        outcome = await guarded(
            self._breakers,
            lambda: self._shards.ask([SICK], query, DEPENDENCY, self._degraded_s),
        )
        held_s = time.perf_counter() - started
        # No other call ends between the end of this one and this line.
        return Call(at_s, held_s, outcome, self._breakers[SICK].state(self._loop.time()))

    async def _ask_healthy(self) -> None:
        """Make regular calls to the other shard."""
        calls: set[asyncio.Task[None]] = set()
        try:
            while True:
                task = asyncio.create_task(self._call_healthy())
                calls.add(task)
                task.add_done_callback(calls.discard)
                await asyncio.sleep(HEALTHY_EVERY_S)
        finally:
            for task in calls:
                task.cancel()

    async def _call_healthy(self) -> None:
        at_s, started = self._now(), time.perf_counter()
        query = script([HEALTHY_MS] * 2)
        gather = await self._shards.ask([HEALTHY], query, SLEEP, HEALTHY_TIMEOUT_S)
        is_ok = gather.results[HEALTHY].outcome is Outcome.OK
        took_s = time.perf_counter() - started if is_ok else float("inf")
        self._record.healthy.append((at_s, took_s))

    async def _look(self) -> None:
        # The memory that the process takes from the system would show nothing: it reuses what the
        # previous mode has freed.
        tracemalloc.start()
        try:
            while True:
                memory_kb = tracemalloc.get_traced_memory()[0] / 1024
                look = Look(self._now(), len(asyncio.all_tasks()), memory_kb)
                self._record.looks.append(look)
                await asyncio.sleep(_LOOK_S)
        finally:
            tracemalloc.stop()
