"""The Python client against real sockets and a real cluster, and its page's examples."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from hedgerow.common.errors import UnavailableError
from hedgerow.gateway.client import AsyncClient, Client
from tests.support.page_examples import output_of
from tests.support.sample_results import make_result
from tests.support.up import running_up
from tests.support.waiting import until

pytestmark = pytest.mark.integration


class Server:
    """Answers searches on command, and counts its connections."""

    def __init__(self) -> None:
        """No client has connected yet."""
        self.url = ""
        self.num_made = 0
        self.num_lost = 0
        self.waiting: list[asyncio.Transport] = []

    async def until_asked(self, count: int = 1) -> None:
        """Wait until this many requests wait for an answer."""
        await until(lambda: len(self.waiting) == count)

    async def answer(self) -> None:
        """Answer all requests that wait."""
        body = json.dumps(make_result().to_json()).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        for transport in self.waiting:
            transport.write(head % len(body) + body)
        self.waiting.clear()


class Connection(asyncio.Protocol):
    """One connection of a `Server`."""

    def __init__(self, server: Server) -> None:
        """Count for `server`."""
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport = cast("asyncio.Transport", transport)
        self._server.num_made += 1

    def data_received(self, data: bytes) -> None:
        """Keep a request whose body is there."""
        if data.endswith(b"}"):
            self._server.waiting.append(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it."""
        self._server.num_lost += 1


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server on any free port."""
    server = Server()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield server
    listening.close()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with AsyncClient(server.url) as client:
        yield client


async def ask_at_once(client: AsyncClient, server: Server, count: int) -> None:
    """Have this many searches in flight at once."""
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(client.search("films", "wing"))
        await server.until_asked(count)
        await server.answer()


async def test_there_are_as_many_connections_as_requests_in_flight(
    client: AsyncClient, server: Server
) -> None:
    """None waits for another, each connection is used again, and closing leaves none."""
    for count in (40, 40, 1, 1):
        await ask_at_once(client, server, count)
    assert (server.num_made, server.num_lost) == (40, 0)
    await client.close()
    await until(lambda: server.num_lost == 40)


async def test_the_last_one_used_is_used_first(client: AsyncClient, server: Server) -> None:
    """Those that a burst has left become idle, and are closed."""
    await ask_at_once(client, server, 3)
    used = set()
    for _ in range(6):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.search("films", "wing"))
            await server.until_asked()
            used.update(server.waiting)
            await server.answer()
    assert len(used) == 1


async def test_what_is_in_flight_when_the_client_closes_is_closed_after_it(
    client: AsyncClient, server: Server
) -> None:
    """Its answer still comes, and its connection is not left behind."""
    asked = asyncio.create_task(client.search("films", "wing"))
    await server.until_asked()
    await client.close()
    await server.answer()
    assert (await asked).hits
    await until(lambda: server.num_lost == 1)


async def test_threads_that_share_a_client_do_not_wait_for_each_other(server: Server) -> None:
    """Each has a connection of its own while its request is in flight."""
    with Client(server.url) as client:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(asyncio.to_thread(client.search, "films", "wing"))
            await server.until_asked(4)
            await server.answer()
    assert server.num_made == 4


async def test_a_request_that_is_cancelled_hangs_up(client: AsyncClient, server: Server) -> None:
    """Its connection is closed, which tells the gateway, and the next request has a new one."""
    asked = asyncio.create_task(client.search("films", "wing"))
    await server.until_asked()
    asked.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asked
    await until(lambda: server.num_lost == 1)
    server.waiting.clear()
    await ask_at_once(client, server, 1)
    assert (server.num_made, server.num_lost) == (2, 1)


async def test_a_connection_that_the_server_closed_is_not_used(
    client: AsyncClient, server: Server
) -> None:
    """What was closed while idle is replaced, and the caller sees nothing of it."""
    asked = asyncio.create_task(client.search("films", "wing"))
    await server.until_asked()
    (connection,) = server.waiting
    await server.answer()
    await asked
    connection.close()
    await until(lambda: server.num_lost == 1)
    await ask_at_once(client, server, 1)
    assert server.num_made == 2


async def test_nobody_listening_is_unavailable() -> None:
    """If no server listens on a port, the error names its URL."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    async with AsyncClient(url) as client:
        with pytest.raises(UnavailableError, match=url):
            await client.search("films", "wing")


async def test_the_page_s_examples_do_what_it_says(tmp_path: Path) -> None:
    """Each example of docs/client.md runs, in order, and prints what stands below it."""
    async with running_up(tmp_path / "data", "--shards", "8") as up:
        printed, expected = await output_of("client.md", up.url, tmp_path)
    assert printed == expected
