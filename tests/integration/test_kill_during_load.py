"""SIGKILL at random moments of a load, twenty times: every accepted document is there, once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support.write_path import NUM_SHARDS, WritePath, writing
from tests.support.clusters import ndjson
from tests.support.launching import Process, launch
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parent.parent.parent
NUM_KILLS = 20
NUM_IDS = 3000
BATCH_BYTES = 100_000  # small, so that a kill meets each part of a batch's course


class Victim:
    """The process that applies: killed as a whole, or its indexer process alone."""

    def __init__(self, server: RedisServer, prefix: str, data: Path) -> None:
        self._arguments = [server.url, prefix, str(data), str(BATCH_BYTES)]
        self._process: Process | None = None
        self.indexer = 0

    async def start(self) -> None:
        """Start, and return when the shards are open."""
        self.indexer = await asyncio.to_thread(self._start)

    def _start(self) -> int:
        self._process = launch(
            [sys.executable, "-m", "tests.integration.support.apply_process", *self._arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        return int(self._process.stdout.readline().split()[0])

    def kill(self) -> None:
        """SIGKILL; its children end with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def kill_indexer(self) -> None:
        """SIGKILL the indexer process; a new one takes its place."""
        try:
            os.kill(self.indexer, signal.SIGKILL)
        except ProcessLookupError:
            self.kill()


async def write(path: WritePath, rng: random.Random, stop: asyncio.Event) -> dict[str, Any]:
    """Load and delete at random until told to stop; returns the model: what must be there."""
    model: dict[str, Any] = {}
    number = 0
    while not stop.is_set():
        documents: list[dict[str, Any]] = []
        for _ in range(rng.randrange(1, 400)):
            number += 1
            one = f"d{rng.randrange(NUM_IDS)}"
            documents.append({"id": one, "title": f"word{number % 50}", "number": number})
        report = await path.documents.load("books", ndjson(documents), "logged")
        assert report.accepted == len(documents)
        model.update({document["id"]: document for document in documents})
        for one in rng.sample(sorted(model), k=min(3, len(model))):
            await path.documents.delete("books", one, "logged")
            del model[one]
        await asyncio.sleep(0.01)
    return model


async def some_batches(path: WritePath, count: int) -> None:
    """Wait until this many more batches are applied, so that kills meet a worker at its work."""
    for _ in range(count):
        before = await path.log.applied_of(range(NUM_SHARDS))

        async def is_further(before: dict[int, dict[str, str]] = before) -> bool:
            return await path.log.applied_of(range(NUM_SHARDS)) != before

        await until(is_further, timeout_s=120)


async def test_killed_twenty_times(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Whatever is killed at whatever moment, stores and indexes end as a dictionary says."""
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    sys.stdout.write(f"seed {seed}\n")  # pytest shows it when the test fails
    limits = {"max_log_entries": 60}
    # On a busy machine, one shard may be far behind for as long as the other has all the luck.
    async with writing(redis_server, key_prefix, tmp_path, limits, write_timeout_s=900) as path:
        fields = {"title": "text", "number": "integer"}
        uid = (await path.collections.put("books", {"fields": fields})).uid
        victim = Victim(redis_server, key_prefix, tmp_path)
        stop = asyncio.Event()
        writer = asyncio.create_task(write(path, random.Random(seed), stop))
        try:
            await victim.start()
            for _ in range(NUM_KILLS):
                await some_batches(path, rng.randrange(3))
                await asyncio.sleep(rng.uniform(0.0, 0.2))
                if rng.random() < 0.5:
                    victim.kill_indexer()
                victim.kill()
                await victim.start()
            stop.set()
            model = await writer
            await until(path.is_drained, timeout_s=120)
        finally:
            stop.set()
            victim.kill()
            if not writer.done():
                await asyncio.wait([writer])
        await lock_is_free(path, uid)
        assert path.stored(uid) == model
        assert path.indexed(uid) == sorted(model)
        assert (await path.collections.describe("books"))["documents"] == len(model)


async def test_an_indexer_killed_under_a_batch_is_replaced(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Killing only the indexer, again and again, costs time and no document."""

    async def stream() -> AsyncIterator[bytes]:
        for number in range(8000):
            yield b'{"id":"d%d","title":"some words here %d"}\n' % (number, number % 100)
            if number % 50 == 0:
                await asyncio.sleep(0.002)

    async with AsyncExitStack() as stack:
        path = await stack.enter_async_context(writing(redis_server, key_prefix, tmp_path))
        lane = path.indexer_lane()
        await stack.enter_async_context(path.applying(lane))
        uid = (await path.collections.put("books", {"fields": {"title": "text"}})).uid
        loading = asyncio.create_task(path.documents.load("books", stream()))
        killed: set[int] = set()
        while len(killed) < 5 and not loading.done():
            await asyncio.sleep(0.15)
            for pid in lane.load()["pids"]:
                if pid and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
        report = await loading
        assert (report.accepted, report.is_applied) == (8000, True)
        assert len(killed) >= 3
        assert len(path.stored(uid)) == 8000
        assert path.indexed(uid) == sorted(f"d{number}" for number in range(8000))


async def lock_is_free(path: WritePath, uid: str) -> None:
    """Wait until the killed process' children are gone, by tantivy's own lock."""
    async with path.applying():
        assert uid in {report.uid for state in path.states.values() for report in state.collections}
