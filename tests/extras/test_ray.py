"""`gateway up --ray` on a cluster of three Ray nodes: spread, and what is left when parts fail."""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.extras.support.ray_nodes import RayNodes, running_nodes
from tests.support.needs import missing
from tests.support.processes import is_alive, parent_of
from tests.support.servers import RedisServer, temporary_server
from tests.support.trees import answer, loaded
from tests.support.up import Caller, Up, up_command
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.alone,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
]

NUM_SHARDS = 6
HEAD_AWAY_S = 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all that is stored."""
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def nodes(folder: Path) -> Iterator[RayNodes]:
    """Three nodes of Ray."""
    if find_spec("ray") is None:
        missing("Ray (make setup)")
    with running_nodes(folder, 3) as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """The cluster's Redis server."""
    with temporary_server() as running:
        yield running


async def start(folder: Path, nodes: RayNodes, server: RedisServer) -> Up:
    """Start a cluster on the nodes, which leaves room for a worker that is restarted elsewhere."""
    one = await Up.start(
        folder / "up",
        *("--ray", nodes.address, "--redis", server.url, "--shards", str(NUM_SHARDS)),
        *("--worker-cpus", "2", "--host", "127.0.0.1"),
        folder=None,
        **variables(folder),
    )
    if not one.url:
        await one.destroy()
        pytest.fail(one.output)
    return one


def variables(folder: Path) -> dict[str, str]:
    """The settings, and the mark of the cluster's processes."""
    return {
        "HEDGEROW_SNAPSHOTS__URL": str(folder / "snapshots"),
        "HEDGEROW_PLACEMENT__REPLACE_AFTER_S": "3",
        "HEDGEROW_TEST_RAY": str(folder),
    }


def living(folder: Path) -> set[int]:
    """The processes of the cluster: those with its mark in their environment."""
    mark, found = f"HEDGEROW_TEST_RAY={folder}".encode(), set()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_child = (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if is_child and mark in (path / "environ").read_bytes().split(b"\0"):
                found.add(int(path.name))
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(folder: Path, nodes: RayNodes, server: RedisServer) -> AsyncIterator[Up]:
    """A ready cluster."""
    one = await start(folder, nodes, server)
    try:
        yield one
    finally:
        await one.destroy()
        for pid in living(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(up: Up) -> AsyncIterator[Caller]:
    """A caller of the gateways, with documents and a snapshot of each shard."""
    async with Ring(urls(up)) as ring:
        await loaded(ring)
        asked = (await ring.http.post("/v1/snapshots")).json()

        async def are_made() -> bool:
            found = (await ring.http.get("/v1/status")).json()["snapshots"]
            made = [one["made_at_ms"] for one in found if one["made_at_ms"]]
            return len(made) == NUM_SHARDS and min(made) >= asked["wanted_at_ms"]

        await until(are_made, 60.0, what="snapshots")
        yield ring


def urls(up: Up) -> list[str]:
    """Where the gateways answer."""
    return [found[1] for line in up.lines if (found := re.match(r"ready at (\S+),", line))]


class Ring(Caller):
    """A caller that asks the next gateway when one is gone."""

    def __init__(self, at: list[str]) -> None:
        """Ask these gateways."""
        super().__init__(at[0])
        self._at = at

    async def next_gateway(self) -> None:
        """Ask another gateway from now on."""
        await self.http.aclose()
        self._at = [*self._at[1:], self._at[0]]
        self.http = httpx.AsyncClient(base_url=self._at[0], trust_env=False, timeout=20.0)

    async def answer(self) -> set[str]:
        """What a gateway answers; that of a node that was killed may be about to start again."""
        try:
            return await answer(self)
        except httpx.TransportError:
            await self.next_gateway()
            return await answer(self)

    async def workers(self) -> dict[str, dict[str, Any]]:
        """Worker → what the placement says of it."""
        found = (await self.http.get("/v1/placement")).json()
        return {one["id"]: one for one in found["workers"]}

    async def pids(self) -> dict[str, int]:
        """Worker → its process."""
        found = (await self.http.get("/v1/status")).json()
        return {one["id"]: one["pid"] for one in found["workers"]}

    async def kill_an_actor(self) -> str:
        """Kill the actor of a worker, and wait for that worker's return; returns its name."""
        name, pid = next(iter((await self.pids()).items()))
        os.kill(parent_of(pid), signal.SIGKILL)

        async def is_back() -> bool:
            return (await self.pids()).get(name, pid) != pid

        await until(is_back, 60.0, what=f"{name} is back")
        return name

    async def is_settled(self) -> bool:
        """Whether each shard has two live replicas, and nothing moves."""
        try:
            found = (await self.http.get("/v1/placement")).json()
        except httpx.TransportError:
            await self.next_gateway()
            return False
        return bool(found["is_settled"]) and all(
            len(one["serving"]) == 2 for one in found["shards"]
        )


async def test_it_spreads_over_the_nodes(nodes: RayNodes, up: Up, caller: Ring) -> None:
    """There is a worker on each node, which is its zone, and the replicas of a shard are apart."""
    workers = await caller.workers()
    assert {one["zone"] for one in workers.values()} == {node.id[:12] for node in nodes.nodes}
    assert len(urls(up)) == 2
    for shard in (await caller.http.get("/v1/placement")).json()["shards"]:
        zones = [workers[owner]["zone"] for owner in shard["owners"]]
        assert len(set(zones)) == len(zones) == 2


async def test_a_second_command_adds_workers(
    folder: Path, nodes: RayNodes, server: RedisServer, caller: Ring
) -> None:
    """Its worker gets shards of the same cluster, whose number of replicas stays as it is."""
    second = await asyncio.create_subprocess_exec(
        *up_command(folder / "up", "--ray", nodes.address, "--redis", server.url),
        *("--gateways", "0", "--workers", "1", "--worker-cpus", "1"),
        env={**os.environ, **variables(folder)},
    )

    async def is_used() -> bool:
        live = [one for one in (await caller.workers()).values() if one["live"]]
        return len(live) == 4 and all(one["serves"] for one in live) and await caller.is_settled()

    try:
        await until(is_used, 90.0, what="the new worker has shards")
    finally:
        second.send_signal(signal.SIGINT)
        assert await second.wait() == 0
    await until(caller.is_settled, 60.0, what="each shard has its replicas")


async def test_an_actor_that_is_killed_comes_back_with_its_data(
    nodes: RayNodes, up: Up, caller: Ring
) -> None:
    """Its processes end with it; Ray starts it again on the node, and its worker has its name."""
    before = await caller.pids()
    name = await caller.kill_an_actor()
    await until(caller.is_settled, 60.0, what="each shard has its replicas")
    after = await caller.pids()
    assert before.keys() == after.keys()
    assert not is_alive(before[name])
    assert await answer(caller)


async def test_the_head_may_be_away(nodes: RayNodes, up: Up, caller: Ring) -> None:
    """With Ray's head stopped for 30 s, every query is answered, and no actor is lost."""
    before = await caller.pids()
    head = nodes.nodes[0]
    stopped = (head.raylet, *head.others)
    num_asked, started = 0, time.monotonic()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        while time.monotonic() - started < HEAD_AWAY_S:
            answered = await caller.search("trees", "amber cedar")
            assert answered.status_code == 200, answered.text
            assert answered.json()["coverage"]["is_full"], answered.text
            num_asked += 1
            await asyncio.sleep(0.02)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert num_asked > 100
    name = await caller.kill_an_actor()  # which Ray starts again
    after = await caller.pids()
    assert before.keys() == after.keys()
    assert [worker for worker in before if before[worker] != after[worker]] == [name]


async def test_a_node_that_is_killed_is_replaced(nodes: RayNodes, up: Up, caller: Ring) -> None:
    """Its processes end, and without a hand its worker runs elsewhere, and each shard is on two."""
    lost = nodes.nodes[-1]
    kept = {node.id[:12] for node in nodes.nodes[:-1]}
    of_node = {pid for pid in living(Path(lost.data).parent) if _stores_in(pid, lost.data)}
    assert of_node
    nodes.kill(2)
    await until(lambda: not of_node & living(Path(lost.data).parent), 60.0, what="its end")

    async def is_replaced() -> bool:
        if not await caller.is_settled():
            return False
        try:
            workers = await caller.workers()
        except httpx.TransportError:  # a gateway of the node may end after its worker
            await caller.next_gateway()
            return False
        live = [one["zone"] for one in workers.values() if one["live"]]
        return len(live) == 3 and set(live) == kept

    await until(is_replaced, 120.0, what="each shard has its replicas")
    assert await caller.answer()
    assert re.search(r"worker-\d is back on the node", up.output)


def _stores_in(pid: int, data: str) -> bool:
    with contextlib.suppress(OSError):
        return data.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_it_leaves_nothing(
    folder: Path, nodes: RayNodes, server: RedisServer, up: Up, caller: Ring, number: signal.Signals
) -> None:
    """After Ctrl-C, or the end of `gateway up` in any way, there is no process and no actor left.

    What it has stored is found by the next one.
    """
    one = up if number == signal.SIGINT else await start(folder, nodes, server)
    try:
        async with Ring(urls(one)) as ring:
            assert await ring.answer()
        code = await one.stop(number)
        assert code == (0 if number == signal.SIGINT else -signal.SIGKILL), one.output
        patience_s = 5.0 if number == signal.SIGINT else 60.0
        await until(lambda: not living(folder), patience_s, what="no process is left")
        await until(lambda: not _actors(), patience_s, what="no actor is left")
    finally:
        await one.destroy()


def _actors() -> list[str]:
    """The titles of the processes of actors."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if (line := path.read_bytes()).startswith(b"ray::RayProcesses"):
                found.append(line.decode())
    return found
