"""`gateway up`: a whole cluster of real processes, and what is left of it however it ends."""

import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from itertools import chain
from pathlib import Path

import pytest

from hedgerow.common.settings.cores import num_cores
from hedgerow.gateway.cli.serve import listen
from hedgerow.gateway.local.sizing import plan_for
from tests.support.launching import starting_by_exec
from tests.support.processes import is_alive, processes_mentioning
from tests.support.trees import loaded
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """A ready cluster of 4 shards and 2 workers."""
    with starting_by_exec():
        async with running_up(tmp_path / "data", "--shards", "4", "--workers", "2") as one:
            yield one


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


async def test_a_killed_supervisor_leaves_nothing(up: Up) -> None:
    """After SIGKILL of the supervisor nothing that it started is alive within seconds."""
    before = up.living()
    assert len(before) > 4, "scorers are processes too"
    await up.stop(signal.SIGKILL)
    await until(lambda: not any(map(is_alive, before)), what="everything is gone")
    assert up.living() == set()


@pytest.mark.parametrize("has_folder", [False, True])
async def test_a_start_that_is_refused_leaves_no_new_folder(
    tmp_path: Path, has_folder: bool
) -> None:
    """It says which server does not answer, without its password; a folder from before stays."""
    data = tmp_path / "data"
    if has_folder:
        data.mkdir(mode=0o700)
    one = await Up.start(data, "--redis", "redis://user:secret@127.0.0.1:1")
    assert await one.process.wait() == 1
    await until(lambda: one.has_ended, what="its output has ended")
    assert one.output.strip() == "gateway: Redis at 127.0.0.1:1 does not answer: Connection refused"
    assert data.exists() is has_folder


async def test_it_sizes_itself_by_the_machine(tmp_path: Path) -> None:
    """Without options a new cluster has what fits the cores, and a line says so."""
    cores = num_cores()
    plan = plan_for(cores)
    async with running_up(tmp_path / "data") as one:
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


async def test_what_is_stored_is_this_user_s_alone(tmp_path: Path) -> None:
    """With documents loaded, found and copied, no other user can read a file or enter a folder."""
    target = tmp_path / "snapshots"
    before = os.umask(0o022)
    try:
        one = await Up.start(
            tmp_path / "data",
            "--shards",
            "2",
            "--workers",
            "2",
            "--replicas",
            "2",
            HEDGEROW_SNAPSHOTS__URL=str(target),
        )
    finally:
        os.umask(before)
    try:
        async with Caller(one.url) as caller:
            await loaded(caller)
            assert (await caller.http.post("/v1/snapshots")).is_success
        await until(lambda: len([*target.rglob("manifest.json")]) == 2, what="snapshots")
        await until(lambda: any((tmp_path / "data").rglob("statistics/*")), what="statistics")
        for folder in (tmp_path / "data", target):
            # A folder may be gone by now, too: `Path.rglob` would raise then.
            found = [
                Path(at, name)
                for at, folders, files in os.walk(folder)
                for name in chain(folders, files)
            ]
            assert len(found) > 10
            assert _mode(folder) & 0o077 == 0
            assert [path for path in found if _mode(path) & 0o077] == []
    finally:
        await one.destroy()


def _mode(path: Path) -> int:
    """Of a file that may be gone by now: a snapshot's are made in a folder of its own."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


async def test_a_port_in_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A port that is taken is named; no process was started, and no folder was made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        one = await Up.start(tmp_path / "data", "--port", port)
        assert await one.process.wait() == 1
    assert f"--port {port}: cannot bind 127.0.0.1: Address already in use" in one.output
    assert not (tmp_path / "data").exists()


async def test_a_worker_that_cannot_start_ends_it_all(tmp_path: Path) -> None:
    """A profile that no worker can use ends `up` with the reason, and leaves nothing but logs."""
    one = await Up.start(
        tmp_path / "data", HEDGEROW_RANK_PROFILES__BAD__SECOND_PHASE="no_such_module:score"
    )
    assert await one.process.wait() == 1
    assert "while starting" in one.output
    assert "No module named 'no_such_module'" in one.output
    assert "stopped; no process is left" in one.output
    assert processes_mentioning(str(tmp_path)) == {}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["logs"]


async def test_a_password_is_refused_where_there_is_none(tmp_path: Path) -> None:
    """A Redis password without --redis gives a warning: the embedded server takes none."""
    one = await Up.start(tmp_path / "data", HEDGEROW_REDIS__PASSWORD="secret")
    assert await one.process.wait() == 1
    assert "redis.password: the embedded server takes none" in one.output
    assert "secret" not in one.output


async def test_a_gateway_that_wants_a_token_gets_ready(tmp_path: Path) -> None:
    """The start asks with the token of the settings; a caller without one is refused."""
    async with (
        running_up(
            tmp_path / "data", "--shards", "1", "--workers", "1", HEDGEROW_GATEWAY__TOKEN="secret"
        ) as one,
        Caller(one.url) as caller,
    ):
        assert (await caller.http.get("/v1/status")).status_code == 401


async def test_a_server_of_our_own_choice(tmp_path: Path, redis_server: object) -> None:
    """--redis uses that server, starts none, and leaves it running."""
    url = str(redis_server.url)  # type: ignore[attr-defined]  # tests.conftest.RedisServer
    async with running_up(
        tmp_path / "data",
        "--redis",
        url,
        "--shards",
        "2",
        "--workers",
        "1",
        HEDGEROW_REDIS__KEY_PREFIX=f"test-up-{os.getpid()}",
    ) as one:
        assert "redis" not in one.pids
        async with Caller(one.url) as caller:
            await loaded(caller)
        assert await one.stop() == 0
    assert is_alive(redis_server.pid)  # type: ignore[attr-defined]  # as above


def test_an_answer_does_not_wait_for_an_acknowledgement() -> None:
    """What the gateway accepts sends at once: a small answer is not held back for 40 ms."""
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
