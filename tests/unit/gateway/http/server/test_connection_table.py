"""The connections of a server: which are let in, which make room, and what is counted."""

import asyncio
import gc
import weakref

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hedgerow.common.observability.telemetry import Counters
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.protocol.connection_policy import ConnectionState, Phase
from hedgerow.gateway.http.server.connection_table import ConnectionTable
from tests.support.connections import connect, turn
from tests.support.virtual_time import run_virtually
from tests.unit.support.asgi_app import REQUEST, App

MAX_CONNECTIONS = 5
MAX_OF_PEER = 3
PEERS = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


class FakeConnection:
    """A connection that does what the table asks, and keeps what that was."""

    def __init__(self, peer: str, now: float) -> None:
        self.state = ConnectionState(peer, now)
        self.is_dropped = False
        self.is_expired = False
        self.unsent = 0

    def expire(self) -> None:
        """Keep the call."""
        self.is_expired = True

    def drop(self) -> None:
        """Keep the call."""
        self.is_dropped = True

    def num_unsent(self) -> int:
        """What a test says."""
        return self.unsent


class Server(RuleBasedStateMachine):
    """Clients that come, ask, are answered and leave, as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.table = ConnectionTable(
            ConnectionSettings(
                max_connections=MAX_CONNECTIONS, max_connections_per_peer=MAX_OF_PEER
            ),
            Counters(),
        )
        self.now = 0.0
        self.served: list[FakeConnection] = []

    def teardown(self) -> None:
        """Leave no timer."""
        for connection in self.served:
            self.table.forget(connection)
        self.loop.close()

    @rule(after=st.floats(0, 2))
    def wait(self, after: float) -> None:
        """Time passes."""
        self.now += after

    @rule(peer=st.sampled_from(PEERS))
    def come(self, peer: str) -> None:
        """A client connects; it is refused only where none could be spared for it."""
        connection = FakeConnection(peer, self.now)
        rivals = self.served
        if sum(one.state.peer == peer for one in rivals) >= MAX_OF_PEER:
            rivals = [one for one in rivals if one.state.peer == peer]
        spare = [one for one in rivals if one.state.phase is not Phase.ANSWER]

        async def admit() -> bool:
            return self.table.admit(connection, self.now)

        has_room = self.loop.run_until_complete(admit())
        dropped = [one for one in self.served if one.is_dropped]
        assert len(dropped) <= 1
        assert all(one in spare for one in dropped)
        self.served = [one for one in self.served if not one.is_dropped]
        if has_room:
            self.served.append(connection)
        else:
            assert not spare
            self.table.forget(connection)

    @rule(data=st.data(), phase=st.sampled_from([Phase.HEAD, Phase.BODY, Phase.ANSWER]))
    def change(self, data: st.DataObject, phase: Phase) -> None:
        """A client asks, or is answered."""
        if self.served:
            state = data.draw(st.sampled_from(self.served)).state
            state.phase, state.since, state.has_asked = phase, self.now, True

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A client closes its connection."""
        if self.served:
            connection = data.draw(st.sampled_from(self.served))
            self.served.remove(connection)
            self.table.forget(connection)

    @invariant()
    def is_within_limits(self) -> None:
        """No limit is passed."""
        assert self.table.num_connections == len(self.served) <= MAX_CONNECTIONS
        for peer in PEERS:
            assert sum(one.state.peer == peer for one in self.served) <= MAX_OF_PEER


TestServer = Server.TestCase


async def test_a_busy_client_stays_while_others_come() -> None:
    """A thousand silent connections replace each other, and not the one that is answered."""
    counters = Counters()
    table = ConnectionTable(ConnectionSettings(max_connections=10), counters)
    app = App()
    app.may_answer.clear()
    busy, busy_transport = connect(app, table=table)
    busy.data_received(REQUEST)
    silent = [connect(app, table=table) for _ in range(1000)]
    assert [transport.calls for _, transport in silent].count(["abort"]) == 991
    assert counters["connections_closed_for_room"] == 991
    assert table.num_connections == 10
    app.may_answer.set()
    await turn()
    assert busy_transport.written.startswith(b"HTTP/1.1 204")
    for protocol, _ in (*silent, (busy, None)):
        protocol.connection_lost(None)
    assert table.num_connections == 0


async def test_a_connection_is_refused_where_all_are_busy() -> None:
    """It is a 503 with the time to wait, and the refused make room for each other."""
    counters = Counters()
    table = ConnectionTable(ConnectionSettings(max_connections=2), counters)
    app = App()
    app.may_answer.clear()
    connections = [connect(app, table=table) for _ in range(2)]
    for protocol, _ in connections:
        protocol.data_received(REQUEST)
    await turn()
    for number in range(1, 4):
        refused, transport = connect(app, table=table)
        connections.append((refused, transport))
        assert transport.written.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in transport.written
        assert b'"cause":"connections"' in transport.written
        refused.data_received(REQUEST)
        assert counters["connections_refused"] == number
        assert table.num_connections == 3
    await turn()
    assert len(app.scopes) == 2
    for protocol, _ in connections:
        protocol.connection_lost(None)
    app.may_answer.set()
    await turn()


async def test_a_connection_of_another_client_is_not_closed_for_one_with_too_many() -> None:
    """A client with too many connections makes room by its own."""
    table = ConnectionTable(ConnectionSettings(max_connections_per_peer=3), Counters())
    other, other_transport = connect(App(), table=table, peer="192.0.2.1")
    await asyncio.sleep(0.01)  # by which it is the most idle
    many = [connect(App(), table=table, peer=f"2001:db8::{number:x}") for number in range(1, 11)]
    assert other_transport.calls == []
    assert sum("abort" in transport.calls for _, transport in many) == 7
    for protocol, _ in (*many, (other, None)):
        protocol.connection_lost(None)


def test_a_sweep_tells_each_connection_whose_time_is_up() -> None:
    """Late connections are reported, and those that keep too much waiting are closed."""

    async def scenario() -> None:
        table = ConnectionTable(
            ConnectionSettings(max_unsent_bytes=100, send_timeout_s=20), Counters()
        )
        late, early, full, stuck = (FakeConnection("", now) for now in (0, 9, 9, 9))
        full.unsent = stuck.unsent = 60
        for connection in (late, early, full, stuck):
            table.admit(connection, connection.state.since)
        table.sweep(10)
        assert [one.is_expired for one in (late, early, full, stuck)] == [True, False, False, False]
        assert [one.is_dropped for one in (late, early, full, stuck)] == [False, False, True, False]
        early.state.since = 100
        table.sweep(30)
        assert stuck.is_dropped
        table.forget(late)
        table.forget(early)
        assert table.num_connections == 0

    asyncio.run(scenario())


def test_an_event_is_logged_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is counted; of each kind, one in 10 s is logged, with how many there were."""
    counters = Counters()
    table = ConnectionTable(ConnectionSettings(), counters)
    for tenth in range(150):
        table.note("http_bad_requests", tenth / 10, reason="x")
    assert counters["http_bad_requests"] == 150
    lines = [line for line in capsys.readouterr().out.splitlines() if "http_bad_requests" in line]
    assert len(lines) == 2
    assert "num_so_far=101" in lines[1]


async def test_what_ended_connections_leave_is_collected() -> None:
    """A cycle, as each transport of asyncio has one, is gone after some thousand connections."""

    class Transport:
        def __init__(self) -> None:
            self.read_ready = self.read

        def read(self) -> None: ...

    table = ConnectionTable(ConnectionSettings(), Counters())
    gc.disable()
    try:
        left = weakref.ref(Transport())
        assert left() is not None
        for _ in range(2_000):
            connection = FakeConnection(PEERS[0], 0.0)
            table.admit(connection, 0.0)
            table.forget(connection)
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_handshakes_take_the_share_of_the_time_that_is_set(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`max_handshake_share`: after one that took long, the next one waits in proportion."""
    took_s, saved_s = 0.03, 0.01
    made_at: list[float] = []

    class Slow:
        """A handshake that takes a while by the clock below, in no time of the loop's."""

        def shake_hands(self) -> None:
            made_at.append(asyncio.get_running_loop().time())

    async def ask() -> None:
        table = ConnectionTable(ConnectionSettings(max_handshake_share=share), Counters())
        monkeypatch.setattr(table.handshakes, "_clock", lambda: took_s * len(made_at))
        assert table.handshakes.ask("192.0.2.1", Slow())
        assert not table.handshakes.ask("192.0.2.2", Slow())
        await asyncio.sleep(60.0)

    run_virtually(ask())
    first_at, second_at = made_at
    assert second_at - first_at == pytest.approx((took_s - saved_s) / share)
