"""`python -m bench.failover`: what searches and writes see while Redis fails over, many times.

A cluster runs on a replicated Valkey under three sentinels, with callers that search and callers
that write all the time. The primary is killed (SIGKILL) or stopped (SIGSTOP) in turns, and each
time the sentinels make one of its replicas the primary. A server that was stopped goes on after the
switch: it still takes itself for the primary, and what is written to it then is lost.

At the end, every document whose write was acknowledged must be found in each replica of its shard.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import structlog

from bench.harness.cluster import start_workers, stop_workers
from bench.harness.redis_cluster import RedisCluster
from bench.harness.report import median, show
from bench.harness.sentinels import Node, Sentinels, running_sentinels
from hedgerow.common.errors import (
    HedgerowError,
    InsufficientCoverageError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from hedgerow.common.redis.connection import RedisConnection
from hedgerow.common.redis.endpoint import Endpoint
from hedgerow.common.redis.handshake import Handshake
from hedgerow.common.redis.sentinels import SWITCH
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway.gateway import Gateway
from hedgerow.gateway.search.result import SearchQuery

COLLECTION: Final = "notes"
DEADLINE_MS: Final = 500.0
NUM_SHARDS: Final = 2
NUM_WORKERS: Final = 2  # each with all shards, so that they are replicas of each other
SEARCHERS: Final = 4
WRITERS: Final = 2
PAUSE_S: Final = 0.01
OBSERVED_S: Final = 3.0  # after each failover
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Search:
    """One search: when it began and ended, and whether its answer was whole, partial or refused."""

    began_at: float
    ended_at: float
    kind: str

    def is_whole_since(self, since: float) -> bool:
        """Whether it began after `since`, and its answer was whole."""
        return self.kind == "whole" and self.began_at > since


@dataclass
class Traffic:
    """Callers that search and write until they are stopped, and what they have seen.

    Attributes:
        deadline_ms: of each search.
        pause_s: how long a caller waits after each search and write.
        searches: all searches, in the order of their ends.
        acknowledged: when each write was acknowledged, and the document's id.
        refused: how often a write was reported as not acknowledged.
        errors: what those reports said, and how often.
        reasons: why answers were not whole, and when the last of them came.
    """

    gateway: Gateway
    deadline_ms: float = DEADLINE_MS
    pause_s: float = PAUSE_S
    searches: list[Search] = field(default_factory=list)
    acknowledged: list[tuple[float, str]] = field(default_factory=list)
    refused: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, float] = field(default_factory=dict)
    _acknowledged_more: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(
        self, searchers: int = SEARCHERS, writers: int = WRITERS
    ) -> AsyncIterator[None]:
        """Search and write for the block."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._search()) for _ in range(searchers)]
            tasks += [group.create_task(self._write(number)) for number in range(writers)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def late_s(self) -> float:
        """How long after its deadline the latest answer came, in s."""
        return max(one.ended_at - one.began_at - self.deadline_ms / 1000 for one in self.searches)

    def num_whole(self, since: float) -> int:
        """How many of the latest answers in a row are whole, of searches begun after `since`."""
        latest = reversed(self.searches)
        return sum(1 for _ in takewhile(lambda one: one.is_whole_since(since), latest))

    def not_whole_until(self, since: float) -> float:
        """When the last answer that was not whole came, after `since`; `since` if there is none."""
        ends = [one.ended_at for one in self.searches if one.kind != "whole"]
        return max([since, *ends])

    async def acknowledged_after(self, since: float) -> float:
        """When the first write was acknowledged after `since`; waits for one."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                self._acknowledged_more.clear()
                if self.acknowledged and self.acknowledged[-1][0] > since:
                    return next(at for at, _ in self.acknowledged if at > since)
                await self._acknowledged_more.wait()

    async def _search(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began_at, kind = loop.time(), "whole"
            try:
                result = await self.gateway.search(
                    SearchQuery(COLLECTION, "note", deadline_ms=self.deadline_ms)
                )
                if not result.coverage.is_full:
                    kind = "partial"
                    self.reasons[str(result.coverage.degraded)] = loop.time()
            except (InsufficientCoverageError, UnavailableError, OverloadedError) as error:
                kind = type(error).__name__
                self.reasons[str(error)] = loop.time()
            self.searches.append(Search(began_at, loop.time(), kind))
            await asyncio.sleep(self.pause_s)

    async def _write(self, writer: int) -> None:
        number = 0
        while True:
            number += 1
            name = f"w{writer}-{number}"
            body = json.dumps({"id": name, "title": f"note {name}"}).encode()
            try:
                await self.gateway.documents.put(
                    COLLECTION, name, _lines(body), "applied" if number % 8 == 0 else "logged"
                )
                self.acknowledged.append((asyncio.get_running_loop().time(), name))
                self._acknowledged_more.set()
            except HedgerowError as error:
                self.refused += 1
                text = type(error).__name__
                self.errors[text] = self.errors.get(text, 0) + 1
            await asyncio.sleep(self.pause_s)


async def _lines(*lines: bytes) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


@dataclass(frozen=True, slots=True)
class Failover:
    """What one failover looked like, in s after the sentinels announced the new primary.

    Attributes:
        signal: how the old one was ended.
        switches: how many new primaries were announced; the last one counts.
        decided_s: from that to the first announcement.
        first_s: to the first whole answer.
        whole_s: to the last answer that was not whole.
        confirmed_s: to the first write that was acknowledged.
        last_reason: why the last answer that was not whole was not.
    """

    signal: str
    switches: int
    decided_s: float
    first_s: float
    whole_s: float
    confirmed_s: float
    last_reason: str


class SwitchWatch:
    """Notes when a sentinel is the first to announce a new primary.

    Attributes:
        switches: when, on the loop's clock, and the new primary's port.
    """

    def __init__(self, sentinels: Sentinels) -> None:
        self.switches: list[tuple[float, int]] = []
        self._changed = asyncio.Event()
        self._connections = [
            RedisConnection(
                Endpoint.of(RedisSettings(url=f"redis://{node.address}")),
                name="watch",
                silence_s=5.0,
                on_connect=_subscribe,
                on_message=self._on_message,
            )
            for node in sentinels.sentinels
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["SwitchWatch"]:
        """Watch for the block."""
        for connection in self._connections:
            await connection.start(5)
        try:
            yield self
        finally:
            await asyncio.gather(*(connection.close() for connection in self._connections))

    async def next(self) -> float:
        """When the next new primary is announced, on the loop's clock."""
        num_before = len(self.switches)
        while len(self.switches) == num_before:
            self._changed.clear()
            await self._changed.wait()
        return self.switches[-1][0]

    def _on_message(self, message: Any) -> None:
        if isinstance(message, list) and message[0] == b"message":
            port = int(message[2].split()[4])
            if not self.switches or self.switches[-1][1] != port:
                self.switches.append((asyncio.get_running_loop().time(), port))
                self._changed.set()


async def _subscribe(handshake: Handshake) -> None:
    handshake.subscribe(SWITCH)


async def fail_over(
    sentinels: Sentinels,
    traffic: Traffic,
    watch: SwitchWatch,
    how: signal.Signals,
    observed_s: float = OBSERVED_S,
) -> tuple[Failover, Node]:
    """End the primary and watch for what follows; returns that, and the old primary."""
    loop = asyncio.get_running_loop()
    old = sentinels.primary()
    ended_at = loop.time()
    old.signal(how)
    num_before = len(watch.switches)
    async with asyncio.timeout(_PATIENCE_S):
        decided_s = await watch.next() - ended_at
    await asyncio.sleep(observed_s)
    switched_at = watch.switches[-1][0]  # two sentinels may have begun a failover each
    confirmed = await traffic.acknowledged_after(switched_at)
    whole = [
        one.ended_at
        for one in traffic.searches
        if one.ended_at > switched_at and one.kind == "whole"
    ]
    return (
        Failover(
            how.name,
            len(watch.switches) - num_before,
            decided_s,
            min(whole, default=math.inf) - switched_at,
            traffic.not_whole_until(switched_at) - switched_at,
            confirmed - switched_at,
            max(traffic.reasons, key=traffic.reasons.__getitem__, default=""),
        ),
        old,
    )


async def bring_back(sentinels: Sentinels, old: Node, how: signal.Signals) -> None:
    """Make the old primary a replica of the new one; first, let one that was stopped go on."""
    if how is signal.SIGSTOP:
        old.signal(signal.SIGCONT)
        await asyncio.sleep(0.5)
    old.kill()
    sentinels.start_replica(old, of=sentinels.primary())
    give_up_at = time.monotonic() + _PATIENCE_S
    while not sentinels.is_whole():
        if time.monotonic() > give_up_at:
            raise TimeoutError("the old primary does not become a replica")
        await asyncio.sleep(0.2)


@contextlib.contextmanager
def workers_on(servers: Sentinels | RedisCluster, num_shards: int = NUM_SHARDS) -> Iterator[None]:
    """Run the workers for the block, each with all shards."""
    variables = {
        **os.environ,
        "HEDGEROW_LOG_LEVEL": "error",
        "HEDGEROW_WORKER__SCORERS": "1",
        "HEDGEROW_WORKER__WORKERS_ON_HOST": str(NUM_WORKERS),
        **servers.environment,
    }
    layout = [range(num_shards)] * NUM_WORKERS
    url = servers.environment["HEDGEROW_REDIS__URL"]
    workers = start_workers(layout, servers.folder, url, num_shards, variables)
    try:
        yield
    finally:
        stop_workers(workers)


@asynccontextmanager
async def gateway_on(
    servers: Sentinels | RedisCluster, min_replicas: int, num_shards: int = NUM_SHARDS
) -> AsyncIterator[Gateway]:
    """A gateway in this process, once all replicas are live, and with a collection."""
    settings = Settings(redis=servers.settings(min_replicas=min_replicas))
    async with Gateway.connect(settings, num_shards) as gateway:
        give_up_at = time.monotonic() + _PATIENCE_S
        while not await _is_live(gateway):
            if time.monotonic() > give_up_at:
                raise TimeoutError("the workers did not get ready")
            await asyncio.sleep(0.05)
        await gateway.collections.put(COLLECTION, {"fields": {"title": "text"}})
        body = json.dumps({"id": "first", "title": "note"}).encode()
        await gateway.documents.put(COLLECTION, "first", _lines(body), "applied")
        yield gateway


async def _is_live(gateway: Gateway) -> bool:
    shards = (await gateway.status())["shards"]
    return all(len(shard["workers"]) == NUM_WORKERS for shard in shards)


async def lost(gateway: Gateway, ids: Sequence[str]) -> list[str]:
    """Which of these documents cannot be read."""
    missing = []
    for one in ids:
        try:
            await gateway.get_document(COLLECTION, one, 5000.0)
        except NotFoundError:
            missing.append(one)
    return missing


async def document_counts(gateway: Gateway) -> list[dict[int, int]]:
    """For each live worker, how many documents of the collection it has in each shard."""
    status = await gateway.status()
    return [
        {int(shard): sum(counts.values()) for shard, counts in worker["documents"].items()}
        for worker in status["workers"]
    ]


async def measure(
    num_failovers: int, min_replicas: int, min_replicas_to_write: int
) -> dict[str, Any]:
    """Run it; returns all figures."""
    with running_sentinels(min_replicas_to_write) as sentinels, workers_on(sentinels):
        async with (
            gateway_on(sentinels, min_replicas) as gateway,
            SwitchWatch(sentinels).running() as watch,
        ):
            traffic = Traffic(gateway)
            failovers = []
            async with traffic.running():
                await asyncio.sleep(1.0)
                for number in range(num_failovers):
                    how = (signal.SIGKILL, signal.SIGSTOP)[number % 2]
                    seen, old = await fail_over(sentinels, traffic, watch, how)
                    failovers.append(seen)
                    sys.stderr.write(f"{number + 1}: {seen}\n")
                    await bring_back(sentinels, old, how)
            # An empty load waits until all that was logged is applied.
            await gateway.documents.load(COLLECTION, _lines(), "applied")
            kinds = [one.kind for one in traffic.searches]
            return {
                "failovers": failovers,
                "searches": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
                "late_ms": traffic.late_s() * 1000,
                "acknowledged": len(traffic.acknowledged),
                "refused": traffic.errors,
                "lost": await lost(gateway, [name for _, name in traffic.acknowledged]),
                "documents": await document_counts(gateway),
                "breakers": [shard["breaker"] for shard in (await gateway.status())["shards"]],
            }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it, and print the table of docs/redis.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description=__doc__)
    parser.add_argument("--failovers", type=int, default=50)
    parser.add_argument("--min-replicas", type=int, default=1)
    parser.add_argument("--min-replicas-to-write", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = asyncio.run(
        measure(options.failovers, options.min_replicas, options.min_replicas_to_write)
    )
    rows = []
    for name in ("SIGKILL", "SIGSTOP"):
        some = [one for one in found["failovers"] if one.signal == name]
        if some:
            rows.append([name, str(len(some))])
            for part in ("decided_s", "first_s", "whole_s", "confirmed_s"):
                values = [getattr(one, part) for one in some]
                rows[-1].append(f"{median(values):.2f} ({max(values):.2f})")
    about = (
        f"{options.failovers} failovers, redis.min_replicas {options.min_replicas}; "
        f"searches {found['searches']}, at most {found['late_ms']:.1f} ms after their deadline; "
        f"{found['acknowledged']} writes acknowledged, {len(found['lost'])} of them lost, "
        f"not acknowledged {found['refused']}; documents by worker {found['documents']}; "
        f"breakers {found['breakers']}"
    )
    columns = (
        "the primary gets",
        "times",
        "until the sentinels switch, s",
        "then until the first whole answer",
        "until all are whole",
        "until a write is acknowledged",
    )
    show(about, columns, rows)
    if options.json:
        everything = {**found, "failovers": [str(one) for one in found["failovers"]]}
        options.json.write_text(json.dumps(everything, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
