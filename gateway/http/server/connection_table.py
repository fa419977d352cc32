"""All connections of a server; decides which are accepted and which are closed."""

import asyncio
import gc
from typing import Final, Protocol

import structlog

from hedgerow.common.observability.telemetry import Counters, Throttle
from hedgerow.common.runtime.ticks import tick_after
from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.protocol.connection_policy import (
    ConnectionState,
    expires_at,
    most_idle,
    over_unsent,
)
from hedgerow.gateway.http.protocol.refusal_pace import RefusalPace
from hedgerow.gateway.http.server.handshakes import Handshakes

log = structlog.get_logger()

_SWEEP_S: Final = 0.5
_LOG_INTERVAL_S: Final = 10.0
_READ_BYTES: Final = 65_536
# Ranking a thousand connections takes half a millisecond, so a ranking is used for this time.
_RANKING_S: Final = 0.1
# When a connection has ended, asyncio's transport and socket stay in memory until the garbage
# collector runs, since the transport refers to its own method. In a gateway, the collector runs
# seldom (`calm_collector`). For a thousand connections it takes 4 ms.
_COLLECT_AFTER: Final = 1_000


class TableConnection(Protocol):
    """A connection, as the table uses it."""

    state: ConnectionState

    def expire(self) -> None:
        """Close it because of a timeout."""

    def drop(self) -> None:
        """Close at once, even if bytes are unsent."""

    def num_unsent(self) -> int:
        """How many bytes wait for the client to read them."""


class ConnectionTable:
    """The connections of a server.

    Attributes:
        limits: the limits of the connections.
        pace: limits the waiting refusals.
        handshakes: paces the TLS handshakes.
        buffer: the buffer into which the connections read, one after another.
    """

    def __init__(self, limits: ConnectionSettings, counters: Counters) -> None:
        """Keep within `limits`, and count refused and closed connections in `counters`."""
        self.limits = limits
        self.pace = RefusalPace(limits.max_held_refusals)
        self.handshakes = Handshakes(limits.max_handshake_share)
        self.buffer = memoryview(bytearray(_READ_BYTES))
        self._counters = counters
        self._throttle = Throttle(_LOG_INTERVAL_S)
        # By the identity of the state, which represents a connection in the policy.
        self._connections: dict[int, TableConnection] = {}
        self._num_of_peer: dict[str, int] = {}
        self._ranking = _Ranking()
        self._num_ended = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def num_connections(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    def admit(self, connection: TableConnection, now: float) -> bool:
        """Add a connection; returns whether there is room for it.

        If there is no room, it is added all the same, so that it can send a refusal, and is the
        first to be closed.
        """
        peer = connection.state.peer
        has_room = self._make_room(peer, now)
        self._connections[id(connection.state)] = connection
        self._num_of_peer[peer] = self._num_of_peer.get(peer, 0) + 1
        if self._timer is None:
            self._set_timer()
        return has_room

    def forget(self, connection: TableConnection) -> None:
        """A connection has ended."""
        if self._connections.pop(id(connection.state), None) is None:
            return
        peer = connection.state.peer
        self._num_of_peer[peer] -= 1
        if not self._num_of_peer[peer]:
            del self._num_of_peer[peer]
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._num_ended += 1
        if self._num_ended % _COLLECT_AFTER == 0:
            gc.collect(1)  # only young objects

    def _make_room(self, peer: str, now: float) -> bool:
        while True:
            if self._num_of_peer.get(peer, 0) >= self.limits.max_connections_per_peer:
                state = self._ranking.next(self._connections, now, peer)
            elif len(self._connections) >= self.limits.max_connections:
                state = self._ranking.next(self._connections, now, None)
            else:
                return True
            if state is None:
                return False
            self.note("connections_closed_for_room", now, peer=state.peer, phase=state.phase.name)
            self._close(state)

    def sweep(self, now: float) -> None:
        """Close connections that have timed out, or leave too many bytes unread."""
        for connection in list(self._connections.values()):
            state = connection.state
            state.look_at_unsent(connection.num_unsent(), now)
            if now < expires_at(state, self.limits):
                continue
            if state.is_waiting_for_client:
                self.note("answers_not_taken", now, peer=state.peer, num_bytes=state.unsent_bytes)
                self._close(state)
            else:
                connection.expire()
        self.bound_unsent(now)

    def bound_unsent(self, now: float) -> None:
        """Close connections until the bytes that wait for clients are within the limit."""
        states = [connection.state for connection in self._connections.values()]
        for state in over_unsent(states, self.limits.max_unsent_bytes):
            self.note("answers_not_taken", now, peer=state.peer, num_bytes=state.unsent_bytes)
            self._close(state)

    def note(self, kind: str, now: float, **details: object) -> None:
        """Count an event; logs one event of each kind per interval."""
        self._counters.add(kind)
        if self._throttle.allows(kind, now):
            log.warning(kind, **details, num_so_far=self._counters[kind])

    def _close(self, state: ConnectionState) -> None:
        connection = self._connections[id(state)]
        self.forget(connection)
        connection.drop()

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(tick_after(_SWEEP_S), self._on_timer)

    def _on_timer(self) -> None:
        self._set_timer()
        self.sweep(asyncio.get_running_loop().time())


class _Ranking:
    """Ranks the connections to close next, once for many new connections."""

    def __init__(self) -> None:
        self._made_at = float("-inf")
        self._peer: str | None = None
        self._ranked: list[tuple[ConnectionState, object]] = []  # the most idle last

    def next(
        self, connections: dict[int, TableConnection], now: float, peer: str | None
    ) -> ConnectionState | None:
        """Return the connection to close, of `peer` or of all if None; None if all are busy."""
        is_fresh = now - self._made_at <= _RANKING_S and peer == self._peer
        if is_fresh and (state := self._pop(connections)) is not None:
            return state
        self._rank(connections, now, peer)
        return self._pop(connections)

    def _rank(self, connections: dict[int, TableConnection], now: float, peer: str | None) -> None:
        states = (connection.state for connection in connections.values())
        ranked = most_idle(states, now, peer)
        # Only half of them, so that connections that become idle meanwhile are ranked in time.
        ranked = ranked[: len(ranked) // 2 + 1]
        self._made_at, self._peer = now, peer
        self._ranked = [(state, _activity(state)) for state in reversed(ranked)]

    def _pop(self, connections: dict[int, TableConnection]) -> ConnectionState | None:
        while self._ranked:
            state, activity = self._ranked.pop()
            if id(state) in connections and _activity(state) == activity:
                return state
        return None


def _activity(state: ConnectionState) -> object:
    return (state.phase, state.since, state.took_at, state.has_begun)
