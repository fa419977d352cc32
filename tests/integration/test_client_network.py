"""The client's own HTTP, of both kinds, against servers that misbehave, with and without TLS."""

import asyncio
import inspect
import itertools
import json
import random
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from common.errors import HedgerowError, TooLargeError, UnavailableError
from gateway.client import AsyncClient, Client
from tests.integration.raw_server import Connection, RawServer
from tests.unit.fake_gateway import make_result

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

PROBLEM = json.dumps({"detail": "body: too large", "field": "body", "reason": "too large"}).encode()
LOADED = b'{"accepted": 1, "rejected": [], "rejected_total": 0, "applied": true}'
DOCUMENT = {"id": "1", "text": "x" * 1000}


class EitherKind:
    """Calls methods of one kind of client, with one event loop for as long as it is open."""

    def __init__(self, kind: type[Client] | type[AsyncClient]) -> None:
        self.kind = kind
        self._runner = asyncio.Runner()
        self._clients: list[Any] = []

    def connect(self, url: str, **options: Any) -> Callable[..., Any]:
        """Return how to call the methods of a client."""
        client: Any = self.kind(url, **options)
        self._clients.append(client)
        return lambda method, *arguments, **options: self._call(client, method, arguments, options)

    def _call(self, client: Any, method: str, arguments: Any, options: Any) -> Any:
        found = getattr(client, method)(*arguments, **options)
        return self._runner.run(found) if inspect.iscoroutine(found) else found

    def close(self) -> None:
        """Close all clients and the loop."""
        for client in self._clients:
            self._call(client, "close", (), {})
        self._runner.close()


@pytest.fixture(params=[Client, AsyncClient], ids=lambda kind: kind.__name__)
def either(request: pytest.FixtureRequest) -> Iterator[EitherKind]:
    """Either kind of client."""
    either = EitherKind(request.param)
    yield either
    either.close()


def answer_to(query: str) -> bytes:
    """An answer that names its query."""
    return json.dumps({**make_result().to_json(), "warnings": [query]}).encode()


def query_of(body: bytes) -> str:
    """The query of a search."""
    query: str = json.loads(body)["query"]
    return query


def answer_all(connection: Connection, headers: str = "") -> None:
    """Answer each search by naming its query."""
    while (request := connection.read_request()) is not None:
        connection.answer(answer_to(query_of(request[1])), headers=headers)


def test_one_connection_serves_one_request_after_the_other(either: EitherKind) -> None:
    """A connection is kept, and each request has its own answer."""
    with RawServer(answer_all) as server:
        call = either.connect(server.url)
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
        assert server.num_accepted == 1


def test_a_server_that_closes_after_each_answer_is_connected_to_again(either: EitherKind) -> None:
    """`Connection: close` is honoured, though the server is slow to do it."""
    with RawServer(lambda one: answer_all(one, "Connection: close\r\n")) as server:
        call = either.connect(server.url)
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
        assert server.num_accepted == 3


def test_a_connection_that_was_closed_while_idle_is_not_used(either: EitherKind) -> None:
    """Not even when the event loop has had no time to see it."""
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
            assert sent.wait(timeout=10)
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
    """A part of an answer is none."""

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
    """What redirects is no gateway, and the token is sent nowhere else."""

    def redirect(connection: Connection) -> None:
        while connection.read_request() is not None:
            headers = f"Location: {elsewhere.url}/\r\n"
            connection.answer(b"", "307 Temporary Redirect", headers)

    with RawServer(answer_all) as elsewhere, RawServer(redirect) as server:
        call = either.connect(server.url, token="secret")
        with pytest.raises(HedgerowError, match="is not a gateway: HTTP 307"):
            call("search", "films", "a")
        assert elsewhere.num_accepted == 0


def endless(drawn: list[int]) -> Iterator[dict[str, str]]:
    """Documents without end, of which `drawn` counts those that were drawn."""
    for number in itertools.count():
        drawn[0] = number
        yield DOCUMENT


def refuse_early(connection: Connection) -> None:
    """Answer a load after its first bytes, and take no more of it; answer searches."""
    head = connection.read_head()
    if b"/documents" in head:
        connection.answer(PROBLEM, "413 Content Too Large")
        assert connection.is_left(10)
        connection.read_to_end()
    else:
        connection.answer(answer_to("a search"))


def test_a_load_that_is_refused_before_its_end_stops(either: EitherKind) -> None:
    """The answer is taken when it comes, no more documents are drawn, and its connection goes."""
    with RawServer(refuse_early) as server:
        call = either.connect(server.url)
        with pytest.raises(TooLargeError, match="too large"):
            call("index", "films", endless([0]))
        assert call("search", "films", "a").warnings == ["a search"]
        assert server.num_accepted == 2


def test_a_load_of_nothing_is_one_body(either: EitherKind) -> None:
    """An empty piece does not end the body twice, which would spoil the connection."""
    bodies = []

    def serve(connection: Connection) -> None:
        while connection.read_head():
            bodies.append(connection.read_chunks())
            connection.answer(LOADED)

    with RawServer(serve) as server:
        call = either.connect(server.url)
        for _ in range(3):
            assert call("index", "films", []).accepted == 1
        assert server.num_accepted == 1
    assert bodies == [b"0\r\n\r\n"] * 3


def test_a_load_to_a_server_that_hangs_up_is_unavailable(either: EitherKind) -> None:
    """A connection that breaks under a load is an error of the tree."""

    def hang_up(connection: Connection) -> None:
        connection.read_head()

    with RawServer(hang_up) as server:
        call = either.connect(server.url)
        with pytest.raises(UnavailableError, match=f"no gateway answers at {server.url}: "):
            call("index", "films", endless([0]))


def test_a_server_that_does_not_read_stops_the_drawing(either: EitherKind) -> None:
    """What is drawn is bounded by what the system buffers, and the wait by the timeout."""
    is_over, drawn = threading.Event(), [0]

    def read_nothing(connection: Connection) -> None:
        connection.read_head()
        is_over.wait(timeout=20)

    with RawServer(read_nothing) as server:
        call = either.connect(server.url, margin_s=0.1)
        with pytest.raises(UnavailableError, match=r"did not answer in time \(write\)"):
            call("index", "films", endless(drawn), timeout_s=0.1)
        is_over.set()
    assert drawn[0] < 50_000  # of 1 KB each


def test_an_error_of_the_documents_stays_what_it_is(either: EitherKind) -> None:
    """A file that cannot be read is not taken for a gateway that does not answer."""

    def unreadable() -> Iterator[dict[str, str]]:
        yield DOCUMENT
        raise OSError("disk failed")

    with RawServer(Connection.read_to_end) as server:
        call = either.connect(server.url)
        with pytest.raises(OSError, match="disk failed"):
            call("index", "films", unreadable())
        with pytest.raises(TimeoutError, match="network file system"):
            call("index", "films", slow_file())


def slow_file() -> Iterator[dict[str, str]]:
    """A file whose reading times out, which is none of the gateway's timeouts."""
    yield DOCUMENT
    raise TimeoutError("network file system")


def test_many_queries_are_in_flight_at_once(either: EitherKind) -> None:
    """As many as were asked for, over as many connections, and each has its own answer."""
    in_flight = threading.Barrier(4)

    def answer_four_at_once(connection: Connection) -> None:
        while (request := connection.read_request()) is not None:
            in_flight.wait(timeout=20)
            connection.answer(answer_to(query_of(request[1])))

    with RawServer(answer_four_at_once) as server:
        queries = [f"q{number}" for number in range(40)]
        found = either.connect(server.url)("search_many", "films", queries, concurrency=4)
        assert [one.warnings for one in found] == [[query] for query in queries]
        assert server.num_accepted == 4


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no system trusts."""
    return trustme.CA()


def tls_of(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """How a server of these names encrypts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What trusts an authority, and no other."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_tls_keeps_its_connections_and_takes_loads(
    either: EitherKind, authority: trustme.CA
) -> None:
    """An encrypted connection serves many requests, of any length."""
    received = 0

    def serve(connection: Connection) -> None:
        nonlocal received
        for _ in range(3):
            request = connection.read_request()
            assert request is not None
            connection.answer(answer_to(query_of(request[1])))
        connection.read_head()
        received = len(connection.read_chunks())
        connection.answer(LOADED)
        connection.read_to_end()

    with RawServer(serve, tls_of(authority, "127.0.0.1")) as server:
        call = either.connect(server.url, verify=trusting(authority))
        for query in "abc":
            assert call("search", "films", query).warnings == [query]
        assert call("index", "films", [DOCUMENT] * 3000).accepted == 1
        assert server.num_accepted == 1
    assert received > 3_000_000


def test_a_load_that_is_refused_before_its_end_stops_with_tls_too(
    either: EitherKind, authority: trustme.CA
) -> None:
    """The session tickets that come before the answer are not taken for it."""
    with RawServer(refuse_early, tls_of(authority, "127.0.0.1")) as server:
        call = either.connect(server.url, verify=trusting(authority))
        with pytest.raises(TooLargeError, match="too large"):
            call("index", "films", endless([0]))


def test_a_certificate_of_an_unknown_authority_is_refused(
    either: EitherKind, authority: trustme.CA
) -> None:
    """By default only the authorities that the system trusts count."""
    with RawServer(answer_all, tls_of(authority, "127.0.0.1")) as server:
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            either.connect(server.url)("search", "films", "a")
        unchecked = either.connect(server.url, verify=False)
        assert unchecked("search", "films", "a").warnings == ["a"]


def test_the_system_s_authorities_are_those_of_openssl(
    either: EitherKind, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SSL_CERT_FILE names another file of them, as for any program that uses OpenSSL."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with RawServer(answer_all, tls_of(authority, "127.0.0.1")) as server:
        assert either.connect(server.url)("search", "films", "a").warnings == ["a"]


def test_a_certificate_for_another_host_is_refused(
    either: EitherKind, authority: trustme.CA
) -> None:
    """A certificate must be for the host of the URL."""
    with RawServer(answer_all, tls_of(authority, "elsewhere.example")) as server:
        call = either.connect(server.url, verify=trusting(authority))
        with pytest.raises(UnavailableError, match="certificate verify failed"):
            call("search", "films", "a")


def test_a_handshake_that_does_not_end_is_bounded(either: EitherKind) -> None:
    """It is a part of connecting, and of its timeout."""
    with RawServer(Connection.read_to_end) as server:
        call = either.connect(f"https://{server.address}", connect_timeout_s=0.1, verify=False)
        with pytest.raises(UnavailableError, match=r"did not answer in time \(connect\)"):
            call("search", "films", "a")


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
