"""`gateway up`: a whole cluster of real processes, and what is left of it however it ends."""

import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.cores import num_cores
from gateway.cli.serve import listen
from gateway.sizing import plan_for
from tests.integration.processes import eventually, is_alive, processes_mentioning
from tests.integration.up_process import Caller, Up

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WORDS = ("amber", "birch", "cedar", "dogwood", "elder", "fir", "gorse", "hazel")
TITLES = [f"{WORDS[number % 8]} {WORDS[number // 8 % 8]}" for number in range(400)]
LINES = "".join(
    json.dumps({"id": f"d{number}", "title": title}) + "\n" for number, title in enumerate(TITLES)
)
NUM_MATCHES = sum("amber" in title or "cedar" in title for title in TITLES)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """A ready cluster of 4 shards and 2 workers."""
    one = await Up.start(tmp_path / "data", "--shards", "4", "--workers", "2")
    try:
        assert one.url, one.output
        yield one
    finally:
        await one.destroy()


async def _loaded(caller: Caller) -> set[str]:
    """Load the documents; the answer to one question over all of them."""
    await caller.make("trees", {"title": "text"})
    loaded = await caller.load("trees", LINES)
    assert loaded["accepted"] == 400
    return await _answer(caller)


async def _answer(caller: Caller) -> set[str]:
    """All that matches. Its order may change for a while, until term statistics are spread."""
    result = await caller.found("trees", "amber cedar", k=400, fields=False)
    assert result["coverage"]["is_full"]
    found = {hit["id"] for hit in result["hits"]}
    assert len(found) == result["total_hits"]["value"] == NUM_MATCHES
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_drain_leaves_nothing(up: Up, number: signal.Signals) -> None:
    """SIGTERM, Ctrl-C or a closed terminal: exit 0, and no process is left."""
    assert set(up.pids) == {"redis", "worker-0", "worker-1", "gateway"}
    before = up.living()
    assert set(up.pids.values()) <= before
    assert await up.stop(number) == 0, up.output
    assert up.living() == set()
    assert not any(map(is_alive, before))
    assert "did not drain" not in up.output


async def test_the_drain_has_one_order(up: Up, tmp_path: Path) -> None:
    """The gateway has ended before a worker drains, and the workers before Redis does."""
    assert await up.stop() == 0
    logs = tmp_path / "data" / "logs"

    def at(name: str, event: str) -> str:
        lines = map(json.loads, (logs / f"{name}.log").read_text().splitlines())
        return str(next(line["timestamp"] for line in lines if line["event"] == event))

    workers = ("worker-0", "worker-1")
    assert at("gateway", "stopped") < min(at(worker, "draining") for worker in workers)
    # What Redis says last is that it goes; what the workers say last, that they have gone.
    written = {log.stem: log.stat().st_mtime_ns for log in logs.glob("*.log")}
    assert max(written[worker] for worker in workers) < written["redis"]
    assert "bye bye" in (logs / "redis.log").read_text()


async def test_a_killed_supervisor_leaves_nothing(up: Up) -> None:
    """After SIGKILL of the supervisor nothing that it started is alive within seconds."""
    before = up.living()
    assert len(before) > 4, "scorers are processes too"
    await up.stop(signal.SIGKILL)
    await eventually(lambda: not any(map(is_alive, before)), "everything is gone", 10.0)
    assert up.living() == set()


async def test_state_survives_a_restart(up: Up, tmp_path: Path) -> None:
    """The same folder gives the same answers, without --shards and without indexing again."""
    async with Caller(up.url) as caller:
        answer = await _loaded(caller)
    assert await up.stop() == 0
    again = await Up.start(tmp_path / "data")
    try:
        assert again.url, again.output
        assert "for the 4 shards that the cluster has; --workers changes it" in again.output
        async with Caller(again.url) as caller:
            assert await _answer(caller) == answer
    finally:
        await again.destroy()


async def test_it_sizes_itself_by_the_machine(tmp_path: Path) -> None:
    """Without options a new cluster has what fits the cores, and a line says so."""
    cores = num_cores()
    plan = plan_for(cores)
    one = await Up.start(tmp_path / "data")
    try:
        assert one.url, one.output
        workers = {name for name in one.pids if name.startswith("worker-")}
        assert len(workers) == plan.num_workers
        told = re.search(r"^(\d+) cores?: .* for (\d+) shards?; (.*)$", one.output, re.MULTILINE)
        assert told is not None, one.output
        assert (int(told[1]), int(told[2])) == (cores, plan.num_shards)
        assert told[3] == "--shards and --workers change it"
        async with Caller(one.url) as caller:
            status = (await caller.http.get("/v1/status")).json()
        assert len(status["shards"]) == plan.num_shards
        lanes = [worker["lanes"]["process"]["capacity"] for worker in status["workers"]]
        assert sum(lanes) <= max(cores, plan.num_workers)
    finally:
        await one.destroy()


async def test_a_folder_keeps_its_shards_when_redis_is_lost(up: Up, tmp_path: Path) -> None:
    """A folder of 4 shards is not read as a new cluster of as many as fit the machine."""
    assert await up.stop() == 0
    shutil.rmtree(tmp_path / "data" / "redis")
    again = await Up.start(tmp_path / "data")
    try:
        assert again.url, again.output
        assert "for the 4 shards that the cluster has" in again.output
    finally:
        await again.destroy()


async def test_state_survives_a_kill_of_everything(up: Up, tmp_path: Path) -> None:
    """A start right after SIGKILL of the supervisor waits for what drains, and loses nothing."""
    async with Caller(up.url) as caller:
        answer = await _loaded(caller)
    await up.stop(signal.SIGKILL)
    again = await Up.start(tmp_path / "data", "--workers", "2")
    try:
        assert again.url, again.output
        async with Caller(again.url) as caller:
            assert await _answer(caller) == answer
    finally:
        await again.destroy()


async def test_a_killed_worker_is_unavailable_at_once_and_comes_back(tmp_path: Path) -> None:
    """The shards of a worker that died are refused without a wait, and answer again soon.

    Its last heartbeat holds for longer than the test: that it is dead is known otherwise.
    """
    up = await Up.start(
        *(tmp_path / "data", "--shards", "4", "--workers", "2"),
        HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S="300",
    )
    try:
        assert up.url, up.output
        async with Caller(up.url) as caller:
            answer = await _loaded(caller)
            victim = up.pids["worker-1"]
            os.kill(victim, signal.SIGKILL)
            result: dict[str, Any] = {"coverage": {"degraded": {}}}
            while result["coverage"]["degraded"] != {"unavailable": 2}:
                result = await caller.found("trees", "amber cedar", deadline_ms=300)
            await up.pid_of("worker-1", victim)
            await caller.until_whole("trees", "amber")
            assert await _answer(caller) == answer
    finally:
        await up.destroy()


async def test_a_killed_gateway_comes_back_at_its_port(up: Up) -> None:
    """The gateway is restarted where it was, though its port was any free one."""
    async with Caller(up.url) as caller:
        answer = await _loaded(caller)
        os.kill(up.pids["gateway"], signal.SIGKILL)
        await up.pid_of("gateway", up.pids["gateway"])
        await caller.until_whole("trees", "amber")
        assert await _answer(caller) == answer


async def test_a_killed_redis_loses_no_acknowledged_document(up: Up) -> None:
    """Redis killed in the middle of a load: 503 at worst, and what was accepted is found."""
    async with Caller(up.url) as caller:
        await caller.make("trees", {"title": "text"})
        accepted: set[str] = set()
        for part in range(6):
            ids = [f"p{part}-{number}" for number in range(50)]
            lines = "".join(json.dumps({"id": one, "title": "amber"}) + "\n" for one in ids)
            if part == 3:
                os.kill(up.pids["redis"], signal.SIGKILL)
            answer = await caller.http.post(
                "/v1/collections/trees/documents", content=lines, params={"wait": "logged"}
            )
            assert answer.status_code in {200, 503}, answer.text
            if answer.is_success and answer.json()["accepted"] == 50:
                accepted.update(ids)
        await up.pid_of("redis", up.pids["redis"])
        assert len(accepted) >= 150
        await caller.until_whole("trees", "amber")

        async def missing() -> set[str]:
            result = await caller.found("trees", "amber", k=1000, fields=False)
            return accepted - {hit["id"] for hit in result["hits"]}

        deadline = time.monotonic() + 20
        while left := await missing():
            assert time.monotonic() < deadline, f"lost: {sorted(left)[:5]}"


async def test_what_is_stored_is_this_user_s_alone(tmp_path: Path) -> None:
    """With documents loaded, found and copied, no other user can read a file or enter a folder."""
    target = tmp_path / "snapshots"
    before = os.umask(0o022)
    try:
        one = await Up.start(
            *(tmp_path / "data", "--shards", "2", "--workers", "2", "--replicas", "2"),
            HEDGEROW_SNAPSHOTS__URL=str(target),
        )
    finally:
        os.umask(before)
    try:
        async with Caller(one.url) as caller:
            await _loaded(caller)
            assert (await caller.http.post("/v1/snapshots")).is_success
        await eventually(lambda: len([*target.rglob("manifest.json")]) == 2, "snapshots", 30.0)
        await eventually(lambda: any((tmp_path / "data").rglob("statistics/*")), "statistics", 30.0)
        for folder in (tmp_path / "data", target):
            found = [folder, *folder.rglob("*")]
            assert len(found) > 10
            assert [path for path in found if _mode(path) & 0o077] == []
    finally:
        await one.destroy()


def _mode(path: Path) -> int:
    """Of a file that may be gone by now: a snapshot's are made in a folder of its own."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


async def test_a_folder_in_use_is_refused(up: Up, tmp_path: Path) -> None:
    """A second `up` on the folder says who uses it, and does the first no harm."""
    second = await Up.start(tmp_path / "data")
    assert await second.process.wait() == 1
    assert f"another `gateway up` uses this folder (process {up.process.pid})" in second.output
    assert not second.pids
    async with Caller(up.url) as caller:
        assert (await caller.http.get("/readyz")).status_code == 200


async def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A port that is taken is named; no process was started, and no folder was made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        one = await Up.start(tmp_path / "data", "--port", port)
        assert await one.process.wait() == 1
    assert f"--port {port}: cannot bind 127.0.0.1: Address already in use" in one.output
    assert not (tmp_path / "data").exists()


async def test_another_number_of_shards_is_refused(up: Up, tmp_path: Path) -> None:
    """The number of shards is fixed; a wrong one is told with the right one."""
    assert await up.stop() == 0
    one = await Up.start(tmp_path / "data", "--shards", "6")
    assert await one.process.wait() == 1
    assert "6" in one.output
    assert "4 shards" in one.output
    again = await Up.start(tmp_path / "data", "--workers", "5")
    assert await again.process.wait() == 1
    assert "there are 4 shards" in again.output


async def test_a_worker_that_cannot_start_ends_it_all(tmp_path: Path) -> None:
    """A profile that no worker can use ends `up` with the reason, and leaves nothing."""
    one = await Up.start(
        tmp_path / "data", HEDGEROW_RANK_PROFILES__BAD__SECOND_PHASE="no_such_module:score"
    )
    assert await one.process.wait() == 1
    assert "at its start" in one.output
    assert "No module named 'no_such_module'" in one.output
    assert "stopped; no process is left" in one.output
    assert processes_mentioning(str(tmp_path)) == {}


async def test_a_password_is_refused_where_there_is_none(tmp_path: Path) -> None:
    """A Redis password without --redis is told of, since the embedded server takes none."""
    one = await Up.start(tmp_path / "data", HEDGEROW_REDIS__PASSWORD="secret")
    assert await one.process.wait() == 1
    assert "redis.password: the embedded server takes none" in one.output
    assert "secret" not in one.output


async def test_a_gateway_that_wants_a_token_gets_ready(tmp_path: Path) -> None:
    """The start asks with the token of the settings; who has none is refused."""
    one = await Up.start(
        tmp_path / "data", "--shards", "1", "--workers", "1", HEDGEROW_GATEWAY__TOKEN="secret"
    )
    try:
        assert one.url, one.output
        async with Caller(one.url) as caller:
            assert (await caller.http.get("/v1/status")).status_code == 401
    finally:
        await one.destroy()


async def test_a_server_of_our_own_choice(tmp_path: Path, redis_server: object) -> None:
    """--redis uses that server, starts none, and leaves it running."""
    url = str(redis_server.url)  # type: ignore[attr-defined]  # tests.conftest.RedisServer
    one = await Up.start(
        tmp_path / "data",
        *("--redis", url, "--shards", "2", "--workers", "1"),
        HEDGEROW_REDIS__KEY_PREFIX=f"test-up-{os.getpid()}",
    )
    try:
        assert one.url, one.output
        assert "redis" not in one.pids
        async with Caller(one.url) as caller:
            await _loaded(caller)
        assert await one.stop() == 0
    finally:
        await one.destroy()
    assert is_alive(redis_server.pid)  # type: ignore[attr-defined]  # as above


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """What the gateway accepts sends at once: a small answer is not held back for 40 ms."""
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
