"""The load generators, in real time."""

import asyncio
import itertools
import threading
import time
from pathlib import Path

import pytest

from bench.harness.load import closed_loop, open_loop
from bench.harness.processes import CpuMeter, num_wakeups
from bench.harness.threads import asking_in_threads
from tests.support.waiting import until

# Alone: the loads are counted in real time.
pytestmark = [pytest.mark.integration, pytest.mark.alone]


async def test_closed_loop_keeps_so_many_under_way() -> None:
    """Never more, and for nearly all of the time as many, queries are under way as asked for."""
    under_way = most = 0

    async def ask() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1

    load = await closed_loop(ask, 8, 0.2)
    assert most == 8
    assert load.num_failed == 0
    assert len(load.latencies_s) > 8


async def test_open_loop_charges_a_stall_to_each_query_that_it_delays() -> None:
    """A query that was due while the loop was blocked is late by its own count."""
    num_asked = 0

    async def ask() -> None:
        nonlocal num_asked
        num_asked += 1
        if num_asked == 50:
            time.sleep(0.1)  # noqa: ASYNC251 - a blocked loop is what is tested

    load = await open_loop(ask, 1000.0, 0.4)
    late = [latency for latency in load.latencies_s if latency > 0.01]
    assert len(late) > 50  # of the 100 that were due meanwhile; a closed loop would see one
    assert load.quantile_ms(1.0) > 90


async def test_open_loop_asks_at_its_rate_however_slow_the_answers_are() -> None:
    """Arrivals do not wait for answers, and the same seed brings the same number of them."""

    async def ask() -> None:
        await asyncio.sleep(0.1)

    loads = [await open_loop(ask, 1000.0, 0.3, seed=3) for _ in range(2)]
    counts = [len(load.latencies_s) for load in loads]
    assert counts[0] == counts[1]
    assert 200 < counts[0] < 400


async def test_failures_are_counted() -> None:
    """A query that raises does not end the load, and is no answer."""

    async def ask() -> None:
        await asyncio.sleep(0)
        raise RuntimeError

    load = await closed_loop(ask, 1, 0.01)
    assert load.num_failed > 0
    assert load.latencies_s == []


async def test_cpu_is_that_of_the_process() -> None:
    """What another process uses is counted; one that has gone takes nothing from the others."""
    process = await asyncio.create_subprocess_exec("sh", "-c", "while :; do :; done")
    try:
        meter = CpuMeter({"busy": [process.pid]})
        await until(lambda: meter.used_s()["busy"] > 0.05)
        later = CpuMeter({"busy": [process.pid]})
    finally:
        process.kill()
        await process.wait()
    assert later.used_s() == {"busy": 0.0}


async def test_wakeups_are_those_of_the_process() -> None:
    """One that waits for each line is woken as often as there are lines; one that has gone, never.

    Here another process gets a line only once it has answered the last.
    """
    process = await asyncio.create_subprocess_exec(
        "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    before = num_wakeups([process.pid])
    for _ in range(50):
        await until(lambda: _state(process.pid) == "S")
        process.stdin.write(b"line\n")
        await process.stdout.readline()
    assert 50 <= num_wakeups([process.pid]) - before <= 150
    process.stdin.close()
    await process.wait()
    assert num_wakeups([process.pid]) == 0


def _state(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return stat.rpartition(")")[2].split()[0]


async def test_blocking_clients_ask_side_by_side() -> None:
    """There is a thread for each query in flight; failures are counted apart."""
    both = threading.Barrier(2)
    numbers = itertools.count()

    def ask() -> None:
        if next(numbers) < 2:  # these wait for each other, so that one alone would not get on
            both.wait(10)
            raise ConnectionError("not yet")

    load = await asking_in_threads(ask)(2, 0.1)
    assert (load.num_failed, load.failure) == (2, "ConnectionError('not yet')")
    assert load.latencies_s
    assert load.seconds >= 0.1
