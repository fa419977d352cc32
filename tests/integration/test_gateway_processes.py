"""Several gateway processes on one port, as `gateway up` and `gateway serve` run them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from bench.harness.ports import free_ports_in_a_row
from tests.support.metrics import scrape
from tests.support.several import Client, gateways, own_urls
from tests.support.trees import loaded
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
]

NUM = 3
NAMES = [f"gateway-{number}" for number in range(NUM)]
PROFILE = """
[rank_profiles.{}]
first_phase = "noop"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the cluster is started."""
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def own_port() -> int:
    """The first process's own port."""
    return free_ports_in_a_row(NUM)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(folder: Path, own_port: int) -> AsyncIterator[Up]:
    """A cluster with three gateway processes and some documents; each test leaves it whole."""
    (folder / "hedgerow.toml").write_text(PROFILE.format("before"))
    async with running_up(
        folder / "data",
        "--processes",
        str(NUM),
        folder=folder,
        HEDGEROW_GATEWAY__PROCESS_PORT=str(own_port),
    ) as one:
        async with Caller(one.url) as caller:
            await loaded(caller)
        yield one


async def test_all_answer_at_one_port_and_each_tells_of_all(up: Up, own_port: int) -> None:
    """New connections come to each of the processes; a status lists them with their own ports."""
    seen = set()

    async def answers() -> bool:
        async with Caller(up.url) as caller:
            status = (await caller.http.get("/v1/status")).json()
        (own,) = (one for one in status["gateways"] if one["id"] == status["gateway"]["id"])
        seen.add(own["pid"])
        return seen == {up.pids[name] for name in NAMES}

    await until(answers, what="an answer of each process")
    for number, url in enumerate(own_urls(own_port, NUM)):
        found = await gateways(url)
        assert [(one["pid"], one["process_port"]) for one in found] == [
            (up.pids[name], own_port + place) for place, name in enumerate(NAMES)
        ]
        assert {(one["processes"], one["leaving"]) for one in found} == {(NUM, False)}
        async with Caller(url) as caller:
            own = (await caller.http.get("/v1/status")).json()["gateway"]
        assert own["id"] == found[number]["id"]


async def test_the_processes_metrics_add_up(up: Up, own_port: int) -> None:
    """Each counts its own searches at its own port; the shared port has none to be mistaken for."""

    async def counts() -> list[float]:
        found = []
        for url in own_urls(own_port, NUM):
            async with Caller(url) as caller:
                page = await scrape(caller.http)
            found.append(page.sum("hedgerow_searches_total", result="full"))
        return found

    before = await counts()
    for _ in range(20):  # each by a connection of its own
        async with Caller(up.url) as caller:
            await caller.found("trees", "amber")
            refused = await caller.http.get("/metrics")
            assert (refused.status_code, "process_port" in refused.text) == (404, True)
    assert sum(await counts()) == sum(before) + 20


async def test_a_killed_process_takes_only_its_connections_with_it(up: Up) -> None:
    """Under load, clients of the others lose nothing, new connections are served, it comes back."""
    clients = [await Client(up.url).connect() for _ in range(4 * NUM)]
    victim = clients[0].gateway
    found = {one["id"]: one for one in await gateways(up.url)}
    name = NAMES[found[victim]["process"]]
    assert {client.gateway for client in clients} > {victim}
    stopped = asyncio.Event()
    async with asyncio.TaskGroup() as load:
        for client in clients:
            load.create_task(client.search_until(stopped))
        await until(lambda: all(client.statuses for client in clients), what="load")
        # Stopped first, so that each of its clients waits for an answer when it is killed.
        os.kill(up.pids[name], signal.SIGSTOP)
        others = [client for client in clients if client.gateway != victim]
        before = {client: client.statuses.total() for client in others}
        await until(
            lambda: all(client.statuses.total() > before[client] + 2 for client in others),
            what="answers of the others",
        )
        os.kill(up.pids[name], signal.SIGKILL)
        await up.pid_of(name, up.pids[name])

        async def is_back() -> bool:
            live = await gateways(up.url)
            return {up.pids[one] for one in NAMES} == {one["pid"] for one in live}

        await until(is_back, what="the gateways are those that live")
        stopped.set()
    for client in clients:
        assert set(client.statuses) == {200}, client.statuses
        # A connection that the victim had not accepted yet is reset as well: at most once more.
        assert client.num_lost in ((1, 2) if client.gateway == victim else (0,))
        await client.close()


async def test_a_reload_reaches_all_processes(up: Up, folder: Path, own_port: int) -> None:
    """Whichever of them is asked for it, moments later all know the new profile, not the old."""
    (folder / "hedgerow.toml").write_text(PROFILE.format("after"))
    async with Caller(up.url) as caller:
        assert (await caller.http.post("/v1/reload")).status_code == 200
    for url in own_urls(own_port, NUM):
        async with Caller(url) as caller:

            async def knows(caller: Caller = caller) -> bool:
                answer = await caller.search("trees", "amber", rank_profile="after")
                return answer.status_code == 200

            await until(knows, what="the new profile")
            assert (await caller.search("trees", "amber", rank_profile="before")).is_client_error


async def test_a_breaker_set_by_hand_is_set_in_all(up: Up, own_port: int) -> None:
    """An operator who uses the shared port means the gateway, not one of its processes."""
    for wanted in ("forced_open", "closed"):
        async with Caller(up.url) as caller:
            answer = await caller.http.post("/v1/shards/0/breaker", json={"state": wanted})
            assert answer.status_code == 200
        for url in own_urls(own_port, NUM):
            async with Caller(url) as caller:

                async def is_set(caller: Caller = caller, wanted: str = wanted) -> bool:
                    status = (await caller.http.get("/v1/status")).json()
                    return bool(status["shards"][0]["breaker"] == wanted)

                await until(is_set, what=f"{wanted} at {url}")
