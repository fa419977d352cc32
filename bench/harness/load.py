"""Load from one process: closed loop (constant in flight) and open loop (Poisson arrivals).

The open loop measures each latency from the instant at which the query was due, not from when it
was sent, so that a stall counts for every query that it delays (G. Tene's "coordinated omission").
Arrivals are due to the microsecond, but an event loop's timers are late by up to 1 ms, the unit of
epoll_wait(2): a timerfd, which is a file like any other, wakes the loop on time.
"""

import asyncio
import ctypes
import os
import random
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

T = TypeVar("T")
Ask = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Load:
    """What a load has measured.

    Attributes:
        seconds: how long it lasted.
        latencies_s: of each query that was answered.
        late_s: how late each query of the open loop was sent.
        num_failed: queries that raised.
        failure: what the last of them raised.
        counts: answers that do not count as such, by kind; of some loads only.
        cpu_s: CPU time that each part of the server, and the client, used; of some loads only.
    """

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    num_failed: int = 0
    failure: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    def to_json(self) -> dict[str, Any]:
        """As the driver reads it from a process that measures; latencies are in whole µs."""
        told = {name: getattr(self, name) for name in self.__slots__ if name != "late_s"}
        latencies_s = told.pop("latencies_s")
        return {**told, "latencies_us": [round(one * 1e6) for one in latencies_s]}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> "Load":
        """What `to_json` has made."""
        told = dict(told)
        latencies_us = told.pop("latencies_us")
        return cls(latencies_s=[one / 1e6 for one in latencies_us], **told)

    def quantile_ms(self, share: float) -> float:
        """The latency within which a share of the answers came, in ms."""
        return quantile(self.latencies_s, share) * 1000

    def late_quantile_ms(self, share: float) -> float:
        """The delay within which a share of the open loop's queries was sent, in ms."""
        return quantile(self.late_s, share) * 1000


# Keeps a number of queries in flight for a number of seconds.
Run = Callable[[int, float], Awaitable[Load]]


def share_within(loads: Iterable[Load], limit_s: float) -> float:
    """The share of all loads' queries that were answered within `limit_s`; failures were not."""
    num_asked = num_met = 0
    for load in loads:
        num_asked += len(load.latencies_s) + load.num_failed
        num_met += sum(latency <= limit_s for latency in load.latencies_s)
    return num_met / max(1, num_asked)


def quantile(values: list[float], share: float) -> float:
    """The smallest value that a share of the values does not exceed; nan if there are none."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[min(len(ordered) - 1, max(0, int(share * len(ordered) + 0.5) - 1))]


async def closed_loop(ask: Ask, in_flight: int, seconds: float) -> Load:
    """Keep `in_flight` queries in flight: each asker asks again as soon as it is answered.

    The generator itself costs about 0.3 µs per query.
    """
    load = Load()
    started = time.perf_counter()
    await asyncio.gather(
        *(_keep_asking(ask, started + seconds, load) for _ in range(in_flight)),
    )
    load.seconds = time.perf_counter() - started
    return load


async def _keep_asking(ask: Ask, until: float, load: Load) -> None:
    clock, record = time.perf_counter, load.latencies_s.append
    now = clock()
    while now < until:
        asked_at = now
        try:
            await ask()
        except Exception as error:  # noqa: BLE001 - counted; the report shows them
            load.num_failed += 1
            load.failure = repr(error)
            now = clock()
        else:
            now = clock()
            record(now - asked_at)


async def passes(
    ask: Callable[[T], Awaitable[str]], items: Sequence[T], in_flight: int, seconds: float
) -> Load:
    """Keep `in_flight` in flight in whole passes over `items`, so that each is asked equally often.

    Args:
        ask: asks for one item; returns "" if the answer counts, and otherwise its kind.
        items: in the order in which they are asked.
        in_flight: how many askers there are; each goes on as soon as it is answered.
        seconds: the least duration.
    """
    load, counts = Load(), Counter[str]()
    clock, record = time.perf_counter, load.latencies_s.append
    started = clock()
    waiting = deque(items)

    async def keep_asking() -> None:
        while waiting or clock() < started + seconds:
            if not waiting:
                waiting.extend(items)
            item = waiting.popleft()
            asked_at = clock()
            try:
                kind = await ask(item)
            except Exception as error:  # noqa: BLE001 - counted; the report shows them
                load.num_failed += 1
                load.failure = repr(error)
                continue
            if kind:
                counts[kind] += 1
            else:
                record(clock() - asked_at)

    await asyncio.gather(*(keep_asking() for _ in range(in_flight)))
    load.seconds = clock() - started
    load.counts = dict(counts)
    return load


async def open_loop(ask: Ask, rate: float, seconds: float, seed: int | str = 1) -> Load:
    """Ask at random instants, `rate` a second on average, however long the answers take.

    Args:
        ask: one query.
        rate: mean arrivals a second; their gaps are exponentially distributed.
        seconds: for how long queries arrive; all answers are awaited.
        seed: of the arrivals, so that rounds can be repeated.
    """
    load = Load()
    started = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        load.late_s.append(time.perf_counter() - due)
        try:
            await ask()
        except Exception as error:  # noqa: BLE001 - counted; the report shows them
            load.num_failed += 1
            load.failure = repr(error)
        else:
            load.latencies_s.append(time.perf_counter() - due)

    async for due in arrivals(rate, seconds, seed):
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - started
    return load


async def arrivals(rate: float, seconds: float, seed: int | str = 1) -> AsyncIterator[float]:
    """Yield random instants as they come, `rate` a second on average.

    Several that have passed meanwhile may be yielded in a row; the loop runs other tasks in
    between, so that a late caller does not keep answers from being read.

    Args:
        rate: mean arrivals a second; their gaps are exponentially distributed.
        seconds: for how long.
        seed: of the arrivals, so that rounds can be repeated.
    """
    gaps = random.Random(seed)
    started = time.perf_counter()
    ends, due = started + seconds, started + gaps.expovariate(rate)
    with _Alarm() as alarm:
        while due < ends:
            await alarm.wait_until(due)
            now = time.perf_counter()
            while due <= now and due < ends:
                yield due
                due += gaps.expovariate(rate)


class _Alarm:
    """Wakes a task at an instant of CLOCK_MONOTONIC, to within about 10 µs."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.Future[None] | None = None
        # From Python 3.13 on, os.timerfd_create does this.
        self._timer: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def __enter__(self) -> Self:
        self._loop.add_reader(self._timer, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    async def wait_until(self, due: float) -> None:
        """Return at `due` on time.perf_counter's clock, which is CLOCK_MONOTONIC on Linux."""
        if due <= time.perf_counter():
            await asyncio.sleep(0)
            return
        whole = int(due)
        # struct itimerspec: interval (none), then the instant, each in seconds and ns.
        spec = (ctypes.c_long * 4)(0, 0, whole, int((due - whole) * 1e9))
        self._due = self._loop.create_future()
        if self._libc.timerfd_settime(self._timer, 1, spec, None):  # 1: TFD_TIMER_ABSTIME
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await self._due

    def _ring(self) -> None:
        os.read(self._timer, 8)
        if self._due is not None and not self._due.done():
            self._due.set_result(None)
