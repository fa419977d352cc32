"""The shipped configuration of HAProxy, with the real one: retries, deaths, shutdowns, streams."""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from bench.harness.ports import free_ports_in_a_row
from tests.support.commands import serve_command
from tests.support.needs import missing
from tests.support.several import Client
from tests.support.trees import loaded
from tests.support.up import Caller, Up, running_up
from tests.support.waiting import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
]

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
NUM_CLIENTS = 8


@pytest.fixture(scope="module")
def binary() -> str:
    """HAProxy, as Debian's package `haproxy` installs it."""
    found = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        missing("HAProxy (apt-get install haproxy)")
    assert found is not None
    return found


@contextlib.contextmanager
def running_haproxy(binary: str, folder: Path, port: int, gateways: list[int]) -> Iterator[str]:
    """HAProxy with the shipped configuration, but for its own port and those of the gateways."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    replaced = {f"gateway-{n}:8080": f"127.0.0.1:{at}" for n, at in enumerate(gateways)}
    for before, after in {"bind :8080": f"bind 127.0.0.1:{port}", **replaced}.items():
        assert before in text
        text = text.replace(before, after)
    configuration = folder / "haproxy.cfg"
    configuration.write_text(text, encoding="utf-8")
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([binary, "-f", str(configuration)], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait(60)


class Served:
    """A `gateway serve` behind HAProxy.

    Attributes:
        port: where it listens.
        process: the process.
    """

    def __init__(self, redis: str, port: int) -> None:
        """Start it."""
        self.port = port
        self.process = subprocess.Popen(
            serve_command(redis, 2, "--port", str(port)), stderr=subprocess.DEVNULL
        )

    async def is_ready(self) -> bool:
        """Whether it says so."""
        assert self.process.poll() is None
        try:
            async with Caller(f"http://127.0.0.1:{self.port}") as caller:
                return (await caller.http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def until_asked(self, url: str) -> None:
        """Wait until it is ready and HAProxy gives it requests."""

        async def is_asked() -> bool:
            async with Caller(f"http://127.0.0.1:{self.port}") as caller:
                own = (await caller.http.get("/v1/status")).json()["gateway"]["id"]
            client = await Client(url).connect()
            await client.close()
            return bool(own == client.gateway)

        # Two new interpreters, on a machine that may be busy.
        await until(self.is_ready, what="a gateway is ready")
        await until(is_asked, what="HAProxy asks it")


class Proxied:
    """Two gateways behind HAProxy.

    Attributes:
        url: where HAProxy listens.
        gateways: the two.
    """

    def __init__(self, url: str, redis: str, ports: list[int]) -> None:
        """Start the gateways."""
        self.url = url
        self._redis = redis
        self.gateways = [Served(redis, port) for port in ports]

    async def until_whole(self) -> None:
        """Wait until HAProxy uses both; starts those that have ended."""
        for number, one in enumerate(self.gateways):
            if one.process.poll() is not None:
                self.gateways[number] = Served(self._redis, one.port)
        for one in self.gateways:
            await one.until_asked(self.url)

    def close(self) -> None:
        """End them."""
        for one in self.gateways:
            one.process.kill()
            one.process.wait(60)

    @contextlib.asynccontextmanager
    async def searched(self) -> AsyncIterator[list[Client]]:
        """Have clients search during the block, each all the time."""
        clients = [Client(self.url) for _ in range(NUM_CLIENTS)]
        stopped = asyncio.Event()
        async with asyncio.TaskGroup() as load:
            for client in clients:
                load.create_task(client.search_until(stopped))
            await until(lambda: all(client.statuses for client in clients), what="load")
            yield clients
            stopped.set()
        for client in clients:
            await client.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cluster's folder."""
    return tmp_path_factory.mktemp("proxied") / "data"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(data: Path, binary: str) -> AsyncIterator[Up]:
    """A cluster with some documents; its own gateway is not behind HAProxy."""
    assert binary  # no cluster without one
    async with running_up(data, "--shards", "2", "--workers", "1") as one:
        async with Caller(one.url) as caller:
            await loaded(caller)
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxied(
    up: Up, data: Path, binary: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Proxied]:
    """Two gateways behind HAProxy, with the settings that its configuration asks for."""
    assert up.url
    folder = tmp_path_factory.mktemp("haproxy")
    port = free_ports_in_a_row(3)
    ports = [port + 1, port + 2]
    redis = f"unix://{data / 'redis' / 'valkey.sock'}"
    with pytest.MonkeyPatch.context() as patch, running_haproxy(binary, folder, port, ports) as url:
        for line in CONFIGURATION.read_text(encoding="utf-8").splitlines():
            name, is_setting, rest = line.removeprefix("#").strip().partition("=")
            if is_setting and name.startswith("HEDGEROW_"):
                patch.setenv(name, rest.split()[0])
        one = Proxied(url, redis, ports)
        try:
            yield one
        finally:
            one.close()


async def test_a_killed_gateway_costs_what_was_in_flight_on_it(proxied: Proxied) -> None:
    """Under load, no caller sees more than one error, and no later search fails."""
    await proxied.until_whole()
    async with proxied.searched() as clients:
        proxied.gateways[0].process.kill()
        proxied.gateways[0].process.wait(60)
        before = [client.statuses[200] for client in clients]

        def have_gone_on() -> bool:
            return all(
                client.statuses[200] > old + 20 for client, old in zip(clients, before, strict=True)
            )

        await until(have_gone_on, what="searches by the other gateway")
    for client in clients:
        bad = {status: num for status, num in client.statuses.items() if status != 200}
        assert sum(bad.values()) + client.num_lost <= 1, bad
        assert set(bad) <= {502}


async def test_a_gateway_that_is_stopped_costs_nothing(proxied: Proxied) -> None:
    """SIGTERM under load: readiness fails, HAProxy leaves it, it drains; each search is a 200."""
    await proxied.until_whole()
    async with proxied.searched() as clients:
        stopped = proxied.gateways[1].process
        stopped.send_signal(signal.SIGTERM)
        await until(lambda: stopped.poll() is not None, what="it has drained")
    assert stopped.returncode == 0
    for client in clients:
        assert (set(client.statuses), client.num_lost) == ({200}, 0)


async def test_streams_pass_as_they_come(proxied: Proxied) -> None:
    """A load larger than HAProxy's buffers is loaded in full, and events come second by second."""
    await proxied.until_whole()
    documents = [{"id": f"s{n}", "title": "yew " * 50} for n in range(2_000)]
    async with Caller(proxied.url) as caller:
        lines = "".join(json.dumps(one) + "\n" for one in documents)
        assert len(lines) > 400_000
        assert (await caller.load("trees", lines, wait="logged"))["accepted"] == len(documents)
        async with caller.http.stream("GET", "/v1/events") as stream, asyncio.timeout(10):
            names = []
            async for line in stream.aiter_lines():
                names += [line] if line.startswith("event: ") else []
                if names.count("event: point") >= 2:
                    break
    assert names[0] == "event: history"


class Backend:
    """A server that is ready, and answers everything else with one status."""

    def __init__(self, status: int) -> None:
        """Answer with `status`."""
        self.asked: Counter[str] = Counter()
        self._answer = b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._status = status

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split()[1]
            self.asked[path] += 1
            writer.write(self._answer % (200 if path == "/readyz" else self._status))
            await writer.drain()
        writer.close()


async def test_only_searches_are_tried_again(binary: str, tmp_path: Path) -> None:
    """A 503 to a search goes on to the other gateway; to a load, it is the caller's to judge."""
    backends = [Backend(503), Backend(200)]
    port = free_ports_in_a_row(3)
    async with contextlib.AsyncExitStack() as stack:
        for number, backend in enumerate(backends):
            server = await asyncio.start_server(backend.serve, "127.0.0.1", port + 1 + number)
            await stack.enter_async_context(server)
        url = stack.enter_context(running_haproxy(binary, tmp_path, port, [port + 1, port + 2]))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=60))

        async def is_up() -> bool:
            with contextlib.suppress(httpx.TransportError):
                return (await client.get("/")).status_code in {200, 503}
            return False

        await until(is_up, what="HAProxy answers")
        for path, statuses in (
            ("/v1/collections/trees/search", {200}),
            ("/v1/collections/trees/documents", {200, 503}),
        ):
            answers = [await client.post(path, content=b"{}" * 1000) for _ in range(20)]
            assert {answer.status_code for answer in answers} == statuses
            num_asked = sum(backend.asked[path] for backend in backends)
            assert (num_asked == 20) is (503 in statuses)
