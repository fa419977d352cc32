"""`python -m bench.decisions.process_pools`: the process lane beside ProcessPoolExecutor.

A handler that returns its 200 bytes at once runs in as many processes as there are cores, called by
an event loop: alone, and with 256 calls under way. A frame is what crosses the process boundary
together. The pools are one `ProcessPoolExecutor(max_workers=1)` a process, so that the loss of a
process breaks no more than its own pool, with two frames under way in each; the last row is one
pool of all processes, as people use it.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from bench.harness.processes import CpuMeter, descendants
from bench.harness.report import machine, median
from hedgerow.shard_worker.executors.process_pool.pool import ProcessLane, Task

_PAYLOAD = b"x" * 200
_IN_FLIGHT = 256
_FRAMES = (64, 1)
_Call = Callable[[], Awaitable[object]]


def make_echo(_config: object) -> Callable[[bytes, object], bytes]:
    """The lane's handler."""
    return _echo


def _echo(payload: bytes, _budget: object = None) -> bytes:
    return payload


def _echo_all(payloads: list[bytes]) -> list[bytes]:
    return [_echo(payload) for payload in payloads]


@contextlib.asynccontextmanager
async def _lane(max_batch: int, num_processes: int) -> AsyncIterator[_Call]:
    lane = ProcessLane(
        factory="bench.decisions.process_pools:make_echo",
        config=None,
        num_processes=num_processes,
        max_batch=max_batch,
        batch_window_ms=5.0,
        kill_grace_ms=100.0,
        gate=None,
        name="lane",
    )
    await lane.start()
    try:
        yield lambda: lane.run(Task(_PAYLOAD, time.monotonic() + 60))
    finally:
        await lane.close(1.0)


class _Pools:
    """Pools of one process each, to which calls go in frames."""

    def __init__(self, pools: list[ProcessPoolExecutor], max_batch: int) -> None:
        self._free = deque([*pools, *pools])  # two frames under way in each
        self._max_batch = max_batch
        self._waiting: deque[tuple[bytes, asyncio.Future[bytes]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._is_due = False
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self) -> Awaitable[object]:
        """One call."""
        done: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting.append((_PAYLOAD, done))
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send)
        return done

    def _send(self) -> None:
        self._is_due = False
        while self._waiting and self._free:
            number = min(self._max_batch, len(self._waiting))
            frame = [self._waiting.popleft() for _ in range(number)]
            task = self._loop.create_task(self._run(self._free.popleft(), frame))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(
        self, pool: ProcessPoolExecutor, frame: list[tuple[bytes, asyncio.Future[bytes]]]
    ) -> None:
        payloads = [payload for payload, _ in frame]
        results = await self._loop.run_in_executor(pool, _echo_all, payloads)
        self._free.append(pool)
        for (_, done), result in zip(frame, results, strict=True):
            done.set_result(result)
        self._send()


@contextlib.asynccontextmanager
async def _pools(max_batch: int, num_processes: int) -> AsyncIterator[_Call]:
    context = multiprocessing.get_context("forkserver")
    with contextlib.ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, mp_context=context))
            for _ in range(num_processes)
        ]
        yield _Pools(pools, max_batch).call


@contextlib.asynccontextmanager
async def _one_pool(_max_batch: int, num_processes: int) -> AsyncIterator[_Call]:
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        loop = asyncio.get_running_loop()
        yield lambda: loop.run_in_executor(pool, _echo, _PAYLOAD)


@dataclass(slots=True)
class _Way:
    name: str
    frame: int
    call: _Call
    alone_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    ours_us: list[float] = field(default_factory=list)
    theirs_us: list[float] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)


async def _measure(num_rounds: int, seconds: float) -> list[_Way]:
    num_processes = len(os.sched_getaffinity(0))
    ways: list[_Way] = []
    async with contextlib.AsyncExitStack() as stack:
        made = [
            *[("process lane", frame, _lane) for frame in _FRAMES],
            *[("a pool a process", frame, _pools) for frame in _FRAMES],
            ("one pool", 1, _one_pool),
        ]
        for name, frame, make in made:
            before = set(descendants(os.getpid()))
            call = await stack.enter_async_context(make(frame, num_processes))
            await asyncio.gather(*(call() for _ in range(_IN_FLIGHT)))
            pids = [pid for pid in descendants(os.getpid()) if pid not in before]
            ways.append(_Way(name, frame, call, pids=pids))
        for _ in range(num_rounds):
            for way in ways:
                await _round(way, seconds)
    return ways


async def _round(way: _Way, seconds: float) -> None:
    times = []
    ends_at = time.perf_counter() + seconds / 2
    while (began_at := time.perf_counter()) < ends_at:
        await way.call()
        times.append(time.perf_counter() - began_at)
    way.alone_us.append(median(times) * 1e6)
    number = 0
    meter = CpuMeter({"ours": [os.getpid()], "theirs": way.pids})
    began_at = time.perf_counter()
    ends_at = began_at + seconds

    async def ask() -> None:
        nonlocal number
        while time.perf_counter() < ends_at:
            await way.call()
            number += 1

    await asyncio.gather(*(ask() for _ in range(_IN_FLIGHT)))
    used_s = meter.used_s()
    way.per_s.append(number / (time.perf_counter() - began_at))
    way.ours_us.append(used_s["ours"] / number * 1e6)
    way.theirs_us.append(used_s["theirs"] / number * 1e6)


def main() -> int:
    """Measure; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.decisions.process_pools", description=__doc__
    )
    parser.add_argument("--rounds", type=int, default=9, help="of each (9)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement (0.5)")
    arguments = parser.parse_args()
    ways = asyncio.run(_measure(arguments.rounds, arguments.seconds))
    say = sys.stdout.write
    say(f"{machine()}; load average {os.getloadavg()[0]:.1f}; ")
    say(f"medians of {arguments.rounds} rounds in turns; {_IN_FLIGHT} calls under way\n\n")
    say("|  | calls a frame | alone, µs | calls/s | CPU µs a call: caller + processes |\n")
    say("| --- | --- | --- | --- | --- |\n")
    for way in ways:
        cpu = f"{median(way.ours_us):.1f} + {median(way.theirs_us):.1f}"
        frame = f"up to {way.frame}" if way.frame > 1 else "1"
        say(f"| {way.name} | {frame} | {median(way.alone_us):,.0f} | ")
        say(f"{median(way.per_s):,.0f} | {cpu} |\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
