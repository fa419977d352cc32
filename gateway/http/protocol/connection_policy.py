"""Decides how long a connection may stay in a phase, and which is closed to make room.

Pure; `now` is an argument, in s.
"""

import enum
import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hedgerow.common.settings.connections import ConnectionSettings

# A normal client sends its first request, with its body, as soon as it is connected. A connection
# without a request is closed before one on which requests were answered, unless it is much younger.
_NO_REQUEST_WEIGHT: Final = 100.0

# Descriptors in addition to those of connections: some 15 for Redis, logs and the listener; some 30
# for connections that are accepted but not counted yet, or closed but not gone yet; and spare ones.
RESERVED_DESCRIPTORS: Final = 128


class Phase(enum.Enum):
    """What a connection is doing."""

    HEAD = "reads a request's head, or waits for one"
    BODY = "reads a request's body"
    ANSWER = "is being answered"
    LINGER = "is refused, and discards the rest of what is sent"


@dataclass(slots=True)
class ConnectionState:
    """The state of a connection, for the policy.

    Attributes:
        peer: the client, as `peer_of` returns it.
        since: when the phase began; in a bulk load's body, when the last bytes arrived.
        phase: what the connection is doing.
        has_begun: whether part of a head has arrived.
        has_asked: whether a whole request has ever arrived.
        is_load: whether the body is that of a bulk load.
        is_read: whether the gateway reads what the client sends, or keeps the client waiting.
        is_unsent_since: since when part of an answer waits for the client; None if none does.
        unsent_bytes: how many bytes of answers waited at the last check.
        took_at: when the client was last seen to have read some of them.
    """

    peer: str
    since: float
    phase: Phase = Phase.HEAD
    has_begun: bool = False
    has_asked: bool = False
    is_load: bool = False
    is_read: bool = True
    is_unsent_since: float | None = None
    unsent_bytes: int = 0
    took_at: float = 0.0

    @property
    def is_waiting_for_client(self) -> bool:
        """Whether the client has yet to read its answer, which takes precedence."""
        return self.is_unsent_since is not None and self.phase is not Phase.BODY

    def read(self, is_read: bool, now: float) -> None:
        """Note that reading resumes or pauses; a pause does not count as the client's time."""
        self.is_read = is_read
        if self.phase is Phase.BODY and self.is_load:
            self.since = now

    def look_at_unsent(self, num_bytes: int, now: float) -> None:
        """Note how many bytes of answers wait for the client."""
        if num_bytes == 0:
            self.is_unsent_since = None
        elif self.is_unsent_since is None:
            self.is_unsent_since = self.took_at = now
        elif num_bytes < self.unsent_bytes:
            self.took_at = now
        self.unsent_bytes = num_bytes


def expires_at(state: ConnectionState, limits: ConnectionSettings) -> float:
    """Return when a connection times out if nothing happens until then; infinity for never."""
    if state.is_waiting_for_client:
        return state.took_at + limits.send_timeout_s
    match state.phase:
        case Phase.HEAD:
            is_idle = state.has_asked and not state.has_begun
            timeout_s = limits.keep_alive_timeout_s if is_idle else limits.head_timeout_s
        case Phase.BODY:
            timeout_s = limits.body_timeout_s if state.is_read else math.inf
        case Phase.LINGER:
            timeout_s = limits.linger_timeout_s
        case Phase.ANSWER:
            timeout_s = math.inf
    return state.since + timeout_s


def idleness(state: ConnectionState, now: float) -> float | None:
    """Return how long a connection has been idle, weighted, in s; the most idle is closed first.

    None while the client waits for the gateway to read or answer its request.
    """
    match state.phase:
        case Phase.LINGER:
            return math.inf
        case Phase.ANSWER:
            return None if state.is_unsent_since is None else now - state.took_at
        case Phase.BODY if not state.is_read:
            return None
        case _ if not (state.has_asked or (state.phase is Phase.BODY and state.is_load)):
            return (now - state.since) * _NO_REQUEST_WEIGHT
        case _:
            return now - state.since


def most_idle(
    states: Iterable[ConnectionState], now: float, peer: str | None = None
) -> list[ConnectionState]:
    """List the connections that may be closed, the most idle first.

    Args:
        states: all connections.
        now: the time.
        peer: only this peer's connections; None for all.
    """
    found = [
        (idle, state)
        for state in states
        if (peer is None or state.peer == peer) and (idle := idleness(state, now)) is not None
    ]
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [state for _, state in found]


def over_unsent(states: Iterable[ConnectionState], max_bytes: int) -> list[ConnectionState]:
    """Choose the connections to close so that at most `max_bytes` wait for clients.

    Those whose answers have waited longest come first.
    """
    waiting = sorted(
        (state for state in states if state.is_unsent_since is not None),
        key=lambda state: state.is_unsent_since or 0.0,
    )
    excess = sum(state.unsent_bytes for state in waiting) - max_bytes
    closed = []
    for state in waiting:
        if excess <= 0:
            break
        closed.append(state)
        excess -= state.unsent_bytes
    return closed


def peer_of(address: str) -> str:
    """Return the peer of an address: an IPv4 address, or the /64 of an IPv6 address.

    A host usually has a whole /64, and may connect from any address in it.
    """
    if ":" not in address:
        return address
    try:
        packed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if packed.ipv4_mapped is not None:
        return str(packed.ipv4_mapped)
    return str(ipaddress.IPv6Network((packed, 64), strict=False))


def connections_within(max_connections: int, max_descriptors: float) -> int:
    """Return how many connections fit a process that may have `max_descriptors`."""
    return int(max(1, min(max_connections, max_descriptors - RESERVED_DESCRIPTORS)))
