"""`gateway up` carries on when one of its processes is killed or another wants its folder."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.trees import answer, loaded
from tests.support.up import Caller, Up, running_up

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cluster's folder."""
    return tmp_path_factory.mktemp("cluster") / "data"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(data: Path) -> AsyncIterator[Up]:
    """One cluster of 4 shards and 2 workers for the module; each test leaves it whole."""
    async with running_up(
        data, "--shards", "4", "--workers", "2", HEDGEROW_WORKER__HEARTBEAT_EXPIRY_S="300"
    ) as one:
        yield one


async def test_a_killed_worker_is_unavailable_at_once_and_comes_back(up: Up) -> None:
    """The shards of a worker that died are refused without a wait, and answer again soon.

    Its last heartbeat holds for longer than the test: that it is dead is known otherwise.
    """
    async with Caller(up.url) as caller:
        before = await loaded(caller)
        victim = up.pids["worker-1"]
        os.kill(victim, signal.SIGKILL)
        # The deadline is shorter than the shortest wait before a restart (0.16 s): a search that
        # was sent just before the death must end before the worker is back. On a busy machine, the
        # other worker may answer too late.
        degraded: dict[str, int] = {}
        while degraded.get("unavailable") != 2:
            found = await caller.search("trees", "amber cedar", deadline_ms=50)
            degraded = found.json()["coverage"]["degraded"]
        await up.pid_of("worker-1", victim)
        await caller.until_whole("trees", "amber")
        assert await answer(caller) == before


async def test_a_killed_gateway_comes_back_at_its_port(up: Up) -> None:
    """The gateway is restarted where it was, though its port was any free one."""
    async with Caller(up.url) as caller:
        before = await loaded(caller)
        os.kill(up.pids["gateway"], signal.SIGKILL)
        await up.pid_of("gateway", up.pids["gateway"])
        await caller.until_whole("trees", "amber")
        assert await answer(caller) == before


async def test_a_killed_redis_loses_no_acknowledged_document(up: Up) -> None:
    """Redis killed in the middle of a load: 503 at worst, and what was accepted is found."""
    async with Caller(up.url) as caller:
        await caller.make("letters", {"title": "text"})
        accepted: set[str] = set()
        for part in range(6):
            ids = [f"p{part}-{number}" for number in range(50)]
            lines = "".join(json.dumps({"id": one, "title": "amber"}) + "\n" for one in ids)
            if part == 3:
                os.kill(up.pids["redis"], signal.SIGKILL)
            reply = await caller.http.post(
                "/v1/collections/letters/documents", content=lines, params={"wait": "logged"}
            )
            assert reply.status_code in {200, 503}, reply.text
            if reply.is_success and reply.json()["accepted"] == 50:
                accepted.update(ids)
        await up.pid_of("redis", up.pids["redis"])
        assert len(accepted) >= 150
        await caller.until_whole("letters", "amber")

        async def missing() -> set[str]:
            result = await caller.found("letters", "amber", k=1000, fields=False)
            return accepted - {hit["id"] for hit in result["hits"]}

        deadline = time.monotonic() + 60
        while left := await missing():
            assert time.monotonic() < deadline, f"lost: {sorted(left)[:5]}"


async def test_a_folder_in_use_is_refused(up: Up, data: Path) -> None:
    """A second `up` on the folder says who uses it, and does the first no harm."""
    second = await Up.start(data)
    assert await second.process.wait() == 1
    assert f"another `gateway up` uses this folder (process {up.process.pid})" in second.output
    assert not second.pids
    async with Caller(up.url) as caller:
        assert (await caller.http.get("/readyz")).status_code == 200


async def test_a_worker_comes_back_though_the_folder_of_its_start_is_gone(tmp_path: Path) -> None:
    """The folder in which `gateway up` was started may be removed: restarts do not need it."""
    start = tmp_path / "start"
    start.mkdir()
    async with (
        running_up(tmp_path / "data", "--shards", "1", "--workers", "1", folder=start) as one,
        Caller(one.url) as caller,
    ):
        await loaded(caller)
        start.rmdir()
        victim = one.pids["worker-0"]
        os.kill(victim, signal.SIGKILL)
        await one.pid_of("worker-0", victim)
        await caller.until_whole("trees", "amber")
