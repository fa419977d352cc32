"""A cluster that runs out of disk, memory or descriptors: states that end, and no crashes."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from hedgerow.common.errors import WriteRefusedError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.shard_log.log import ShardLog
from hedgerow.common.shard_log.operations import Upsert, pack_op
from tests.integration.support.disks import Disk, small_disk
from tests.support.processes import is_alive, session_members
from tests.support.servers import DURABLE, RedisServer
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

DISK_MB = 60
RESERVE_BYTES = 3_000_000  # 5 % of it


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk of 60 MB."""
    with small_disk(DISK_MB) as one:
        yield one


@pytest.fixture
async def up(disk: Disk) -> AsyncIterator[Up]:
    """A ready cluster on that disk."""
    async with running_up(disk.path / "data", "--shards", "2", "--workers", "1") as one:
        yield one


@pytest.fixture
async def caller(up: Up) -> AsyncIterator[Caller]:
    """Who asks it; a collection is there, with 100 documents."""
    async with Caller(up.url) as one:
        await one.make("trees", {"title": "text"})
        await one.load("trees", lines(range(100)))
        yield one


def lines(numbers: Iterable[int]) -> str:
    """Documents t0, t1 and so on, 1 kB each, that a search for `tree` finds."""
    return "".join(
        json.dumps({"id": f"t{number}", "title": f"tree {number} " + "x" * 1000}) + "\n"
        for number in numbers
    )


async def load_until_refused(caller: Caller, first: int) -> set[str]:
    """Load in small pieces until one is refused; the ids of all that was accepted."""
    accepted: set[str] = set()
    for start in range(first, 1_000_000, 20):
        numbers = range(start, start + 20)
        answer = await caller.http.post(
            "/v1/collections/trees/documents", content=lines(numbers), params={"wait": "logged"}
        )
        if answer.status_code != 200:
            check_refusal(answer.status_code, answer.json(), answer.headers)
            return accepted
        accepted |= {f"t{number}" for number in numbers}
    pytest.fail("nothing was ever refused")


def check_refusal(status: int, problem: dict[str, Any], headers: Any) -> None:
    """A refusal is 507, of its type, with what runs out and when to try again."""
    assert status == 507, problem
    assert problem["type"] == "urn:problem-type:hedgerow:insufficient-storage"
    assert int(headers["Retry-After"]) >= 1
    assert problem["shortages"]
    assert problem["shortages"][0]["detail"] in problem["detail"]


async def shortages(caller: Caller) -> dict[str, str]:
    """Where → state of the disk, as the status says it."""
    status = (await caller.http.get("/v1/status")).json()
    return {one["where"]: one["state"] for one in status["shortages"] if one["resource"] == "disk"}


async def until_short(caller: Caller, expected: dict[str, str]) -> None:
    """Wait until the status says this, and nothing else, of disks."""

    async def is_so() -> bool:
        return await shortages(caller) == expected

    await until(is_so, 60.0)


async def check_searches(caller: Caller, count: int = 20) -> None:
    """Every search is answered in full, with fields, by a deadline that a busy machine can meet."""
    for _ in range(count):
        found = await caller.found("trees", "tree", k=3, deadline_ms=15_000)
        assert found["coverage"]["is_full"], found["shards"]
        assert all(hit["fields"] for hit in found["hits"])


async def check_all_found(caller: Caller, ids: set[str]) -> None:
    """Wait until all that was ever accepted is found."""

    async def are_found() -> bool:
        found = await caller.found("trees", "tree", k=1000, fields=False)
        return ids <= {hit["id"] for hit in found["hits"]}

    assert len(ids) <= 1000, "more than one search can return"
    await until(are_found, 60.0)


def check_no_restart(up: Up) -> None:
    """Every process is the one that was started."""
    assert not any(" is back " in line for line in up.lines), up.output
    assert all(map(is_alive, up.pids.values()))


FIRST = {f"t{number}" for number in range(100)}
SHORT = {"redis": "full", "worker-0": "full"}


async def test_a_full_disk_costs_writes_alone(up: Up, caller: Caller, disk: Disk) -> None:
    """Searches go on, writes get 507, and with room all goes on as before, without a restart."""
    loading = asyncio.create_task(load_until_refused(caller, 100))
    await asyncio.to_thread(disk.fill)
    accepted = FIRST | await loading
    await until_short(caller, SHORT)
    await check_searches(caller)
    for answer in (
        await caller.http.put("/v1/collections/more", json={}),
        await caller.http.post("/v1/collections/trees/optimise"),
        await caller.http.post("/v1/collections/trees/documents", content=lines([1])),
        await caller.http.delete("/v1/collections/trees/documents/t1"),
    ):
        check_refusal(answer.status_code, answer.json(), answer.headers)
    check_no_restart(up)
    disk.free()
    await until_short(caller, {})
    await check_searches(caller)
    await check_all_found(caller, accepted)
    assert (await caller.load("trees", lines([100_000])))["applied"]
    assert (await caller.http.delete("/v1/collections/trees/documents/t1")).status_code == 204
    check_no_restart(up)
    said = [line for line in up.lines if "shortage" in line or "redis_file" in line]
    assert any("redis_file_suspended" in line for line in said)
    assert any("redis_file_resumed" in line for line in said)


async def test_a_low_disk_keeps_its_reserve_for_what_was_accepted(
    up: Up, caller: Caller, disk: Disk
) -> None:
    """Below the reserve documents are refused; deletes are taken, and searches go on."""
    disk.fill(leave_bytes=RESERVE_BYTES * 2 // 3)
    await until_short(caller, {"redis": "low", "worker-0": "low"})
    answer = await caller.http.post("/v1/collections/trees/documents", content=lines([1]))
    check_refusal(answer.status_code, answer.json(), answer.headers)
    assert (await caller.http.delete("/v1/collections/trees/documents/t1")).status_code == 204
    await check_searches(caller)
    disk.free()
    await until_short(caller, {})
    await caller.load("trees", lines([1]))
    check_no_restart(up)


async def test_a_disk_that_turns_read_only_costs_writes_alone(
    up: Up, caller: Caller, disk: Disk
) -> None:
    """It is distinguished from a full one, and ends as one does."""
    folder = disk.path / "data"
    disk.protect(folder)
    await until_short(caller, {"redis": "read_only", "worker-0": "read_only"})
    answer = await caller.http.post("/v1/collections/trees/documents", content=lines([1]))
    check_refusal(answer.status_code, answer.json(), answer.headers)
    assert "read-only" in answer.json()["detail"]
    await check_searches(caller)
    disk.allow(folder)
    await until_short(caller, {})
    assert (await caller.load("trees", lines([100_000])))["applied"]
    check_no_restart(up)


async def test_a_server_that_dies_while_its_disk_is_full_loses_nothing(
    up: Up, caller: Caller, disk: Disk
) -> None:
    """What was accepted before is there when it has been started again and there is room."""
    loading = asyncio.create_task(load_until_refused(caller, 100))
    await asyncio.to_thread(disk.fill)
    accepted = FIRST | await loading
    await until_short(caller, SHORT)
    os.kill(up.pids["redis"], signal.SIGKILL)
    await up.pid_of("redis", up.pids["redis"])
    await caller.until_whole("trees", "tree", 60.0)
    await until_short(caller, SHORT)
    disk.free()
    await until_short(caller, {})
    await check_all_found(caller, accepted)
    assert (await caller.load("trees", lines([100_000])))["applied"]
    assert sum(" is back " in line for line in up.lines) == 1


async def test_a_worker_that_dies_while_its_disk_is_full_serves_again(
    up: Up, caller: Caller, disk: Disk
) -> None:
    """It opens what it has, though nothing can be written, and searches go on."""
    disk.fill()
    await until_short(caller, SHORT)
    os.kill(up.pids["worker-0"], signal.SIGKILL)
    await up.pid_of("worker-0", up.pids["worker-0"])
    await caller.until_whole("trees", "tree", 60.0)
    await check_searches(caller)
    disk.free()
    await until_short(caller, {})
    assert (await caller.load("trees", lines([100_000])))["applied"]
    assert sum(" is back " in line for line in up.lines) == 1


async def test_what_was_appended_survives_the_server_that_filled_its_disk(
    key_prefix: str,
) -> None:
    """Of appends that have returned, none is lost when the server is killed amid a full disk."""
    with small_disk(6) as disk:
        server = RedisServer(disk.path, DURABLE)
        server.start()
        try:
            appended = await _append_until_refused(server, key_prefix)
            server.stop(kill=True)
            server.start()
            control = await connect(RedisSettings(url=server.url))
            ids = await ShardLog(control, Keys(key_prefix)).ids(0, "+")
            assert appended <= set(ids)
            await control.close()
        finally:
            server.stop(kill=True)


async def _append_until_refused(server: RedisServer, key_prefix: str) -> set[str]:
    control = await connect(RedisSettings(url=server.url))
    log, appended = ShardLog(control, Keys(key_prefix)), set[str]()
    op = pack_op(Upsert("u", [("a", b'{"x": "%s"}' % (b"x" * 3000))]))

    async def append_for_ever() -> None:
        while True:
            appended.add((await log.append(0, op)).id)

    with pytest.raises(WriteRefusedError) as refused:
        await append_for_ever()
    assert refused.value.cause == "disk"
    await control.close()
    assert appended
    return appended


async def test_memory_that_runs_out_costs_writes_alone(tmp_path: Path) -> None:
    """From 80 % of maxmemory on documents get 507, and searches go on; freed, all is taken."""
    async with (
        running_up(
            tmp_path / "data",
            "--shards",
            "2",
            "--workers",
            "1",
            HEDGEROW_STORAGE__EMBEDDED_MAX_MEMORY_MB="20",
        ) as one,
        Caller(one.url) as caller,
    ):
        await caller.make("trees", {"title": "text"})
        await caller.load("trees", lines(range(100)))
        socket = tmp_path / "data" / "redis" / "valkey.sock"
        async with Redis(unix_socket_path=str(socket)) as redis:
            for number in range(7):
                await redis.set(f"filler-{number}", b"x" * 2_000_000)
            await until(lambda: _is_refused(caller, "memory"), 60.0)
            await check_searches(caller)
            await redis.delete(*(f"filler-{number}" for number in range(7)))
        await until(lambda: _is_taken(caller), 60.0)
        check_no_restart(one)


async def test_a_server_that_begins_to_evict_takes_no_documents(tmp_path: Path) -> None:
    """Documents get 507 with the policy's name, and searches go on; set back, all is taken."""
    async with (
        running_up(tmp_path / "data", "--shards", "2", "--workers", "1") as one,
        Caller(one.url) as caller,
    ):
        await caller.make("trees", {"title": "text"})
        await caller.load("trees", lines(range(100)))
        socket = tmp_path / "data" / "redis" / "valkey.sock"
        async with Redis(unix_socket_path=str(socket)) as redis:
            await redis.config_set("maxmemory-policy", "allkeys-lfu")
            await until(lambda: _is_refused(caller, "memory"), 60.0)
            await check_searches(caller)
            await redis.config_set("maxmemory-policy", "noeviction")
        await until(lambda: _is_taken(caller), 60.0)
        check_no_restart(one)


async def _is_refused(caller: Caller, what: str) -> bool:
    answer = await caller.http.post("/v1/collections/trees/documents", content=lines([1]))
    if answer.status_code == 200:
        return False
    check_refusal(answer.status_code, answer.json(), answer.headers)
    return bool(answer.json()["shortages"][0]["resource"] == what)


async def _is_taken(caller: Caller) -> bool:
    answer = await caller.http.post("/v1/collections/trees/documents", content=lines([1]))
    return answer.status_code == 200


async def test_a_worker_without_descriptors_waits_for_them(tmp_path: Path) -> None:
    """It says so, goes on with what it has open, and applies what was logged when it has more."""
    async with (
        running_up(tmp_path / "data", "--shards", "2", "--workers", "1") as one,
        Caller(one.url) as caller,
    ):
        await caller.make("trees", {"title": "text"})
        await caller.load("trees", lines(range(100)))
        await check_searches(caller, 50)  # every scorer and thread has opened what it reads
        pids = session_members({one.pids["worker-0"]})
        before = {pid: _limit_descriptors(pid, 3) for pid in pids}
        logged = await caller.load("trees", lines([100]), wait="logged")
        assert logged["accepted"] == 1
        await until(lambda: _lacks(caller, "descriptors"), 60.0)
        for pid, limit in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
        await check_all_found(caller, {"t100"})
        await until(lambda: _lacks_nothing(caller), 60.0)
        await check_searches(caller)
        check_no_restart(one)


def _limit_descriptors(pid: int, soft: int) -> tuple[int, int]:
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, before[1]))
    return before


async def _lacks(caller: Caller, what: str) -> bool:
    status = (await caller.http.get("/v1/status")).json()
    return any(one["resource"] == what for one in status["shortages"])


async def _lacks_nothing(caller: Caller) -> bool:
    status = (await caller.http.get("/v1/status")).json()
    return not status["shortages"]


async def test_a_start_on_a_full_disk_says_why(disk: Disk) -> None:
    """`gateway up` on a new folder of a full disk ends with the reason, and leaves nothing."""
    disk.fill()
    one = await Up.start(disk.path / "data", "--shards", "2", "--workers", "1")
    try:
        await until(lambda: one.has_ended, 90.0, what="it has ended")
        assert "No space left on device" in one.output, one.output
        assert await one.process.wait() == 1
        assert not one.living()
    finally:
        await one.destroy()
