"""Clients that misuse their connection: what it costs the gateway, and the clients beside them."""

import contextlib
import json
import resource
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hedgerow.common.errors import BadRequestError
from hedgerow.gateway.client import Client
from hedgerow.gateway.http.protocol.connection_policy import RESERVED_DESCRIPTORS
from tests.integration.support.hostile import (
    HEALTH,
    GatewayProcess,
    gateway_process,
    normal_client,
    read_response,
    send_all,
)
from tests.support.launching import starting_by_exec
from tests.support.needs import missing
from tests.support.servers import RedisServer
from tests.support.waiting import block_until

pytestmark = pytest.mark.integration

MAX_GROWTH_MB = 60.0
# So few that a normal client sends its request before all that have room are younger than its own.
AT_ONCE = 20
SEARCH = b"POST /v1/collections/films/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
LARGE_BODY = json.dumps({"query": "a" * 5_000_000}).encode()


@pytest.fixture(scope="module")
def gateway(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway as it is unless set otherwise, for the tests that look at answers alone."""
    prefix = f"test-{secrets.token_hex(6)}"
    with gateway_process(redis_server.url, prefix, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def new_gateway(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> Iterator[GatewayProcess]:
    """The same, of which nothing has been asked yet, and whose memory is its own."""
    with (
        starting_by_exec(),
        gateway_process(redis_server.url, key_prefix, tmp_path) as gateway,
    ):
        yield gateway


@pytest.fixture
def connections() -> Iterator[contextlib.ExitStack]:
    """Connections that are closed at the end."""
    with contextlib.ExitStack() as opened:
        yield opened


def test_a_pipeline_without_end_costs_no_memory(new_gateway: GatewayProcess) -> None:
    """A client that sends 10 MB of requests and reads no answer has them wait in its own system."""
    before = new_gateway.memory_mb
    with new_gateway.connect() as connection, normal_client(new_gateway):
        send_all(connection, b"GET /v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 200_000, 5)
    assert new_gateway.peak_memory_mb < before + MAX_GROWTH_MB


def test_a_pipeline_is_answered_in_order(gateway: GatewayProcess) -> None:
    """Requests that come together are all answered, and the connection stays open."""
    with gateway.connect() as connection:
        connection.sendall(HEALTH * 2000)
        received = b""
        while received.count(b'{"alive":true}') < 2000:
            data = connection.recv(65_536)
            assert data
            received += data
        connection.sendall(HEALTH)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("endless", [b"X: a\r\n", b"a"])
def test_a_head_without_end_is_refused(new_gateway: GatewayProcess, endless: bytes) -> None:
    """Of 100 MB of header lines, or of one header, 32 KB are kept; the client sees a 431."""
    before = new_gateway.memory_mb
    with new_gateway.connect() as connection, normal_client(new_gateway):
        sent = b"GET / HTTP/1.1\r\nX: " + endless * (100_000_000 // len(endless))
        assert send_all(connection, sent, 5) < len(sent)
        status, body = read_response(connection)
    assert status == 431
    assert json.loads(body)["type"] == "urn:problem-type:hedgerow:too-large"
    assert new_gateway.peak_memory_mb < before + MAX_GROWTH_MB
    assert new_gateway.counters()["http_heads_too_large"] == 1


def test_idle_connections_make_room(
    redis_server: RedisServer,
    key_prefix: str,
    tmp_path: Path,
    connections: contextlib.ExitStack,
) -> None:
    """1,100 connections that never ask keep no client out, where 256 descriptors are all."""
    with (
        gateway_process(redis_server.url, key_prefix, tmp_path, max_descriptors=256) as gateway,
        normal_client(gateway) as client,
    ):
        for number in range(1100):
            if number % AT_ONCE == 0:
                client.wait_until_answered()
            connections.enter_context(gateway.connect())
        block_until(
            lambda: gateway.counters().get("connections_closed_for_room", 0) >= 1100 - 256,
            what="all connections were accepted",
        )
        assert gateway.num_descriptors <= 256
        assert "too_few_descriptors" in gateway.log.read_text()
        assert "Too many open files" not in gateway.log.read_text()


def test_the_descriptor_limit_is_raised(gateway: GatewayProcess) -> None:
    """A gateway has as many descriptors as its hard limit allows."""
    soft, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.mark.parametrize(
    ("sent", "what"),
    [(b"GET / HTT", "head"), (SEARCH + b"Content-Length: 100\r\n\r\n{", "body")],
)
def test_a_request_that_drips_is_refused(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path, sent: bytes, what: str
) -> None:
    """A head or a body that is not whole in its time is a 408 and the end of the connection."""
    with (
        gateway_process(
            redis_server.url, key_prefix, tmp_path, head_timeout_s=0.5, body_timeout_s=0.5
        ) as gateway,
        gateway.connect() as connection,
    ):
        connection.sendall(sent)
        status, body = read_response(connection)
        assert status == 408
        assert json.loads(body)["detail"].startswith(what)


def test_a_connection_that_never_asks_is_closed(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """It ends without a word."""
    with (
        gateway_process(redis_server.url, key_prefix, tmp_path, head_timeout_s=0.5) as gateway,
        gateway.connect() as connection,
    ):
        assert connection.recv(1) == b""


def test_half_sent_bodies_make_room(
    redis_server: RedisServer,
    key_prefix: str,
    tmp_path: Path,
    connections: contextlib.ExitStack,
) -> None:
    """Connections with a half-sent body are closed before a client is refused."""
    with (
        gateway_process(redis_server.url, key_prefix, tmp_path, max_connections=50) as gateway,
        normal_client(gateway) as client,
    ):
        for number in range(200):
            if number % AT_ONCE == 0:
                client.wait_until_answered()
            connection = connections.enter_context(gateway.connect())
            connection.sendall(SEARCH + b"Content-Length: 60000\r\n\r\n" + b" " * 50_000)
        assert gateway.num_descriptors <= 50 + RESERVED_DESCRIPTORS


def test_a_client_that_reads_nothing_is_disconnected(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """Its answers stop at what its system and the gateway's buffer, and its connection is reset."""
    with (
        gateway_process(redis_server.url, key_prefix, tmp_path, send_timeout_s=0.5) as gateway,
        gateway.connect() as connection,
    ):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        send_all(connection, b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 2000, 5)
        block_until(lambda: "answers_not_taken" in gateway.counters(), what="the reset is counted")


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
def test_a_body_that_is_too_large_sees_its_refusal(gateway: GatewayProcess, headers: bytes) -> None:
    """A client that sends all of 5 MB before it reads gets the 413, and no reset."""
    with gateway.connect() as connection:
        connection.sendall(SEARCH + headers + b"Content-Length: %d\r\n\r\n" % len(LARGE_BODY))
        connection.sendall(LARGE_BODY)
        assert connection.recv(12) == b"HTTP/1.1 413"


@pytest.mark.parametrize("is_chunked", [True, False])
def test_httpx_sees_a_refusal(gateway: GatewayProcess, is_chunked: bool) -> None:
    """So do those who use httpx, with a body of known length or in chunks."""
    body = iter([LARGE_BODY]) if is_chunked else LARGE_BODY
    answer = httpx.post(f"{gateway.url}/v1/collections/films/search", content=body, timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize("options", [(), ("-H", "Expect:"), ("-H", "Transfer-Encoding: chunked")])
def test_curl_sees_a_refusal(
    gateway: GatewayProcess, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """So does curl, whether it waits for an invitation or not."""
    file = tmp_path / "body.json"
    file.write_bytes(LARGE_BODY)
    try:
        done = subprocess.run(
            [
                "curl",
                "-sS",
                "-o",
                str(tmp_path / "answer"),
                "-w",
                "%{http_code}",
                "--data-binary",
                f"@{file}",
                *options,
                f"{gateway.url}/v1/collections/films/search",
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except FileNotFoundError:
        missing("curl")
    assert (done.returncode, done.stdout) == (0, "413"), done.stderr
    assert json.loads((tmp_path / "answer").read_bytes())["status"] == 413


def test_the_client_sees_a_refusal(gateway: GatewayProcess) -> None:
    """So does Hedgerow's own client: the error names the limit."""
    with Client(gateway.url) as client, pytest.raises(BadRequestError, match="65536"):
        client.search("films", "a" * 5_000_000)


def test_an_unauthorised_upload_sees_its_refusal(
    redis_server: RedisServer, key_prefix: str, tmp_path: Path
) -> None:
    """A bulk load of 20 MB without the token is a 401, though it is sent whole before."""
    with gateway_process(redis_server.url, key_prefix, tmp_path, token="s3cret") as gateway:
        answer = httpx.post(
            f"{gateway.url}/v1/collections/films/documents", content=b"a" * 20_000_000, timeout=60
        )
        assert answer.status_code == 401


def test_malformed_requests_are_a_line_of_the_log(new_gateway: GatewayProcess) -> None:
    """A thousand of them are counted in the status, and do not fill the log."""
    for _ in range(1000):
        with new_gateway.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX\x1b]0;x: a\r\n\r\n")
            assert read_response(connection)[0] == 400
    assert new_gateway.counters()["http_bad_requests"] == 1000
    log = new_gateway.log.read_text()
    assert log.count("http_bad_requests") < 10
    assert "\x1b" not in log
