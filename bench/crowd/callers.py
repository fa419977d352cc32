"""Callers, run by `python -m` as a separate process that prints what they have measured.

There are two kinds of process. The *crowd* has a given number of callers, each of which asks its
next query once the last one has ended; after a refusal a patient caller waits as `Retry-After`
says, and a hasty one does not. The *probe* asks at a steady rate from the address of one of the
callers, over a connection that has been idle for a second. It has hardly anything else to do, so
that the time of a refusal does not include the delays of a busy client.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.harness.http_load import HttpGateway
from bench.harness.load import quantile
from bench.search.inside.callers import Verdict, body_of, judge
from hedgerow.common.lifecycle import calm_collector

COLLECTION: Final = "summaries"
NUM_ADDRESSES: Final = 8
_DEADLINE_S: Final = 0.3  # the default
_GRACE_S: Final = 0.005
_RETRY_AFTER_S: Final = 1.0  # the value of the header, unless queries take longer
_PROBES_PER_S: Final = 50
_SETTLE_S: Final = 2.0  # for the limit to settle before anything is counted
_HIGH_PRIORITY: Final = -10


@dataclass(slots=True)
class Met:
    """The figures of a process's callers, recorded while it counts.

    Attributes:
        whole_s: how long each whole answer took.
        refused_s: how long each refusal took.
    """

    is_counting: bool = False
    whole_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    num_partial: int = 0
    num_failed: int = 0
    failure: str = ""
    cpu_s: float = 0.0

    def note(self, verdict: Verdict, took_s: float) -> None:
        """Record how a query ended."""
        if not self.is_counting:
            return
        if verdict is Verdict.WHOLE:
            self.whole_s.append(took_s)
        elif verdict is Verdict.REFUSED:
            self.refused_s.append(took_s)
        else:
            self.num_partial += 1

    def fail(self, error: Exception) -> None:
        """Record that a query raised an error."""
        if self.is_counting:
            self.num_failed += 1
            self.failure = repr(error)

    def to_json(self, seconds: float) -> dict[str, Any]:
        """As the driver reads it."""
        limit_s = _DEADLINE_S + _GRACE_S
        return {
            "good_per_s": sum(took_s <= limit_s for took_s in self.whole_s) / seconds,
            "whole": len(self.whole_s),
            "partial": self.num_partial,
            "refused": len(self.refused_s),
            "failed": self.num_failed,
            "failure": self.failure,
            "p50_ms": quantile(self.whole_s, 0.5) * 1000,
            "p99_ms": quantile(self.whole_s, 0.99) * 1000,
            "refused_p50_ms": quantile(self.refused_s, 0.5) * 1000,
            "refused_p99_ms": quantile(self.refused_s, 0.99) * 1000,
            "cpu_share": self.cpu_s / seconds,
        }


class Caller:
    """Asks over one connection at a time."""

    def __init__(
        self, address: tuple[str, int], come_from: str, queries: Sequence[str], met: Met
    ) -> None:
        """Ask the gateway at `address`."""
        self._gateway = HttpGateway(*address, 0, "", come_from)
        self._queries = queries
        self._met = met
        self.close = self._gateway.close

    async def ask(self, rng: random.Random) -> bool:
        """Ask one query; returns whether it was refused."""
        body = body_of(rng.choice(self._queries), 10, has_fields=True)
        asked_at = time.perf_counter()
        try:
            verdict = judge(await self._gateway.search(COLLECTION, body))
        except Exception as error:  # noqa: BLE001 - counted
            self._met.fail(error)
            await asyncio.sleep(_RETRY_AFTER_S)
            return False
        self._met.note(verdict, time.perf_counter() - asked_at)
        return verdict is Verdict.REFUSED


def _address(number: int) -> str:
    return f"127.0.0.{2 + number % NUM_ADDRESSES}"


async def _crowd(until: float, callers: Sequence[Caller], *, are_patient: bool) -> None:
    async def call(caller: Caller, number: int) -> None:
        rng = random.Random(number)
        await asyncio.sleep(rng.random() * 0.2)
        while time.perf_counter() < until:
            if await caller.ask(rng) and are_patient:
                await asyncio.sleep(_RETRY_AFTER_S * (1 + 0.2 * rng.random()))

    await asyncio.gather(*(call(one, number) for number, one in enumerate(callers)))


async def _probe(until: float, callers: Sequence[Caller]) -> None:
    rng, tasks, number = random.Random(0), set[asyncio.Task[bool]](), 0
    while time.perf_counter() < until:
        task = asyncio.create_task(callers[number % len(callers)].ask(rng))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
        await asyncio.sleep(rng.expovariate(_PROBES_PER_S))
    await asyncio.gather(*tasks)


async def _run(
    kind: str, num_callers: int, address: tuple[str, int], queries: Sequence[str], seconds: float
) -> None:
    met = Met()
    # With this many connections, none of the probe's usually asks again within a second.
    num_callers = num_callers if kind != "probe" else 2 * _PROBES_PER_S
    callers = [Caller(address, _address(number), queries, met) for number in range(num_callers)]
    calm_collector()
    until = time.perf_counter() + _SETTLE_S + seconds
    if kind == "probe":
        asking = asyncio.create_task(_probe(until, callers))
    else:
        asking = asyncio.create_task(_crowd(until, callers, are_patient=kind == "patient"))
    await asyncio.sleep(_SETTLE_S)
    met.is_counting, cpu_s = True, time.process_time()
    sys.stdout.write("counting\n")
    sys.stdout.flush()
    await asyncio.sleep(seconds)
    met.is_counting, met.cpu_s = False, time.process_time() - cpu_s
    sys.stdout.write(json.dumps(met.to_json(seconds)) + "\n")
    sys.stdout.flush()
    await asyncio.wait([asking], timeout=2.0)
    for caller in callers:
        caller.close()


def main() -> None:
    """Run a crowd or the probe."""
    kind, num_callers, host, port, path, seconds = sys.argv[1:]
    queries = Path(path).read_text(encoding="utf-8").splitlines()
    if kind == "probe" and os.geteuid() == 0:
        os.nice(_HIGH_PRIORITY)
    asyncio.run(_run(kind, int(num_callers), (host, int(port)), queries, float(seconds)))


if __name__ == "__main__":
    main()
