"""One run of the breaker's experiment: a dependency that degrades, and those who call it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from common.config import BreakerSettings
from common.outcome import Outcome
from gateway.breaker import Transition
from gateway.breakers import Breakers
from gateway.gather import Gather
from lab.cluster import DEPENDENCY, SLEEP, LabCluster
from lab.script import script
from lab.shards import Shards

SICK, HEALTHY = 0, 1  # two shards of one worker, which share its scorers
NUM_CALLERS = 100
HEALTHY_MS = 5.0
HEALTHY_EVERY_S = 0.05
HEALTHY_TIMEOUT_S = 1.0
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the dependency: when it was made, how long its caller was held, how it ended."""

    at_s: float
    held_s: float
    outcome: str


@dataclass(slots=True)
class Record:
    """What was seen in one run; times in s since its start.

    Attributes:
        first: calls that found out.
        crowd: the calls that came together.
        after: those once the dependency was well again: some at once, then some more.
        healthy: time → how long a call took that does not need the dependency; inf if in vain.
        tasks: time → tasks of the loop.
        transitions: of the breaker.
        crowd_at: from when to when the crowd was there.
        memory_kb: that the process took more with the crowd than before.
    """

    first: list[Call] = field(default_factory=list)
    crowd: list[Call] = field(default_factory=list)
    after: list[list[Call]] = field(default_factory=list)
    healthy: list[tuple[float, float]] = field(default_factory=list)
    tasks: list[tuple[float, int]] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    crowd_at: tuple[float, float] = (0.0, 0.0)
    memory_kb: float = 0.0


async def guarded(breakers: Breakers, call: Callable[[], Awaitable[Gather]]) -> str:
    """Call the dependency if its breaker lets the call through; says how that ended."""
    loop = asyncio.get_running_loop()
    permit = breakers[SICK].allow(loop.time())
    if permit is None:
        return "refused"
    gather = await call()
    breakers.finish([SICK], [permit], gather.settled, loop.time())
    return "answered" if gather.num_ok else "in vain"


class Trial:
    """One run: all is well, five find out, a hundred come at once, all is well again."""

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
        """Make the calls; returns what was seen."""
        record, cluster = self._record, self._cluster
        await self._calls(10)
        self._started = self._loop.time()
        async with asyncio.TaskGroup() as group:
            watch = [group.create_task(one) for one in (self._watch_tasks(), self._ask_healthy())]
            await asyncio.sleep(0.5)
            cluster.degrade(is_degraded=True)
            record.first = await self._calls(5)
            before = _resident_kb()
            crowd = asyncio.create_task(self._calls(NUM_CALLERS))
            crowd_from = self._now()
            await asyncio.sleep(self._degraded_s / 2)
            record.memory_kb = _resident_kb() - before
            await asyncio.sleep(self._degraded_s / 2)
            record.crowd = await crowd
            record.crowd_at = (crowd_from, self._now())
            cluster.degrade(is_degraded=False)
            await asyncio.sleep(1.2)  # a breaker's first wait is over, and it asks for a probe
            record.after = [await self._calls(10), await self._calls(10)]
            await asyncio.sleep(0.3)
            for task in watch:
                task.cancel()
        return record

    async def _calls(self, count: int) -> list[Call]:
        return await asyncio.gather(*(self._call() for _ in range(count)))

    async def _call(self) -> Call:
        at_s, started = self._now(), time.perf_counter()
        # Those who call want an answer, and wait as long as it takes when it takes so long.
        query = script([self._degraded_s * 1000] * 2)
        outcome = await guarded(
            self._breakers,
            lambda: self._shards.ask([SICK], query, DEPENDENCY, self._degraded_s),
        )
        return Call(at_s, time.perf_counter() - started, outcome)

    async def _ask_healthy(self) -> None:
        """Every now and then a call to the other shard."""
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
        is_ok = gather.settled[HEALTHY].outcome is Outcome.OK
        took_s = time.perf_counter() - started if is_ok else float("inf")
        self._record.healthy.append((at_s, took_s))

    async def _watch_tasks(self) -> None:
        while True:
            self._record.tasks.append((self._now(), len(asyncio.all_tasks())))
            await asyncio.sleep(0.02)


def _resident_kb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES / 1024
