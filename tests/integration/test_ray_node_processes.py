"""What a Ray actor runs on its node, without Ray."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from hedgerow.common import __version__
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.registry import Registry
from hedgerow.gateway.local.processes.supervisor import Died
from hedgerow.gateway.ray.node_processes import NodeProcesses, Report
from hedgerow.gateway.ray.orders import Order, Place
from tests.support.processes import is_alive, processes_mentioning
from tests.support.servers import RedisServer
from tests.support.waiting import until

pytestmark = pytest.mark.integration

PLACE = Place("0123456789abcdef", "127.0.0.1", "here")
# Runs an order that it reads, as the process of an actor does.
ACTOR = """
import pickle, sys, time
from hedgerow.gateway.ray.node_processes import NodeProcesses
order, place = pickle.load(sys.stdin.buffer)
processes = NodeProcesses(order, place)
while not processes.report().worker:
    time.sleep(0.05)
print(*processes.report().pids.values(), flush=True)
time.sleep(60)
"""


def order_of(kind: str, data: Path, server: RedisServer, version: str = __version__) -> Order:
    """An order to join the cluster of this server."""
    environment = {"HEDGEROW_REDIS__URL": server.url, "HEDGEROW_GATEWAY__PROCESSES": "1"}
    return Order(kind, version, str(data), environment, "", 10.0, GatewaySettings())


async def with_shards(server: RedisServer) -> None:
    """Make the cluster."""
    control = await connect(RedisSettings(url=server.url))
    try:
        await Registry(control, Keys()).cluster(2)
    finally:
        await control.close()


@pytest.fixture
def actor(own_server: RedisServer, tmp_path: Path) -> Iterator[NodeProcesses]:
    """What an actor of a worker is."""
    processes = NodeProcesses(order_of("worker", tmp_path, own_server), PLACE)
    yield processes
    processes.stop()


async def until_runs(actor: NodeProcesses) -> Report:
    """Wait for a process; returns the report that has it."""
    reports: list[Report] = []

    def runs() -> bool:
        reports.append(actor.report())
        return bool(reports[-1].pids and reports[-1].worker)

    await until(runs, 60.0, what="it runs")
    return reports[-1]


async def test_a_worker_is_kept_running_until_it_is_stopped(
    own_server: RedisServer, tmp_path: Path, actor: NodeProcesses
) -> None:
    """A worker that dies is restarted in the same folder; after the stop, nothing is left."""
    await with_shards(own_server)
    first = await until_runs(actor)
    assert first.folder == str(tmp_path / "ray" / "worker-0")
    os.kill(first.pids["worker"], signal.SIGKILL)
    await until(lambda: actor.report(first.life, first.num_events).events != (), what="its death")
    (event, *_) = actor.report(first.life, first.num_events).events
    assert isinstance(event, Died)
    await until(lambda: bool(actor.report().pids), 60.0, what="it is back")
    second = actor.report()
    assert second.worker == first.worker
    assert second.pids != first.pids
    await asyncio.to_thread(actor.stop)
    assert processes_mentioning(str(tmp_path)) == {}


async def test_processes_end_with_the_actor(own_server: RedisServer, tmp_path: Path) -> None:
    """When the process of an actor is killed, its worker ends by itself."""
    await with_shards(own_server)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ACTOR, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(pickle.dumps((order_of("worker", tmp_path, own_server), PLACE)))
    process.stdin.close()
    (pid,) = map(int, (await process.stdout.readline()).split())
    assert is_alive(pid)
    process.kill()
    await process.wait()
    await until(lambda: processes_mentioning(str(tmp_path)) == {}, what="its end")


async def test_a_gateway_says_where_it_answers(own_server: RedisServer, tmp_path: Path) -> None:
    """Its URL has the node's address and a free port."""
    await with_shards(own_server)
    actor = NodeProcesses(order_of("gateway", tmp_path, own_server), PLACE)
    try:
        await until(lambda: actor.report().url != "", what="its URL")
        assert actor.report().url.startswith("http://127.0.0.1:")
    finally:
        await asyncio.to_thread(actor.stop)


async def test_a_gateway_on_all_addresses_is_reached_at_its_node(
    own_server: RedisServer, tmp_path: Path
) -> None:
    """Its URL is one that other machines can use, and it answers there."""
    await with_shards(own_server)
    order = replace(order_of("gateway", tmp_path, own_server), host="0.0.0.0")
    actor = NodeProcesses(order, replace(PLACE, address="127.0.0.2"))
    try:
        await until(lambda: actor.report().url != "", what="its URL")
        url = actor.report().url
        assert url.startswith("http://127.0.0.2:")

        async def answers() -> bool:
            async with httpx.AsyncClient(trust_env=False) as http:
                try:
                    found = await http.get(f"{url}/healthz", headers={"Host": "localhost"})
                except httpx.TransportError:
                    return False
            return found.status_code == 200

        await until(answers, 60.0, what="it answers")
    finally:
        await asyncio.to_thread(actor.stop)


async def test_what_is_wrong_is_in_the_report(own_server: RedisServer, tmp_path: Path) -> None:
    """An actor on a node with another version runs nothing, and says why."""
    actor = NodeProcesses(order_of("worker", tmp_path, own_server, "0.0.0"), PLACE)
    try:
        await until(lambda: actor.report().trouble != "", what="its trouble")
        report = actor.report()
        assert f"Hedgerow is {__version__} on this node, and 0.0.0 where" in report.trouble
        assert report.pids == {}
    finally:
        await asyncio.to_thread(actor.stop)
