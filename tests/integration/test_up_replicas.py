"""`gateway up --replicas 2`: a death costs no coverage, and copies go where they belong."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hedgerow.common.machine.folder_lock import FolderLock
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.log import ShardLog
from tests.support.servers import RedisServer
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import rested, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

NUM_DOCUMENTS = 300
LINES = "".join(json.dumps({"id": f"d{n}", "title": "amber"}) + "\n" for n in range(NUM_DOCUMENTS))


@asynccontextmanager
async def running(
    data: Path, *options: str, prefix: str = "hedgerow"
) -> AsyncIterator[tuple[Up, Caller]]:
    """A cluster of 4 shards on this folder for the block; then it is drained."""
    async with running_up(data, "--shards=4", *options, HEDGEROW_REDIS__KEY_PREFIX=prefix) as up:
        async with Caller(up.url) as caller:
            yield up, caller
        assert await up.stop() == 0, up.output


async def shards(caller: Caller) -> list[dict[str, Any]]:
    """What the status says of each shard."""
    found: list[dict[str, Any]] = (await caller.http.get("/v1/status")).json()["shards"]
    return found


async def until_replicas(caller: Caller, *wanted: int, timeout_s: float = 60.0) -> None:
    """Wait until the status names this many live replicas of each shard, in shard order."""

    async def are_there() -> bool:
        return [one["replicas"] for one in await shards(caller)] == list(wanted)

    await until(are_there, timeout_s)


async def count(caller: Caller) -> int:
    """How many documents are found; the answer must reflect every shard."""
    result = await caller.found("trees", "amber", k=1, fields=False)
    assert result["coverage"]["is_full"], result
    found: int = result["total_hits"]["value"]
    return found


@dataclass
class Load:
    """Several callers, each asking one query after another."""

    caller: Caller
    deadline_ms: float
    answers: list[dict[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def asking(self, num_callers: int) -> AsyncIterator[None]:
        """Ask for the block."""
        tasks = [asyncio.create_task(self._ask()) for _ in range(num_callers)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    await task  # raises what ended it

    async def _ask(self) -> None:
        while True:
            async with rested():
                answer = await self.caller.search(
                    "trees", "amber", k=5, deadline_ms=self.deadline_ms
                )
            if answer.status_code == 429:  # on a busy machine, six are more than it answers in time
                await asyncio.sleep(answer.json()["retry_after_s"])
                continue
            assert answer.status_code == 200, answer.text
            self.answers.append(answer.json())

    async def more(self, num: int) -> None:
        """Return when this many more answers are there."""
        enough = len(self.answers) + num
        await until(lambda: len(self.answers) >= enough, 60.0)


async def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    """With two replicas, every answer under load is whole, hits' fields included, whichever dies.

    Every query has time for a second try: its deadline is far above the delay of a second copy.
    What the dead worker had in hand is included, and what was sent until its death was known.
    """
    async with running(tmp_path / "data", "--workers=3", "--replicas=2") as (up, caller):
        await caller.make("trees", {"title": "text"})
        await caller.load("trees", LINES)
        await until_replicas(caller, 2, 2, 2, 2)
        load = Load(caller, deadline_ms=5000)
        async with load.asking(num_callers=6):
            for name in ("worker-0", "worker-1", "worker-2"):
                await load.more(100)
                victim = up.pids[name]
                os.kill(victim, signal.SIGKILL)
                await up.pid_of(name, victim)
                await until_replicas(caller, 2, 2, 2, 2)
                await load.more(50)
        assert [_lacks(one) for one in load.answers if _lacks(one)] == []
        assert await count(caller) == NUM_DOCUMENTS


def _lacks(result: dict[str, Any]) -> dict[str, Any]:
    """Why an answer lacks shards, and which hits lack fields; empty when it is whole."""
    lacks = dict(result["coverage"]["degraded"])
    if without := [hit["id"] for hit in result["hits"] if hit["fields"] is None]:
        lacks["fields"] = (without, result["fetch"])
    return lacks


async def test_copies_follow_the_numbers_of_workers_and_replicas(tmp_path: Path) -> None:
    """Documents are found, and each shard's copies are served, whatever the next start asks for."""
    data = tmp_path / "data"
    async with running(data, "--workers=2", "--replicas=2") as (up, caller):
        await caller.make("trees", {"title": "text"})
        await caller.load("trees", LINES)
        assert await count(caller) == NUM_DOCUMENTS
    async with running(data, "--workers=3") as (up, caller):  # as many replicas as there were
        await until_replicas(caller, 2, 2, 2, 2)
        assert await count(caller) == NUM_DOCUMENTS
    async with running(data, "--replicas=1") as (up, caller):
        await until_replicas(caller, 1, 1, 1, 1)
        assert len(list((data / "shards").iterdir())) == 4
        assert await count(caller) == NUM_DOCUMENTS
    async with running(data, "--workers=4", "--replicas=2") as (up, caller):  # as it was left
        await until_replicas(caller, 2, 2, 2, 2)
        assert await count(caller) == NUM_DOCUMENTS
        # Each of the copies answers by itself.
        for name in ("worker-0", "worker-2"):
            os.kill(up.pids[name], signal.SIGSTOP)
        await until_replicas(caller, 1, 1, 1, 1)
        assert await count(caller) == NUM_DOCUMENTS
        for name in ("worker-0", "worker-2"):
            os.kill(up.pids[name], signal.SIGCONT)


async def test_the_number_of_replicas_outlives_a_drain(tmp_path: Path) -> None:
    """A start that names none has as many as before, though a drained worker's copies are gone."""
    data = tmp_path / "data"
    async with running(data, "--workers=2", "--replicas=2") as (_, caller):
        assert (await caller.http.put("/v1/placement/draining/worker-1")).status_code < 300
        await until_replicas(caller, 1, 1, 1, 1)
    async with running(data) as (_, caller):
        await until_replicas(caller, 2, 2, 2, 2)


async def test_a_copy_that_is_new_does_not_answer_for_what_it_has_missed(
    tmp_path: Path, redis_server: RedisServer, key_prefix: str
) -> None:
    """A second replica that the log cannot fill is a gap, and answers stay whole by the first."""
    data = tmp_path / "data"
    server = ("--workers=2", "--redis", redis_server.url)
    async with running(data, *server, prefix=key_prefix) as (_, caller):
        await caller.make("trees", {"title": "text"})
        await caller.load("trees", LINES)
    async with running(data, "--replicas=2", *server, prefix=key_prefix) as (_, caller):
        await until_replicas(caller, 1, 1, 1, 1)
        for _ in range(20):
            assert await count(caller) == NUM_DOCUMENTS
        # A load waits for those that serve.
        await caller.load("trees", '{"id":"new","title":"amber"}\n')
        assert await count(caller) == NUM_DOCUMENTS + 1
    async with running(data, "--replicas=1", *server, prefix=key_prefix) as (_, caller):
        await until_replicas(caller, 1, 1, 1, 1)
        assert await count(caller) == NUM_DOCUMENTS + 1
        # The log keeps nothing for the copies that were given up.
        await caller.load("trees", LINES)
        control = await connect(RedisSettings(url=redis_server.url))
        shard_log = ShardLog(control, Keys(key_prefix))

        async def is_trimmed() -> bool:
            return set((await shard_log.lengths(range(4))).values()) == {0}

        await until(is_trimmed)
        await control.close()


async def test_more_replicas_than_workers_are_refused(tmp_path: Path) -> None:
    """The error names the option, and nothing is left running."""
    data = tmp_path / "data"
    one = await Up.start(data, "--shards", "4", "--workers", "2", "--replicas", "3")
    assert await one.process.wait() == 1
    assert "--replicas 3: there are 2 workers" in one.output
    async with running(data, "--replicas=2"):
        pass
    one = await Up.start(data, "--workers", "1")
    assert await one.process.wait() == 1
    assert "--workers 1: there are 2 replicas of each shard" in one.output


async def test_a_replica_that_starts_late_misses_no_load(tmp_path: Path) -> None:
    """No documents are accepted before every replica is known: it would miss what others apply."""
    data = tmp_path / "data"
    held = FolderLock(data / "workers" / "worker-1" / "shards" / "0", 0.0)
    starting = asyncio.create_task(Up.start(data, "--shards=4", "--workers=2", "--replicas=2"))
    try:
        log = data / "logs" / "worker-0.log"
        await until(lambda: log.exists() and '"ready"' in log.read_text())
        assert not (data / "run" / "gateway.lock").exists()
        held.release()
        async with Caller((await starting).url) as caller:
            await caller.make("trees", {"title": "text"})
            await caller.load("trees", LINES)
            assert await count(caller) == NUM_DOCUMENTS
            status = (await caller.http.get("/v1/status")).json()
            assert [one["replicas"] for one in status["shards"]] == [2] * 4
            assert [one["gaps"] for one in status["workers"]] == [[], []]
        assert await (await starting).stop() == 0
    finally:
        await (await starting).destroy()
