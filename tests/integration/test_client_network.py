"""The client's own HTTP, of both kinds, against servers that misbehave."""

import asyncio
import math
import random
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from hedgerow.common.errors import HedgerowError, UnavailableError
from hedgerow.gateway.client import AsyncClient
from tests.integration.support import either_kind
from tests.integration.support.either_kind import EitherKind, answer_all, answer_to, query_of
from tests.integration.support.raw_server import Connection, RawServer

pytestmark = pytest.mark.integration


either = either_kind.either


def test_one_connection_serves_one_request_after_the_other(either: EitherKind) -> None:
    """A connection is kept, and each request has its own answer."""
    with RawServer(answer_all) as server:
        call = either.connect(server.url)
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
        assert server.num_accepted == 1


def test_a_wait_for_ever_is_one_that_a_socket_knows(either: EitherKind) -> None:
    """No end to a wait is no error."""
    with RawServer(answer_all) as server:
        call = either.connect(server.url, margin_s=math.inf, connect_timeout_s=math.inf)
        assert call("search", "films", "a").warnings == ["a"]


@pytest.mark.parametrize("number", [0, 1])
def test_an_address_that_does_not_answer_leaves_time_for_the_others(
    either: EitherKind, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A host may have one of a network that is broken; which of them it is does not matter."""
    with RawServer(answer_all) as server, ExitStack() as silent:
        port = int(server.url.rpartition(":")[2])
        listening = silent.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        while True:  # until its queue is full, and it answers no more
            one = silent.enter_context(socket.socket())
            one.settimeout(0.2)
            try:
                one.connect(listening.getsockname())
            except TimeoutError:
                break
        resolve = socket.getaddrinfo

        def addresses(host: str | None, *of: Any, **more: Any) -> Any:
            if host != "gateway.test":
                return resolve(host, *of, **more)
            found = ["127.0.0.1", "127.0.0.2"]
            found.insert(number, found.pop())
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

        monkeypatch.setattr(socket, "getaddrinfo", addresses)
        call = either.connect(f"http://gateway.test:{port}", connect_timeout_s=8.0)
        began = time.monotonic()
        assert call("search", "films", "a").warnings == ["a"]
        assert time.monotonic() - began < 8.0


@pytest.mark.parametrize("deadline_ms", [1e300, -1e300])
def test_a_deadline_that_no_socket_can_wait_for_is_sent(
    either: EitherKind, deadline_ms: float
) -> None:
    """Whether it is allowed, the gateway decides."""
    with RawServer(answer_all) as server:
        call = either.connect(server.url)
        assert call("search", "films", "a", deadline_ms=deadline_ms).warnings == ["a"]


def test_a_server_that_closes_after_each_answer_is_connected_to_again(either: EitherKind) -> None:
    """`Connection: close` is honoured, though the server is slow to do it."""
    with RawServer(lambda one: answer_all(one, "Connection: close\r\n")) as server:
        call = either.connect(server.url)
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
        assert server.num_accepted == 3


def test_a_connection_that_was_closed_while_idle_is_not_used(either: EitherKind) -> None:
    """It is not used even if the event loop has had no time to notice the close."""
    with RawServer(answer_all) as server:
        call = either.connect(server.url)
        call("search", "films", "a")
        server.hang_up()
        assert call("search", "films", "b").warnings == ["b"]
        assert server.num_accepted == 2


def test_an_answer_that_nobody_asked_for_is_given_to_nobody(either: EitherKind) -> None:
    """What a server sends beyond its answer never answers the next request."""
    sent = threading.Event()

    def answer_twice(connection: Connection) -> None:
        request = connection.read_request()
        assert request is not None
        connection.answer(answer_to(query_of(request[1])))
        connection.answer(answer_to("stolen"))
        sent.set()
        connection.read_to_end()

    with RawServer(answer_twice) as server:
        call = either.connect(server.url)
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
            assert sent.wait(timeout=60)
            sent.clear()
        assert server.num_accepted == 3


def test_the_late_answer_to_a_request_that_timed_out_is_given_to_nobody(
    either: EitherKind,
) -> None:
    """The connection is closed with the request, so that its answer meets no other request."""
    is_first = iter([True])

    def be_late_once(connection: Connection) -> None:
        if next(is_first, False):
            connection.read_request()
            assert connection.is_left(10)
            connection.answer(answer_to("late"))
        answer_all(connection)

    with RawServer(be_late_once) as server:
        call = either.connect(server.url, margin_s=0.1)
        with pytest.raises(UnavailableError, match=r"did not answer in time \(read\)"):
            call("search", "films", "a", deadline_ms=1)
        assert call("search", "films", "b", deadline_ms=20_000).warnings == ["b"]
        assert server.num_accepted == 2


def test_an_answer_in_drops_is_bounded_as_a_whole(either: EitherKind) -> None:
    """The time counts to the end of the answer, not to the next byte of it."""

    def trickle(connection: Connection) -> None:
        connection.read_request()
        connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not connection.is_left(0.01):
            connection.socket.sendall(b" ")

    with RawServer(trickle) as server:
        call = either.connect(server.url, margin_s=0.2)
        with pytest.raises(UnavailableError, match=r"did not answer in time \(read\)"):
            call("search", "films", "a", deadline_ms=1)


@pytest.mark.parametrize("is_begun", [False, True])
def test_an_answer_that_breaks_off_is_unavailable(either: EitherKind, is_begun: bool) -> None:
    """Part of an answer is no answer."""

    def break_off(connection: Connection) -> None:
        connection.read_request()
        if is_begun:
            connection.socket.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

    with RawServer(break_off) as server:
        call = either.connect(server.url)
        with pytest.raises(UnavailableError, match=f"no gateway answers at {server.url}: "):
            call("search", "films", "a")


def test_proxies_and_passwords_of_the_environment_are_not_used(
    either: EitherKind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A proxy for the internet is not asked, and no password of .netrc is sent."""
    heads = []

    def keep_head(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            heads.append(request[0])
            connection.answer(answer_to("a"))

    with RawServer(answer_all) as proxy, RawServer(keep_head) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        (tmp_path / ".netrc").write_text("default login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        monkeypatch.setenv("HOME", str(tmp_path))
        either.connect(server.url)("search", "films", "a")
        assert (proxy.num_accepted, server.num_accepted) == (0, 1)
    assert b"authorization" not in heads[0].lower()


def test_a_redirect_is_not_followed(either: EitherKind) -> None:
    """A server that redirects is no gateway, and the token is sent nowhere else."""

    def redirect(connection: Connection) -> None:
        while connection.read_request() is not None:
            headers = f"Location: {elsewhere.url}/\r\n"
            connection.answer(b"", "307 Temporary Redirect", headers)

    with RawServer(answer_all) as elsewhere, RawServer(redirect) as server:
        call = either.connect(server.url, token="secret")
        with pytest.raises(HedgerowError, match="is not a gateway: HTTP 307"):
            call("search", "films", "a")
        assert elsewhere.num_accepted == 0


def test_many_queries_are_in_flight_at_once(either: EitherKind) -> None:
    """As many as were asked for, over as many connections, and each has its own answer."""
    in_flight = threading.Barrier(4)

    def answer_four_at_once(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            in_flight.wait(timeout=60)
            connection.answer(answer_to(query_of(request[1])))

    with RawServer(answer_four_at_once) as server:
        queries = [f"q{number}" for number in range(40)]
        found = either.connect(server.url)("search_many", "films", queries, concurrency=4)
        assert [one.warnings for one in found] == [[query] for query in queries]
        assert server.num_accepted == 4


class Reluctant(asyncio.Protocol):
    """Answers each search in pieces, a turn of the loop apart, by naming its query."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._received = b""
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep how to write."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        self._received += data
        if data.endswith(b"}"):
            _, _, body = self._received.partition(b"\r\n\r\n")
            self._received = b""
            self._answering = asyncio.create_task(self._answer(answer_to(query_of(body))))

    async def _answer(self, body: bytes) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        while answer:
            size = self._dice.choice([1, 20, 100, 10_000])
            self._transport.write(answer[:size])
            answer = answer[size:]
            for _ in range(self._dice.randrange(4)):
                await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(3))
async def test_requests_cancelled_at_any_moment_leave_no_answer_behind(seed: int) -> None:
    """Whatever is cancelled, each request that goes on has the answer to its own query."""
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Reluctant(dice), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    num_answered = num_cancelled = 0

    async with AsyncClient(url) as client:

        async def ask(query: str) -> None:
            nonlocal num_answered
            assert (await client.search("films", query)).warnings == [query]
            num_answered += 1

        for turn in range(60):
            tasks = [asyncio.create_task(ask(f"{turn} {number}")) for number in range(5)]
            for _ in range(dice.randrange(12)):
                await asyncio.sleep(0)
            for task in tasks[:3]:
                if not task.done():
                    task.cancel()
                    num_cancelled += 1
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(one is None or type(one) is asyncio.CancelledError for one in ended), ended
    server.close()
    assert num_answered >= 120
    assert num_cancelled > 60
