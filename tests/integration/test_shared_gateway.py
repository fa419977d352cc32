"""What one client does with a gateway, and what is left of it for the others."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hedgerow.common.collection import define
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.redis import RedisSettings
from hedgerow.common.state.registry import Registry
from tests.integration.support.hostile import GatewayProcess, gateway_process, normal_client
from tests.support.servers import RedisServer
from tests.support.waiting import block_until

pytestmark = pytest.mark.integration

NUM_COLLECTIONS = 128
NUM_FIELDS = 256
NUM_CLIENTS = 40
LIST_BYTES = NUM_COLLECTIONS * NUM_FIELDS * 100  # at least
MAX_REQUESTS = 4
GET_LIST = b"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
DELETE = b"DELETE /v1/collections/films/documents/%d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def connections() -> Iterator[contextlib.ExitStack]:
    """Connections that are closed at the end."""
    with contextlib.ExitStack() as opened:
        yield opened


async def define_large_collections(redis: str, prefix: str) -> None:
    """Have many collections of many fields with long names in a cluster."""
    fields = {f"f{number}".ljust(100, "x"): "keyword" for number in range(NUM_FIELDS)}
    control = await connect(RedisSettings(url=redis))
    try:
        registry = Registry(control, Keys(prefix))
        for number in range(NUM_COLLECTIONS):
            await registry.create_collection(define(f"c{number}", {"fields": fields}), 1)
    finally:
        await control.close()


def test_clients_that_do_not_read_the_list_share_it(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, connections: contextlib.ExitStack
) -> None:
    """Forty clients that read nothing of a list of 3 MB cost the gateway less than ten lists."""
    asyncio.run(define_large_collections(redis_server.url, key_prefix))
    with gateway_process(redis_server.url, key_prefix, tmp_path) as gateway:
        assert len(httpx.get(f"{gateway.url}/v1/collections", timeout=60).content) > LIST_BYTES
        before = gateway.memory_mb
        with normal_client(gateway):
            for _ in range(NUM_CLIENTS):
                connections.enter_context(connect_slowly(gateway)).sendall(GET_LIST)
            assert len(httpx.get(f"{gateway.url}/v1/collections", timeout=60).content) > LIST_BYTES
        assert gateway.memory_mb < before + 10 * LIST_BYTES / 1e6


def connect_slowly(gateway: GatewayProcess) -> socket.socket:
    """Connect with room for little that is received."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", gateway.port))
    return connection


def test_requests_of_one_address_keep_no_other_out(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, connections: contextlib.ExitStack
) -> None:
    """Deletes that wait for a worker hold all places; only their own address is refused then."""
    with gateway_process(
        redis_server.url, key_prefix, tmp_path, max_requests=MAX_REQUESTS
    ) as gateway:
        httpx.put(
            f"{gateway.url}/v1/collections/films", json={"fields": {}}, timeout=60
        ).raise_for_status()
        with client_at("127.0.0.2", gateway) as other:
            for number in range(MAX_REQUESTS):  # no worker applies them
                connections.enter_context(gateway.connect()).sendall(DELETE % number)
            block_until(lambda: status(other)["requests"]["in_flight"] == MAX_REQUESTS + 1)

            def has_used_up_its_share() -> bool:
                assert other.get("/v1/collections").status_code == 200
                return cause_of_refusal(gateway) == "share"

            # What counts is the mean number in progress, which takes some tenths of a second.
            block_until(has_used_up_its_share)
            found = status(other)
    assert found["requests"]["refused"]["share"] == 1
    assert found["addresses"] == {
        "refused": 1,
        "most_refused": [{"address": "127.0.0.1", "refused": 1}],
    }


def test_a_gateway_without_descriptors_says_so_until_it_has_some(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A client that is connected sees the shortage and its end; a new one waits until then."""
    with (
        gateway_process(redis_server.url, key_prefix, tmp_path) as gateway,
        httpx.Client(base_url=gateway.url, timeout=10) as client,
    ):
        pid = gateway.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert shortages(client) == []
        taken = {int(one.name) for one in Path(f"/proc/{pid}/fd").iterdir()}
        lowest_free = next(number for number in range(len(taken) + 1) if number not in taken)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        with gateway.connect() as waiting:
            waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            block_until(lambda: shortages(client) == [("gateway", "descriptors", "low")])
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            assert waiting.recv(65_536).startswith(b"HTTP/1.1 200")
        block_until(lambda: shortages(client) == [])
        log = gateway.log.read_text()
    assert log.count("shortage_ended") == 1
    assert "Traceback" not in log


def cause_of_refusal(gateway: GatewayProcess) -> str:
    """Why a request from the usual address is refused; empty if it is not."""
    answer = httpx.get(f"{gateway.url}/v1/collections", timeout=60)
    if answer.status_code == 200:
        return ""
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    return str(answer.json()["cause"])


def shortages(client: httpx.Client) -> list[tuple[str, str, str]]:
    """What runs out, and where."""
    found = client.get("/v1/status").raise_for_status().json()["shortages"]
    return [(one["where"], one["resource"], one["state"]) for one in found]


@contextlib.contextmanager
def client_at(address: str, gateway: GatewayProcess) -> Iterator[httpx.Client]:
    """A client that comes from an address of this machine."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(transport=transport, base_url=gateway.url, timeout=10) as client:
        yield client


def status(client: httpx.Client) -> dict[str, Any]:
    """What the gateway says of itself."""
    found: dict[str, Any] = client.get("/v1/status").raise_for_status().json()["gateway"]
    return found
