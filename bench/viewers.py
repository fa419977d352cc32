"""`python -m bench.viewers`: what those who watch a cluster cost its gateway.

`gateway up` with nothing to do but to be watched: the CPU of the gateway, and of Redis, with no
viewer of its events, with one and with ten, in turns. The first viewer has statuses made, and each
further one has them sent.
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from bench.harness.processes import CpuMeter
from bench.harness.report import machine, median, table
from bench.harness.rounds import turns
from bench.harness.up import Up, run_up
from hedgerow.gateway.client import AsyncClient

_NUMBERS: Final = (0, 1, 10)
_SETTLE_S: Final = 1.5
_REQUEST: Final = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def watch(up: Up, seen: list[int]) -> None:
    """Read the stream until cancelled, as fast as it comes."""
    assert up.address is not None
    reader, writer = await asyncio.open_connection(*up.address)
    try:
        writer.write(_REQUEST)
        while data := await reader.read(1 << 20):
            seen[0] += len(data)
    finally:
        writer.close()


async def measure(
    up: Up, num_rounds: int, round_s: float
) -> tuple[dict[int, list[float]], dict[int, list[float]], float]:
    """The shares of a core that the gateway and Redis use, by number of viewers, in percent.

    And how many bytes a viewer reads a second.
    """
    gateway: dict[int, list[float]] = defaultdict(list)
    redis: dict[int, list[float]] = defaultdict(list)
    rates = []
    for _, number in turns(_NUMBERS, num_rounds, "viewers"):
        seen = [0]
        tasks = [asyncio.create_task(watch(up, seen)) for _ in range(number)]
        await asyncio.sleep(_SETTLE_S)
        seen[0] = 0
        meter, started = CpuMeter(up.parts()), time.perf_counter()
        await asyncio.sleep(round_s)
        used, took_s = meter.used_s(), time.perf_counter() - started
        gateway[number].append(100 * used["gateway"] / took_s)
        redis[number].append(100 * used["Redis"] / took_s)
        if number:
            rates.append(seen[0] / number / took_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return gateway, redis, median(rates)


async def run(shards: int, workers: int, num_rounds: int, round_s: float) -> str:
    """Measure, and lay out what was found."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--shards", str(shards), "--workers", str(workers))
        async with run_up(Path(folder), *options) as up, AsyncClient(up.url) as client:
            await client.put_collection("books", fields={"title": "text"})
            await client.index("books", [{"id": str(n), "title": f"book {n}"} for n in range(1000)])
            gateway, redis, rate = await measure(up, num_rounds, round_s)
    rows = [
        (str(number), f"{median(gateway[number]):.2f} %", f"{median(redis[number]):.2f} %")
        for number in _NUMBERS
    ]
    head = (
        f"On {machine()}; {shards} shards, {workers} workers; medians of {num_rounds} rounds of "
        f"{round_s:g} s, in percent of a core:"
    )
    each = (median(gateway[10]) - median(gateway[1])) / 9
    return "\n".join(
        (
            head,
            "",
            table(("viewers", "gateway", "Redis"), rows),
            "",
            f"A further viewer: {each:.3f} %, and {rate / 1000:.0f} kB a second.",
        )
    )


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    given = parser.parse_args()
    print(asyncio.run(run(given.shards, given.workers, given.rounds, given.seconds)))


if __name__ == "__main__":
    main()
