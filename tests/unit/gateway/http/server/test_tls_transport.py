"""TLS on a connection: what a client and an attacker get, over a record of the socket."""

import asyncio
import ssl
from typing import Any

import pytest
import structlog
import trustme

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.server.certificate import Certificate
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from hedgerow.gateway.http.server.handshakes import Handshakes
from hedgerow.gateway.http.server.server_state import ServerState
from hedgerow.gateway.http.server.tls_transport import TlsConnection
from tests.support.connections import RecordingTransport, turn
from tests.support.virtual_time import run_virtually
from tests.unit.support.asgi_app import REQUEST, SWEEP_S, App, gone_at, post


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that no system trusts."""
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for `search.example`, from files."""
    folder = tmp_path_factory.mktemp("tls")
    issued = authority.issue_cert("search.example")
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key)
    return Certificate(cert, key)


class Client:
    """A client that encrypts, and the connection that serves it.

    Attributes:
        transport: the record of the socket.
        server: what connections share.
        received: what was decrypted.
        has_ended: whether the server has said that it sends no more.
    """

    def __init__(
        self,
        certificate: Certificate,
        authority: trustme.CA,
        app: Any,
        *,
        room: int = 2**20,
        table: ConnectionTable | None = None,
        handshakes: Handshakes | None = None,
        peer: str = "192.0.2.7",
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        protocols: tuple[str, ...] = ("h2", "http/1.1"),
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # it verifies, and trusts no other yet
        authority.configure_trust(context)
        context.maximum_version = newest
        context.set_alpn_protocols(protocols)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname="search.example"
        )
        self.table = table or ConnectionTable(ConnectionSettings(), Counters())
        if handshakes is None:  # by this clock, they take no time
            handshakes = Handshakes(0.25, clock=lambda: 0.0)
        self.table.handshakes = handshakes
        self.server = ServerState(app, self.table)
        self.connection = TlsConnection(self.server, certificate)
        self.transport = RecordingTransport(room, peer)
        self.transport.protocol = self.connection  # type: ignore[assignment] # asked to pause alone
        self._num_read = 0
        self.received = b""
        self.has_ended = False
        self.connection.connection_made(self.transport)

    def carry(self, *, size: int = 10**6, turned: bool = False) -> None:
        """Carry bytes both ways until there are none, in pieces of `size`."""
        while True:
            written = self.transport.written[self._num_read :]
            self._num_read += len(written)
            self._incoming.write(written)
            data = self._outgoing.read()
            if not written and not data:
                return
            for start in range(0, len(data), size):
                self.deliver(data[start : start + size])

    def deliver(self, data: bytes) -> None:
        """Have the server receive bytes."""
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))

    def greet(self) -> None:
        """Send the first message of the handshake, and no more."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.deliver(self._outgoing.read())

    @property
    def is_greeted(self) -> bool:
        """Whether the server has answered."""
        return self.transport.written != b""

    def shake_hands(self, *, size: int = 10**6) -> None:
        """Carry the handshake."""
        for _ in range(4):
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.carry(size=size)
            else:
                self.carry(size=size)
                return
        pytest.fail("no handshake")

    def send(self, data: bytes, *, size: int = 10**6) -> None:
        """Send to the application."""
        self.tls.write(data)
        self.carry(size=size)

    def read(self) -> bytes:
        """Decrypt what the server has sent."""
        self.carry()
        try:
            while part := self.tls.read(2**16):
                self.received += part
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        return self.received

    def lose(self) -> None:
        """End the connection."""
        self.connection.connection_lost(None)
        assert self.table.num_connections == 0
        assert not self.server.connections


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 10**6])
async def test_requests_are_served_over_tls(
    certificate: Certificate, authority: trustme.CA, newest: ssl.TLSVersion, size: int
) -> None:
    """However the bytes are cut: HTTP/1.1 is agreed on, and the application knows the scheme."""
    app = App()
    client = Client(certificate, authority, app, newest=newest)
    client.shake_hands(size=size)
    assert client.tls.selected_alpn_protocol() == "http/1.1"
    for number in (1, 2):
        client.send(post(5) + b"hello", size=size)
        await turn()
        assert client.read().count(b"HTTP/1.1 204") == number
    assert app.bodies == [b"hello"] * 2
    assert [scope["scheme"] for scope in app.scopes] == ["https"] * 2
    client.lose()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_older_versions_are_refused(
    certificate: Certificate, authority: trustme.CA, newest: ssl.TLSVersion
) -> None:
    """No handshake of a version below 1.2 is completed."""
    client = Client(certificate, authority, App(), newest=newest)
    with pytest.raises(ssl.SSLError):
        client.shake_hands()
    client.lose()


async def test_an_answer_is_one_write(certificate: Certificate, authority: trustme.CA) -> None:
    """Head and body leave in one record."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    client = Client(certificate, authority, app)
    client.shake_hands()
    before = client.transport.num_writes
    client.send(REQUEST)
    await turn()
    assert client.transport.num_writes == before + 1
    client.lose()


async def test_what_is_no_tls_is_counted_and_closed(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """A plain request gets an alert, and its connection ends."""
    counters = Counters()
    table = ConnectionTable(ConnectionSettings(), counters)
    app = App()
    client = Client(certificate, authority, app, table=table)
    client.deliver(REQUEST)
    assert client.transport.calls[-1] == "close"
    assert b"HTTP" not in client.transport.written
    assert counters.as_dict() == {"tls_failures": 1}
    assert app.scopes == []
    client.lose()


async def test_a_forged_record_ends_the_connection(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """Bytes that were changed on the way are not taken."""
    app = App()
    client = Client(certificate, authority, app)
    client.shake_hands()
    client.tls.write(REQUEST)
    record = bytearray(client._outgoing.read())
    record[-1] ^= 1
    client.deliver(bytes(record))
    await turn()
    assert client.transport.calls[-1] == "close"
    assert app.scopes == []
    client.lose()


@pytest.mark.parametrize("num_bytes", [0, 1, 100, 10**6])
def test_a_handshake_that_is_not_completed_is_closed_like_a_slow_head(
    certificate: Certificate, authority: trustme.CA, num_bytes: int
) -> None:
    """It counts as a connection from the start, and drops of it do not prolong its time."""

    async def scenario() -> None:
        client = Client(certificate, authority, App())
        assert client.table.num_connections == 1
        with pytest.raises(ssl.SSLWantReadError):
            client.tls.do_handshake()
        hello = client._outgoing.read()[:num_bytes]
        for number in range(8):
            client.deliver(hello[number : number + 1] if number < 7 else hello[7:])
            await asyncio.sleep(1)
        assert await gone_at(client.transport) == pytest.approx(10, abs=SWEEP_S)
        client.lose()

    run_virtually(scenario())


async def test_a_silent_handshake_makes_room_for_others(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """Connections that were opened and left are the first to be closed."""
    table = ConnectionTable(ConnectionSettings(max_connections=3), Counters())
    clients = [Client(certificate, authority, App(), table=table) for _ in range(10)]
    assert table.num_connections == 3
    assert [client.transport.calls for client in clients].count(["abort"]) == 7
    for client in clients:
        client.connection.connection_lost(None)


async def test_a_refusal_comes_encrypted_after_the_handshake(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """A client for which there is no room learns it, and when to come again."""
    table = ConnectionTable(ConnectionSettings(max_connections=1), Counters())
    app = App()
    app.may_answer.clear()
    busy = Client(certificate, authority, app, table=table)
    busy.shake_hands()
    busy.send(REQUEST)
    await turn()
    refused = Client(certificate, authority, app, table=table)
    assert refused.transport.written == b""
    refused.shake_hands()
    assert b"retry-after: 1\r\n" in refused.read()
    assert refused.received.startswith(b"HTTP/1.1 503 ")
    assert refused.has_ended
    assert refused.transport.calls[-1] == "write_eof"
    for client in (refused, busy):
        client.connection.connection_lost(None)
    app.may_answer.set()
    await turn()


async def test_a_refusal_reaches_a_client_that_goes_on_to_send(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """What follows is discarded, within the bound, and is not decrypted."""
    table = ConnectionTable(ConnectionSettings(max_linger_bytes=50_000), Counters())
    client = Client(certificate, authority, App(), table=table)
    client.shake_hands()
    client.send(b"nonsense\r\n\r\n")
    assert client.read().startswith(b"HTTP/1.1 400 ")
    assert client.has_ended
    client.deliver(b"a" * 40_000)
    assert not client.transport.is_closing()
    client.deliver(b"a" * 20_000)
    assert client.transport.calls[-1] == "abort"
    client.lose()


async def test_a_close_is_announced(certificate: Certificate, authority: trustme.CA) -> None:
    """A client can tell the end of the connection from one that an attacker made."""
    client = Client(certificate, authority, App())
    client.shake_hands()
    client.send(REQUEST[:-2] + b"Connection: close\r\n\r\n")
    await turn()
    assert client.read().startswith(b"HTTP/1.1 204")
    assert client.has_ended
    assert client.transport.calls[-1] == "close"
    client.lose()


async def test_a_client_that_says_goodbye_is_closed(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """Its request ends, as that of a client that hangs up."""
    app = App()
    client = Client(certificate, authority, app)
    client.shake_hands()
    client.send(post(10) + b"abc")
    await turn()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.carry()
    assert client.transport.calls[-1] == "close"
    client.lose()
    await turn()
    assert app.num_left == 1


async def test_an_answer_for_a_client_that_says_goodbye_is_dropped(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """It may be ready between the client's goodbye and the end of the connection."""
    app = App()
    app.may_answer.clear()
    client = Client(certificate, authority, app)
    client.shake_hands()
    client.send(REQUEST)
    await turn()
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    client.carry()
    app.may_answer.set()
    with structlog.testing.capture_logs() as logs:
        await turn()
    assert logs == []
    assert client.read() == b""
    assert not client.server.tasks
    client.lose()


async def test_what_waits_for_the_client_is_that_of_the_socket(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """An answer that is not taken is within the limit for all, encrypted as it is."""
    table = ConnectionTable(ConnectionSettings(max_unsent_bytes=1500), Counters())
    client = Client(certificate, authority, App(), table=table)
    client.shake_hands()
    client.transport.unsent_bytes = 2000
    client.connection.pause_writing()
    assert client.transport.calls[-1] == "abort"
    client.lose()


class Clock:
    """Measures what a handshake takes: each `took_s`."""

    def __init__(self, took_s: float) -> None:
        self._took_s = took_s
        self._num_looks = 0

    def __call__(self) -> float:
        """The instant: it passes between the two looks at a handshake."""
        self._num_looks += 1
        return self._num_looks // 2 * self._took_s


def test_handshakes_have_a_share_of_the_time(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """A hundred at once, of 10 ms each, with a quarter of the time: one is made each 40 ms."""

    async def scenario() -> None:
        handshakes = Handshakes(0.25, clock=Clock(0.01))
        counters = Counters()
        table = ConnectionTable(ConnectionSettings(head_timeout_s=60), counters)
        clients = [
            Client(certificate, authority, App(), table=table, handshakes=handshakes)
            for _ in range(100)
        ]
        for client in clients:
            client.greet()
        assert sum(client.is_greeted for client in clients) <= 2
        assert counters["tls_handshakes_delayed"] >= 98
        await asyncio.sleep(2.0)
        assert 49 <= sum(client.is_greeted for client in clients) <= 52
        await asyncio.sleep(2.1)
        assert all(client.is_greeted for client in clients)
        for client in clients:
            client.connection.connection_lost(None)

    run_virtually(scenario())


def test_addresses_take_turns(certificate: Certificate, authority: trustme.CA) -> None:
    """A client need not wait for the hundred that another address has begun before."""

    async def scenario() -> None:
        handshakes = Handshakes(0.25, clock=Clock(0.01))
        table = ConnectionTable(ConnectionSettings(), Counters())
        clients = [
            Client(certificate, authority, App(), table=table, handshakes=handshakes, peer=peer)
            for peer in ["192.0.2.66"] * 100 + ["192.0.2.7"]
        ]
        for client in clients:
            client.greet()
        await asyncio.sleep(0.09)
        assert clients[-1].is_greeted
        assert not clients[-2].is_greeted
        for client in clients:
            client.connection.connection_lost(None)

    run_virtually(scenario())


def test_a_handshake_that_waits_is_not_read_and_goes_on_in_its_turn(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """What the client sends meanwhile stays in the socket; afterwards it is served."""

    async def scenario() -> None:
        handshakes = Handshakes(0.25, clock=Clock(0.01))
        table, app = ConnectionTable(ConnectionSettings(), Counters()), App()
        first, second, waits = (
            Client(certificate, authority, app, table=table, handshakes=handshakes)
            for _ in range(3)
        )
        first.greet()
        second.greet()
        waits.greet()
        assert waits.transport.calls == ["pause_reading"]
        await asyncio.sleep(0.2)
        assert waits.transport.calls[1] == "resume_reading"
        waits.shake_hands()
        await asyncio.sleep(0.2)
        waits.send(REQUEST)
        await turn()
        assert waits.read().startswith(b"HTTP/1.1 204")
        for client in (first, second, waits):
            client.connection.connection_lost(None)

    run_virtually(scenario())


def test_a_client_that_leaves_while_it_waits_takes_no_turn(
    certificate: Certificate, authority: trustme.CA
) -> None:
    """Nothing is decrypted of a connection that is closed or lost, and the next has its turn."""

    async def scenario() -> None:
        handshakes = Handshakes(0.25, clock=Clock(0.01))
        table = ConnectionTable(ConnectionSettings(), Counters())
        clients = [
            Client(certificate, authority, App(), table=table, handshakes=handshakes)
            for _ in range(6)
        ]
        for client in clients:
            client.greet()
        *_, lost, closed, last = clients
        lost.connection.connection_lost(None)
        closed.connection._connection.expire()
        await asyncio.sleep(0.2)
        assert [client.is_greeted for client in (lost, closed, last)] == [False, False, True]
        for client in clients:
            if client is not lost:
                client.connection.connection_lost(None)

    run_virtually(scenario())
