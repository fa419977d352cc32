"""`python -m bench.decisions.process_pools`: the process lane beside ProcessPoolExecutor.

A handler that immediately returns its 200 bytes runs in as many processes as there are cores. An
event loop makes one call at a time, and then keeps 256 in flight. A frame is a group of calls that
cross the process boundary together. The pools are one `ProcessPoolExecutor(max_workers=1)` for each
process, so that losing a process breaks only its own pool, with two frames in flight in each; the
last row is one pool with all processes, as it is usually used.
"""

import asyncio
import contextlib
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor

from bench.harness.options import make_parser
from bench.harness.pools import make_lane, running
from bench.harness.processes import descendants
from bench.harness.report import show
from bench.harness.rounds import turns
from bench.harness.subject import Subject
from hedgerow.shard_worker.executors.process_pool.pool import Task

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
    factory = "bench.decisions.process_pools:make_echo"
    options = {"batch_window_ms": 5.0, "kill_grace_ms": 100.0}
    async with running(make_lane(factory, num_processes, max_batch=max_batch, **options)) as lane:
        yield lambda: lane.run(Task(_PAYLOAD, time.monotonic() + 60))


class _Pools:
    """Pools of one process each, to which calls go in frames."""

    def __init__(self, pools: list[ProcessPoolExecutor], max_batch: int) -> None:
        self._free = deque([*pools, *pools])  # two frames in flight in each
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


async def _measure(num_rounds: int, seconds: float) -> list[tuple[int, Subject]]:
    """Each way, with the largest number of calls in one of its frames."""
    num_processes = len(os.sched_getaffinity(0))
    ways: list[tuple[int, Subject]] = []
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
            parts = {"caller": [os.getpid()], "processes": pids}
            ways.append((frame, Subject(name, call, parts, in_flight=_IN_FLIGHT)))
        for _, (_, way) in turns(ways, num_rounds):
            await way.measure_alone(seconds / 2)
            await way.measure_together(seconds)
            way.check()
    return ways


def main() -> int:
    """Measure; returns the exit status."""
    arguments = make_parser("bench.decisions.process_pools", __doc__, 9, 0.5).parse_args()
    ways = asyncio.run(_measure(arguments.rounds, arguments.seconds))
    show(
        f"medians of {arguments.rounds} rounds in turns; {_IN_FLIGHT} calls in flight",
        ("", "calls a frame", "alone, µs", "calls/s", "CPU µs a call: caller + processes"),
        [
            (
                way.name,
                f"up to {frame}" if frame > 1 else "1",
                f"{way.alone_ms * 1e3:,.0f}",
                f"{way.throughput:,.0f}",
                f"{way.cpu_of('caller'):.1f} + {way.cpu_of('processes'):.1f}",
            )
            for frame, way in ways
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
